import { setImmediate as nextTurn } from 'node:timers/promises';
import type { StandardOutput } from '../app/audit-upkeep.ts';
import { acceptingRedirected } from '../app/adapted-config.ts';
import type { ProxyParts } from '../app/core.ts';
import { readMachine, workerCount } from '../app/machine.ts';
import { type Proxy, startProxy } from '../app/proxy.ts';
import { openView } from '../app/state.ts';
import { serveAsWorker } from '../app/worker.ts';
import { passedSocket } from '../app/worker-ipc.ts';
import { startSupervisor, type Supervisor } from '../app/workers.ts';
import type { Config } from '../config/config.ts';
import { displayName } from '../config/problem.ts';
import { tokenlessCallers } from '../config/proxy.ts';
import { storeName } from '../config/store-place.ts';
import { type Grant, stateNow, titleOf } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import { replaceRemedy } from '../grants/token-result.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintText, withHint } from '../lib/hint.ts';
import { createLog } from '../lib/log.ts';
import { systemTimers } from '../lib/timers.ts';
import { proxyUrl, unlistedHosts } from '../operations/format.ts';
import { auditEndNeeds, keptText } from '../operations/look-at-audit.ts';
import { offeredBy, referencesOf } from '../operations/lookup.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';
import { grantOf } from '../store/grants.ts';
import { compare } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import { atCommandLine, type Context } from './context.ts';
import { columns, type Display } from './display.ts';
import { probeProgramsOf } from './doctor/probe.ts';
import { describeAction } from '../operations/dry-run-texts.ts';
import { askHealth } from './status/ask-proxy.ts';

export interface StartOptions {
  readonly worker?: boolean;
  readonly transparent?: boolean;
}

/** `sidekey start`: serves until a signal arrives. */
export async function start(context: Context, { worker, transparent }: StartOptions): Promise<number | void> {
  const { env, now } = context;
  if (worker === true) return serveAsWorker(env, now);
  const config = await context.config();
  const log = createLog(config.log.level);
  const passed = passedSocket(config.proxy.listen, env);
  const count = workerCount(config.workers, readMachine(env));
  const supervisor =
    count === 1 ? null : startSupervisor({ count, env, passed, log, now, timers: systemTimers });
  try {
    await serve(context, config, supervisor, {
      log,
      now,
      env,
      origin: atCommandLine(env),
      socket: passed?.handle,
      supervisor: supervisor ?? undefined,
      probePrograms: probeProgramsOf({ env, now }),
      adapt: transparent === true ? acceptingRedirected : undefined,
    });
  } finally {
    supervisor?.kill();
  }
}

/** @param supervisor null: a single process serves */
async function serve(
  { now, output }: Context,
  config: Config,
  supervisor: Supervisor | null,
  parts: ProxyParts,
): Promise<void> {
  // Before the proxy runs, SIGHUP has nothing to reload, and must not end the process.
  let running: Proxy | undefined;
  process.on('SIGHUP', () => {
    if (running === undefined) return;
    void running.reload();
    supervisor?.reload();
  });
  // Read before this process writes, because its lines would hide a changed end.
  const before = await openView(config, { now }).catch(() => null);
  const auditNeeds = await auditEndNeeds(config.audit, before);
  await before?.close();
  // The welcome text precedes all audit lines.
  const welcomed = Promise.withResolvers<void>();
  const stdout = behind(welcomed.promise);
  const proxy = await startProxy(config, { ...parts, stdout }).catch(async (error: unknown) => {
    throw await whoListens(error, config);
  });
  const { address, pages, authority } = proxy;
  const count = supervisor?.count ?? 1;
  const welcomeText = await welcome(output.display, proxy, count, now());
  // Before the welcome text: its reader may send a signal at once.
  const stopped = stopSignal();
  output.result(
    { listen: address, workers: count, pages, config: config.file, ca: authority.certificateFile },
    welcomeText,
  );
  for (const { sentence, hint } of auditNeeds) output.say(withHint(`Warning: ${sentence}`, hint));
  welcomed.resolve();
  running = proxy;
  try {
    await (supervisor === null ? stopped : Promise.race([stopped, supervisor.failed]));
    output.say('Stopping: no new requests; those under way may finish. Ctrl-C again ends at once.');
    endAtOnceOnTheNext(now, () => supervisor?.kill());
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
  const grants = await offeredGrants(proxy.state.store, config.domains.slice(0, mostDomains));
  const { lines, missing } = describeMap(display, config, grants, now);
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

/** Domains of the text at start, and grants of each. */
const mostDomains = 200;
const mostGrants = 20;

/** Returns the first grant, and the grants that domains offer: for each reference some more than are shown. */
async function offeredGrants(
  { grants, grantChecks }: Pick<Store, 'grants' | 'grantChecks'>,
  domains: readonly Domain[],
): Promise<readonly Grant[]> {
  const all = new Map((await grants.find({ limit: 1 })).map((record) => [record.id, grantOf(record)]));
  for (const reference of new Set(domains.flatMap(referencesOf))) {
    for (const grant of await grantChecks.offered(reference, mostGrants + 1)) all.set(grant.id, grant);
    await nextTurn();
  }
  return [...all.values()].toSorted((a, b) => compare(a.name, b.name) || compare(a.user, b.user));
}

/**
 * Describes the allowed-domains map as it works with these grants. Returns its lines, and the commands for
 * missing grants.
 *
 * @param now milliseconds since the epoch
 */
export function describeMap(
  display: Display,
  { domains, proxy, providers }: Pick<Config, 'domains' | 'proxy'> & Partial<Pick<Config, 'providers'>>,
  grants: readonly Grant[],
  now: number,
): { readonly lines: readonly string[]; readonly missing: readonly string[] } {
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
  const missing = new Set<string>();
  const index = indexGrants(grants);
  const rows = domains.slice(0, mostDomains).map((domain) => {
    const row = [`  ${domain.pattern.text}`, describeAction(domain)];
    if (domain.action.kind !== 'grant') return [...row, ''];
    const offered = offeredBy(domain, index);
    if (offered.length === 0) missing.add(`sidekey connect PROVIDER --name ${domain.action.grant}`);
    for (const grant of offered.filter((each) => stateNow(each, now) !== 'active'))
      missing.add(hintText(replaceRemedy(grant, [], providers?.get(grant.provider))));
    return [
      ...row,
      offered
        .map((each) => `${titleOf(each)}, ${stateNow(each, now)}`)
        .toSpliced(mostGrants, Infinity, ...(offered.length > mostGrants ? ['…'] : []))
        .join('; ') || 'MISSING',
    ];
  });
  if (domains.length > mostDomains) rows.push([`  … and ${domains.length - mostDomains} more`, '', '']);
  return {
    lines: ['Domains:', ...columns(display, rows), '', unlistedHosts({ proxy })],
    missing: [...missing],
  };
}
