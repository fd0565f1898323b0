/** A home with a grant, and programs that run in it under `sidekey run`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { onTestFinished } from 'vitest';
import type { AuditLine } from '../../src/domain/event.ts';
import { home, program, type Home } from './command-line.ts';
import { startUpstream, upstreamCa, upstreamHost, type Upstream } from './upstream.ts';

/** The credential of the grant `desk`. */
export const deskToken = 'token-of-the-desk-0123456789';

export interface RunHome {
  readonly at: Home;
  readonly upstream: Upstream;
  /** The field `authorization` of each request that the upstream received. */
  readonly seen: readonly (string | undefined)[];
  /** The audit events with this name. */
  readonly events: (event: AuditLine['event']) => Promise<readonly AuditLine[]>;
  /** Starts `sidekey run ARGS` with pipes for input and output, and no terminal. */
  readonly start: (args: readonly string[], options?: StartOptions) => RunningCommand;
  /** Runs `sidekey run ARGS` to its end. */
  readonly run: (args: readonly string[], options?: StartOptions) => Promise<EndedCommand>;
}

export interface StartOptions {
  readonly input?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
  /** Working folder; the home by default. */
  readonly cwd?: string;
}

export interface EndedCommand {
  readonly exit: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Returns a standard error without the line about the confinement, in which machines differ. */
export function withoutConfinement(stderr: string): string {
  return stderr.replace(/^sidekey: (?:not )?confined: .*\n/m, '');
}

export interface RunningCommand {
  readonly pid: number;
  readonly signal: (name: NodeJS.Signals) => void;
  readonly write: (text: string) => void;
  /** Closes the test's end of its standard error. */
  readonly deafen: () => Promise<void>;
  /** Resolves with the value of `name=value` in its output. */
  readonly told: (name: string) => Promise<string>;
  readonly ended: Promise<EndedCommand>;
}

/**
 * Creates the home.
 * @param config merged over that of the home
 */
export async function runHome(
  listener: RequestListener = (_request, response) => void response.end('hello'),
  config: (upstream: Upstream) => object = () => ({}),
): Promise<RunHome> {
  const seen: (string | undefined)[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers.authorization);
    listener(request, response);
  });
  const at = await home({
    proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel' },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [upstream.authority]: { grant: 'desk' } },
    ...config(upstream),
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('desk', { type: 'api_key', value: deskToken }, [
    '--provider',
    'acme',
    '--audience',
    upstream.authority,
  ]);
  const start: RunHome['start'] = (args, options) => startRun(at, args, options);
  return {
    at,
    upstream,
    seen,
    async events(event) {
      const text = await readFile(at.at('data', 'audit.jsonl'), 'utf8');
      const lines = text.split('\n').filter((line) => line !== '');
      return lines.map((line) => JSON.parse(line) as AuditLine).filter((line) => line.event === event);
    },
    start,
    run: (args, options) => start(args, options).ended,
  };
}

function startRun(
  { configFile, folder }: Home,
  args: readonly string[],
  { input, env = {}, cwd = folder }: StartOptions = {},
): RunningCommand {
  const child = spawn(process.execPath, [program, 'run', '--config', configFile, ...args], {
    cwd,
    env: { PATH: process.env['PATH'], npm_command: '', HOME: folder, TMPDIR: folder, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
    // Its own session, without the terminal of the person who runs the tests.
    detached: true,
  });
  let [stdout, stderr] = ['', ''];
  const looks = new Set<() => void>();
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    stdout += text;
    for (const look of looks) look();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = new Promise<EndedCommand>((resolve) => {
    child.once('close', (exit, signal) => resolve({ exit, signal, stdout, stderr }));
  });
  // A program that ends without reading closes its standard input.
  child.stdin.on('error', () => {});
  if (input !== undefined) child.stdin.end(input);
  const pid = child.pid ?? 0;
  onTestFinished(async () => {
    try {
      // Kills its child processes too.
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
    await ended;
  });
  return {
    pid,
    signal: (name) => void process.kill(pid, name),
    write: (text) => void child.stdin.write(text),
    async deafen() {
      child.stderr.destroy();
      await once(child.stderr, 'close');
    },
    told: (name) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const [, value] = new RegExp(`^${name}=(.*)\n`, 'm').exec(stdout) ?? [];
          if (value === undefined) return;
          looks.delete(look);
          resolve(value);
        };
        looks.add(look);
        look();
        void ended.then(() => reject(new Error(`It has ended: ${stdout} ${stderr}`)));
      }),
    ended,
  };
}
