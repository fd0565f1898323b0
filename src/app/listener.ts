import { createAgentAuthenticator } from '../agents/authenticator.ts';
import { createSignIns } from '../agents/sign-ins.ts';
import { createLeafCache, createLeafPrefetch, createTicketKeys } from '../ca/leaf-cache.ts';
import { someUnreadable } from '../grants/references.ts';
import { systemTimers as timers } from '../lib/timers.ts';
import { type Listener, ProxyListener } from '../proxy/listener.ts';
import { placeholderCodes } from '../proxy/placeholders/codes.ts';
import { createCertificateWatch } from '../proxy/revalidate.ts';
import { AgentLoad, createLeakLimit } from '../proxy/rule-limits.ts';
import { createFingerprint } from '../proxy/schemes/apply.ts';
import { createNonces } from '../proxy/schemes/dpop-proof.ts';
import type { ProxyServices } from '../proxy/services.ts';
import { instanceOf, reportContext, reportTarget } from '../store/vault/instance.ts';
import type { Administration } from './administration.ts';
import type { Core, Credentials } from './core.ts';
import { openTokenIdentities } from './token-identities.ts';
import { loginKeeper, mintKeeper, openEntryOf, openProposals, openRedirectionOf } from './wiring.ts';

/** The certificates that clients and upstream servers get. */
export type Certificates = ReturnType<typeof openCertificates>;

export function openCertificates({ parts, opened, state, authority }: Core) {
  const { now, ticketMaterial } = parts;
  const tickets = createTicketKeys(ticketMaterial);
  const leaves = createLeafCache({ authority: authority.current, now, tickets });
  const leafFor = (host: string) => leaves.secureContextFor(host);
  const ahead = createLeafPrefetch({ leaves, soon, later: (ms, run) => timers.after(ms, run) });
  opened.defer(() => ahead.close());
  const certificates = opened.adopt(createCertificateWatch(state.grants, timers), (it) => it.close());
  return { leafFor, ahead, certificates };
}

/** Runs a function after the work that is due now. The returned function cancels it. */
export function soon(run: () => void): () => void {
  const due = setImmediate(run);
  return () => clearImmediate(due);
}

/** Opens the listener: that of the workers in their supervisor, else one of this process. */
export async function openListener(
  core: Core,
  credentials: Credentials,
  administration: Administration,
  certificates: Certificates,
): Promise<Listener> {
  const { parts, opened, late, current, configEvents, state } = core;
  const { approvals } = administration;
  const listener =
    parts.supervisor?.listener({
      config: current.config,
      pages: { url: approvals.url, port: approvals.port },
      audit: state.audit,
      configEvents,
      used: () => credentials.schedule?.used(),
      showBody: (id, body) => approvals.queue.showBody(id, body),
    }) ?? (await ownListener(core, credentials, administration, certificates));
  late.listener = opened.adopt(listener, async (it) => {
    const drained = it.close(current.config().limits.drain);
    // Pending approvals would delay the drain.
    await approvals.queue.close();
    await drained;
  });
  return listener;
}

async function ownListener(
  core: Core,
  credentials: Credentials,
  administration: Administration,
  certificates: Certificates,
): Promise<Listener> {
  const { initial, parts, opened, state } = core;
  const { log, env } = parts;
  const instance = instanceOf(state.vault);
  const redirection = await openRedirectionOf(initial, instance, env);
  const entry = await openEntryOf(initial, { log, timers });
  opened.defer(() => entry?.close());
  return new ProxyListener(proxyServices(core, credentials, administration, certificates), {
    instance,
    report: { target: reportTarget(state.vault), read: () => report(core, credentials) },
    readiness: administration.readiness,
    entry,
    redirection,
  });
}

/** Returns the sealed list of references that this process cannot read. */
async function report({ state: { vault }, current }: Core, credentials: Credentials): Promise<string> {
  // Picks up a grant that was just connected, with its new definition.
  await current.check();
  credentials.schedule?.look();
  const unreadable = Buffer.from(JSON.stringify(await someUnreadable(credentials.refreshing)));
  await vault.refresh();
  return Buffer.from(vault.seal(reportContext, unreadable)).toString('base64');
}

/** Returns the services of the exchanges of this process. */
function proxyServices(
  { parts, late, figures, opened, state, current }: Core,
  { tokens, quota, uses }: Credentials,
  { approvals }: Administration,
  { leafFor, certificates }: Certificates,
): ProxyServices {
  const { log, now, env, assumed, peerOwner } = parts;
  const { store, grants, vault, audit, activity } = state;
  const { config, fetch } = current;
  const tokenIdentities = openTokenIdentities({ config, env, now, namesAgents: false });
  const signIns = createSignIns(audit);
  return {
    config: current.newestSettings,
    lastConfig: current.settings,
    agents: createAgentAuthenticator({
      store,
      grants,
      cacheBytes: state.config.limits.cached_grants / 4,
      now,
      uses,
      signIns,
      assumed,
      tokenIdentities,
    }),
    grants,
    certificates,
    tokens,
    activity,
    keepLogin: loginKeeper(state, { config, fetch, now }),
    mint: mintKeeper(state, { config, fetch, now }, opened),
    nonces: createNonces(),
    audit,
    quota,
    figures,
    tracer: late.tracer,
    leakLimit: createLeakLimit(quota, now),
    load: new AgentLoad(),
    approvals: approvals.queue,
    proposals: openProposals(state, { config, now }),
    fingerprint: createFingerprint((secret) => vault.mac('credential-fingerprint', secret)),
    placeholders: placeholderCodes(vault),
    leafFor,
    log,
    now,
    peerOwner,
    timers,
  };
}
