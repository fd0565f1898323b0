import { isDeepStrictEqual } from 'node:util';
import { type AssumedToken, createAgentAuthenticator } from './agents/authenticator.ts';
import { createSignIns } from './agents/sign-ins.ts';
import { type StandardOutput, startAuditUpkeep } from './app/audit-upkeep.ts';
import { createBackground } from './app/background.ts';
import { tuneGarbageCollection } from './app/machine.ts';
import { openState, type State } from './app/state.ts';
import { instanceOf, reportContext, reportTarget } from './store/vault/instance.ts';
import { createMetrics } from './app/metrics.ts';
import { openTokenIdentities } from './app/token-identities.ts';
import { createReadiness } from './app/readiness.ts';
import { openUpstreamClient } from './app/upstream.ts';
import {
  loginKeeper,
  openApprovalService,
  openEntryOf,
  openProposals,
  openQuota,
  openRedirectionOf,
  openTracer,
  refreshParts,
} from './app/wiring.ts';
import type { Pages, SocketHandle } from './app/worker-ipc.ts';
import { type ConfigEvents, createConfigEvents, type Supervisor } from './app/workers.ts';
import type { AuditEvent, Origin } from './domain/event.ts';
import { withListener } from './audit/log.ts';
import { type CertificateAuthority, openAuthority } from './ca/authority.ts';
import { createLeafCache, createLeafPrefetch, createTicketKeys } from './ca/leaf-cache.ts';
import type { Config } from './config/config.ts';
import { digestOf, loadConfig, readConfigText } from './config/load.ts';
import { summaryOf } from './config/problem.ts';
import { followConfig, watchConfig } from './config/reload.ts';
import { createUseNotes } from './grants/activity.ts';
import { allUnreadable } from './grants/references.ts';
import { startRefreshSchedule } from './grants/refresh-schedule.ts';
import { removeGrantsOfEndedLeases } from './grants/lease-grants.ts';
import { createTokenSource } from './grants/token-source.ts';
import { SidekeyError } from './lib/errors.ts';
import type { Log } from './lib/log.ts';
import { systemTimers } from './lib/timers.ts';
import { exactHosts } from './proxy/policy/domain-map.ts';
import { type ConfigSnapshot, type ProxyServices, snapshotOf } from './proxy/services.ts';
import { AgentLoad, createLeakLimit } from './proxy/rule-limits.ts';
import { createListener, type Listener } from './proxy/listener.ts';
import { createCertificateWatch } from './proxy/revalidate.ts';
import { placeholderCodes } from './proxy/placeholders/codes.ts';
import { createFingerprint } from './proxy/schemes/apply.ts';
import { createNonces } from './proxy/schemes/dpop-proof.ts';
import { type Figure, ProcessFigures } from './proxy/telemetry/figures.ts';
import type { Tracer } from './proxy/telemetry/traces.ts';
import type { RunCommand } from './api/parts.ts';
import type { Service } from './api/service.ts';
import type { UpstreamClient } from './proxy/upstream/client.ts';

/** A running proxy. */
export interface Proxy {
  readonly address: { readonly host: string; readonly port: number };
  /** Base URL of the approval pages; null: people answer only in a terminal. */
  readonly pages: string | null;
  readonly state: State;
  readonly authority: CertificateAuthority;
  /** Config in force: the last valid one. */
  config(): Config;
  /** Returns the figures of this process, not those of its workers. */
  figures(): Promise<readonly Figure[]>;
  /** Reloads the config file. An invalid file changes nothing and is recorded in the log and the audit. */
  reload(): Promise<void>;
  /** Stops accepting, drains exchanges, and closes all parts in reverse order. Idempotent. */
  close(): Promise<void>;
}

