import { type AssumedToken, createAgentAuthenticator, createSignIns } from './agents/authenticator.ts';
import { type StandardOutput, startAuditUpkeep } from './app/audit-upkeep.ts';
import { collectYoungGarbageSoon } from './app/gc-tuning.ts';
import { openState, placeholderCodes, type State } from './app/state.ts';
import { openApprovalService, openUpstreamClient, refreshParts } from './app/wiring.ts';
import type { Pages, SocketHandle } from './app/worker-ipc.ts';
import { type ConfigEvents, createConfigEvents, type Supervisor } from './app/workers.ts';
import type { AuditEvent, Origin } from './audit/event.ts';
import { type CertificateAuthority, openAuthority } from './ca/authority.ts';
import { createLeafCache, createLeafPrefetch, createTicketKeys } from './ca/leaf-cache.ts';
import type { Config } from './config/config.ts';
import { digestOf, loadConfig, readConfigText } from './config/load.ts';
import { summaryOf } from './config/problem.ts';
import { followConfig, watchConfig } from './config/reload.ts';
import { createUseNotes } from './grants/activity.ts';
import type { Placement } from './grants/provider.ts';
import { startRefreshSchedule } from './grants/refresh-schedule.ts';
import { createTokenSource } from './grants/token-source.ts';
import { SidekeyError } from './lib/errors.ts';
import type { Log } from './lib/log.ts';
import { systemTimers } from './lib/timers.ts';
import { createDomainMap, exactHosts } from './policy/domain-map.ts';
import type { ProxyServices, ConfigSnapshot } from './proxy/deps.ts';
import { createEchoLimit } from './proxy/limits.ts';
import { createListener } from './proxy/listener.ts';
import { createPathRedactor } from './proxy/path-redaction.ts';
import { createCertificateWatch } from './proxy/revalidate.ts';
import { createSharedQuota, quotaFileOf } from './quota/shared-quota.ts';
import { createFingerprint } from './schemes/apply.ts';
import { createNonces } from './schemes/dpop-proof.ts';
import { placementAt } from './schemes/place.ts';
import type { UpstreamClient } from './upstream/client.ts';

/** A proxy that serves. */
export interface Proxy {
  readonly address: { readonly host: string; readonly port: number };
  /** Where people answer, as they reach it; null: nowhere but in a terminal. */
  readonly pages: string | null;
  readonly state: State;
  readonly authority: CertificateAuthority;
  /** What is in force: the last config that was good. */
  config(): Config;
  /** Reads the config file anew. One that is not good changes nothing, and is said in the log and the audit. */
  reload(): Promise<void>;
  /** Takes no more, lets what is under way end, and closes everything in reverse. Idempotent. */
  close(): Promise<void>;
}

/** What the proxy is given from outside. */
export interface ProxyParts {
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Where `env:` references look. */
  readonly env: NodeJS.ProcessEnv;
  /** Who starts it, for the audit. */
  readonly origin?: Origin | undefined;
  /** What audit sinks of type `stdout` write to; default: that of the process. */
  readonly stdout?: StandardOutput | undefined;
  /** What the keys of TLS session tickets are derived from, where workers share it; see `createTicketKeys`. */
  readonly ticketMaterial?: Uint8Array | undefined;
  /** Of whom callers on this machine are who show no token, where they need none; left out: of nobody. */
  readonly assumed?: AssumedToken | undefined;
  /** Which callers on this machine may come without a token, where the config lets those in; left out: all. */
  readonly isTrustedPeer?: ProxyServices['isTrustedPeer'];
  /**
   * What becomes of the config before it is in force, at the start and with each reload. May throw: a start then fails,
   * and a reload changes nothing.
   */
  readonly adapt?: ((config: Config) => Config) | undefined;
  /** Serves in the place of this process, which then does what is done once for all workers. Left out: this one serves. */
  readonly supervisor?: Pick<Supervisor, 'listener'> | undefined;
  /** Where this process is a worker: what it is given, and whom it leaves the rest to. */
  readonly worker?: WorkerParts | undefined;
}

