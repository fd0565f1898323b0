import type { Identity } from '../agents/authentication.ts';
import type { Spend } from '../http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Permission } from '../policy/decide.ts';
import { limitReached } from '../policy/limits.ts';
import type { RuleLimit } from '../policy/rule.ts';
import type { QuotaKey, Quota } from '../quota/quota.ts';
import type { ProxyServices } from './deps.ts';

/** What was taken from the limits of a rule. */
type TakenLimits =
  | { readonly ok: true; readonly spend: Spend | undefined }
  | { readonly ok: false; readonly refusal: SidekeyError };

/**
 * Takes one request from the limits that a decision brings; the bytes are settled as they go through. A domain that only
 * reports limits nothing.
 *
 * @throws SidekeyError `store_unavailable` where it cannot be known what is left
 */
export async function takeLimits(
  { mode, limits }: Pick<Permission, 'mode' | 'limits'>,
  who: QuotaKey,
  { quota, now }: Pick<ProxyServices, 'quota' | 'now'>,
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
}: Pick<Permission, 'mode' | 'maxResponse'>): number | null {
  return mode === 'enforce' ? maxResponse : null;
}

/** Echoes an hour that an agent gets of a grant where its domain says nothing. */
const usualEchoes = 5;

const hourMs = 3_600_000;

/** For whom echoes are counted. */
export interface EchoAsker {
  readonly caller: Pick<Identity, 'agent' | 'lease'>;
  /** Id of the grant. */
  readonly grant: string;
  /** Echoes an hour; absent: the usual number. */
  readonly limit: number | undefined;
}

/**
 * Ends the right of an agent to a grant whose credential comes back again and again: who guesses is told by an echo that the
 * guess was right. Echoes are counted where all workers count; that they are used up each worker learns at an echo of its own.
 */
export interface EchoLimit {
  /** Why the agent may not ask now; null: it may. */
  refusal(asker: EchoAsker): SidekeyError | null;
  /** Counts an echo. Answers why the agent may not ask any more; null: it may. Never rejects. */
  count(asker: EchoAsker): Promise<SidekeyError | null>;
}

/** @param now milliseconds since the epoch */
export function createEchoLimit(quota: Quota, now: () => number): EchoLimit {
  const ends = new Map<string, number>();
  return {
    refusal(asker) {
      // Nobody, nearly always.
      if (ends.size === 0) return null;
      const key = keyOf(asker);
      const left = (ends.get(key) ?? 0) - now();
      if (left > 0) return tooMany(left);
      ends.delete(key);
      return null;
    },
    async count(asker) {
      const key = keyOf(asker);
      const count = asker.limit ?? usualEchoes;
      const limit: RuleLimit = { kind: 'rate', per: 'rule', count, perMs: hourMs, burst: count, key };
      try {
        const taken = await quota.take([limit], { agent: asker.caller.agent, grant: asker.grant }, now());
        if (taken.ok) return null;
        ends.set(key, now() + taken.retryAfterMs);
        return tooMany(taken.retryAfterMs);
      } catch (error) {
        if (error instanceof SidekeyError) return error;
        throw error;
      }
    },
  };
}

function keyOf({ caller: { agent, lease }, grant }: EchoAsker): string {
  return `echoes ${JSON.stringify([agent, lease?.id ?? null, grant])}`;
}

function tooMany(retryAfterMs: number): SidekeyError {
  return new SidekeyError(
    'too_many_echoes',
    'Responses have shown the credential of this grant to this agent too often.',
    {
      hint: 'ask for something that does not repeat the request, or raise leak_limit of the domain',
      retryAfterMs,
    },
  );
}
