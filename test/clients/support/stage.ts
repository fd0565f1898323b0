import { spawn, spawnSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage, RequestListener } from 'node:http';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { expect } from 'vitest';
import type { AuditLine } from '../../../src/domain/event.ts';
import { checkout, home, program, type Home, type Ran } from '../../support/command-line.ts';
import { filesBelow } from '../../support/marks.ts';
import { startUpstream, upstreamCa, upstreamHost, type Upstream } from '../../support/upstream.ts';
import { processesAreClosed } from './process-tree.ts';
import { createSecret, type Secret } from './secret.ts';

/** Programs of the tests in this folder. */
export const programs = fileURLToPath(new URL('../programs/', import.meta.url));

/** The reason why a test of a client cannot run here; false: it can. */
export function missing(command: string, ...probe: readonly string[]): false | string {
  if (processesAreClosed !== false) return processesAreClosed;
  const { status } = spawnSync(command, probe, { stdio: 'ignore', timeout: 30_000 });
  return status === 0 ? false : `${[command, ...probe].join(' ')} does not work here`;
}

/** Like `missing`, for packages of npm (`npm ci --prefix test/clients/programs`). */
export function packageMissing(name: string): false | string {
  if (processesAreClosed !== false) return processesAreClosed;
  return existsSync(join(programs, 'node_modules', name)) ? false : `${name} is not installed`;
}

/** Returns a script of JavaScript whose imports are those packages, also outside of their folder. */
export function withPackages(script: string): string {
  return script.replaceAll(
    / from '(@?[a-z][\w/-]*)'/g,
    (_, name: string) =>
      ` from '${pathToFileURL(createRequire(join(programs, 'x.mjs')).resolve(name)).href}'`,
  );
}

/** One request as the upstream received it. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

/** Result of a command. */
export interface Performed extends Ran {
  /** Commands of the processes that were looked into while an upstream held its answer. */
  readonly lookedInto: readonly string[];
}

export interface PerformOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Working directory, below the folder of the test. */
  readonly cwd?: string;
  /** Further options of `sidekey run`. */
  readonly flags?: readonly string[];
}

/** A Sidekey that has the credential which upstreams want. */
export interface Stage {
  readonly home: Home;
  /** A folder that the client may call its own. */
  readonly room: string;
  /**
   * Runs a command by `sidekey run`. While an upstream holds an answer back, everything that the command has
   * started is looked into, and afterwards every file that it wrote: the test fails where a piece of the
   * token is found.
   */
  readonly perform: (command: readonly string[], options?: PerformOptions) => Promise<Performed>;
  /** Runs a shell script, which stops at the first command that fails; then the test fails. */
  readonly script: (lines: readonly string[], options?: PerformOptions) => Promise<Performed>;
  /** Audit events of allowed requests. */
  readonly accesses: () => Promise<readonly AuditLine[]>;
  /** Number of recorded leaks. */
  readonly leaks: () => Promise<number>;
}

/** Facts that a Sidekey needs about the upstreams of a test. */
export interface StageSetting {
  /** The `domains` of its config. The grant is called `client-test`. */
  readonly domains: Readonly<Record<string, unknown>>;
  /** The provider whose grant it is, and so how the credential is carried. */
  readonly provider: string;
  /** Authentication scheme of the provider, if it differs from the definition. */
  readonly inject?: unknown;
  /** Further keys of its definition. */
  readonly definition?: object;
  /** Hosts that receive the credential; left out: those of the provider. */
  readonly audience?: string;
  /** Left out: the token, as an API key. */
  readonly credential?: object;
  /** Names of upstreams besides the usual one. */
  readonly hosts?: readonly string[];
  /** Port of a company proxy that leads to the upstreams, for programs that know only real hosts. */
  readonly proxyPort?: number;
}

