/** The clock of this process: the system's, or the clock that nodes share if the two differ. */

/** Milliseconds of difference to ignore. Clocks with NTP differ by less. */
const toleranceMs = 1_000;
/** Milliseconds by which a measured difference may vary without effect: response times differ. */
const noiseMs = 100;

let aheadMs = 0;

/** Returns milliseconds since the epoch. */
export function wallClock(): number {
  return Date.now() + aheadMs;
}

/**
 * Follows the clock that nodes share if the system's differs by more than a second. Expirations of leases,
 * approvals and grants are compared with the clocks of several nodes.
 *
 * @param shared time of the shared clock, in milliseconds since the epoch
 * @param askedAt system time of the request; `answeredAt`: of the response
 */
export function followClock(shared: number, askedAt: number, answeredAt: number): void {
  // The shared time may be as old as the request.
  if (answeredAt < askedAt || answeredAt - askedAt > toleranceMs) return;
  const difference = shared - (askedAt + answeredAt) / 2;
  const next = Math.abs(difference) > toleranceMs ? Math.round(difference) : 0;
  if (Math.abs(next - aheadMs) > noiseMs) aheadMs = next;
}
