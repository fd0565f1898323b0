import { readMachine, workerCount } from '../app/machine.ts';
import type { StandardOutput } from '../app/audit-upkeep.ts';
import { openView } from '../app/state.ts';
import {
  type ListeningSocket,
  passedSocket,
  type SocketHandle,
  type ToSupervisor,
  type ToWorker,
} from '../app/worker-ipc.ts';
import { removeRunning, runFileOf, writeRunning } from '../store/run-file.ts';
import { startSupervisor, type Supervisor } from '../app/workers.ts';
import { atCommandLine, type Context } from './context.ts';
import { describeAction } from './domain.ts';
import { columns, type Display } from './display.ts';
import { proxyUrl, unlistedHosts } from '../operations/format.ts';
import { auditEndNeeds, keptText } from '../operations/look-at-audit.ts';
import { offeredBy } from '../operations/lookup.ts';
import { probeProgramsOf } from './doctor/probe.ts';
import { askHealth } from './status/ask-proxy.ts';
import type { Config } from '../config/config.ts';
import { machineFilesOf, storeName } from '../config/store-place.ts';
import { parseConfig } from '../config/load.ts';
import { tokenlessCallers } from '../config/proxy.ts';
import { displayName } from '../config/problem.ts';
import { type Grant, stateNow, titleOf } from '../domain/grant.ts';
import { replaceRemedy } from '../grants/token-result.ts';
import { errorPhrase, SidekeyError } from '../lib/errors.ts';
import { hintText } from '../lib/hint.ts';
import { exitCode } from '../lib/failures.ts';
import { createLog, type Log } from '../lib/log.ts';
import { systemTimers } from '../lib/timers.ts';
import type { ProxyParts } from '../app/core.ts';
import { type Proxy, startProxy } from '../app/proxy.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';

/** Workers, and the state file that lists them. */
interface Workers {
  readonly supervisor: Supervisor;
  readonly count: number;
  /** Records the port that the workers serve on. */
  serveAt(port: number): void;
  /** Kills the remaining workers. */
  close(): void;
}

/** Starts the workers for the config and the machine; null: a single process serves. */
function startWorkers(
  config: Config,
  {
    env,
    log,
    now,
    passed,
  }: Pick<Context, 'env' | 'now'> & { readonly log: Log; readonly passed: ListeningSocket | null },
): Workers | null {
  const count = workerCount(config.workers, readMachine(env));
  if (count === 1) return null;
  let file: string | null = null;
  let workers: readonly number[] = [];

  function write(): void {
    if (file === null) return;
    try {
      writeRunning(file, { pid: process.pid, workers });
    } catch (error) {
      log.warn(
        { file, problem: errorPhrase(error) },
        'which workers run could not be written for "sidekey status"',
      );
    }
  }

  const supervisor = startSupervisor({
    count,
    env,
    passed,
    log,
    now,
    timers: systemTimers,
    onChange(pids) {
      workers = pids;
      write();
    },
  });
  return {
    supervisor,
    count,
    serveAt(port) {
      file = runFileOf(machineFilesOf(config), port);
      write();
    },
    close() {
      supervisor.kill();
      if (file !== null) removeRunning(file);
    },
  };
}

/** Milliseconds between reports of grant use. */
const usedEvery = 60_000;

type Serve = Extract<ToWorker, { readonly kind: 'serve' }>;

/**
 * Runs one of several serving processes. The supervisor sends its settings over the channel, and holds the
 * pipe of its standard input. When that closes, the process finishes its exchanges and exits.
 */
async function serveAsWorker({ env, now }: Context): Promise<number> {
  if (process.send === undefined) {
    throw new SidekeyError('input_invalid', 'Only "sidekey start" starts a worker.', {
      hint: 'sidekey start',
    });
  }
  const told = Promise.withResolvers<{ readonly serve: Serve; readonly socket: SocketHandle } | null>();
  const stop = Promise.withResolvers<void>();
  let proxy: Proxy | undefined;
  process.on('message', (message, socket) => {
    const said = message as ToWorker;
    if (said.kind === 'serve') told.resolve({ serve: said, socket: socket as unknown as SocketHandle });
    else if (said.kind === 'reload') void proxy?.reload();
    else if (said.kind === 'read') void proxy?.figures().then((figures) => say({ kind: 'figures', figures }));
    else stop.resolve();
  });
  // `disconnect` is unreliable: Node withholds it until the supervisor has acknowledged a handle.
  const supervisorEnded = () => stop.resolve();
  process.stdin.on('error', supervisorEnded).once('close', supervisorEnded).resume();
  process.once('SIGTERM', () => void say({ kind: 'leaving' }).then(stop.resolve));
  // A terminal sends these signals to all processes. The supervisor handles them.
  process.on('SIGINT', () => {}).on('SIGHUP', () => {});
  void stop.promise.then(() => told.resolve(null));
  const given = await told.promise;
  if (given === null) return leave(exitCode.ok);
  try {
    proxy = await begin(given.serve, given.socket, { env, now });
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    const { code, message, hint } = error;
    await say({ kind: 'failed', code, message, hint });
    return leave(error.exit);
  }
  void say({ kind: 'ready' }, given.socket);
  await stop.promise;
  await proxy.close();
  return leave(exitCode.ok);
}