/** Opens a stage for upstreams of the test's own, which hold their answers back by the secret's `hold`. */
export async function openStage(
  secret: Secret,
  { domains, provider, inject, definition, audience, credential, hosts = [], proxyPort }: StageSetting,
): Promise<Stage> {
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: Object.fromEntries([upstreamHost, ...hosts].map((host) => [host, '127.0.0.1'])),
      private_addresses: ['127.0.0.1/32'],
      ...(proxyPort !== undefined && { proxy: { url: `http://127.0.0.1:${proxyPort}`, remote_dns: true } }),
    },
    domains,
    ...(inject === undefined && definition === undefined
      ? {}
      : {
          providers: {
            [provider]: { audience: [audience], ...(inject === undefined ? {} : { inject }), ...definition },
          },
        }),
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('client-test', credential ?? { type: 'api_key', value: secret.token }, [
    '--provider',
    provider,
    ...(audience === undefined ? [] : ['--audience', audience]),
  ]);
  // A confined program writes in its folder if that does not hold the home folder.
  const room = at.at('room');
  const user = at.at('user');
  for (const path of [room, join(user, 'tmp')]) await mkdir(path, { recursive: true });

  const perform: Stage['perform'] = async (command, { env = {}, cwd = '.', flags: more = [] } = {}) => {
    // No test calls anybody but its own upstreams.
    const flags = ['--config', at.configFile, '--unmatched', 'deny', '--show', checkout, ...more];
    const ran = spawn(process.execPath, [program, 'run', ...flags, '--', ...command], {
      cwd: join(room, cwd),
      env: {
        PATH: process.env['PATH'],
        HOME: user,
        TMPDIR: join(user, 'tmp'),
        // Programs of containers look for a login in the folder of the machine, which root may have closed.
        XDG_RUNTIME_DIR: join(user, 'tmp'),
        LANG: 'C.UTF-8',
        KNOWN_TO_THE_CLIENT: secret.known,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const watch = secret.watch(ran.pid ?? 0);
    const written = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      ran[name].setEncoding('utf8').on('data', (text: string) => (written[name] += text));
    }
    const exit = await new Promise<number>((resolve, reject) => {
      ran.once('error', reject);
      ran.once('close', (code) => resolve(code ?? -1));
    });
    const { lookedInto, leaks } = await watch.end();
    const left = [
      ...(await filesBelow(room)),
      ...(await filesBelow(user)),
      ...Object.entries(written).map(([name, text]) => [name, Buffer.from(text)] as const),
    ].flatMap(([where, bytes]) => secret.findIn(bytes).map((found) => `${where}: ${found}`));
    expect([...leaks, ...left]).toEqual([]);
    // Whoever has an answer waited for it.
    if (exit === 0) expect(lookedInto).not.toEqual([]);
    return { exit, ...written, lookedInto };
  };

  const audit = async () => {
    const text = await readFile(at.at('data', 'audit.jsonl'), 'utf8');
    const lines = text.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line) as AuditLine);
  };

  return {
    home: at,
    room,
    perform,
    async script(lines, options) {
      const ran = await perform(['sh', '-ec', lines.join('\n')], options);
      if (ran.exit !== 0) throw new Error(`exit ${ran.exit}\n${ran.stdout}\n${ran.stderr}`);
      return ran;
    },
    accesses: async () => (await audit()).filter(({ event }) => event === 'access'),
    leaks: async () => (await audit()).reduce((sum, { leaks = 0 }) => sum + leaks, 0),
  };
}

/** A stage with one TLS upstream that wants the credential. */
export interface SingleStage extends Stage {
  readonly upstream: Upstream;
  readonly secret: Secret;
  /** Every request, in order; those without the credential had a 401. */
  readonly seen: readonly Seen[];
}

/**
 * The upstream repeats the fields of each request in its answer, so that a client would have the token from
 * there.
 *
 * @param answer what the upstream says to requests with the credential; others get a 401
 * @param carried the fields that the upstream wants to see
 */
export async function stage(
  answer: RequestListener,
  {
    provider = 'acme',
    carried = ({ token }) => ({ authorization: `Bearer ${token}` }),
    inject,
    domains = {},
  }: {
    readonly provider?: string;
    readonly carried?: (secret: Secret) => Readonly<Record<string, string>>;
    readonly inject?: unknown;
    /** Further entries of the domain map. */
    readonly domains?: Readonly<Record<string, unknown>>;
  } = {},
): Promise<SingleStage> {
  const secret = createSecret();
  const seen: Seen[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers });
    const wanted = Object.entries(carried(secret));
    if (wanted.some(([name, value]) => request.headers[name] !== value)) {
      request.resume();
      response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="acme"' }).end('no credential');
      return;
    }
    // Everything that a client gets has the credential in it, as far as the upstream is concerned.
    response.setHeader('X-You-Sent', JSON.stringify(request.headers));
    void secret.hold(request.method).then(() => answer(request, response));
  });
  const opened = await openStage(secret, {
    domains: {
      // The upstream repeats the credential in each answer.
      [upstream.authority]: { grant: 'client-test', leak_guard: 'redact', leak_limit: 1_000_000 },
      ...domains,
    },
    provider,
    inject,
    audience: upstream.authority,
  });
  return {
    ...opened,
    upstream,
    secret,
    seen,
    async perform(...command) {
      const ran = await opened.perform(...command);
      if (ran.exit === 0) expect(await opened.leaks()).toBeGreaterThan(0);
      return ran;
    },
  };
}

/** The document that most clients request: a small JSON text that repeats the fields of the request. */
export const greeting: RequestListener = (request, response) => {
  request.resume();
  const body = JSON.stringify({ greeting: 'hello from upstream', you_sent: request.headers });
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(body);
};
