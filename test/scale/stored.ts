/**
 * `npm run scale:figures -- 1000000`: what stored grants cost, with 100 and with so many of them, in SQLite
 * and in PostgreSQL. Each figure comes from a process of its own, which serves real requests.
 */
import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { startProxy } from '../../src/app/proxy.ts';
import { openState, openStore } from '../../src/app/state.ts';
import { loadConfig } from '../../src/config/load.ts';
import { sealContext, writeSealed } from '../../src/grants/sealed-text.ts';
import type { GrantRecord } from '../../src/store/store.ts';

export type Figures = Record<string, number>;

const env = {};
const log = { error: console.error, warn() {}, info() {}, debug() {} };
const batch = 1_000;
const rounds = 2_000;
const userOf = (n: number) => `u${n}`;
const anyOf = (count: number) => userOf(Math.floor(Math.random() * count));
const at = 1_700_000_000_000;
const answer = JSON.stringify({ text: 'x'.repeat(2_000) });

/** @param store `store` of the config: a SQLite file in a new folder, or a PostgreSQL database */
export async function measureStored(store: string, count: number): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-scale-'));
  const file = join(folder, 'sidekey.yaml');
  const upstream = createServer((_, response) => response.end(answer)).listen(0, '127.0.0.1');
  try {
    await once(upstream, 'listening');
    const { port } = upstream.address() as AddressInfo;
    await writeFile(file, configText(store, port));
    const insertMs = await timed(() => fill(file, count, port));
    const child = [import.meta.filename, file, String(count), String(port)];
    const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', ...child]);
    return { 'ms to insert the grants': insertMs, ...(JSON.parse(stdout) as Figures) };
  } finally {
    upstream.close();
    await rm(folder, { recursive: true });
  }
}

function configText(store: string, upstreamPort: number): string {
  return stringify({
    version: 1,
    proxy: { listen: '127.0.0.1:0' },
    store,
    key: { source: 'file', path: 'master.key' },
    ca: { directory: 'certs' },
    audit: { file: 'audit.jsonl' },
    upstream: { private_addresses: ['127.0.0.1/32'] },
    domains: { [`127.0.0.1:${upstreamPort}`]: { grant: 'acme', allow_plain_http: true } },
  });
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

async function fill(file: string, count: number, port: number): Promise<void> {
  const state = await openState(await loadConfig(file, { env }), { log, now: Date.now, env });
  for (let from = 0; from < count; from += batch) {
    const records = Array.from({ length: Math.min(batch, count - from) }, (_, n): GrantRecord => {
      const grant = {
        id: randomUUID(),
        name: 'acme',
        user: userOf(from + n),
        provider: 'acme',
        type: 'api_key',
        state: 'active',
        stateReason: null,
        scopes: [],
        expiresAt: null,
        refreshable: false,
        lease: null,
        parent: null,
        mint: null,
        revision: 1,
        createdAt: at,
        updatedAt: at,
      } as const;
      const credential = { type: 'api_key', value: randomBytes(750).toString('base64url') } as const;
      const text = writeSealed({ credential, audience: [`127.0.0.1:${port}`] });
      return { ...grant, sealed: state.vault.seal(sealContext(grant), text) };
    });
    await state.store.grants.insert(...records);
  }
  await state.close();
}

/** Measures one process with the filled store. */
async function measure(file: string, count: number, port: string): Promise<Figures> {
  const figures: Figures = {};
  const begun = performance.now();
  const proxy = await startProxy(await loadConfig(file, { env }), { log, now: Date.now, env });
  figures['ms until it listens'] = performance.now() - begun;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const get = async (user: string) => {
    const selector = Buffer.from(`+user=${user}:`).toString('base64');
    const headers = { host: `127.0.0.1:${port}`, 'proxy-authorization': `Basic ${selector}` };
    const path = `http://127.0.0.1:${port}/`;
    const sent = request({ agent, port: proxy.address.port, path, headers }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const body = await text(response);
    if (body !== answer) throw new Error(`${response.statusCode}: ${body}`);
  };
  figures['ms of the first answer'] = await timed(() => get(anyOf(count)));
  globalThis.gc?.();
  const rss = process.memoryUsage.rss();
  figures['MB of a process after its start'] = rss / 1e6;
  const times: number[] = [];
  for (let n = 0; n < rounds; n += 1) times.push(await timed(() => get(anyOf(count))));
  times.sort((a, b) => a - b);
  figures['ms of a request with any grant, p50'] = times[rounds / 2]!;
  figures['ms of a request with any grant, p99'] = times[Math.floor(rounds * 0.99)]!;
  globalThis.gc?.();
  figures[`MB more after ${rounds} of them`] = (process.memoryUsage.rss() - rss) / 1e6;
  figures['ms of a page of 100 grants'] = await timed(() => proxy.state.store.grants.find({ limit: 100 }));
  figures['ms until another process has a change'] = await measureChange(file, proxy.state.grants, count);
  agent.destroy();
  await proxy.close();
  return figures;
}

/** From a write through another connection until this process has read it. */
async function measureChange(
  file: string,
  grants: Awaited<ReturnType<typeof openState>>['grants'],
  count: number,
): Promise<number> {
  const other = await openStore(await loadConfig(file, { env }), { now: Date.now, env });
  let ms = 0;
  const changes = 20;
  for (let n = 0; n < changes; n += 1) {
    const [grant] = await grants.find('acme', { users: [anyOf(count)], ids: [] });
    const record = (await other.grants.get(grant!.id))!;
    const revision = record.revision + 1;
    await other.grants.replace({ ...record, revision, state: 'revoked' }, record.revision);
    ms += await timed(async () => {
      for (;;) {
        const [now] = await grants.find('acme', { users: [grant!.user], ids: [] });
        if (now!.revision === revision) return;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
  }
  await other.close();
  return ms / changes;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  console.log(JSON.stringify(await measure(process.argv[2]!, Number(process.argv[3]), process.argv[4]!)));
  process.exit(0);
}
