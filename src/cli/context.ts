import { isIP } from 'node:net';
import { userInfo } from 'node:os';
import { runVariable } from '../clients/confine/access.ts';
import type { State, View } from '../app/state.ts';
import type { Origin } from '../domain/event.ts';
import type { Ask, Input, Lines, OpenScreen } from './terminal.ts';
import type { Output } from './output.ts';
import type { Config } from '../config/config.ts';
import type { ConfigLocation } from '../config/locate.ts';
import type { PartialConfig } from '../config/load.ts';
import { caughtFailure, SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { UpstreamClient } from '../proxy/upstream/client.ts';

interface ContextParts {
  readonly output: Output;
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Reads standard input as text. @throws SidekeyError `input_invalid` if it is a terminal or over 1 MiB */
  readonly readInput: () => Promise<string>;
  /** Standard input, for a command that takes any bytes. */
  readonly stdin: Input;
  /** Prompts the user; null: standard input is not a terminal. */
  readonly ask: Ask | null;
  /** Opens standard input line by line. The caller closes it. */
  readonly openLines: () => Lines;
  /** Opens the terminal as a screen; null: input or output is not a terminal. The caller closes it. */
  readonly openScreen: OpenScreen | null;
  /** Returns `--config FILE` once the command line is parsed. */
  readonly configOption: () => string | undefined;
  /** Returns the words of the command that runs, for a hint: `sidekey grant set`. */
  readonly commandWords: () => string;
}

/**
 * The context of a command. Heavy modules (the config schema, the store) are imported at first use, so that
 * other commands start fast.
 */
export interface Context extends Omit<ContextParts, 'configOption'> {
  /** Returns the location of the config file. Creates nothing. */
  readonly configLocation: () => Promise<ConfigLocation>;
  /** Returns the absolute path of the config file. Creates a missing default file, and prints a note. */
  readonly configFile: () => Promise<string>;
  /** Returns the config, for commands that change something or serve. Creates a file as `configFile`. */
  readonly config: () => Promise<Config>;
  /** Returns the config, for read-only commands. If the default file is missing, returns the template. */
  readonly readConfig: () => Promise<Config>;
  /** Returns the valid parts of the config, and the error of the others. Throws it if no part is valid. */
  readonly readValidConfig: () => Promise<PartialConfig & { readonly invalid: SidekeyError | null }>;
  /** Opens the state on disk, creates missing files, and closes it after `use`. */
  readonly withState: <T>(use: (state: State) => Promise<T>) => Promise<T>;
  /** Opens the state on disk read-only, creates nothing, and closes it after `use`. */
  readonly withView: <T>(use: (view: View) => Promise<T>) => Promise<T>;
}

/** Creates the context of a command. Reads and opens nothing yet. */
export function createContext({ configOption, ...parts }: ContextParts): Context {
  const { env, now, output } = parts;

  const context: Context = {
    ...parts,
    async configLocation() {
      const { locateConfig } = await import('../config/locate.ts');
      return locateConfig({ option: configOption(), env, cwd: process.cwd() });
    },
    async configFile() {
      const [found, { ensureConfig }] = await Promise.all([
        context.configLocation(),
        import('../config/locate.ts'),
      ]);
      if (await ensureConfig(found, env)) output.say(`Created the config file ${found.file}.`);
      return found.file;
    },
    async config() {
      const [file, { loadConfig }] = await Promise.all([context.configFile(), import('../config/load.ts')]);
      return loadConfig(file, { env });
    },
    async readConfig() {
      const [found, { loadConfig, parseConfig }, { defaultConfigText, isToBeMade }] = await Promise.all([
        context.configLocation(),
        import('../config/load.ts'),
        import('../config/locate.ts'),
      ]);
      if (!isToBeMade(found)) return loadConfig(found.file, { env });
      return parseConfig(defaultConfigText(found, env), found.file, { env });
    },
    async readValidConfig() {
      const invalid = await context.readConfig().catch(caughtFailure);
      if (!(invalid instanceof SidekeyError)) return { config: invalid, lost: new Set(), invalid: null };
      const [{ file }, loading] = await Promise.all([context.configLocation(), import('../config/load.ts')]);
      const text = await loading.readConfigText(file).catch(() => null);
      const partial = text === null ? null : await loading.parsePartialConfig(text, file, { env });
      if (partial === null) throw invalid;
      return { ...partial, invalid };
    },
    async withState(use) {
      const [config, { openState }] = await Promise.all([context.config(), import('../app/state.ts')]);
      const state = await openState(config, { log: plainLog(output), now, env, origin: atCommandLine(env) });
      return closing(state, use);
    },
    async withView(use) {
      const [config, { openView }] = await Promise.all([context.readConfig(), import('../app/state.ts')]);
      const view = await openView(config, { now, env });
      return closing(view, use);
    },
  };
  return context;
}

/** Closes after `use`. An error of `use` takes precedence over one of closing. */
async function closing<S extends { close(): Promise<void> }, T>(
  opened: S,
  use: (opened: S) => Promise<T>,
): Promise<T> {
  let result: T;
  try {
    result = await use(opened);
  } catch (error) {
    await opened.close().catch(() => undefined);
    throw error;
  }
  await opened.close();
  return result;
}

/** Returns a context whose standard input is a text, instead of that of a terminal. */
export function withInput(context: Context, text: string): Context {
  return { ...context, ask: null, readInput: () => Promise.resolve(text) };
}

/**
 * Opens a client for upstream servers behind the dial guard, and closes it after `use`. No proxy listens in
 * this process, so the guard has no own port to refuse.
 */
export async function withUpstreamClient<T>(
  config: Pick<Config, 'file' | 'upstream' | 'limits'>,
  env: NodeJS.ProcessEnv,
  use: (upstream: UpstreamClient) => Promise<T>,
): Promise<T> {
  const { openUpstreamClient } = await import('../app/upstream.ts');
  const upstream = await openUpstreamClient(config, { env, ownPorts: () => [] });
  return closing(upstream, use);
}

/**
 * Refuses a confined command: it has no file of Sidekey, and must not answer its own approvals.
 *
 * @throws SidekeyError `inside_run`
 */
export function assertOutsideRun(env: NodeJS.ProcessEnv): void {
  if (env[runVariable] === undefined) return;
  throw new SidekeyError(
    'inside_run',
    'This is a confined run, and this command is for the person who started it.',
    {
      hint: 'ask that person; sidekey fetch http://sidekey.internal/ says what you may do',
    },
  );
}

/** Returns a log that prints warnings and errors for the user. */
export function plainLog(output: Output): Log {
  const say = (_fields: object, message: string) => output.say(`sidekey: ${message}`);
  return { error: say, warn: say, info: () => {}, debug: () => {} };
}

/**
 * Author of a change at the command line, and the author's address, for the audit event. The operating system
 * names the user of the process. The environment names the user before sudo, and the SSH client.
 */
export function atCommandLine(env: NodeJS.ProcessEnv): Origin {
  const user = userName();
  const person = env['SUDO_USER'] ?? env['DOAS_USER'];
  const isOther = person !== undefined && /^[\w.@-]{1,64}$/.test(person) && person !== user;
  return { by: isOther ? `${person} (as ${user})` : user, client: `cli${sshClient(env['SSH_CONNECTION'])}` };
}

/** Returns the client of `SSH_CONNECTION`, which is `CLIENT PORT SERVER PORT`. */
function sshClient(connection: string | undefined): string {
  const [address = '', port = ''] = connection?.split(' ') ?? [];
  if (isIP(address) === 0 || !/^\d{1,5}$/.test(port)) return '';
  return isIP(address) === 6 ? `:[${address}]:${port}` : `:${address}:${port}`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // In a container a user may have a number and no name.
    return String(process.getuid?.() ?? 'unknown');
  }
}
