import { spawn, spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, RequestListener } from 'node:http';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { home, program, type Home, type Ran } from '../../support/command-line.ts';
import { createMarks, everythingBelow } from '../../support/marks.ts';
import { startUpstream, upstreamCa, upstreamHost, type Upstream } from '../../support/upstream.ts';
import { imagesBelow, processesAreClosed } from './process-tree.ts';

/** Programs of the tests in this folder. */
export const programs = fileURLToPath(new URL('../programs/', import.meta.url));

/** Why a test of a client cannot run here; false: it can. */
export function missing(command: string, ...probe: readonly string[]): false | string {
  if (processesAreClosed !== false) return processesAreClosed;
  const { status } = spawnSync(command, probe, { stdio: 'ignore', timeout: 30_000 });
  return status === 0 ? false : `${[command, ...probe].join(' ')} does not work here`;
}

/** As `missing`, for packages of npm (`npm ci --prefix test/clients/programs`). */
export function packageMissing(name: string): false | string {
  if (processesAreClosed !== false) return processesAreClosed;
  return existsSync(join(programs, 'node_modules', name)) ? false : `${name} is not installed`;
}

/** One request as the upstream saw it. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

/** How a client fared. */
export interface Performed extends Ran {
  readonly seen: readonly Seen[];
  /** Commands of the processes that were looked into while the upstream held its first answer. */
  readonly lookedInto: readonly string[];
}

/** A TLS upstream that wants a credential, and a Sidekey that has it. */
export interface Stage {
  readonly upstream: Upstream;
  readonly home: Home;
  /** The secret of the grant: nobody but the proxy and the upstream may ever have it. */
  readonly token: string;
  /** A folder that the client may call its own. */
  readonly room: string;
  /**
   * Runs a command by `sidekey run`. While the upstream holds its first answer back, everything that the command has
   * started is looked into, and afterwards every file that it wrote: the test fails where a piece of the token is found.
   */
  readonly perform: (
    command: readonly string[],
    options?: { readonly env?: Readonly<Record<string, string>>; readonly flags?: readonly string[] },
  ) => Promise<Performed>;
}

/**
 * @param answer what the upstream says to requests with the credential; others get a 401
 * @param provider whose grant it is, and so how the credential is carried
 */
export async function stage(
  answer: RequestListener,
  {
    provider = 'acme',
    carried = (token) => ({ authorization: `Bearer ${token}` }),
    domains = {},
  }: {
    readonly provider?: string;
    readonly carried?: (token: string) => Readonly<Record<string, string>>;
    readonly domains?: Readonly<Record<string, unknown>>;
  } = {},
): Promise<Stage> {
  const marks = createMarks();
  const token = marks.mark('the token');
  const control = createMarks();
  const seen: Seen[] = [];
  let hold = nothing;
  const upstream = await startUpstream((request, response) => {
    seen.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers });
    const wanted = Object.entries(carried(token));
    if (wanted.some(([name, value]) => request.headers[name] !== value)) {
      request.resume();
      response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="acme"' }).end('no credential');
      return;
    }
    void hold().then(() => answer(request, response));
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [upstream.authority]: { grant: 'client-test' }, ...domains },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('client-test', { type: 'api_key', value: token }, [
    '--provider',
    provider,
    '--audience',
    upstream.authority,
  ]);
  const room = at.at('room');
  await mkdir(join(room, 'tmp'), { recursive: true });

  return {
    upstream,
    home: at,
    token,
    room,
    async perform(command, { env = {}, flags = [] } = {}) {
      const known = control.mark('what the client was given');
      const ran = spawn(
        process.execPath,
        [program, 'run', '--config', at.configFile, ...flags, '--', ...command],
        {
          cwd: room,
          env: {
            PATH: process.env['PATH'],
            HOME: room,
            TMPDIR: join(room, 'tmp'),
            LANG: 'C.UTF-8',
            KNOWN_TO_THE_CLIENT: known,
            ...env,
          },
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      );
      const lookedInto: string[] = [];
      const leaks: string[] = [];
      const looking: Promise<void>[] = [];
      const look = async () => {
        const images = await imagesBelow(ran.pid ?? 0);
        let hasFoundWhatIsThere = false;
        for (const { command: name, environment, memory } of images) {
          lookedInto.push(name);
          for (const [where, bytes] of [
            ['environment', Buffer.from(environment)],
            ['arguments', Buffer.from(name)],
            ['memory', memory],
          ] as const) {
            leaks.push(...marks.findIn(bytes).map((found) => `${name}, ${where}: ${found}`));
          }
          hasFoundWhatIsThere ||= control.findIn(memory).length > 0;
        }
        // Else the look itself would be blind.
        if (!hasFoundWhatIsThere) leaks.push('not even what the client was given was found in its memory');
      };
      hold = () => {
        if (looking.length === 0) looking.push(look());
        return looking[0]!;
      };
      const before = seen.length;
      const written = { stdout: '', stderr: '' };
      for (const name of ['stdout', 'stderr'] as const) {
        ran[name].setEncoding('utf8').on('data', (text: string) => (written[name] += text));
      }
      const exit = await new Promise<number>((resolve, reject) => {
        ran.once('error', reject);
        ran.once('close', (code) => resolve(code ?? -1));
      });
      await Promise.all(looking);
      for (const [file, bytes] of await everythingBelow(room)) {
        leaks.push(...marks.findIn(bytes).map((found) => `${file}: ${found}`));
      }
      for (const [name, text] of Object.entries(written)) {
        leaks.push(...marks.findIn(Buffer.from(text)).map((found) => `${name}: ${found}`));
      }
      expect(leaks).toEqual([]);
      return { exit, ...written, seen: seen.slice(before), lookedInto };
    },
  };
}

async function nothing(): Promise<void> {}

/** What most clients are asked to get: a small JSON document. */
export const greeting: RequestListener = (request, response) => {
  request.resume();
  response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"greeting":"hello from upstream"}');
};
