import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import type { TestSidekey } from './sidekey.ts';

/** The result of a program. */
export interface ClientRun {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A client program of this machine. */
export interface ClientProgram {
  /** The reason why it is missing; false: it exists. For `test.skipIf` and the name of a suite. */
  readonly missing: string | false;
  /** Runs it with the PATH of the test and this environment only. */
  run(args: readonly string[], options: ClientOptions): Promise<ClientRun>;
  /** Runs it, and fails the test with its output when it fails. */
  succeed(args: readonly string[], options: ClientOptions): Promise<ClientRun>;
}

export interface ClientOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly input?: Buffer;
}

/** Finds the first program on the PATH that succeeds with these arguments. */
export async function findClient(
  name: string,
  probe: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<ClientProgram> {
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((each) => each !== '');
  for (const folder of isAbsolute(name) ? [''] : path) {
    const file = join(folder, name);
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (!isThere) continue;
    const { exit } = await start(file, probe, { cwd: '/', env }).catch(() => ({ exit: -1 }));
    if (exit === 0) return clientOf(name, file);
  }
  const missing = `${[name, ...probe].join(' ')} does not run here`;
  const run = () => Promise.reject(new Error(missing));
  return { missing, run, succeed: run };
}

function clientOf(name: string, file: string): ClientProgram {
  return {
    missing: false,
    run: (args, options) => start(file, args, options),
    async succeed(args, options) {
      const ran = await start(file, args, options);
      if (ran.exit !== 0) {
        throw new Error(`${name} ${args.join(' ')}: exit ${ran.exit}\n${ran.stdout}\n${ran.stderr}`);
      }
      return ran;
    },
  };
}

function start(
  file: string,
  args: readonly string[],
  { cwd, env, input }: ClientOptions,
): Promise<ClientRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd,
      env: { PATH: process.env['PATH'], HOME: cwd, LC_ALL: 'C', ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    // A program that reads nothing closes its standard input.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.once('error', reject);
    child.once('close', (code) => resolve({ exit: code ?? -1, stdout, stderr }));
  });
}

/** The environment that configures the proxy and the trusted certificates. It has no credential. */
export function clientEnvironment({
  url,
  caFile,
}: Pick<TestSidekey, 'url' | 'caFile'>): Record<string, string> {
  const proxies = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'];
  const trust = [
    'SSL_CERT_FILE',
    'CURL_CA_BUNDLE',
    'REQUESTS_CA_BUNDLE',
    'PIP_CERT',
    'GIT_SSL_CAINFO',
    'CARGO_HTTP_CAINFO',
    'NPM_CONFIG_CAFILE',
    'NODE_EXTRA_CA_CERTS',
  ];
  return Object.fromEntries([
    ...proxies.map((name) => [name, url] as const),
    ...trust.map((name) => [name, caFile] as const),
    ['NODE_USE_ENV_PROXY', '1'] as const,
    ['NO_PROXY', ''] as const,
  ]);
}