/** What a worker has of its supervisor (decision 26). */
interface WorkerParts {
  /** The socket that all workers take connections from. */
  readonly socket: SocketHandle;
  readonly pages: Pages;
  /** Takes the news of the config, which all workers have, and which are on record once. */
  readonly config: ConfigEvents['own'];
  /** A request got a credential. For the request path: some nanoseconds. */
  readonly used: () => void;
}

/**
 * The composition root: the one place where the concrete parts meet.
 *
 * @throws SidekeyError for whatever cannot be opened or listened on; nothing stays open then
 */
export async function startProxy(config: Config, parts: ProxyParts): Promise<Proxy> {
  const initial = adapted(config, parts);
  const opened = new AsyncDisposableStack();
  collectYoungGarbageSoon();
  try {
    return await compose(initial, parts, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

async function compose(initial: Config, parts: ProxyParts, opened: AsyncDisposableStack): Promise<Proxy> {
  const { log, now, env, supervisor, worker } = parts;
  const state = opened.adopt(await openState(initial, { log, now }), (it) => it.close());
  const { store, vault, grants, audit, activity } = state;
  let serving = false;
  const authority = await openAuthority({
    directory: initial.ca.directory,
    permittedNames: initial.ca.permittedNames,
    vault,
    now,
    onCreate: ({ name }) => audit.append({ event: 'ca.created', reason: name }),
  });

  const ownPorts: number[] = [];
  let config = initial;
  let upstream: UpstreamClient = await openUpstreamClient(config, { env, ownPorts: () => ownPorts });
  /** Exits of configs that were replaced, while exchanges still use them. */
  const leaving = new Set<Promise<void>>();
  opened.defer(async () => {
    await Promise.all([upstream.close(), ...leaving]);
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
  // Before the sinks end, so that they have it too.
  opened.defer(() => (serving ? audit.append({ event: 'proxy.stopped' }) : undefined));
  let settings = settingsOf(config, upstream);
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
  const quota = opened.adopt(createSharedQuota(quotaFileOf(initial.store.path)), (it) => it.close());
  const uses = opened.adopt(createUseNotes({ store, now, timers: systemTimers }), (it) => it.close());
  const approvals = opened.adopt(
    await openApprovalService(state, {
      config: () => config,
      fetch: () => upstream.fetch,
      log,
      now,
      env,
      pages: worker?.pages,
    }),
    (it) => it.close(),
  );
  if (approvals.port !== null) ownPorts.push(approvals.port);
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
  let lookedThisTurn = false;
  /** Looks at the files once in a turn of the event loop: an edit in the middle of one is like one right after it. */
  function newestSettings(): ConfigSnapshot | Promise<ConfigSnapshot> {
    if (lookedThisTurn) return settings;
    const loading = followed.newest();
    if (loading !== null) return loading.then(() => settings);
    lookedThisTurn = true;
    setImmediate(() => (lookedThisTurn = false));
    return settings;
  }
  const serve = () =>
    createListener({
      config: newestSettings,
      lastConfig: () => settings,
      agents: createAgentAuthenticator({
        store,
        now,
        uses,
        signIns: createSignIns(audit),
        assumed: parts.assumed,
      }),
      grants,
      identities,
      tokens,
      activity,
      nonces: createNonces(),
      audit,
      quota,
      echoLimit: createEchoLimit(quota, now),
      approvals: approvals.queue,
      fingerprint: createFingerprint((secret) => vault.mac('credential-fingerprint', secret)),
      placeholders: placeholderCodes(vault),
      leafFor: (host) => leaves.secureContextFor(host),
      log,
      now,
      isTrustedPeer: parts.isTrustedPeer,
      timers: systemTimers,
    });
  const supervise = supervisor?.listener({
    config: () => config,
    pages: { url: approvals.url, port: approvals.port },
    audit,
    configEvents,
    used: () => schedule?.used(),
  });
  const listener = opened.adopt(supervise ?? serve(), async (it) => {
    const drained = it.close(config.limits.drain);
    // What waits for a person would keep it.
    await approvals.close();
    await drained;
  });
  const { host, port } = config.proxy.listen;
  const address = await listener.listen(host, port, worker?.socket);
  ownPorts.push(address.port);

  function tellConfig(event: AuditEvent): void {
    if (worker === undefined) configEvents.own(event);
    else worker.config(event);
  }
  async function takeOver(): Promise<void> {
    try {
      const next = adapted(await loadConfig(config.file, { env }), parts);
      const [before, replaced] = [config, upstream];
      const nextUpstream = sameExit(config, next)
        ? upstream
        : await openUpstreamClient(next, { env, ownPorts: () => ownPorts });
      [config, upstream, settings] = [next, nextUpstream, settingsOf(next, nextUpstream)];
      if (replaced !== nextUpstream) leave(replaced);
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
      tellConfig({ event: 'config.rejected', code, reason: summaryOf(error) });
      if (worker === undefined)
        log.warn({ file: config.file, code, err: error }, 'the config stays as it was');
    }
  }
  /** An exchange goes on with the settings it began with; their upstream client closes when the last of them has ended. */
  function leave(replaced: UpstreamClient): void {
    const left = listener.underWay().then(() => replaced.close());
    leaving.add(left);
    void left.finally(() => leaving.delete(left));
  }
  // A reload under way still opens an upstream client, which closes with the rest.
  opened.defer(() => followed.idle());
  // For the time in which nobody asks: an edit is in the log, and cuts what it takes away.
  const watch = await watchConfig(config.file, {
    onChange: () => void followed.newest(),
    onError: (error) =>
      log.warn({ file: config.file, problem: error.message }, 'the config file is not watched'),
  });
  opened.defer(() => watch.close());
  // What was written to the file while the proxy started is no change to the watch.
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
    reload: () => followed.reload(),
    close: () => (closing ??= opened.disposeAsync()),
  };
}

function adapted(config: Config, { adapt }: Pick<ProxyParts, 'adapt'>): Config {
  return adapt === undefined ? config : adapt(config);
}

/** For a grant whose provider is no longer defined. One object, because plans are remembered by identity. */
const bearer: Placement = { kind: 'bearer' };

function settingsOf(
  { proxy, domains, limits, providers }: Config,
  { dialer, connections, streams, protocols }: UpstreamClient,
): ConfigSnapshot {
  return {
    policy: { domains: createDomainMap(domains), unmatched: proxy.unmatched },
    agents: proxy.agents,
    limits,
    dialer,
    connections,
    streams,
    protocols,
    injectPlan: (provider, destination) => {
      const places = providers.get(provider)?.inject;
      return places === undefined ? bearer : placementAt(places, destination);
    },
    provider: (name) => providers.get(name),
    redactPath: createPathRedactor(providers),
  };
}

/** As much of it as tells one text of the config file from another. */
function shortDigest({ digest }: Config): string {
  return digest.slice(0, 12);
}

/** Whether connections made under one config may serve under the other. */
function sameExit(a: Config, b: Config): boolean {
  // A file or a secret can change under the same name: then the name says nothing.
  const { ca, clientCertificates, proxy } = a.upstream;
  const isAllSaid = ca.length === 0 && clientCertificates.length === 0 && (proxy?.login ?? null) === null;
  return isAllSaid && exitFacts(a) === exitFacts(b);
}

function exitFacts({ upstream, limits }: Config): string {
  return JSON.stringify([{ ...upstream, resolve: [...upstream.resolve] }, limits]);
}

/** The keys that a reload does not reach: they act at the next start. */
function laterKeys(running: Config, next: Config): string[] {
  const now = startFacts(running);
  const then = startFacts(next);
  return (Object.keys(now) as (keyof typeof now)[]).filter(
    (key) => JSON.stringify(now[key]) !== JSON.stringify(then[key]),
  );
}

function startFacts({ proxy, workers, admin, store, key, ca, audit, tokens }: Config) {
  return { 'proxy.listen': proxy.listen, workers, admin, store, key, ca, 'audit.file': audit.file, tokens };
}
