import { execFile, spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { onTestFinished } from 'vitest';
import { run } from '../../src/cli/index.ts';
import { tempFolder } from './temp-folder.ts';

/** The program as it is run by people. */
export const program = fileURLToPath(new URL('../../src/sidekey.js', import.meta.url));

export interface Ran {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** What stands on standard input; nothing: an empty one. */
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Another build of the program; default: the sources. Not for what runs within the process of the test. */
  readonly entryFile?: string;
}

/** A proxy that runs as a program of its own. */
export interface Running {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly caFile: string;
  readonly pid: number;
  /** Sends SIGTERM, and resolves with how it ended. */
  readonly stop: () => Promise<Ran>;
  /** Sends SIGKILL, and resolves when it is gone. */
  readonly kill: () => Promise<void>;
  /** Resolves with how it ended, when it has. */
  readonly ended: Promise<Ran>;
}

/** A place of its own for the program: a folder with a config, and nothing else yet. */
export interface Home {
  readonly folder: string;
  readonly configFile: string;
  /** Path of a file in it. */
  readonly at: (...names: readonly string[]) => string;
  /** Runs a command with this config, within the process of the test: some twenty times as fast as a process of its own. */
  readonly run: (args: readonly string[], options?: RunOptions) => Promise<Ran>;
  /** Runs the real program, as people do. */
  readonly program: Home['run'];
  /** `run` with `--json`: what it wrote to stdout, parsed. */
  readonly json: (args: readonly string[], options?: RunOptions) => Promise<unknown>;
  /** Stores a grant, and fails the test where that fails. */
  readonly grant: (name: string, credential: object, args?: readonly string[]) => Promise<void>;
  /** Starts the proxy, and resolves when it serves; stopped when the test ends, if not before. */
  readonly start: (options?: RunOptions) => Promise<Running>;
  /** Every file below, by its path, with its mode and a hash of its content: to be compared before and after. */
  readonly everything: () => Promise<ReadonlyMap<string, string>>;
}

/** @param config put over the least one */
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
      const { exit, stderr } = await runCommand(['grant', 'add', name, ...args], {
        input: JSON.stringify(credential),
      });
      if (exit !== 0) throw new Error(stderr);
    },
    start: (options) => startProgram(withConfig(['start', '--json']), folder, options),
    async everything() {
      const names = await readdir(folder, { recursive: true });
      const found = new Map<string, string>();
      for (const name of names.toSorted()) {
        const { mode, size } = await stat(join(folder, name));
        const isFile = (mode & 0o170000) === 0o100000;
        // A look at a database leaves its index of the log, and a log in which nothing is.
        if (name.endsWith('.db-shm') || (name.endsWith('.db-wal') && size === 0)) continue;
        const content = isFile ? hash('sha256', await readFile(join(folder, name))) : 'folder';
        found.set(name, `${mode.toString(8)} ${content}`);
      }
      return found;
    },
  };
}

/** Behind all else, so that no line of the config moves: as many workers as the machine would have are for the tests of workers. */
function single(config: object): object {
  return 'workers' in config ? {} : { workers: 1 };
}

/** Starts `sidekey start --json …`, and resolves when it serves; stopped when the test ends, if not before. */
export async function startProgram(
  args: readonly string[],
  cwd: string,
  { env = {}, entryFile = program }: RunOptions = {},
): Promise<Running> {
  const child = spawn(process.execPath, [entryFile, ...args], {
    cwd,
    env: { PATH: process.env['PATH'], HOME: cwd, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = new Promise<Ran>((resolve) => {
    child.once('close', (code) => resolve({ exit: code ?? -1, stdout, stderr }));
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
  const { listen, ca } = JSON.parse(first) as { listen: { port: number }; ca: string };
  return { url: `http://127.0.0.1:${listen.port}`, caFile: ca, pid: child.pid ?? 0, stop, kill, ended };
}

/** Runs a command in this process: its environment is left out, and its folder is changed until the test ends. */
async function runHere(
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

/** Runs the program in a folder, with an environment that has nothing of the test's own. */
export function runProgram(
  args: readonly string[],
  cwd: string,
  { input = '', env = {}, entryFile = program }: RunOptions = {},
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      process.execPath,
      [entryFile, ...args],
      { cwd, env: { PATH: process.env['PATH'], HOME: cwd, ...env }, encoding: 'utf8' },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number') reject(error);
        else resolve({ exit: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
      },
    );
    // A program that refuses before it reads closes its end.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}
