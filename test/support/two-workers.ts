import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import type { AuditLine } from '../../src/domain/event.ts';
import { home, type Home, type Running } from './command-line.ts';
import { openTunnel, type RawClient } from './raw-client.ts';
import { startUpstream, upstreamCa, upstreamHost, type Upstream } from './upstream.ts';

/** A tunnel, and its worker. */
export interface WorkerTunnel {
  readonly client: RawClient;
  /** The name of the worker's chain in the audit file. */
  readonly node: string;
}

/** The real program with two workers, a grant, and an upstream. */
export interface TwoWorkers extends Running {
  readonly at: Home;
  readonly upstream: Upstream;
  readonly port: number;
  /** Process ids of the serving workers, as `sidekey status` reads them. */
  readonly pids: () => readonly number[];
  /** Resolves when exactly these workers serve. */
  readonly serving: (isSo: (pids: readonly number[]) => boolean) => Promise<readonly number[]>;
  readonly open: (fields?: readonly string[]) => Promise<RawClient>;
  /** Opens tunnels, each with one completed request, until every worker has at least one. */
  readonly spread: (fields?: readonly string[]) => Promise<readonly WorkerTunnel[]>;
  readonly lines: () => Promise<readonly AuditLine[]>;
  /** Merges the fields into the config file, and resolves when the edit applies to all requests. */
  readonly configure: (config: object) => Promise<void>;
}

export interface TwoWorkersOptions {
  /** Handles `/spread/N`. */
  readonly listener?: RequestListener;
  readonly config?: object;
  /** The domain map entry of the upstream. */
  readonly domain?: object;
  readonly upstream?: Upstream;
  /** The environment, as in `RunOptions`. */
  readonly entryFile?: string;
  /** Called before the start. */
  readonly prepare?: (at: Home, upstream: Upstream) => Promise<void>;
}

/** Starts the program; stopped when the test ends. */
export async function startTwoWorkers(options: TwoWorkersOptions = {}): Promise<TwoWorkers> {
  const upstream =
    options.upstream ??
    (await startUpstream((request, response) => {
      if (request.url?.startsWith('/spread/') === true || options.listener === undefined) response.end('ok');
      else options.listener(request, response);
    }));
  const config = {
    version: 1,
    workers: 2,
    proxy: { listen: '127.0.0.1:0' },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [upstream.authority]: { grant: 'work', ...options.domain } },
    ...options.config,
  };
  const at = await home(config);
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await (options.prepare ?? grantWork)(at, upstream);
  const running = await at.start(options.entryFile === undefined ? {} : { entryFile: options.entryFile });
  const port = Number(new URL(running.url).port);
  const caPem = await readFile(running.caFile, 'utf8');
  const runFile = at.at('data', `sidekey-workers-${port}.json`);
  const pids = () => (JSON.parse(readFileSync(runFile, 'utf8')) as { workers: number[] }).workers;
  const lines = async () =>
    (await readFile(at.at('data', 'audit.jsonl'), 'utf8'))
      .split('\n')
      // A writer that sees another's line half written ends it with a newline, which may leave an empty line.
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as AuditLine);
  const open: TwoWorkers['open'] = (fields = []) =>
    openTunnel({ port, caPem }, upstream.authority, { fields });
  let opened = 0;
  return {
    ...running,
    at,
    upstream,
    port,
    pids,
    async serving(isSo) {
      while (!isSo(pids())) await pollDelay();
      return pids();
    },
    open,
    lines,
    async spread(fields) {
      const found: WorkerTunnel[] = [];
      while (new Set(found.map(({ node }) => node)).size < 2) {
        if (found.length === 200) throw new Error('One worker takes all connections.');
        const client = await open(fields);
        const path = `/spread/${(opened += 1)}`;
        const { status } = await ask(client, upstream, path);
        if (status !== 200) throw new Error(`It was answered ${status}.`);
        const line = (await lines()).find((it) => it.event === 'access' && it.path === path);
        found.push({ client, node: line?.node ?? '' });
      }
      return found;
    },
    async configure(next) {
      await writeFile(at.configFile, stringify({ ...config, ...next }));
      // An edit applies to all requests after 10 ms (docs/configuration.md).
      await delay(10);
    },
  };
}

/** Sends one request on a tunnel. */
export function ask(client: RawClient, upstream: Upstream, path = '/'): ReturnType<RawClient['response']> {
  client.send(`GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  return client.response();
}

export function grantWork(at: Home, upstream: Upstream): Promise<void> {
  return at.grant('work', { type: 'api_key', value: 'key-secret-0123456789' }, [
    '--provider',
    'acme',
    '--audience',
    upstream.authority,
  ]);
}

/** Waits between two checks of other processes, which need the CPU time themselves. */
export function pollDelay(): Promise<void> {
  return delay(20);
}
