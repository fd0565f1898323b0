import { execFile, spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { onTestFinished } from 'vitest';
import { run } from '../../src/cli/index.ts';
import { builtPackage } from './built-program.ts';
import { tempFolder } from './temp-folder.ts';

/** The folder of the checkout: a confined program of the tests does not see it where it lies below /tmp. */
export const checkout = fileURLToPath(new URL('../..', import.meta.url));

/** The program as a checkout starts it. */
export const sourceProgram = fileURLToPath(new URL('../../src/sidekey.js', import.meta.url));

/** The program as a package starts it. */
export const program =
  process.platform === 'win32' ? sourceProgram : join(builtPackage, 'dist', 'sidekey.js');

export interface Ran {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Standard input; default: empty. */
  readonly input?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Another build of the program; default: `program`. Not for runs within the process of the test. */
  readonly entryFile?: string;
  /** Words before the command of `startProgram`, such as those that enter a namespace. */
  readonly within?: readonly string[];
  /** Options of `start`. */
  readonly options?: readonly string[];
}

/** A proxy that runs as its own process. */
export interface Running {
  /** `http://ADDRESS:PORT` */
  readonly url: string;
  readonly caFile: string;
  /** Base address of the admin listener; null: there is none. */
  readonly pages: string | null;
  readonly pid: number;
  /** Sends SIGTERM, and resolves with the result of the process. */
  readonly stop: () => Promise<Ran>;
  /** Sends SIGKILL, and resolves when the process has ended. */
  readonly kill: () => Promise<void>;
  /** Resolves with the result of the process when it has ended. */
  readonly ended: Promise<Ran>;
  /** Resolves with the first line of standard error that contains this. */
  readonly logged: (text: string) => Promise<string>;
}

/** A folder with a config for the program. */
export interface Home {
  readonly folder: string;
  readonly configFile: string;
  /** The path of a file in the folder. */
  readonly at: (...names: readonly string[]) => string;
  /**
   * Runs a command with this config within the process of the test, about twenty times as fast as in its
   * own process.
   */
  readonly run: (args: readonly string[], options?: RunOptions) => Promise<Ran>;
  /** Runs the real program in its own process. */
  readonly program: Home['run'];
  /** Runs a command with `--json`, and parses its standard output. */
  readonly json: (args: readonly string[], options?: RunOptions) => Promise<unknown>;
  /** Stores a grant; fails the test when that fails. */
  readonly grant: (name: string, credential: object, args?: readonly string[]) => Promise<void>;
  /** Starts the proxy, and resolves when it serves; stopped at the end of the test. */
  readonly start: (options?: RunOptions) => Promise<Running>;
  /** Every file in the folder by its path, with mode and hash of its content, for a comparison. */
  readonly everything: () => Promise<ReadonlyMap<string, string>>;
}

/** Returns the words of `lease create`. */
export function leaseCreate(agent: string, grants: readonly string[], ...more: readonly string[]) {
  return ['lease', 'create', '--agent', agent, '--grant', ...grants, '--purpose', 'a test', ...more];
}

/**
 * Creates a home.
 * @param config merged over the minimal config
 */
export async function home(config: object = {}): Promise<Home> {
  const folder = await tempFolder();
  const before = process.cwd();
  onTestFinished(() => process.chdir(before));
  await mkdir(join(folder, 'config'), { mode: 0o700 });
  const configFile = join(folder, 'config', 'sidekey.yaml');
  await writeFile(
    configFile,
    stringify({ version: 1, proxy: { listen: '127.0.0.1:0' }, ...config, ...single(config) }),
  );
  await chmod(configFile, 0o600);
  const withConfig = (args: readonly string[]) => [...args, '--config', configFile];
  const runCommand: Home['run'] = (args, options) => runHere(withConfig(args), folder, options);
  return {
    folder,
    configFile,
    at: (...names) => join(folder, ...names),
    run: runCommand,
    program: (args, options) => runProgram(withConfig(args), folder, options),
    async json(args, options) {
      const { stdout, stderr } = await runCommand([...args, '--json'], options);
      if (stdout === '') throw new Error(`Nothing on stdout: ${stderr}`);
      return JSON.parse(stdout);
    },
    async grant(name, credential, args = ['--provider', 'acme']) {
      const { exit, stderr } = await runCommand(['grant', 'import', name, '--no-verify', ...args], {
        input: JSON.stringify(credential),
      });
      if (exit !== 0) throw new Error(stderr);
    },
    start: (options = {}) =>
      startProgram(withConfig(['start', '--json', ...(options.options ?? [])]), folder, options),
    async everything() {
      const names = await readdir(folder, { recursive: true });
      const found = new Map<string, string>();
      for (const name of names.toSorted()) {
        const { mode, size } = await stat(join(folder, name));
        const isFile = (mode & 0o170000) === 0o100000;
        // A read of a database leaves its WAL index, and an empty WAL.
        if (name.endsWith('.db-shm') || (name.endsWith('.db-wal') && size === 0)) continue;
        const content = isFile ? hash('sha256', await readFile(join(folder, name))) : 'folder';
        found.set(name, `${mode.toString(8)} ${content}`);
      }
      return found;
    },
  };
}

/**
 * At the end, so that no line of the config moves. One worker by default: tests of workers set their own
 * number.
 */
function single(config: object): object {
  return 'workers' in config ? {} : { workers: 1 };
}

/** The variables that a program gets from the test. */
function inherited(): NodeJS.ProcessEnv {
  const { PATH, NODE_DISABLE_COMPILE_CACHE } = process.env;
  return { PATH, NODE_DISABLE_COMPILE_CACHE, npm_command: '' };
}

/** Starts `sidekey start --json …`, and resolves when it serves; stopped at the end of the test. */
export async function startProgram(
  args: readonly string[],
  cwd: string,
  { env = {}, entryFile = program, within = [] }: RunOptions = {},
): Promise<Running> {
  const [command = '', ...words] = [...within, process.execPath, entryFile, ...args];
  const child = spawn(command, words, {
    cwd,
    env: { ...inherited(), HOME: cwd, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = new Promise<Ran>((resolve) => {
    child.once('close', (code) => resolve({ exit: code ?? -1, stdout, stderr }));
  });
  const logged = (text: string) =>
    new Promise<string>((resolve, reject) => {
      const look = () => {
        const line = stderr.split('\n').find((each, at, all) => at < all.length - 1 && each.includes(text));
        if (line !== undefined) resolve(line);
      };
      child.stderr.on('data', look);
      void ended.then(() => reject(new Error(`The program ended, and logged only: ${stderr}`)));
      look();
    });
  const stop = () => {
    child.kill('SIGTERM');
    return ended;
  };
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  onTestFinished(async () => void (await stop()));
  const first = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (stdout.includes('\n')) resolve(stdout);
    });
    void ended.then(() => reject(new Error(stderr)));
  });
  const { listen, ca, pages } = JSON.parse(first) as {
    listen: { host: string; port: number };
    ca: string;
    pages: string | null;
  };
  return {
    url: `http://${listen.host}:${listen.port}`,
    caFile: ca,
    pages,
    pid: child.pid ?? 0,
    stop,
    kill,
    ended,
    logged,
  };
}

/** Runs a command in this process, with an empty environment, in this folder. */
export async function runHere(
  args: readonly string[],
  cwd: string,
  { input = '', env = {} }: RunOptions = {},
): Promise<Ran> {
  const written = { stdout: '', stderr: '' };
  const to = (name: keyof typeof written) => ({
    write(text: string | Uint8Array) {
      written[name] += typeof text === 'string' ? text : Buffer.from(text).toString();
      return true;
    },
  });
  process.chdir(cwd);
  const exit = await run(args, {
    env: { HOME: cwd, ...env },
    stdin: Readable.from([Buffer.from(input)]),
    stdout: to('stdout'),
    stderr: to('stderr'),
  });
  return { exit, ...written };
}

/** Runs the program in a folder, with no variables of the test but those that every program gets. */
export function runProgram(
  args: readonly string[],
  cwd: string,
  { input = '', env = {}, entryFile = program }: RunOptions = {},
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      process.execPath,
      [entryFile, ...args],
      { cwd, env: { ...inherited(), HOME: cwd, ...env }, encoding: 'utf8' },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number') reject(error);
        else resolve({ exit: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
      },
    );
    // A program that fails before it reads closes its standard input.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}
