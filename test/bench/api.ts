/**
 * `npm run bench -- --section api`: 1,000 calls of the API a second beside 200 requests a second through the
 * proxy, and the same requests without the calls, interleaved. Both are open loops: a latency counts from the
 * time at which a call was due.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../support/free-port.ts';
import { hashToken } from '../../src/agents/authentication.ts';
import { openState } from '../../src/app/state.ts';
import { createDisplay, table } from '../../src/cli/display.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createLog } from '../../src/lib/log.ts';
import { type LoadClient, startLoadClient } from './client.ts';
import { prepareGround } from './ground.ts';
import { type Running } from './process.ts';
import { kilobytePath, prepareInstance, prove, type Stand, startInstance } from './stand.ts';
import type { Ground, Prepared } from './subject.ts';
import { sidekeyApi } from './subjects/sidekey.ts';

const callsPerSecond = 1_000;
const requestsPerSecond = 200;
const path = '/v2/grants/bench';

interface Options {
  readonly seconds: number;
  readonly rounds: number;
}

export async function benchApi(options: Options): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-api-'));
  const client = startLoadClient();
  const running: Running[] = [];
  try {
    const { ground, upstream } = await prepareGround(folder, 0);
    running.push(upstream);
    const rows: string[][] = [];
    for (const workers of [1, 2]) {
      const { stand, call } = await standOf(ground, workers);
      if (stand.program !== null) running.push(stand.program);
      rows.push(await measure(client, stand, call, options));
      await stand.program?.stop();
    }
    console.log(
      `The API: ${callsPerSecond} calls of GET ${path} a second beside ${requestsPerSecond} requests a second through the proxy; medians of ${options.rounds} rounds.`,
    );
    const headings = [
      '',
      'calls/s',
      'call p50 ms',
      'call p99 ms',
      'CPU µs a call',
      'request p50 ms',
      'without calls',
      'ratio',
    ];
    console.log(table(createDisplay({}, {}), headings, rows));
  } finally {
    await client.stop();
    await Promise.all(running.map((program) => program.stop()));
    await rm(folder, { recursive: true, force: true });
  }
}

type Call = (seconds: number) => Promise<Calls>;

async function standOf(
  ground: Ground,
  workers: number,
): Promise<{ readonly stand: Stand; readonly call: Call }> {
  const port = await freePort();
  const subject = sidekeyApi(ground, port, workers);
  const prepared = await prepareInstance(ground, subject, 'api');
  const key = await insertKey(prepared);
  return {
    stand: await startInstance(ground, subject, prepared),
    call: (seconds) => callPaced(`http://127.0.0.1:${port}${path}`, key, seconds),
  };
}

/** Puts a key of an operator into the store, and returns it. */
async function insertKey(prepared: Prepared | null): Promise<string> {
  const config = await loadConfig(prepared?.args.at(-1) ?? '', { env: {} });
  const state = await openState(config, { log: createLog('warn'), now: Date.now });
  const key = 'sk_bench-0123456789abcdef';
  try {
    const unlimited = { scopes: null, user: null, person: null, expiresAt: null, usedAt: null };
    const record = { name: 'bench', role: 'operator', createdAt: Date.now(), hash: hashToken(key) };
    await state.store.apiKeys.insert({ ...record, ...unlimited });
  } finally {
    await state.close();
  }
  return key;
}

interface Calls {
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** @throws Error where a call fails */
async function callPaced(url: string, key: string, seconds: number): Promise<Calls> {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const count = Math.round(callsPerSecond * seconds);
  const begin = performance.now();
  const latencies: number[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const ask = async (due: number) => {
    const [response] = await once(get(url, { agent, headers: { 'x-api-key': key } }), 'response');
    response.resume();
    await once(response, 'end');
    if (response.statusCode !== 200) throw new Error(`the API answers ${response.statusCode}`);
    latencies.push(performance.now() - due);
    if (latencies.length === count) resolve();
  };
  let sent = 0;
  const timer = setInterval(() => {
    for (; sent < count && begin + sent <= performance.now(); sent += 1) ask(begin + sent).catch(reject);
  }, 1_000 / callsPerSecond);
  try {
    await promise;
  } finally {
    clearInterval(timer);
    agent.destroy();
  }
  const sorted = latencies.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
  return { perSecond: (count * 1_000) / (performance.now() - begin), p50: at(0.5), p99: at(0.99) };
}

async function measure(
  client: LoadClient,
  stand: Stand,
  call: Call,
  { seconds, rounds }: Options,
): Promise<string[]> {
  await prove(client, stand);
  const request = () =>
    client.do('paced', stand.target, kilobytePath, { connections: 8, perSecond: requestsPerSecond, seconds });
  const cpu = () => stand.program?.cpuMicros() ?? 0;
  await Promise.all([request(), call(seconds)]);
  const samples: (Calls & { cpuMicros: number; beside: number; alone: number })[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const start = cpu();
    const alone = await request();
    const between = cpu();
    const [beside, calls] = await Promise.all([request(), call(seconds)]);
    const added = cpu() - between - (between - start);
    if (alone.failures + beside.failures > 0) throw new Error('the proxy gave wrong answers');
    samples.push({
      ...calls,
      cpuMicros: added / (callsPerSecond * seconds),
      beside: beside.p50 / 1_000,
      alone: alone.p50 / 1_000,
    });
  }
  const median = (value: (sample: (typeof samples)[number]) => number) =>
    samples.map(value).toSorted((a, b) => a - b)[Math.floor(samples.length / 2)] ?? Number.NaN;
  return [
    stand.subject.title,
    median(({ perSecond }) => perSecond).toFixed(0),
    median(({ p50 }) => p50).toFixed(2),
    median(({ p99 }) => p99).toFixed(2),
    median(({ cpuMicros }) => cpuMicros).toFixed(0),
    median(({ beside }) => beside).toFixed(2),
    median(({ alone }) => alone).toFixed(2),
    median(({ beside, alone }) => beside / alone).toFixed(2),
  ];
}
