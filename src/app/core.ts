import type { AssumedToken } from '../agents/authenticator.ts';
import { withListener } from '../audit/log.ts';
import { openAuthority } from '../ca/authority.ts';
import { followAuthority } from '../ca/existing-authority.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import type { Origin } from '../domain/event.ts';
import { createUseNotes, withUseListener } from '../grants/activity.ts';
import { type RefreshSchedule, startRefreshSchedule } from '../grants/refresh-schedule.ts';
import { createTokenSource } from '../grants/token-source.ts';
import { tokenUseNotes } from '../grants/token-uses.ts';
import type { Log } from '../lib/log.ts';
import { systemTimers as timers } from '../lib/timers.ts';
import type { ProbePrograms } from '../operations/program-probe.ts';
import type { Listener } from '../proxy/listener.ts';
import type { ProxyServices } from '../proxy/services.ts';
import { ProcessFigures } from '../proxy/telemetry/figures.ts';
import type { Tracer } from '../proxy/telemetry/traces.ts';
import type { StandardOutput } from './audit-upkeep.ts';
import type { SourceParts } from '../grants/sources/source.ts';
import { ConfigInForce } from './config-in-force.ts';
import { refreshParts } from './refresh-parts.ts';
import { openState, type State } from './state.ts';
import type { UpstreamClient } from '../proxy/upstream/client.ts';
import { openUpstreamClient } from './upstream.ts';
import { openQuota } from './wiring.ts';
import type { Pages, SocketHandle } from './worker-ipc.ts';
import { type ConfigEvents, createConfigEvents, type Supervisor } from './workers.ts';

/** Parts that the caller of a proxy provides. */
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
  /** Called as soon as the store is open. */
  readonly storeOpened?: ((state: Pick<State, 'store' | 'grants'>) => void) | undefined;
  /** Serves instead of this process, which then runs the workers' common tasks. Absent: this one serves. */
  readonly supervisor?: Pick<Supervisor, 'listener' | 'figures'> | undefined;
  /** Replaces the addresses of clouds for sources. */
  readonly clouds?: SourceParts['services'] | undefined;
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

/** Parts that open after others that use them. */
interface LateParts {
  tracer: Tracer | null;
  listener: Listener | null;
  /** Resolves with the address of the proxy when it listens. */
  readonly address: PromiseWithResolvers<{ readonly host: string; readonly port: number }>;
}

/** The state of a proxy, and its config in force. */
export type Core = Awaited<ReturnType<typeof openCore>>;

export async function openCore(config: Config, parts: ProxyParts, opened: AsyncDisposableStack) {
  const { log, now, env, adapt = (same) => same } = parts;
  const initial = adapt(config);
  const late: LateParts = { tracer: null, listener: null, address: Promise.withResolvers() };
  const figures = new ProcessFigures((provider) => current.config().providers.names.includes(provider));
  const unobserved = opened.adopt(await openState(initial, { log, now, env }), (it) => it.close());
  const noteUse = tokenUseNotes(unobserved.store, now, () => current.config());
  const audit = withListener(
    unobserved.audit,
    (event) => {
      figures.recorded(event);
      late.tracer?.recorded(event);
      noteUse(event);
    },
    noteUse,
  );
  const state: State = { ...unobserved, audit };
  parts.storeOpened?.(state);
  const { directory, permittedNames } = initial.ca;
  const onCreate = async ({ name }: { name: string }) => audit.append({ event: 'ca.created', reason: name });
  const { vault } = state;
  const created = await openAuthority({ directory, permittedNames, vault, now, onCreate });
  const following = await followAuthority(created, { config: initial, vault, now, timers, log });
  const authority = opened.adopt(following, (it) => it.close());

  const ownPorts: number[] = [];
  const openClient = (next: Config, before?: UpstreamClient) =>
    openUpstreamClient(next, { env, ownPorts: () => ownPorts, before });
  const load = async () => adapt(await loadConfig(initial.file, { env }));
  const current = new ConfigInForce(initial, await openClient(initial), { load, openClient, log });
  opened.defer(() => current.closeClients());
  const configEvents = createConfigEvents(audit);
  return { initial, parts, opened, late, figures, state, authority, ownPorts, current, configEvents };
}

/** The credentials of requests, and what is counted of their use. */
export type Credentials = Awaited<ReturnType<typeof openCredentials>>;

export async function openCredentials({ initial, parts, opened, state, current }: Core) {
  const { log: logger, now, env, worker, clouds } = parts;
  const { config, fetch } = current;
  const refreshing = refreshParts(state, { config, fetch, now, env, clouds });
  let schedule: RefreshSchedule | null = null;
  const { activity } = state;
  const watchedActivity = withUseListener(activity, () => {
    schedule?.used();
    worker?.used();
  });
  const tokens = opened.adopt(createTokenSource({ ...refreshing, activity: watchedActivity, logger }), (it) =>
    it.close(),
  );
  if (worker === undefined) {
    const { keepFreshMs } = initial.tokens;
    schedule = opened.adopt(
      startRefreshSchedule({ ...refreshing, tokens, activity, keepFreshMs, logger }),
      (it) => it.close(),
    );
  }
  const quota = opened.adopt(await openQuota(state), (it) => it.close());
  const uses = opened.adopt(createUseNotes({ store: state.store, now, timers }), (it) => it.close());
  return { refreshing, tokens, schedule, quota, uses };
}
