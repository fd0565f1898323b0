import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import type { AuditLog } from '../../domain/event.ts';
import { recordChange } from '../../audit/log.ts';
import { type Grant, isName } from '../../domain/grant.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { isScope, ungrantedScopes } from '../../grants/oauth/scopes.ts';
import {
  bareHost,
  createAddressGuard,
  defaultPort,
  isAddress,
  isOwn,
  ownHost,
} from '../../proxy/policy/authority.ts';
import type { Policy } from '../../proxy/policy/decide.ts';
import {
  createPatternMap,
  type Domain,
  type DomainMap,
  type DomainPattern,
  isPattern,
  parsePattern,
  type PatternMap,
} from '../../proxy/policy/domain-map.ts';
import type { Store } from '../../store/store.ts';
import {
  maxReasonLength,
  onceMs,
  type Proposal,
  type ProposalAnswer,
  proposalEvent,
  proposalLifeMs,
  type ProposedChange,
  type Proposer,
  replacedBy,
  statusOf,
} from '../../domain/proposal.ts';

const scopes = z.array(z.string().max(256).refine(isScope, 'is not a scope')).max(20);
const name = z.string().refine(isName, 'is not a name');

const proposalSchema = z.strictObject({
  domain: z
    .strictObject({ host: z.string().max(260), action: z.enum(['tunnel', 'grant']), grant: name.optional() })
    .refine(({ action, grant }) => (action === 'grant') === (grant !== undefined), {
      message: 'has a grant with the action grant, and none with the action tunnel',
    })
    .optional(),
  grant: z.strictObject({ provider: name, scopes: scopes.default([]) }).optional(),
  scope: z.strictObject({ grant: name, scopes: scopes.min(1) }).optional(),
  reason: z.string().trim().min(1).max(maxReasonLength),
});

/** Shape of a proposal, for hints. */
export const proposalExample =
  '{"domain": {"host": "api.example.com", "action": "tunnel"}, "reason": "why you need it"}';

/**
 * Reads the JSON text of a proposal.
 *
 * @throws SidekeyError `bad_request`
 */
export function readProposal(text: string): Pick<Proposal, 'change' | 'reason'> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw badProposal('The proposal is not JSON.');
  }
  const read = proposalSchema.safeParse(value);
  if (!read.success) {
    const [issue] = read.error.issues;
    const place = issue === undefined || issue.path.length === 0 ? 'it' : issue.path.join('.');
    throw badProposal(`The proposal is not valid: ${place}: ${issue?.message ?? 'has another form'}.`);
  }
  const { domain, grant, scope, reason } = read.data;
  const changes: ProposedChange[] = [
    ...(domain === undefined
      ? []
      : [{ kind: 'domain' as const, host: hostOf(domain.host).text, grant: domain.grant ?? null }]),
    ...(grant === undefined
      ? []
      : [{ kind: 'grant' as const, provider: grant.provider, scopes: ordered(grant.scopes) }]),
    ...(scope === undefined
      ? []
      : [{ kind: 'scope' as const, grant: scope.grant, scopes: ordered(scope.scopes) }]),
  ];
  const [change, ...more] = changes;
  if (change === undefined || more.length > 0)
    throw badProposal('A proposal has one of domain, grant and scope.');
  return { change, reason };
}

const ordered = (texts: readonly string[]) => [...new Set(texts)].toSorted();

/** Refuses wildcards, which cover unknown hosts, and private addresses, which only people may allow. */
function hostOf(text: string): DomainPattern {
  const pattern = parsePattern(text);
  if (!isPattern(pattern)) throw badProposal(`The host ${pattern.problem}.`);
  const { host, wildcard } = pattern;
  if (wildcard) throw badProposal('A proposal is for one host, not for a wildcard.');
  if (isOwn(pattern)) throw badProposal(`${ownHost} is the proxy itself.`);
  const isPrivate = isAddress(host) ? !isPublic(bareHost(host)) : /(?:^|\.)localhost$/.test(host);
  if (!isPrivate) return pattern;
  throw new SidekeyError('address_blocked', `${host} is not a public address.`, {
    hint: 'propose the name of a public host',
  });
}

const isPublic = createAddressGuard([]);

function badProposal(sentence: string): SidekeyError {
  return new SidekeyError('bad_request', sentence, {
    hint: `curl --json '${proposalExample}' http://${ownHost}/proposals`,
  });
}

/** Returns the entry of the map that covers a host with http or https, preferably a denial; null: none. */
function entryFor(domains: DomainMap, host: string): Domain | null {
  const pattern = hostOf(host);
  const matches = (['https', 'http'] as const).flatMap((scheme) => {
    const port = pattern.port ?? defaultPort[scheme];
    return domains.match({ scheme, host: pattern.host, port }) ?? [];
  });
  return matches.find(({ action }) => action.kind === 'deny') ?? matches[0] ?? null;
}

