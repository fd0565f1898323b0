import type { Clock } from '../deadline.ts';

const most = 1_000;
const perMs = 10_000;

/**
 * Bounds frames that ask for work and bring nothing: SETTINGS and PING, each of which has to be answered (CVE-2019-9512,
 * CVE-2019-9515), and interim responses. 1,000 may come in ten seconds.
 */
export class FrameBudget {
  readonly #clock: Clock;
  #since = -Infinity;
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts one. False: they are too many. */
  take(): boolean {
    const now = this.#clock.now();
    if (now - this.#since >= perMs) {
      this.#since = now;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count <= most;
  }

  /** Something was brought. */
  clear(): void {
    this.#count = 0;
  }
}
