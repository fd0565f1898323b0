import { spawnSync } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import type { Confined } from '../../clients/confine/confine.ts';
import { serveInside } from '../../clients/confine/inside.ts';
import type { Context } from '../context.ts';
import { grantFiles } from '../../grants/references.ts';
import { commandEnvironment } from '../../operations/command-environment.ts';
import { readSpan } from '../../operations/format.ts';
import type { LeaseSettings } from '../../operations/held-lease.ts';
import { requestCounter } from '../../operations/run-report.ts';
import { type ChildEnd, endAs, runChild, runConfined, type Signals, takeSignals } from './child.ts';
import { openOwnProxy, openRunningProxy, readPlace, type ProxyEndpoint, relayed } from './proxy-endpoint.ts';
import {
  bornNotes,
  confinedEnvironment,
  type Confinement,
  type ConfinementOptions,
  holds,
  openConfinement,
} from '../../operations/run-confinement.ts';
import { reportRun } from './run-summary.ts';
import { door } from '../../lib/package-files.ts';
import { errorPhrase, SidekeyError, systemCode } from '../../lib/errors.ts';
import { createLog, type Log } from '../../lib/log.ts';
import { shellWord, visible } from '../../lib/text.ts';

export interface RunOptions extends ConfinementOptions {
  readonly grant?: readonly string[];
  readonly agent?: string;
  readonly ttl?: string;
  readonly unmatched?: 'deny' | 'tunnel';
  readonly policy?: readonly string[];
  readonly proxy?: string;
  readonly keep?: readonly string[];
  readonly log?: string;
  readonly quiet?: boolean;
  /** The process that becomes a confined command. */
  readonly inside?: boolean;
}

/** `sidekey run -- CMD`: returns the exit code of the command. */
export async function run(
  context: Context,
  [program = '', ...words]: readonly string[],
  options: RunOptions,
): Promise<number> {
  const { env, now, output } = context;
  if (options.inside === true) {
    await serveInside(program === 'network');
    return await new Promise<never>(() => undefined);
  }
  const keptLog = keepLog('info', options.log);
  // Warnings of Node go to the log instead of the terminal.
  process.removeAllListeners('warning');
  process.on('warning', (warning) => keptLog.log.warn({ err: warning }, errorPhrase(warning)));
  const signals = takeSignals(now);
  const config = await context.config();
  // While the proxy starts.
  const files = Promise.withResolvers<readonly string[]>();
  const opening = openConfinement(program, options, { config, env, files: files.promise });
  const socket = opening.then((opened) => (typeof opened === 'string' ? null : opened.confined.socket));
  // The proxy, which waits for the socket too, reports the failure.
  for (const waiting of [socket, files.promise]) waiting.catch(() => undefined);
  let end: ChildEnd;
  try {
    const endpoint = await openEndpoint(context, program, options, { log: keptLog.log, socket, files });
    const confinement = await opening;
    const isConfined = typeof confinement !== 'string';
    const countRequests = requestCounter(endpoint.config().audit.file, endpoint.node);
    const revokeAtExit = () => revokeNow(endpoint);
    process.once('exit', revokeAtExit);
    let notes: readonly string[] = [];
    try {
      const given = await commandEnvironment(
        env,
        endpoint,
        options.keep ?? [],
        isConfined ? confinement.folder.trust : null,
      );
      const startLines = [given.taken, isConfined ? holds(confinement) : confinement].filter(
        (line) => line !== null,
      );
      notes = output.json ? [...given.notes, ...startLines] : given.notes;
      if (options.quiet !== true) for (const line of startLines) output.say(`sidekey: ${line}`);
      end = await startChild(
        { program, words, env: given.env, port: endpoint.proxy.port },
        signals,
        isConfined ? confinement : null,
      );
      if (isConfined) notes = [...notes, ...bornNotes(confinement)];
      await given.close();
    } finally {
      // The lease expires soon anyway, and the exit code of the command takes precedence.
      await endpoint.close().catch((error: unknown) => {
        keptLog.log.warn({ err: error }, 'the lease of the command could not be revoked; it expires');
      });
      process.off('exit', revokeAtExit);
    }
    if (options.quiet !== true && end.kind !== 'failed')
      await reportRun(context, endpoint, countRequests, {
        program,
        code: end.kind === 'exit' ? end.code : null,
        isConfined,
        notes: [...notes, ...keptLog.warnings()],
      });
  } finally {
    files.resolve([]);
    const opened = await opening.catch(() => '');
    if (typeof opened !== 'string') await opened.close();
    keptLog.close();
  }
  if (end.kind === 'failed') output.fail(end.error);
  return end.kind === 'signal' ? endAs(end.signal) : end.code;
}

