import { isDeepStrictEqual } from 'node:util';
import type { AssumedToken } from './agents/authenticator.ts';
import { ApiService } from './app/api-service.ts';
import type { StandardOutput } from './app/audit-upkeep.ts';
import { createBackground } from './app/background.ts';
import { ConfigInForce, shortDigest } from './app/config-in-force.ts';
import { tuneGarbageCollection } from './app/machine.ts';
import { createMetrics } from './app/metrics.ts';
import { proxyServices } from './app/proxy-services.ts';
import { createReadiness } from './app/readiness.ts';
import { refreshParts } from './app/refresh-parts.ts';
import { openState, type State } from './app/state.ts';
import { startUpkeep } from './app/upkeep.ts';
import { openUpstreamClient } from './app/upstream.ts';
import { openApprovalService, openEntryOf, openQuota, openRedirectionOf, openTracer } from './app/wiring.ts';
import type { Pages, SocketHandle } from './app/worker-ipc.ts';
import { type ConfigEvents, createConfigEvents, type Supervisor } from './app/workers.ts';
import { withListener } from './audit/log.ts';
import { type CertificateAuthority, openAuthority } from './ca/authority.ts';
import { createLeafCache, createLeafPrefetch, createTicketKeys } from './ca/leaf-cache.ts';
import type { Config } from './config/config.ts';
import { loadConfig } from './config/load.ts';
import type { Origin } from './domain/event.ts';
import type { ProbePrograms } from './operations/program-probe.ts';
import { createUseNotes, withUseListener } from './grants/activity.ts';
import { allUnreadable } from './grants/references.ts';
import { type RefreshSchedule, startRefreshSchedule } from './grants/refresh-schedule.ts';
import { createTokenSource } from './grants/token-source.ts';
import type { Log } from './lib/log.ts';
import { systemTimers as timers } from './lib/timers.ts';
import { type Listener, ProxyListener } from './proxy/listener.ts';
import { exactHosts } from './proxy/policy/domain-map.ts';
import { createCertificateWatch } from './proxy/revalidate.ts';
import type { ProxyServices } from './proxy/services.ts';
import { type Figure, ProcessFigures } from './proxy/telemetry/figures.ts';
import type { Tracer } from './proxy/telemetry/traces.ts';
import { instanceOf, reportContext, reportTarget } from './store/vault/instance.ts';

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
  /** Tests the programs of this machine, for the API; absent: there is no API. */
  readonly probePrograms?: ProbePrograms | undefined;
  /** Present in a worker: its socket and its callbacks to the supervisor. */
  readonly worker?: WorkerParts | undefined;
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

