import type { SidekeyError } from '../errors.ts';
import type { Obligations } from '../policy/decide.ts';
import { limitReached } from '../policy/limit-refusal.ts';
import type { Asker } from '../quota/quota.ts';
import type { Spend } from './meter.ts';
import type { Rooms } from './rooms.ts';

/** What was taken from the limits of a rule. */
export type TakenLimits =
  | { readonly ok: true; readonly spend: Spend | undefined }
  | { readonly ok: false; readonly refusal: SidekeyError };

/**
 * Takes one request from the limits that a decision brings; the bytes are settled as they go through. A domain that only
 * reports limits nothing.
 *
 * @throws SidekeyError `store_unavailable` where it cannot be known what is left
 */
export async function takeLimits(
  { mode, limits }: Pick<Obligations, 'mode' | 'limits'>,
  who: Asker,
  { quota, now }: Pick<Rooms, 'quota' | 'now'>,
): Promise<TakenLimits> {
  if (mode === 'report' || limits.length === 0) return { ok: true, spend: undefined };
  const taken = await quota.take(limits, who, now());
  if (!taken.ok) return { ok: false, refusal: limitReached(taken.limit, taken.retryAfterMs) };
  return {
    ok: true,
    spend(bytes) {
      const left = quota.spend(limits, who, bytes, now());
      return left.ok ? null : limitReached(left.limit, left.retryAfterMs);
    },
  };
}

/** Bytes of the response body that may come back; null: any. A domain that only reports bounds nothing. */
export function responseBound({
  mode,
  maxResponse,
}: Pick<Obligations, 'mode' | 'maxResponse'>): number | null {
  return mode === 'enforce' ? maxResponse : null;
}