/** Parts that the caller provides. */
export interface ProxyParts {
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
  /** Origin of the start, for the audit. */
  readonly origin?: Origin | undefined;
  /** Output of audit sinks of type `stdout`; default: standard output of the process. */
  readonly stdout?: StandardOutput | undefined;
  /** Key material of TLS session tickets, shared by workers; see `createTicketKeys`. */
  readonly ticketMaterial?: Uint8Array | undefined;
  /** Identity of local callers without a token, if the config accepts them; absent: none. */
  readonly assumed?: AssumedToken | undefined;
  /** Returns the owner of a local connection's other end; absent: as reported by the system. */
  readonly peerOwner?: ProxyServices['peerOwner'];
  /** Changes each config before it takes effect. A throw fails the start; a reload keeps the old config. */
  readonly adapt?: ((config: Config) => Config) | undefined;
  /** Socket to accept connections from; absent: a new one at `proxy.listen`. A supervisor has its own. */
  readonly socket?: SocketHandle | Promise<SocketHandle | null> | undefined;
  /** Serves instead of this process, which then runs the workers' common tasks. Absent: this one serves. */
  readonly supervisor?: Pick<Supervisor, 'listener' | 'figures'> | undefined;
  /** Runs commands for the API; absent: there is no API. */
  readonly commands?: ((running: RunningParts) => RunCommand) | undefined;
  /** Present in a worker: its socket and its callbacks to the supervisor. */
  readonly worker?: WorkerParts | undefined;
}