async function begin(
  { file, text, pages, ticketMaterial, transparent }: Serve,
  socket: SocketHandle,
  { env, now }: Pick<Context, 'env' | 'now'>,
): Promise<Proxy> {
  const config = await parseConfig(text, file, { env });
  let saidUsed = -Infinity;
  return startProxy(config, {
    log: createLog(config.log.level),
    now,
    env,
    ticketMaterial,
    adapt: transparent ? madeTransparent : undefined,
    worker: {
      socket,
      pages,
      config: (event) => void say({ kind: 'config', event }),
      used() {
        const time = now();
        if (Math.abs(time - saidUsed) < usedEvery) return;
        saidUsed = time;
        void say({ kind: 'used' });
      },
      showBody: (id, body) => void say({ kind: 'body', id, body }),
    },
  });
}

/** Resolves when the message is sent or the supervisor has ended. */
function say(message: ToSupervisor, socket?: SocketHandle): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, socket as never, {}, () => resolve());
    else resolve();
  });
}

/** Closes the channels, which keep the process alive. */
function leave(exit: number): number {
  process.stdin.destroy();
  if (process.connected) process.disconnect?.();
  return exit;
}

export interface StartOptions {
  readonly worker?: boolean;
  readonly transparent?: boolean;
}

/** Accepts redirected connections without a token if the config has no settings for them. */
function madeTransparent(config: Config): Config {
  const { proxy } = config;
  return { ...config, proxy: { ...proxy, transparent: proxy.transparent ?? { token: null } } };
}

/** `sidekey start`: serves until a signal arrives. */
export async function start(context: Context, { worker, transparent }: StartOptions): Promise<number | void> {
  if (worker === true) return serveAsWorker(context);
  const { env, now } = context;
  const adapt = transparent === true ? madeTransparent : undefined;
  const config = await context.config();
  const log = createLog(config.log.level);
  const passed = passedSocket(config.proxy.listen, env);
  const workers = startWorkers(config, { env, log, now, passed });
  try {
    await serve(context, config, { log, workers, passed, adapt });
  } finally {
    workers?.close();
  }
}

async function serve(
  { env, now, output }: Context,
  config: Config,
  {
    log,
    workers,
    passed,
    adapt,
  }: {
    readonly log: Log;
    readonly workers: Workers | null;
    readonly passed: ListeningSocket | null;
    readonly adapt: ProxyParts['adapt'];
  },
): Promise<void> {
  // Before the proxy runs, SIGHUP has nothing to reload, and must not end the process.
  let running: Proxy | undefined;
  process.on('SIGHUP', () => {
    if (running === undefined) return;
    void running.reload();
    workers?.supervisor.reload();
  });
  // Read before this process writes, because its lines would hide a changed end.
  const before = await openView(config, { now }).catch(() => null);
  const auditNeeds = await auditEndNeeds(config.audit, before);
  await before?.close();
  // The welcome text precedes all audit lines.
  const welcomed = Promise.withResolvers<void>();
  const proxy = await startProxy(config, {
    log,
    now,
    env,
    origin: atCommandLine(env),
    stdout: behind(welcomed.promise),
    socket: passed?.handle,
    supervisor: workers?.supervisor,
    probePrograms: probeProgramsOf({ env, now }),
    adapt,
  }).catch(async (error: unknown) => {
    throw await whoListens(error, config);
  });
  const { address, pages, authority } = proxy;
  workers?.serveAt(address.port);
  const count = workers?.count ?? 1;
  const welcomeText = await welcome(output.display, proxy, count, now());
  // Before the welcome text: its reader may send a signal at once.
  const stopped = stopSignal();
  output.result(
    { listen: address, workers: count, pages, config: config.file, ca: authority.certificateFile },
    welcomeText,
  );
  for (const { sentence, hint } of auditNeeds)
    output.say(`Warning: ${sentence}${hint === null ? '' : `\n  → ${hintText(hint)}`}`);
  welcomed.resolve();
  running = proxy;
  try {
    await (workers === null ? stopped : Promise.race([stopped, workers.supervisor.failed]));
    output.say('Stopping: no new requests; those under way may finish. Ctrl-C again ends at once.');
    endAtOnceOnTheNext(now, () => workers?.supervisor.kill());
  } finally {
    await proxy.close();
  }
  output.say('Stopped.');
}

/** Returns the error of a port in use, naming a Sidekey on the port. Returns other errors unchanged. */
async function whoListens(error: unknown, { proxy: { listen } }: Config): Promise<unknown> {
  if (!(error instanceof SidekeyError) || error.code !== 'port_in_use') return error;
  const { kind } = await askHealth(listen);
  if (kind !== 'serving') return error;
  return new SidekeyError('port_in_use', `Another Sidekey serves at ${listen.host}:${listen.port}.`, {
    hint: '"sidekey status" says whether it has this store; stop it, or set proxy.listen to another port',
    cause: error,
  });
}

