import type { SidekeyError } from '../errors.ts';

/** Adds bytes to what was used of budgets. Answers why no more may go through; null: it may. */
export type Spend = (bytes: number) => SidekeyError | null;

/** So many bytes of one exchange go through at most before they are settled. */
const stepBytes = 1_048_576;

/**
 * Counts the bytes of both bodies of one exchange as they go through, and settles them with the budgets that they count
 * against: in steps, since a stream may never end, and whatever the end is.
 */
export interface Meter {
  /** From the client, and to it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Times that the credential was found in what came back. */
  readonly echoes: number;
  /** Counts a piece before it goes on. */
  received(bytes: number): void;
  sent(bytes: number): void;
  echoed(times: number): void;
  /** Settles what was counted since the last time. */
  settle(): void;
  /** Who ends the exchange when a settlement overdraws a budget, or echoes are too many. The last one who says so is told, perhaps again. */
  onOverdrawn(stop: (why: SidekeyError) => void): void;
  /** Settles what is left, and stops nobody any more. */
  close(): void;
}

/**
 * @param spend absent: bytes count against nothing
 * @param countEcho absent: echoes do not
 */
export function createMeter(spend?: Spend, countEcho?: () => Promise<SidekeyError | null>): Meter {
  return new CountingMeter(spend, countEcho);
}

class CountingMeter implements Meter {
  bytesIn = 0;
  bytesOut = 0;
  echoes = 0;
  readonly #spend: Spend | undefined;
  readonly #countEcho: (() => Promise<SidekeyError | null>) | undefined;
  #settled = 0;
  #barred: SidekeyError | null = null;
  #stop: (why: SidekeyError) => void = ignore;

  constructor(spend: Spend | undefined, countEcho: (() => Promise<SidekeyError | null>) | undefined) {
    this.#spend = spend;
    this.#countEcho = countEcho;
  }

  received(bytes: number): void {
    this.bytesIn += bytes;
    this.#settleInSteps();
  }

  sent(bytes: number): void {
    this.bytesOut += bytes;
    this.#settleInSteps();
  }

  echoed(times: number): void {
    this.echoes += times;
    if (times === 0) return;
    // What has left was redacted: the exchange need not wait for the count, and ends at the next echo.
    if (this.#barred !== null) this.#stop(this.#barred);
    else
      void this.#countEcho?.().then((refusal) => {
        this.#barred = refusal;
      });
  }

  settle(): void {
    const bytes = this.bytesIn + this.bytesOut - this.#settled;
    if (this.#spend === undefined || bytes === 0) return;
    this.#settled += bytes;
    const refusal = this.#spend(bytes);
    if (refusal !== null) this.#stop(refusal);
  }

  onOverdrawn(stop: (why: SidekeyError) => void): void {
    this.#stop = stop;
  }

  close(): void {
    this.#stop = ignore;
    this.settle();
  }

  #settleInSteps(): void {
    if (this.bytesIn + this.bytesOut - this.#settled >= stepBytes) this.settle();
  }
}

function ignore(): void {}