async function compose(initial: Config, parts: ProxyParts, opened: AsyncDisposableStack): Promise<Proxy> {
  const { log, now, env, supervisor, worker } = parts;
  const figures = new ProcessFigures((provider) => config().providers.names.includes(provider));
  const openedState = opened.adopt(await openState(initial, { log, now, env }), (it) => it.close());
  let tracer: Tracer | null = null;
  const audit = withListener(openedState.audit, (event) => {
    figures.recorded(event);
    tracer?.recorded(event);
  });
  const state: State = { ...openedState, audit };
  const { store, vault, grants, activity } = state;
  const { directory, permittedNames } = initial.ca;
  const onCreate = async ({ name }: { name: string }) => audit.append({ event: 'ca.created', reason: name });
  const authority = await openAuthority({ directory, permittedNames, vault, now, onCreate });

  const ownPorts: number[] = [];
  const openClient = (next: Config) => openUpstreamClient(next, { env, ownPorts: () => ownPorts });
  const load = async () => adapted(await loadConfig(initial.file, { env }), parts);
  const current = new ConfigInForce(initial, await openClient(initial), { load, openClient, log });
  opened.defer(() => current.closeClients());
  const { config, upstream, fetch } = current;
  const upkeep = worker === undefined ? startUpkeep(state, current, parts, opened) : null;
  let serving = false;
  // Before the sinks close, so that they deliver the event.
  opened.defer(() => (serving ? audit.append({ event: 'proxy.stopped' }) : undefined));
  const configEvents = createConfigEvents(audit);

  const refreshing = refreshParts(state, { config, fetch, now, env });
  let schedule: RefreshSchedule | null = null;
  const watchedActivity = withUseListener(activity, () => {
    schedule?.used();
    worker?.used();
  });
  const tokens = opened.adopt(
    createTokenSource({ ...refreshing, activity: watchedActivity, logger: log }),
    (it) => it.close(),
  );
  if (worker === undefined) {
    const { keepFreshMs } = initial.tokens;
    schedule = opened.adopt(
      startRefreshSchedule({ ...refreshing, tokens, activity, keepFreshMs, logger: log }),
      (it) => it.close(),
    );
  }
  const quota = opened.adopt(await openQuota(initial, env), (it) => it.close());
  const uses = opened.adopt(createUseNotes({ store, now, timers }), (it) => it.close());
  const background = opened.adopt(createBackground(), (it) => it.close());
  const listening = Promise.withResolvers<Proxy['address']>();
  const api = new ApiService(() => {
    return {
      ...state,
      listening: listening.promise,
      config: current.newest,
      env,
      now,
      tokens,
      approvals: approvals.queue,
      quota,
      fetch,
      url: () => approvals.url ?? '',
      readMetrics: metrics.read,
      readiness,
      log,
      timers,
      probePrograms: parts.probePrograms!,
      proxy: {
        health: async () =>
          isDeepStrictEqual(config().proxy.listen, initial.proxy.listen)
            ? { kind: 'serving', instance: instanceOf(vault) }
            : { kind: 'silent', why: 'proxy.listen has changed since the start' },
        unreadable: () => allUnreadable(refreshing),
      },
      renewal: ({ fetch: ownFetch, ...own }) =>
        refreshParts({ ...state, ...own }, { config: () => own.config, fetch: () => ownFetch, now, env }),
      inBackground: (work) => background.run(work),
    };
  });
  const approvals = opened.adopt(
    await openApprovalService(state, {
      config,
      fetch,
      log,
      now,
      env,
      pages: worker?.pages,
      showBody: worker?.showBody,
      service: parts.probePrograms && api.handle,
    }),
    (it) => it.close(),
  );
  if (approvals.port !== null) ownPorts.push(approvals.port);
  const { traces } = initial.telemetry;
  if (traces !== null && supervisor === undefined) {
    // Loaded on use: a start needs no tracer.
    const { file } = initial;
    tracer = opened.adopt(await openTracer(traces, { file, fetch, log, now, env }), (it) => it.close());
  }
  /** Null: it does not listen yet. */
  let front: Pick<Listener, 'accepts'> | null = null;
  const accepts = () => front?.accepts() ?? false;
  const readiness = createReadiness({ store, vault, audit, accepts, now, timers, log });
  const metrics = createMetrics({
    store,
    grants,
    figures,
    tracer: () => tracer,
    upstream,
    config,
    isConfigRejected: current.isRejected,
    readiness,
    workers: supervisor?.figures,
    now,
  });
  const tickets = createTicketKeys(parts.ticketMaterial);
  const leaves = createLeafCache({ authority: () => authority, now, tickets });
  const leafFor = (host: string) => leaves.secureContextFor(host);
  const ahead = createLeafPrefetch({ leaves, soon, later });
  opened.defer(() => ahead.close());
  const certificates = opened.adopt(createCertificateWatch(grants, timers), (it) => it.close());
  current.follow({
    tookOver(next) {
      listener.recheck();
      ahead.prepare(exactHosts(next.domains));
      schedule?.look();
      audit.adjust(next.audit);
      upkeep?.reconfigure(next.audit);
    },
    record(event, details) {
      if (worker !== undefined) {
        worker.config(event);
        return;
      }
      configEvents.own(event);
      const { file } = initial;
      if ('next' in details)
        log.info({ file, later: laterKeys(initial, details.next) }, 'the config was reloaded');
      else log.warn({ file, code: event.code, err: details.err }, 'the config stays as it was');
    },
    underWay: () => listener.underWay(),
  });
  async function report(): Promise<string> {
    // Picks up a grant that was just connected, with its new definition.
    await current.check();
    schedule?.look();
    const found = Buffer.from(JSON.stringify(await allUnreadable(refreshing)));
    await vault.refresh();
    return Buffer.from(vault.seal(reportContext, found)).toString('base64');
  }
  const instance = instanceOf(vault);
  const redirection = supervisor === undefined ? await openRedirectionOf(initial, instance, env) : null;
  const entry = supervisor === undefined ? await openEntryOf(initial, { log, timers }) : null;
  opened.defer(() => entry?.close());
  const supervise = supervisor?.listener({
    config,
    pages: { url: approvals.url, port: approvals.port },
    audit,
    configEvents,
    used: () => schedule?.used(),
    showBody: (id, body) => approvals.queue.showBody(id, body),
  });
  const serve = () => {
    const { peerOwner, assumed } = parts;
    const shared = {
      certificates,
      tokens,
      quota,
      figures,
      tracer,
      approvals: approvals.queue,
      leafFor,
      peerOwner,
    };
    return new ProxyListener(proxyServices(state, current, { ...shared, uses, assumed, log, now, env }), {
      instance,
      report: { target: reportTarget(vault), read: report },
      readiness,
      entry,
      redirection,
    });
  };
  const listener = opened.adopt(supervise ?? serve(), async (it) => {
    const drained = it.close(config().limits.drain);
    // Pending approvals would delay the drain.
    await approvals.queue.close();
    await drained;
  });
  front = listener;
  const { host, port } = config().proxy.listen;
  const bound = await listener.listen(host, port, worker?.socket ?? (await parts.socket) ?? undefined);
  const address = { host: bound.address, port: bound.port };
  ownPorts.push(address.port);
  listening.resolve(address);
  // A pending reload may still open an upstream client, which closes with the others.
  opened.defer(() => current.idle());
  const watch = await current.watch();
  opened.defer(() => watch.close());
  await current.catchUp();
  if (worker === undefined) {
    const reason = `config ${shortDigest(config())}`;
    await audit.append({ event: 'proxy.started', ...address, reason, ...parts.origin });
    serving = true;
  }
  const hosts = exactHosts(config().domains);
  ahead.prepare(hosts);
  const [first] = hosts;
  if (supervise === undefined && first !== undefined)
    opened.defer(soon(() => upstream().prepare({ scheme: 'https', host: first, port: 443 })));

  let closing: Promise<void> | undefined;
  return {
    address,
    pages: approvals.url,
    state,
    authority,
    config,
    figures: metrics.own,
    reload: () => current.reload(),
    close: () => (closing ??= opened.disposeAsync()),
  };
}

/** Runs a function after the work that is due now. The returned function cancels it. */
function soon(run: () => void): () => void {
  const due = setImmediate(run);
  return () => clearImmediate(due);
}

/** Runs a function after `ms` milliseconds, unless the process ends before. */
function later(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms).unref();
  return () => clearTimeout(timer);
}

function adapted(config: Config, { adapt }: Pick<ProxyParts, 'adapt'>): Config {
  return adapt === undefined ? config : adapt(config);
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
