import { proposedEntry, type ProposedEntry } from '../agents/approvals/proposed-entry.ts';
import type { Config } from '../config/config.ts';
import type { Grant } from '../domain/grant.ts';
import type { Proposal, ProposedChange, Proposer } from '../domain/proposal.ts';
import { consentRemedy } from '../grants/messages.ts';
import type { Registry } from '../grants/registry.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Hint, remedy } from '../lib/hint.ts';
import type { Store } from '../store/store.ts';
import { audienceWarnings } from './audience-warnings.ts';
import { ownGrants, usualGrants } from './lease-terms.ts';
import { connectRemedy, waysToConnect } from './provider.ts';

/** Effect of an accepted proposal. */
export interface Effect {
  /** The entry for a permanent yes; null: the proposal is for no domain, or cannot be accepted. */
  readonly entry: ProposedEntry | null;
  /** Commands that a person runs after a yes. */
  readonly commands: readonly Hint[];
  readonly notes: readonly string[];
  /** Reason why the map refuses the entry; null: it accepts the entry. */
  readonly refusal: SidekeyError | null;
}

export const noEffect: Effect = { entry: null, commands: [], notes: [], refusal: null };

interface EffectParts {
  readonly config: Config;
  readonly env: NodeJS.ProcessEnv;
  readonly grants: Pick<Registry, 'find' | 'read'>;
  readonly store: Pick<Store, 'grants' | 'rights' | 'leases'> | null;
}

export async function effectOf({ change, ...proposer }: Proposal, parts: EffectParts): Promise<Effect> {
  if (change.kind !== 'domain') return { ...noEffect, commands: await commandsFor(change, proposer, parts) };
  const { config, env } = parts;
  try {
    const entry = await proposedEntry(change, config.file, env);
    const warnings =
      change.grant === null ? [] : await audienceWarnings(parts, entry.config, change.host, change.grant);
    return { ...noEffect, entry, notes: warnings.map(({ sentence }) => sentence) };
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return { ...noEffect, notes: [error.message], refusal: error };
  }
}

/**
 * Returns the grant of a name that requests of the proposer use. If the proposer reaches none of the name,
 * returns the one of its user, or without an owner. Null: there is no such grant.
 */
async function proposersGrant(
  name: string,
  { agent, lease: leaseId }: Proposer,
  { grants, store }: EffectParts,
): Promise<Grant | null> {
  const named = (await grants.find(name)).filter((grant) => grant.name === name);
  // Without a lease, the rights of the agent count. A caller without a token has none.
  const lease = (leaseId === null ? null : await store?.leases.get(leaseId)) ?? {
    id: '',
    agent,
    grants: null,
  };
  const who = (lease.agent === null ? null : await store?.rights.agent(lease.agent)) ?? null;
  const reached = agent === null ? named : ownGrants(lease, named, who);
  const usual = usualGrants(lease, reached.length === 0 ? named : reached, who);
  return usual[0] ?? reached[0] ?? null;
}

/** Returns the actions that connect a grant, and bind the grant to the agent. */
async function commandsFor(
  change: Exclude<ProposedChange, { readonly kind: 'domain' }>,
  proposer: Proposer,
  parts: EffectParts,
): Promise<readonly Hint[]> {
  const { agent } = proposer;
  const { providers } = parts.config;
  const name = change.kind === 'grant' ? change.provider : change.grant;
  const scopes = change.scopes.length === 0 ? undefined : change.scopes;
  const bind = agent === null ? [] : [remedy('agent.bind', { agent, grants: [name] })];
  if (change.kind === 'scope') {
    const grant = await proposersGrant(name, proposer, parts);
    const opened = grant === null ? null : await parts.grants.read(grant.id);
    if (opened !== null) {
      const provider = providers.get(opened.grant.provider);
      return [consentRemedy(opened.grant, change.scopes, provider, opened.sealed.credential)];
    }
    return [remedy('connect', { provider: null, name, scopes }), ...bind];
  }
  const provider = providers.get(change.provider);
  const [way = 'authorization_code'] = provider === undefined ? [] : waysToConnect(provider);
  return [connectRemedy(name, way, { scopes }), ...bind];
}
