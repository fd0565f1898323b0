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
  /** Counts a piece before it goes on. */
  received(bytes: number): void;
  sent(bytes: number): void;
  /** Settles what was counted since the last time. */
  readonly settle: () => void;
  /** Who ends the exchange when a settlement overdraws a budget. The last one who says so is told, perhaps again. */
  onOverdrawn(stop: (why: SidekeyError) => void): void;
  /** Settles what is left, and stops nobody any more. */
  close(): void;
}

/** @param spend absent: bytes count against nothing */
export function createMeter(spend?: Spend): Meter {
  let bytesIn = 0;
  let bytesOut = 0;
  let settled = 0;
  let stop: (why: SidekeyError) => void = ignore;
  const open = () => bytesIn + bytesOut - settled;
  const settle = () => {
    const bytes = open();
    if (spend === undefined || bytes === 0) return;
    settled += bytes;
    const refusal = spend(bytes);
    if (refusal !== null) stop(refusal);
  };
  const settleInSteps = () => {
    if (open() >= stepBytes) settle();
  };
  return {
    get bytesIn() {
      return bytesIn;
    },
    get bytesOut() {
      return bytesOut;
    },
    received(bytes) {
      bytesIn += bytes;
      settleInSteps();
    },
    sent(bytes) {
      bytesOut += bytes;
      settleInSteps();
    },
    settle,
    onOverdrawn: (listener) => void (stop = listener),
    close() {
      stop = ignore;
      settle();
    },
  };
}

function ignore(): void {}