/** Returns standard output, delayed until a promise resolves. */
function behind(moment: Promise<void>): StandardOutput {
  return {
    write(text, written) {
      void moment.then(() => process.stdout.write(text, written));
    },
  };
}

function stopSignal(): Promise<void> {
  return new Promise((resolveSignal) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolveSignal());
  });
}

/** Milliseconds. npm duplicates the Ctrl-C of the terminal; two within this time count as one. */
const sameSignalMs = 500;

function endAtOnceOnTheNext(now: () => number, before: () => void): void {
  const first = now();
  process.on('SIGINT', () => {
    if (now() - first <= sameSignalMs) return;
    before();
    process.exit(128 + 2);
  });
}

/** Text at start: addresses, files, the domain map, missing commands, and lines to paste. */
async function welcome(display: Display, proxy: Proxy, workers: number, now: number): Promise<string> {
  const config = proxy.config();
  const url = proxyUrl(proxy.address);
  const tokenless = tokenlessCallers(config.proxy);
  const required = tokenless === null;
  const { lines, missing } = describeMap(display, config, await proxy.state.grants.list(), now);
  const agents = required && (await proxy.state.store.agentTokens.list()).length === 0;
  const commands = [...(agents ? ['sidekey agent create NAME --grant GRANT'] : []), ...missing];
  return [
    'Sidekey is running.',
    '',
    ...columns(display, [
      [
        '  proxy',
        `${url}   (${required ? 'callers need an agent token' : `${tokenless} need no token`}${config.proxy.tls === null ? '' : '; TLS for other machines'})`,
      ],
      ...(workers === 1 ? [] : [['  workers', `${workers} processes`]]),
      ...(proxy.pages === null ? [] : [['  pages', `${proxy.pages}   (dashboard and API)`]]),
      ['  config', displayName(config.file)],
      ['  store', displayName(storeName(config.store))],
      ['  audit', `${displayName(config.audit.file)}   (${keptText(config.audit)})`],
      ['  CA', displayName(proxy.authority.certificateFile)],
    ]),
    '',
    ...lines,
    ...(commands.length === 0 ? [] : ['', 'Next step:', ...commands.map((line) => `  → ${line}`)]),
    '',
    'Then, in another terminal:',
    '  → sidekey run -- claude   # or codex, git, npm, python3 …',
    `  → eval "$(sidekey env${required ? ' --agent NAME' : ''})"   # for all programs of a shell`,
    '',
    'Ctrl-C stops it.',
  ].join('\n');
}

/** Description of the allowed-domains map, with commands for missing grants. */
interface MapDescription {
  readonly lines: readonly string[];
  readonly missing: readonly string[];
}

type MapConfig = Pick<Config, 'domains' | 'proxy'> & Partial<Pick<Config, 'providers'>>;

/** Describes the map as it works with these grants; `now` in milliseconds since the epoch. */
export function describeMap(
  display: Display,
  { domains, proxy, providers }: MapConfig,
  grants: readonly Grant[],
  now: number,
): MapDescription {
  if (domains.length === 0) {
    return {
      lines: ['The domain map is empty.', unlistedHosts({ proxy })],
      // Connecting adds the provider's hosts to the map.
      missing: [
        grants[0] === undefined
          ? 'sidekey connect github --token'
          : `sidekey domain allow api.github.com --grant ${grants[0].name}`,
      ],
    };
  }
  const rows = domains.map((domain) => [
    `  ${domain.pattern.text}`,
    describeAction(domain),
    describeGrants(domain, grants, now),
  ]);
  return {
    lines: ['Domains:', ...columns(display, rows), '', unlistedHosts({ proxy })],
    missing: [...new Set(domains.flatMap((domain) => missingFor(domain, grants, { now, providers })))],
  };
}

function describeGrants(domain: Domain, grants: readonly Grant[], now: number): string {
  if (domain.action.kind !== 'grant') return '';
  const offered = offeredBy(domain, grants);
  if (offered.length === 0) return 'MISSING';
  return offered.map((grant) => `${titleOf(grant)}, ${stateNow(grant, now)}`).join('; ');
}

function missingFor(
  domain: Domain,
  grants: readonly Grant[],
  { now, providers }: { readonly now: number; readonly providers: MapConfig['providers'] },
): string[] {
  if (domain.action.kind !== 'grant') return [];
  const offered = offeredBy(domain, grants);
  if (offered.length === 0) {
    return [`sidekey connect PROVIDER --name ${domain.action.grant}`];
  }
  return offered
    .filter((grant) => stateNow(grant, now) !== 'active')
    .map((grant) => hintText(replaceRemedy(grant, [], providers?.get(grant.provider))));
}