/** Starts the child; a signal that came earlier takes effect now. */
async function startChild(
  command: Parameters<typeof runConfined>[1],
  signals: Signals,
  confinement: Confinement | null,
): Promise<ChildEnd> {
  const { ended } = signals;
  if (ended !== null) return { kind: 'signal', signal: ended };
  if (confinement === null) return runChild(command, signals);
  const confinedEnv = confinedEnvironment(command.env, confinement);
  return runConfined(confinement.confined, { ...command, env: confinedEnv }, signals);
}

interface EndpointParts extends Pick<KeptLog, 'log'> {
  readonly socket: Promise<Confined['socket']>;
  /** Resolved with the files that grants name: the confinement hides them. */
  readonly files: PromiseWithResolvers<readonly string[]>;
}

async function openEndpoint(
  context: Context,
  program: string,
  options: RunOptions,
  { log, socket, files }: EndpointParts,
): Promise<ProxyEndpoint> {
  const lease: LeaseSettings = {
    agent: options.agent ?? null,
    grants: options.grant ?? null,
    // Only the program name: arguments may contain secrets.
    purpose: `run: ${visible(basename(program)).slice(0, 100)}`,
    endsAt: options.ttl === undefined ? null : context.now() + readSpan('--ttl', options.ttl),
  };
  const storeOpened = (state: Parameters<typeof grantFiles>[0]) =>
    files.resolve(context.config().then((config) => grantFiles(state, config)));
  if (options.proxy === undefined) {
    const { unmatched, policy: policies = [] } = options;
    return openOwnProxy(context, { settings: { unmatched, policies }, lease, socket, storeOpened }, log);
  }
  refuseOptions(
    options,
    ['unmatched', 'policy'],
    'is for a proxy of the command itself, and --proxy names another',
  );
  const place = await readPlace(options.proxy, { env: context.env, configFile: await context.configFile() });
  if (place.userInfo !== null)
    refuseOptions(
      options,
      ['agent', 'grant', 'ttl'],
      'is for a lease, and --proxy comes with a token of its own',
    );
  const endpoint = await openRunningProxy(context, place, { lease, storeOpened }, log);
  // With a token in the URL, no store is opened.
  if (endpoint.lease === null) files.resolve([]);
  const inside = await socket;
  return inside === null ? endpoint : relayed(endpoint, inside);
}

function refuseOptions(options: RunOptions, names: readonly (keyof RunOptions)[], why: string): void {
  const name = names.find((each) => options[each] !== undefined);
  if (name === undefined) return;
  throw new SidekeyError('input_invalid', `--${name} ${why}.`, { hint: 'leave out one of them' });
}

/** Revokes the lease after an unexpected error; all other state ends with the process. */
function revokeNow({ lease, config }: ProxyEndpoint): void {
  if (lease === null) return;
  const args = [door, 'lease', 'revoke', lease.id, '--config', config().file];
  spawnSync(process.execPath, args, { stdio: 'ignore', timeout: 10_000 });
}

/** A log while the command uses the terminal. */
export interface KeptLog {
  readonly log: Log;
  /** Messages of warnings and errors, each once, in order of first appearance. */
  warnings(): readonly string[];
  close(): void;
}

/** Maximum number of messages; a log file has all. */
const maxKept = 5;

/**
 * Keeps warnings and errors. With a file, every line goes there, as JSON.
 *
 * @throws SidekeyError `file_unwritable`
 */
export function keepLog(level: Parameters<typeof createLog>[0], file: string | undefined): KeptLog {
  const opened = file === undefined ? null : openFile(file, level);
  const counts = new Map<string, number>();
  const keep = (level: 'error' | 'warn') => (fields: object, message: string) => {
    if (counts.has(message) || counts.size < maxKept) counts.set(message, (counts.get(message) ?? 0) + 1);
    opened?.log[level](fields, message);
  };
  return {
    log: {
      error: keep('error'),
      warn: keep('warn'),
      info: (fields, message) => opened?.log.info(fields, message),
      debug: (fields, message) => opened?.log.debug(fields, message),
    },
    warnings: () =>
      Array.from(counts, ([message, count]) => (count === 1 ? message : `${message} (${count} times)`)),
    close: () => opened?.close(),
  };
}

function openFile(file: string, level: Parameters<typeof createLog>[0]) {
  try {
    const fd = openSync(file, 'a', 0o600);
    const log = createLog(level, { write: (line) => void writeSync(fd, line) });
    return { log, close: () => closeSync(fd) };
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `The log ${file} cannot be written (${systemCode(cause)}).`, {
      hint: `name a file in a folder of yours: --log ${shellWord('./sidekey.log')}`,
      cause,
    });
  }
}
