import { once } from 'node:events';
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
import { stateNow, titleOf } from '../domain/grant.ts';
import { replaceRemedy } from '../grants/token-result.ts';
import { failureOf, SidekeyError } from '../lib/errors.ts';
import { hintText, withHint } from '../lib/hint.ts';
import { createLog } from '../lib/log.ts';
import { systemTimers } from '../lib/timers.ts';
import { proxyUrl, unlistedHosts } from '../operations/format.ts';
import { auditEndNeeds, keptText } from '../operations/look-at-audit.ts';
import { findOffers } from '../operations/find.ts';
import { referencesOf } from '../operations/lookup.ts';
import type { Store } from '../store/store.ts';
import { atCommandLine, type Context } from './context.ts';
import { columns, type Display } from './display.ts';
import { probeProgramsOf } from './doctor/probe.ts';
import { describeAction } from '../operations/dry-run-texts.ts';
import { openSignedIn } from './open.ts';
import { changingParts } from './operation-command.ts';
import type { Output } from './output.ts';
import { askHealth } from './status/ask-proxy.ts';

export interface StartOptions {
  readonly worker?: boolean;
  readonly transparent?: boolean;
  readonly open?: boolean;
}

/** `sidekey start`: serves until a signal arrives. */
export async function start(
  context: Context,
  { worker, transparent, open }: StartOptions,
): Promise<number | void> {
  const { env, now } = context;
  if (worker === true) return serveAsWorker(env, now);
  const config = await context.config();
  const log = createLog(config.log.level);
  const passed = passedSocket(config.proxy.listen, env);
  const count = workerCount(config.workers, readMachine(env));
  const supervisor =
    count === 1 ? null : startSupervisor({ count, env, passed, log, now, timers: systemTimers });
  try {
    await serve(
      context,
      config,
      { supervisor, open: open === true },
      {
        log,
        now,
        env,
        origin: atCommandLine(env),
        socket: passed?.handle,
        supervisor: supervisor ?? undefined,
        probePrograms: probeProgramsOf({ env, now }),
        adapt: transparent === true ? acceptingRedirected : undefined,
      },
    );
  } finally {
    supervisor?.kill();
  }
}

/** @param supervisor null: a single process serves */
async function serve(
  context: Context,
  config: Config,
  { supervisor, open }: { readonly supervisor: Supervisor | null; readonly open: boolean },
  parts: ProxyParts,
): Promise<void> {
  const { now, output } = context;
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
  const stopping = new AbortController();
  try {
    const { address, pages, authority, state } = proxy;
    const workers = supervisor?.count ?? 1;
    const welcomeText = await welcome(output, proxy, workers, now());
    // Before the welcome text: its reader may send a signal at once.
    const stopped = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
    output.result(
      { listen: address, workers, pages, config: config.file, ca: authority.certificateFile },
      welcomeText,
    );
    for (const { sentence, hint } of auditNeeds) output.say(withHint(`Warning: ${sentence}`, hint));
    welcomed.resolve();
    running = proxy;
    if (open) {
      const { signal } = stopping;
      openSignedIn(context, { ...(await changingParts(context, state)), pages }, { signal }).catch(
        (error: unknown) => signal.aborted || output.fail(failureOf(error)),
      );
    }
    await Promise.race([stopped, proxy.damaged, ...(supervisor === null ? [] : [supervisor.failed])]);
    output.say('Stopping: no new requests; those under way may finish. Ctrl-C again ends at once.');
    endAtOnceOnTheNext(now, () => supervisor?.kill());
  } finally {
    welcomed.resolve();
    stopping.abort();
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
async function welcome(
  { display, isTerminal }: Pick<Output, 'display' | 'isTerminal'>,
  proxy: Proxy,
  workers: number,
  now: number,
): Promise<string> {
  const config = proxy.config();
  const url = proxyUrl(proxy.address);
  const tokenless = tokenlessCallers(config.proxy);
  const required = tokenless === null;
  const { lines, missing } = await describeMap(display, config, proxy.state.store, now);
  const agents = required && !(await proxy.state.store.agentTokens.any());
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
    // Not in a journal: the command is for the person who reads this.
    ...(isTerminal && proxy.pages !== null ? ['Dashboard: sidekey open'] : []),
  ].join('\n');
}

/** Entries of the map, and grants of an entry, that the start shows. */
const shown = { entries: 100, grants: 5 } as const;

/**
 * Describes the allowed-domains map as it works with the stored grants. Returns its lines, and the commands
 * for missing grants. Reads only the grants that it shows.
 *
 * @param now milliseconds since the epoch
 */
export async function describeMap(
  display: Display,
  { domains, proxy, providers }: Pick<Config, 'domains' | 'proxy'> & Partial<Pick<Config, 'providers'>>,
  store: {
    readonly grants: Pick<Store['grants'], 'find'>;
    readonly grantChecks: Pick<Store['grantChecks'], 'offered'>;
  },
  now: number,
): Promise<{ readonly lines: readonly string[]; readonly missing: readonly string[] }> {
  if (domains.length === 0) {
    const [first] = await store.grants.find({ limit: 1 });
    return {
      lines: ['The domain map is empty.', unlistedHosts({ proxy })],
      // Connecting adds the provider's hosts to the map.
      missing: [
        first === undefined
          ? 'sidekey connect github --token'
          : `sidekey domain allow api.github.com --grant ${first.name}`,
      ],
    };
  }
  const missing = new Set<string>();
  const offers = await findOffers(store, domains.slice(0, shown.entries), shown.grants + 1);
  const rows: string[][] = [];
  for (const domain of domains.slice(0, shown.entries)) {
    const row = [`  ${domain.pattern.text}`, describeAction(domain)];
    rows.push(row);
    if (domain.action.kind !== 'grant') continue;
    const texts: string[] = [];
    for (const reference of referencesOf(domain)) {
      const offered = offers.offered(reference);
      for (const grant of offered.slice(0, shown.grants)) {
        const state = stateNow(grant, now);
        texts.push(`${titleOf(grant)}, ${state}`);
        if (state !== 'active')
          missing.add(hintText(replaceRemedy(grant, [], providers?.get(grant.provider))));
      }
      if (offered.length > shown.grants) texts.push('…');
    }
    if (texts.length === 0) missing.add(`sidekey connect PROVIDER --name ${domain.action.grant}`);
    row.push(texts.join('; ') || 'MISSING');
  }
  const more = domains.length - rows.length;
  return {
    lines: [
      'Domains:',
      ...columns(display, rows),
      ...(more === 0 ? [] : [`  … and ${more} more: sidekey domain list`]),
      '',
      unlistedHosts({ proxy }),
    ],
    missing: [...missing],
  };
}
