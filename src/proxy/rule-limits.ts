import type { Grant } from '../domain/grant.ts';
import type { Identity } from '../agents/authentication.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Permission } from './policy/decide.ts';
import { limitReached } from './policy/limits.ts';
import type { RuleLimit } from './policy/rule.ts';
import type { Quota, QuotaKey } from '../agents/quota/quota.ts';

/** Counters of limits, and their clock. */
interface Counting {
  readonly quota: Quota;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** The parts of an authorized request that its limits use. */
export interface LimitedRequest {
  readonly decision: Pick<Permission, 'mode' | 'limits'>;
  readonly caller: Pick<Identity, 'agent'>;
  /** Grant of the request; null: the config applies no limit to requests without a grant. */
  readonly grant: Pick<Grant, 'id' | 'parent'> | null;
}

/**
 * Takes one request from the limits of its rule. `spendBytes` takes the bytes. Report mode limits nothing.
 *
 * @throws SidekeyError `rate_limited`; `store_unavailable` where the count cannot be read
 */
export function takeLimits(request: LimitedRequest, { quota, now }: Counting): void {
  const limits = limitsOf(request.decision);
  if (limits.length === 0) return;
  const taken = quota.take(limits, keyOf(request), now());
  if (!taken.ok) throw limitReached(taken.limit, taken.retryAfterMs);
}

/** Takes bytes from the limits of a request. Returns the refusal if a limit is reached, otherwise null. */
export function spendBytes(
  request: LimitedRequest,
  bytes: number,
  { quota, now }: Counting,
): SidekeyError | null {
  const left = quota.spend(limitsOf(request.decision), keyOf(request), bytes, now());
  return left.ok ? null : limitReached(left.limit, left.retryAfterMs);
}

/** Returns the limits that a decision enforces. */
export function limitsOf({ mode, limits }: LimitedRequest['decision']): readonly RuleLimit[] {
  return mode === 'report' ? [] : limits;
}

function keyOf({ caller, grant }: LimitedRequest): QuotaKey {
  // Minted grants count as their parent: a caller may have any number of them.
  return { agent: caller.agent, grant: grant?.parent ?? grant?.id ?? '' };
}

/** Returns the maximum bytes of a response body; null: no limit. A domain in report mode sets no limit. */
export function responseBound({
  mode,
  maxResponse,
}: Pick<Permission, 'mode' | 'maxResponse'>): number | null {
  return mode === 'enforce' ? maxResponse : null;
}

/** Exchanges and tunnels in progress in this process, by agent. One agent must leave room for the others. */
export class AgentLoad {
  readonly #underWay = new Map<string | null, number>();

  /**
   * Adds one; the caller must call `end` later.
   * @throws SidekeyError `overloaded`: the agent has `most` already
   */
  begin(agent: string | null, most: number): void {
    const count = this.#underWay.get(agent) ?? 0;
    if (count >= most) {
      const who = agent === null ? 'Callers without a token have' : `The agent ${agent} has`;
      throw new SidekeyError('overloaded', `${who} ${count} requests under way already.`, {
        hint: 'wait until one of them ends, or raise limits.agent_exchanges',
      });
    }
    this.#underWay.set(agent, count + 1);
  }

  end(agent: string | null): void {
    const count = this.#underWay.get(agent) ?? 0;
    if (count > 1) this.#underWay.set(agent, count - 1);
    else this.#underWay.delete(agent);
  }
}

/** Leaks per hour that an agent may receive of a grant if its domain sets no number. */
const defaultLeaks = 5;

const hourMs = 3_600_000;

/** The agent and grant that leaks are counted for. */
export interface LeakKey {
  readonly caller: Pick<Identity, 'agent' | 'lease'>;
  /** Id of the grant. */
  readonly grant: string;
  /** Leaks per hour; absent: the default number. */
  readonly limit: number | undefined;
}

/**
 * Refuses an agent a grant if responses repeat its credential too often: a leak confirms a guess of the
 * secret. All workers share the count. Each notices the end of the count at its own next leak.
 */
export interface LeakLimit {
  /** Returns the reason why the agent may send no request now; null: allowed. */
  refusal(key: LeakKey): SidekeyError | null;
  /** Counts a leak. Returns the refusal if the limit is reached, otherwise null. Never rejects. */
  count(key: LeakKey): Promise<SidekeyError | null>;
}

/** @param now milliseconds since the epoch */
export function createLeakLimit(quota: Quota, now: () => number): LeakLimit {
  const ends = new Map<string, number>();
  return {
    refusal(leakKey) {
      // The map is nearly always empty.
      if (ends.size === 0) return null;
      const key = nameOf(leakKey);
      const left = (ends.get(key) ?? 0) - now();
      if (left > 0) return tooMany(left);
      ends.delete(key);
      return null;
    },
    async count(leakKey) {
      const key = nameOf(leakKey);
      const count = leakKey.limit ?? defaultLeaks;
      const limit: RuleLimit = { kind: 'rate', per: 'rule', count, perMs: hourMs, burst: count, key };
      try {
        const who = { agent: leakKey.caller.agent, grant: leakKey.grant };
        const taken = quota.take([limit], who, now());
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

function nameOf({ caller: { agent, lease }, grant }: LeakKey): string {
  return `leaks ${JSON.stringify([agent, lease?.id ?? null, grant])}`;
}

function tooMany(retryAfterMs: number): SidekeyError {
  const sentence = 'Responses have shown the credential of this grant to this agent too often.';
  const hint = 'ask for something that does not repeat the request, or raise leak_limit of the domain';
  return new SidekeyError('too_many_leaks', sentence, { hint, retryAfterMs });
}