/**
 * Refuses a domain that the map lists: a proposal can add an entry, but not change one.
 *
 * @throws SidekeyError `domain_not_allowed`, `already_exists`
 */
export function assertUnlisted({ domains, unmatched }: Policy, change: ProposedChange): void {
  if (change.kind !== 'domain') return;
  const { host, grant } = change;
  const entry = entryFor(domains, host);
  if (entry?.action.kind === 'deny') {
    const sentence = `${host} is denied by the entry ${entry.pattern.text}, which a proposal cannot change.`;
    throw new SidekeyError('domain_not_allowed', sentence, { hint: `a person may change ${entry.origin}` });
  }
  if (entry === null && !(unmatched === 'tunnel' && grant === null)) return;
  const by = entry === null ? 'unlisted hosts are tunnelled' : `by the entry ${entry.pattern.text}`;
  throw new SidekeyError('already_exists', `${host} is allowed already: ${by}.`, {
    hint: `GET http://${ownHost}/ shows what you may call`,
  });
}

/** Reports whether one of these grants fulfils the change. */
export function isConnected(change: ProposedChange, grants: readonly Grant[]): boolean {
  if (change.kind === 'domain') return false;
  return grants.some(
    ({ name: own, provider, state, scopes: granted }) =>
      state === 'active' &&
      (change.kind === 'grant' ? provider === change.provider : own === change.grant) &&
      ungrantedScopes(change.scopes, granted).length === 0,
  );
}

/** An entry of the map that a person accepted for a time. */
export interface ProposedDomain extends Domain {
  readonly proposal: string;
  /** True if the yes is for one exchange. */
  readonly isOnce: boolean;
}

/** The policy for hosts that the config does not list. It denies any other host. */
export interface ProposedPolicy extends Policy {
  readonly domains: PatternMap<ProposedDomain>;
}

/** The domains that people accepted for a time. */
interface ProposedPolicies {
  /** Returns the domains that were accepted for a caller and are in force; null if there are none. */
  policyFor(who: Proposer): ProposedPolicy | null | Promise<ProposedPolicy | null>;
}

/** Proposals of agents, as the proxy uses them. */
export interface Proposals extends ProposedPolicies {
  /**
   * Stores a proposal, and returns it, or the same one of the same caller.
   * @throws SidekeyError `rate_limited`, `audit_unavailable`, `store_unavailable`
   */
  propose(asked: Pick<Proposal, 'agent' | 'lease' | 'change' | 'reason' | 'client'>): Promise<Proposal>;
  /** Returns a proposal of this agent; null if the agent has no proposal with that id. */
  get(id: string, agent: string | null): Promise<Proposal | null>;
  /** Returns the proposals of an agent, in order of asking. */
  list(agent: string | null): Promise<readonly Proposal[]>;
  /** Records that the proposed grant is there. */
  connected(proposal: Proposal, grant: string): Promise<Proposal>;
  /** Uses up a yes for one exchange. Returns false if it is not in force. */
  use(id: string): Promise<boolean>;
}

interface PolicyParts {
  readonly store: Pick<Store, 'epoch' | 'changesSince' | 'proposals'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Returns the `restrict` of the config in force. */
  readonly restrict: () => ((domain: Domain) => Domain) | undefined;
}

interface ProposalParts extends PolicyParts {
  readonly audit: Pick<AuditLog, 'append' | 'note'>;
  readonly newId: () => string;
  readonly limits: () => { readonly maxPending: number };
}

/** Callers whose accepted domains are cached. */
const maxCallers = 1_000;

/** Creates the policies of accepted domains, which are cached until the store or the config changes. */
export function createProposedPolicies({ store, now, restrict }: PolicyParts): ProposedPolicies {
  /** `endsAt`: time at which the first acceptance for one exchange ends. */
  const policies = new LRUCache<string, { readonly policy: ProposedPolicy | null; readonly endsAt: number }>({
    max: maxCallers,
  });
  let policiesEpoch = -1;
  let policiesRestrictor: ReturnType<PolicyParts['restrict']>;

  async function read(who: Proposer): Promise<ProposedPolicy | null> {
    const [epoch, restrictor] = [policiesEpoch, policiesRestrictor];
    const inForce = await store.proposals.inForce(who, now());
    const policy = inForce.length === 0 ? null : policyOf(inForce, restrictor);
    const endsAt = Math.min(...inForce.map(endOf));
    if (epoch === policiesEpoch && restrictor === policiesRestrictor)
      policies.set(keyOf(who), { policy, endsAt });
    return policy;
  }

  return {
    policyFor(who) {
      const epoch = store.epoch();
      const restrictor = restrict();
      if (
        restrictor !== policiesRestrictor ||
        (epoch !== policiesEpoch && store.changesSince(policiesEpoch).others)
      )
        policies.clear();
      policiesEpoch = epoch;
      policiesRestrictor = restrictor;
      const cached = policies.get(keyOf(who));
      return cached !== undefined && now() < cached.endsAt ? cached.policy : read(who);
    },
  };
}

