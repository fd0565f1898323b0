import { SidekeyError } from '../../errors.ts';
import type { Grant, GrantState } from '../../grants/grant.ts';
import { selectGrant } from '../../grants/select-grant.ts';
import { stateNow } from '../../grants/state-now.ts';
import { expiredToken, stateRefusal } from '../../grants/token-result.ts';
import { areReadOnly, rulesFor } from '../../policy/caller-rules.ts';
import type { Domain } from '../../policy/domain-map.ts';
import type { DomainRules, Rule } from '../../policy/rule.ts';
import type { Identity } from '../agent.ts';
import type { Arrival } from '../message.ts';
import { selectFor, unselected } from '../offer.ts';
import { addressOf, requestFacts } from '../request-facts.ts';
import type { Rooms, Settings } from '../rooms.ts';
import type { Target } from '../target.ts';

/** What one caller may call now, and by what right. Times are milliseconds since the epoch. */
export interface Reach {
  readonly now: number;
  /** Null: it showed no token. */
  readonly agent: string | null;
  readonly lease: { readonly id: string; readonly purpose: string } | null;
  /** When the caller's right ends, if nobody takes or renews it before; null: no end is known. */
  readonly endsAt: number | null;
  readonly hosts: readonly ReachedHost[];
  /** Hosts that are passed through as they are, and those that are refused, by the map. */
  readonly tunnels: readonly string[];
  readonly denied: readonly string[];
  /** What happens at any other host. */
  readonly unmatched: 'deny' | 'tunnel';
}

/** A host, or a pattern of hosts, where requests get a credential. */
export interface ReachedHost {
  readonly host: string;
  readonly plainHttp: boolean;
  /** Those of the caller's that the host offers. */
  readonly grants: readonly ReachedGrant[];
  /** Name of the one that a request gets which names none; null: none, see `problem`. */
  readonly chosen: string | null;
  /** Why no single grant stands for a request there; null: one does. */
  readonly problem: Problem | null;
  /** What may be done there; null: everything. */
  readonly rules: ReachedRules | null;
}

/** The rules of a host that are for this caller. */
export interface ReachedRules extends Pick<DomainRules, 'mode' | 'default'> {
  readonly list: readonly Rule[];
  readonly readOnly: boolean;
}

/** A grant, without anything of its credential. */
export interface ReachedGrant extends Pick<Grant, 'name' | 'user' | 'provider' | 'scopes'> {
  readonly state: GrantState;
  /** When the caller's right to it ends; null: no end is known. */
  readonly endsAt: number | null;
  /** Why it is of no use now; null: it is of use. */
  readonly problem: Problem | null;
}

/** A refusal that a request would meet, and what a person can do about it. */
export interface Problem {
  readonly code: string;
  readonly sentence: string;
  readonly hint: string | null;
}

/**
 * Gathers what a caller reaches. What it does not reach is not in it, as if it were not there; a caller without a token,
 * who reaches whatever there is, is also told of hosts whose grant is missing.
 *
 * @throws SidekeyError `store_unavailable`
 */
export async function reachOf(
  asked: Asked,
  settings: Pick<Settings, 'policy' | 'agents' | 'provider'>,
  rooms: Pick<Rooms, 'grants' | 'now'>,
): Promise<Reach> {
  const { caller } = asked;
  const { domains, unmatched } = settings.policy;
  const hosts: ReachedHost[] = [];
  for (const domain of domains.entries) {
    const host = await hostOf(domain, asked, settings, rooms);
    if (host !== null) hosts.push(host);
  }
  const right = await caller.holds(null, { mode: settings.agents, used: false });
  return {
    now: rooms.now(),
    agent: caller.agent,
    lease: caller.lease === null ? null : { id: caller.lease.id, purpose: caller.lease.purpose },
    endsAt: finiteOrNull(right),
    hosts,
    tunnels: namesOf(domains.entries, 'tunnel'),
    denied: namesOf(domains.entries, 'deny'),
    unmatched,
  };
}

/** Who asks for it, and with which request. */
export interface Asked {
  readonly arrival: Arrival;
  readonly target: Target;
  readonly caller: Identity;
}

/** Null: the entry offers no grant, or none to this caller. */
async function hostOf(
  { pattern, action, rules }: Domain,
  { arrival, target, caller }: Asked,
  settings: Pick<Settings, 'agents' | 'provider'>,
  { grants, now }: Pick<Rooms, 'grants' | 'now'>,
): Promise<ReachedHost | null> {
  if (action.kind !== 'grant') return null;
  const reference = action.grant;
  const candidates = await grants.find(reference);
  const offered = offeredOf(candidates.filter(caller.reaches), reference);
  if (offered.length === 0 && caller.agent !== null) return null;
  const selected = selectFor(caller, candidates, reference);
  const facts = await requestFacts(
    arrival,
    target,
    caller,
    { reference, candidates, selected, ruled: rules !== undefined },
    now(),
    [],
  );
  const list =
    rules === undefined ? [] : rulesFor(rules, { ...facts, client: addressOf(arrival.client.address) });
  return {
    host: pattern.text,
    plainHttp: action.insecure,
    grants: await Promise.all(offered.map((grant) => grantOf(grant, caller, settings, now()))),
    chosen: selected.kind === 'selected' ? selected.grant.name : null,
    problem:
      selected.kind === 'selected' ? null : problemOf(unselected(selected, { grant: reference }, caller)),
    rules:
      rules === undefined
        ? null
        : { mode: rules.mode, default: rules.default, list, readOnly: areReadOnly(list, rules) },
  };
}

/** Those among which a request chooses. */
function offeredOf(reached: readonly Grant[], reference: string): readonly Grant[] {
  const selected = selectGrant(reached, { reference });
  return selected.kind === 'selected'
    ? [selected.grant]
    : selected.kind === 'ambiguous'
      ? selected.candidates
      : [];
}

async function grantOf(
  grant: Grant,
  caller: Pick<Identity, 'holds'>,
  { agents, provider }: Pick<Settings, 'agents' | 'provider'>,
  now: number,
): Promise<ReachedGrant> {
  const held = await caller.holds(grant, { mode: agents, used: false });
  const state = stateNow(grant, now);
  const definition = provider(grant.provider);
  const refused =
    stateRefusal(grant, definition) ??
    (state === 'expired' ? expiredToken(grant, definition) : held instanceof SidekeyError ? held : null);
  const { name, user, scopes } = grant;
  return {
    name,
    user,
    provider: grant.provider,
    scopes,
    state,
    endsAt: finiteOrNull(held),
    problem: refused === null ? null : problemOf(refused),
  };
}

function problemOf({ code, message, hint }: Pick<SidekeyError, 'code' | 'message' | 'hint'>): Problem {
  return { code, sentence: message, hint: hint ?? null };
}

function finiteOrNull(end: number | SidekeyError): number | null {
  return end instanceof SidekeyError || !Number.isFinite(end) ? null : end;
}

function namesOf(domains: readonly Domain[], kind: Domain['action']['kind']): string[] {
  return domains.filter(({ action }) => action.kind === kind).map(({ pattern }) => pattern.text);
}
