import { proposedEntry, type ProposedEntry } from '../agents/approvals/proposed-entry.ts';
import type { Config } from '../config/config.ts';
import type { Proposal, ProposedChange } from '../domain/proposal.ts';
import { consentRemedy } from '../grants/messages.ts';
import type { Registry } from '../grants/registry.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Hint, remedy } from '../lib/hint.ts';
import { audienceWarnings } from './audience-warnings.ts';
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
  readonly grants: Pick<Registry, 'list' | 'read'>;
}

export async function effectOf({ change, agent }: Proposal, parts: EffectParts): Promise<Effect> {
  if (change.kind !== 'domain') return { ...noEffect, commands: await commandsFor(change, agent, parts) };
  const { config, env, grants } = parts;
  try {
    const entry = await proposedEntry(change, config.file, env);
    const warnings =
      change.grant === null ? [] : await audienceWarnings(grants, entry.config, change.host, change.grant);
    return { ...noEffect, entry, notes: warnings.map(({ sentence }) => sentence) };
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return { ...noEffect, notes: [error.message], refusal: error };
  }
}

/** Returns the actions that connect a grant, and bind the grant to the agent. */
async function commandsFor(
  change: Exclude<ProposedChange, { readonly kind: 'domain' }>,
  agent: string | null,
  { config: { providers }, grants }: EffectParts,
): Promise<readonly Hint[]> {
  const name = change.kind === 'grant' ? change.provider : change.grant;
  const scopes = change.scopes.length === 0 ? undefined : change.scopes;
  const bind = agent === null ? [] : [remedy('agent.bind', { agent, grants: [name] })];
  if (change.kind === 'scope') {
    const grant = (await grants.list()).find((each) => each.name === change.grant);
    const opened = grant === undefined ? null : await grants.read(grant.id);
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