/** Creates the proposals of one process. */
export function createProposals(parts: ProposalParts): Proposals {
  const { store, audit, now } = parts;
  return {
    ...createProposedPolicies(parts),
    async propose(asked) {
      const askedAt = now();
      await store.proposals.removeEnded(askedAt - proposalLifeMs);
      const wanted = { ...asked, id: parts.newId(), askedAt, expiresAt: askedAt + proposalLifeMs };
      const { maxPending } = parts.limits();
      const stored = await store.proposals.propose({ ...wanted, answer: null, usedAt: null }, maxPending);
      if (stored === null) {
        const sentence = `You have ${maxPending} proposals that wait for a person (approvals.max_pending).`;
        throw new SidekeyError('rate_limited', sentence, {
          hint: hintOf`ask a person for: ${remedy('proposal.list')}`,
        });
      }
      // A proposal grants nothing, so it may be in the store before it is in the log.
      if (stored.id === wanted.id) await audit.append(proposalEvent(stored, null));
      return stored;
    },
    async get(id, agent) {
      const proposal = await store.proposals.get(id);
      return proposal?.agent === agent ? proposal : null;
    },
    list: (agent) => store.proposals.list({ agent }),
    connected: (proposal, grant) =>
      answerProposal({ store, audit }, proposal, {
        at: now(),
        by: `the grant ${grant} is connected`,
        outcome: 'connected',
      }),
    use: (id) => store.proposals.use(id, now()),
  };
}

const keyOf = ({ agent, lease }: Proposer) => JSON.stringify([agent, lease]);

/** Returns when an accepted proposal ends. A lease may end earlier, with all its rights. */
function endOf({ answer }: Proposal): number {
  return answer?.outcome === 'once' ? answer.at + onceMs : Infinity;
}

function policyOf(
  all: readonly Proposal[],
  restrict: (domain: Domain) => Domain = (it) => it,
): ProposedPolicy {
  const domains = all.flatMap(({ id, change, answer }) => {
    if (change.kind !== 'domain') return [];
    const { host, grant } = change;
    const action =
      grant === null
        ? ({ kind: 'tunnel' } as const)
        : ({ kind: 'grant', grant, allowPlainHttp: false } as const);
    const domain = restrict({ pattern: hostOf(host), action, origin: `the proposal ${id}` });
    return [{ ...domain, proposal: id, isOnce: answer?.outcome === 'once' }];
  });
  return { domains: createPatternMap(domains), unmatched: 'deny' };
}

/**
 * Answers a proposal, audited first.
 *
 * @throws SidekeyError `approval_over` after an answer or the end; `input_invalid` if the kind of answer does
 * not fit, such as `lease` without a lease; `audit_unavailable`, `store_unavailable`
 */
export async function answerProposal(
  { store, audit }: Pick<ProposalParts, 'audit'> & { readonly store: Pick<Store, 'proposals'> },
  proposal: Proposal,
  answer: ProposalAnswer,
): Promise<Proposal> {
  const { id, lease, change } = proposal;
  const { outcome } = answer;
  const fits =
    outcome === 'declined' ||
    (change.kind === 'domain') === (outcome === 'once' || outcome === 'lease' || outcome === 'for_good');
  if (!fits || (outcome === 'lease' && lease === null)) {
    throw new SidekeyError('input_invalid', `The proposal ${id} cannot be accepted in this way.`, {
      hint: remedy('proposal.get', { proposal: id }),
    });
  }
  const before = proposal.answer?.outcome;
  const isOpen =
    before === undefined ? statusOf(proposal, answer.at) === 'waiting' : replacedBy(outcome).includes(before);
  if (!isOpen) throw answeredBefore(proposal, answer.at);
  return recordChange(audit, proposalEvent(proposal, answer), async () => {
    const answered = await store.proposals.answer(id, answer);
    if (answered !== null) return answered;
    throw answeredBefore((await store.proposals.get(id)) ?? proposal, answer.at);
  });
}

function answeredBefore(proposal: Proposal, now: number): SidekeyError {
  const { id, answer } = proposal;
  const by = answer === null ? '' : ` by ${answer.by}`;
  const sentence = `The proposal ${id} was ${statusOf(proposal, now)} before${by}.`;
  return new SidekeyError('approval_over', sentence, { hint: remedy('proposal.list') });
}
