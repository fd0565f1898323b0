/** The clock of this process: that of the system, or one that nodes share where the two differ. */

/** Milliseconds of difference that are left alone: clocks that are kept by NTP differ by less. */
const toleranceMs = 1_000;
/** Milliseconds by which a measured difference may change without effect: answers take different times. */
const noiseMs = 100;

let aheadMs = 0;

/** Returns milliseconds since the epoch. */
export function wallClock(): number {
  return Date.now() + aheadMs;
}

/**
 * Follows a clock that nodes share if that of the system differs from it by more than a second: the ends of leases,
 * approvals and grants are compared with the clocks of several nodes.
 *
 * @param shared its time, in milliseconds since the epoch
 * @param askedAt time by the clock of the system at which it was asked; `answeredAt`: at which the answer came
 */
export function followClock(shared: number, askedAt: number, answeredAt: number): void {
  // The answer may be as old as that.
  if (answeredAt < askedAt || answeredAt - askedAt > toleranceMs) return;
  const difference = shared - (askedAt + answeredAt) / 2;
  const next = Math.abs(difference) > toleranceMs ? Math.round(difference) : 0;
  if (Math.abs(next - aheadMs) > noiseMs) aheadMs = next;
}
