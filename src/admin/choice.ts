import type { Approval, Reach } from '../approvals/approval.ts';

/** One thing that a person may say to a question. */
export interface Choice {
  /** What the form sends. */
  readonly value: 'once' | 'no' | '15m' | '1h' | 'lease';
  /** How far the yes reaches; null: it is a no. */
  readonly reach: Reach | null;
}

/** What may be said to a question at `now`, milliseconds since the epoch. */
export function choicesOf({ who }: Pick<Approval, 'who'>, now: number): readonly Choice[] {
  return [
    { value: 'once', reach: { kind: 'once' } },
    { value: 'no', reach: null },
    { value: '15m', reach: { kind: 'until', at: now + 900_000 } },
    { value: '1h', reach: { kind: 'until', at: now + 3_600_000 } },
    // Without a lease it would stand for ever.
    ...(who.lease === null ? [] : [{ value: 'lease', reach: { kind: 'lease' } } as const]),
  ];
}
