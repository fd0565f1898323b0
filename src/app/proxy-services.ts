import { type AssumedToken, createAgentAuthenticator } from '../agents/authenticator.ts';
import { createSignIns } from '../agents/sign-ins.ts';
import type { UseNotes } from '../grants/activity.ts';
import type { Log } from '../lib/log.ts';
import { systemTimers } from '../lib/timers.ts';
import { AgentLoad, createLeakLimit } from '../proxy/rule-limits.ts';
import { placeholderCodes } from '../proxy/placeholders/codes.ts';
import { createFingerprint } from '../proxy/schemes/apply.ts';
import { createNonces } from '../proxy/schemes/dpop-proof.ts';
import type { ProxyServices } from '../proxy/services.ts';
import type { ConfigInForce } from './config-in-force.ts';
import type { State } from './state.ts';
import { openTokenIdentities } from './token-identities.ts';
import { loginKeeper, openProposals } from './wiring.ts';

/** Parts of the services that other parts of the process use too. */
interface SharedParts extends Pick<
  ProxyServices,
  'certificates' | 'tokens' | 'quota' | 'figures' | 'tracer' | 'approvals' | 'leafFor' | 'peerOwner'
> {
  readonly uses: UseNotes;
  readonly assumed: AssumedToken | undefined;
  readonly log: Log;
  readonly now: () => number;
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
}

/** Returns the services of the exchanges of this process. */
export function proxyServices(state: State, current: ConfigInForce, shared: SharedParts): ProxyServices {
  const { store, grants, vault, audit, activity } = state;
  const { config, fetch } = current;
  const { quota, log, now, env, uses, assumed } = shared;
  const tokenIdentities = openTokenIdentities({ config, env, now, namesAgents: false });
  return {
    config: current.newestSettings,
    lastConfig: current.settings,
    agents: createAgentAuthenticator({
      store,
      now,
      uses,
      signIns: createSignIns(audit),
      assumed,
      tokenIdentities,
    }),
    grants,
    certificates: shared.certificates,
    tokens: shared.tokens,
    activity,
    keepLogin: loginKeeper(state, { config, fetch, now }),
    nonces: createNonces(),
    audit,
    quota,
    figures: shared.figures,
    tracer: shared.tracer,
    leakLimit: createLeakLimit(quota, now),
    load: new AgentLoad(),
    approvals: shared.approvals,
    proposals: openProposals(state, { config, now }),
    fingerprint: createFingerprint((secret) => vault.mac('credential-fingerprint', secret)),
    placeholders: placeholderCodes(vault),
    leafFor: shared.leafFor,
    log,
    now,
    peerOwner: shared.peerOwner,
    timers: systemTimers,
  };
}