/** The running proxy, for commands. */
interface RunningParts {
  readonly state: State;
  /** Returns the config in force. */
  readonly config: () => Promise<Config>;
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

interface WorkerParts {
  /** Socket that all workers accept connections from. */
  readonly socket: SocketHandle;
  readonly pages: Pages;
  /** Receives config events. All workers send them, and each is recorded once. */
  readonly config: ConfigEvents['own'];
  /** Called on the request path when a request got a credential, so it must take only nanoseconds. */
  readonly used: () => void;
  /** Sends the supervisor's pages the body of a request that waits for a person. */
  readonly showBody: (id: string, body: string | null) => void;
}

/**
 * Starts a proxy. The composition root, which creates and connects the parts.
 *
 * @throws SidekeyError if a part cannot open or listen; all opened parts are closed then
 */
export async function startProxy(config: Config, parts: ProxyParts): Promise<Proxy> {
  const initial = adapted(config, parts);
  const opened = new AsyncDisposableStack();
  tuneGarbageCollection();
  try {
    return await compose(initial, parts, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

/** Milliseconds between deletions of the credentials of ended leases. Nobody can use them meanwhile. */
const leaseUpkeepMs = 60_000;

async function compose(initial: Config, parts: ProxyParts, opened: AsyncDisposableStack): Promise<Proxy> {
  const { log, now, env, supervisor, worker } = parts;
  const figures = new ProcessFigures((provider) => config.providers.names.includes(provider));
  const openedState = opened.adopt(await openState(initial, { log, now, env }), (it) => it.close());
  let tracer: Tracer | null = null;
  const audit = withListener(openedState.audit, (event) => {
    figures.recorded(event);
    tracer?.recorded(event);
  });
  const state: State = { ...openedState, audit };
  const { store, vault, grants, activity } = state;
  let serving = false;
  const authority = await openAuthority({
    directory: initial.ca.directory,
    permittedNames: initial.ca.permittedNames,
    vault,
    now,
    onCreate: ({ name }) => audit.append({ event: 'ca.created', reason: name }),
  });

  const ownPorts: number[] = [];
  const listening = Promise.withResolvers<Proxy['address']>();
  let config = initial;
  /** True: the last edit of the config file was invalid. */
  let isRejected = false;
  let upstream: UpstreamClient = await openUpstreamClient(config, { env, ownPorts: () => ownPorts });
  /** Replaced upstream clients that exchanges still use. */
  const closingClients = new Set<Promise<void>>();
  opened.defer(async () => {
    await Promise.all([upstream.close(), ...closingClients]);
  });
  const upkeep =
    worker === undefined
      ? opened.adopt(
          startAuditUpkeep({
            config: initial.audit,
            configFile: initial.file,
            vault,
            audit,
            upstream: () => upstream,
            log,
            now,
            timers: systemTimers,
            env,
            stdout: parts.stdout,
          }),
          (it) => it.close(),
        )
      : null;
  if (worker === undefined) {
    const ending = setInterval(() => {
      removeGrantsOfEndedLeases(state, now()).catch((error: unknown) =>
        log.warn({ err: error }, 'the grants of ended leases were not removed'),
      );
    }, leaseUpkeepMs).unref();
    opened.defer(() => clearInterval(ending));
  }
  // Before the sinks close, so that they deliver the event.
  opened.defer(() => (serving ? audit.append({ event: 'proxy.stopped' }) : undefined));
  let settings = snapshotOf(config, upstream);
  const configEvents = createConfigEvents(audit);

  const refreshing = refreshParts(state, { config: () => config, fetch: () => upstream.fetch, now, env });
  const tokens = opened.adopt(
    createTokenSource({
      ...refreshing,
      activity: {
        ...activity,
        used(grantId) {
          activity.used(grantId);
          schedule?.used();
          worker?.used();
        },
      },
      logger: log,
    }),
    (it) => it.close(),
  );
  const schedule =
    worker === undefined
      ? opened.adopt(
          startRefreshSchedule({
            ...refreshing,
            tokens,
            activity,
            keepFreshMs: config.tokens.keepFreshMs,
            logger: log,
          }),
          (it) => it.close(),
        )
      : null;
  const quota = opened.adopt(await openQuota(initial, env), (it) => it.close());
  const uses = opened.adopt(createUseNotes({ store, now, timers: systemTimers }), (it) => it.close());
  const background = opened.adopt(createBackground(), (it) => it.close());
  const approvals = opened.adopt(
    await openApprovalService(state, {
      config: () => config,
      fetch: () => upstream.fetch,
      log,
      now,
      env,
      pages: worker?.pages,
      showBody: worker?.showBody,
      service: parts.commands && ((request, response) => service(request, response)),
    }),
    (it) => it.close(),
  );
  if (approvals.port !== null) ownPorts.push(approvals.port);
  let loaded: Promise<Service> | undefined;
  /** Loads the service at its first request, so that a start is faster. */
  async function service(...message: Parameters<Service['handle']>): Promise<void> {
    loaded ??= openService();
    return (await loaded).handle(...message);
  }
  async function openService(): Promise<Service> {
    const [{ createService }, { authenticator }] = await Promise.all([
      import('./api/service.ts'),
      import('./api/caller.ts'),
    ]);
    const running = {
      state,
      config: async () => {
        await followed.newest();
        return config;
      },
      env,
      now,
    };
    const serviceParts = {
      ...state,
      ...running,
      listening: listening.promise,
      tokens,
      approvals: approvals.queue,
      quota,
      fetch: () => upstream.fetch,
      url: () => approvals.url ?? '',
      readMetrics: metrics.read,
      readiness,
      log,
      timers: systemTimers,
      runCommand: parts.commands!(running),
      proxy: {
        health: async () =>
          isDeepStrictEqual(config.proxy.listen, initial.proxy.listen)
            ? { kind: 'serving' as const, instance: instanceOf(vault) }
            : { kind: 'silent' as const, why: 'proxy.listen has changed since the start' },
        unreadable: () => allUnreadable(refreshing),
      },
      inBackground: (work: Parameters<typeof background.run>[0]) => background.run(work),
    };
    return createService(serviceParts, authenticator(serviceParts));
  }
  if (initial.telemetry.traces !== null && supervisor === undefined) {
    // Loaded on use: a start needs no tracer.
    tracer = opened.adopt(
      await openTracer(initial.telemetry.traces, {
        file: initial.file,
        fetch: () => upstream.fetch,
        log,
        now,
        env,
      }),
      (it) => it.close(),
    );
  }
  /** Null: it does not listen yet. */
  let front: Pick<Listener, 'accepts'> | null = null;
  const readiness = createReadiness({
    store,
    vault,
    audit,
    accepts: () => front?.accepts() ?? false,
    now,
    timers: systemTimers,
    log,
  });
  const metrics = createMetrics({
    store,
    grants,
    figures,
    tracer: () => tracer,
    upstream: () => upstream,
    config: () => config,
    isConfigRejected: () => isRejected,
    readiness,
    workers: supervisor?.figures,
    now,
  });
  const tickets = createTicketKeys(parts.ticketMaterial);
  const leaves = createLeafCache({ authority: () => authority, now, tickets });
  const ahead = createLeafPrefetch({
    leaves,
    soon: (run) => {
      const soon = setImmediate(run);
      return () => clearImmediate(soon);
    },
    later: (ms, run) => {
      const timer = setTimeout(run, ms).unref();
      return () => clearTimeout(timer);
    },
  });
  opened.defer(() => ahead.close());
  const identities = opened.adopt(createCertificateWatch(grants, systemTimers), (it) => it.close());
  const followed = followConfig(config.file, takeOver);
  function newestSettings(): ConfigSnapshot | Promise<ConfigSnapshot> {
    const loading = followed.newest();
    return loading === null ? settings : loading.then(() => settings);
  }
  async function report(): Promise<string> {
    // Picks up a grant that was just connected, with its new definition.
    await followed.check();
    schedule?.look();
    const found = Buffer.from(JSON.stringify(await allUnreadable(refreshing)));
    await vault.refresh();
    return Buffer.from(vault.seal(reportContext, found)).toString('base64');
  }
  const redirection =
    supervisor === undefined ? await openRedirectionOf(initial, instanceOf(vault), env) : null;
  const entry = supervisor === undefined ? await openEntryOf(initial, { log, timers: systemTimers }) : null;
  opened.defer(() => entry?.close());
  const serve = () =>
    createListener(
      {
        config: newestSettings,
        lastConfig: () => settings,
        agents: createAgentAuthenticator({
          store,
          now,
          uses,
          signIns: createSignIns(audit),
          assumed: parts.assumed,
          tokenIdentities: openTokenIdentities({ config: () => config, env, now, namesAgents: false }),
        }),
        grants,
        certificates: identities,
        tokens,
        activity,
        keepLogin: loginKeeper(state, { config: () => config, fetch: () => upstream.fetch, now }),
        nonces: createNonces(),
        audit,
        quota,
        figures,
        tracer,
        leakLimit: createLeakLimit(quota, now),
        load: new AgentLoad(),
        approvals: approvals.queue,
        proposals: openProposals(state, { config: () => config, now }),
        fingerprint: createFingerprint((secret) => vault.mac('credential-fingerprint', secret)),
        placeholders: placeholderCodes(vault),
        leafFor: (host) => leaves.secureContextFor(host),
        log,
        now,
        peerOwner: parts.peerOwner,
        timers: systemTimers,
      },
      {
        instance: instanceOf(vault),
        report: { target: reportTarget(vault), read: report },
        readiness,
        entry,
        redirection,
      },
    );
  const supervise = supervisor?.listener({
    config: () => config,
    pages: { url: approvals.url, port: approvals.port },
    audit,
    configEvents,
    used: () => schedule?.used(),
    showBody: (id, body) => approvals.queue.showBody(id, body),
  });
  const listener = opened.adopt(supervise ?? serve(), async (it) => {
    const drained = it.close(config.limits.drain);
    // Pending approvals would delay the drain.
    await approvals.queue.close();
    await drained;
  });
  front = listener;
  const { host, port } = config.proxy.listen;
  const address = await listener.listen(host, port, worker?.socket ?? (await parts.socket) ?? undefined);
  ownPorts.push(address.port);
  listening.resolve({ host: address.address, port: address.port });

  function tellConfig(event: AuditEvent): void {
    if (worker === undefined) configEvents.own(event);
    else worker.config(event);
  }
  async function takeOver(): Promise<void> {
    try {
      const next = adapted(await loadConfig(config.file, { env }), parts);
      const [before, replaced] = [config, upstream];
      const nextUpstream = sharesClient(config, next)
        ? upstream
        : await openUpstreamClient(next, { env, ownPorts: () => ownPorts });
      isRejected = false;
      [config, upstream, settings] = [next, nextUpstream, snapshotOf(next, nextUpstream)];
      if (replaced !== nextUpstream) closeUnused(replaced);
      listener.recheck();
      ahead.prepare(exactHosts(next.domains));
      schedule?.look();
      audit.adjust(next.audit);
      upkeep?.reconfigure(next.audit);
      tellConfig({
        event: 'config.reloaded',
        reason: `config ${shortDigest(before)} → ${shortDigest(next)}`,
      });
      if (worker === undefined)
        log.info({ file: config.file, later: laterKeys(initial, next) }, 'the config was reloaded');
    } catch (error) {
      const code = error instanceof SidekeyError ? error.code : 'internal';
      isRejected = true;
      tellConfig({ event: 'config.rejected', code, reason: summaryOf(error) });
      if (worker === undefined)
        log.warn({ file: config.file, code, err: error }, 'the config stays as it was');
    }
  }
  /** Closes a replaced client when the exchanges that use it have ended. */
  function closeUnused(replaced: UpstreamClient): void {
    const closed = listener.underWay().then(() => replaced.close());
    closingClients.add(closed);
    void closed.finally(() => closingClients.delete(closed));
  }
  // A pending reload may still open an upstream client, which closes with the others.
  opened.defer(() => followed.idle());
  // Takes effect between requests. An edit ends what it forbids, and is logged.
  const watch = await watchConfig(config.file, {
    onChange: () => void followed.check(),
    onError: (error) =>
      log.warn({ file: config.file, problem: error.message }, 'the config file is not watched'),
  });
  opened.defer(() => watch.close());
  // The watch does not report an edit made during the start.
  const text = await readConfigText(config.file).catch(() => null);
  if (text === null || digestOf(text) !== config.digest) await followed.reload();
  if (worker === undefined) {
    const reason = `config ${shortDigest(config)}`;
    await audit.append({
      event: 'proxy.started',
      host: address.address,
      port: address.port,
      reason,
      ...parts.origin,
    });
    serving = true;
  }
  ahead.prepare(exactHosts(config.domains));
  const [first] = exactHosts(config.domains);
  if (supervise === undefined && first !== undefined) {
    const soon = setImmediate(() => upstream.prepare({ scheme: 'https', host: first, port: 443 }));
    opened.defer(() => clearImmediate(soon));
  }

  let closing: Promise<void> | undefined;
  return {
    address: { host: address.address, port: address.port },
    pages: approvals.url,
    state,
    authority,
    config: () => config,
    figures: metrics.own,
    reload: () => followed.reload(),
    close: () => (closing ??= opened.disposeAsync()),
  };
}

function adapted(config: Config, { adapt }: Pick<ProxyParts, 'adapt'>): Config {
  return adapt === undefined ? config : adapt(config);
}

/** Shortens a digest for log lines. */
function shortDigest({ digest }: Config): string {
  return digest.slice(0, 12);
}

/** Reports whether the connections of one config may serve the other. */
function sharesClient(a: Config, b: Config): boolean {
  // Files and secrets can change under the same name.
  const { ca, clientCertificates, proxy } = a.upstream;
  const isComparable = ca.length === 0 && clientCertificates.length === 0 && (proxy?.login ?? null) === null;
  return isComparable && clientFacts(a) === clientFacts(b);
}

function clientFacts({ upstream, limits }: Config): string {
  return JSON.stringify([{ ...upstream, resolve: [...upstream.resolve] }, limits]);
}

/** Returns the changed keys that take effect only at the next start. */
export function laterKeys(running: Config, next: Config): string[] {
  const now = startFacts(running);
  const then = startFacts(next);
  return (Object.keys(now) as (keyof typeof now)[]).filter(
    (key) => JSON.stringify(now[key]) !== JSON.stringify(then[key]),
  );
}

function startFacts({ proxy, workers, admin, store, key, ca, audit, tokens, telemetry }: Config) {
  const { listen, url, tls } = admin;
  return {
    'proxy.listen': proxy.listen,
    'proxy.transparent': proxy.transparent,
    'proxy.tls': proxy.tls && [proxy.tls.files, ...proxy.tls.agents],
    'proxy.proxy_protocol': proxy.balancers,
    workers,
    admin: { listen, url, tls },
    store,
    key,
    ca,
    'audit.file': audit.file,
    tokens,
    telemetry,
  };
}
