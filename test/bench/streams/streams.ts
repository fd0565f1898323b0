/**
 * `npm run bench -- --section streams`: requests and messages on streams of HTTP/2, and event streams, through
 * Sidekey, the bare relay and nghttpx (`apt-get install nghttp2-proxy`). HTTP/2 is on both sides of the proxy.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../support/free-port.ts';
import { createDisplay, table } from '../../../src/cli/display.ts';
import { startLoadClient, type LoadClient } from '../client.ts';
import { busyText, inQuietWindow } from '../machine.ts';
import { WrongAnswers } from '../measures.ts';
import { startNodeUpstream } from '../node-ground.ts';
import { isInstalled } from '../process.ts';
import { median } from '../results.ts';
import { prepareInstance, type Stand, startInstance } from '../stand.ts';
import type { Ground, Subject } from '../subject.ts';
import { relay } from '../subjects/relay.ts';
import { sidekeyStreams } from '../subjects/sidekey.ts';
import type { StreamKind } from './load.ts';

interface StreamsPlan {
  /** Length of a window; three times as long for event streams. */
  readonly seconds: number;
  readonly rounds: number;
  readonly warmSeconds: number;
  /** Number of event streams. */
  readonly events: number;
  readonly retries: number;
}

/** Figures of a window. */
interface Sample {
  readonly cpu: number;
  readonly p50: number;
  readonly p99: number;
  readonly kb: number;
}

interface Row {
  readonly title: string;
  readonly kind: StreamKind;
  readonly count: number;
  readonly subjects: readonly Subject[];
}

/** Prints the table. */
export async function benchStreams(plan: StreamsPlan): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-streams-'));
  const client = startLoadClient();
  const { ground, upstream } = await startNodeUpstream(folder, 'streams/upstream.ts');
  try {
    const ours = sidekeyStreams(ground);
    const hasPeer = isInstalled('nghttpx');
    const h2 = [{ ...relay(ground, '../streams/relay-main.ts'), id: 'relay-h2' }, ours];
    if (hasPeer) h2.push(nghttpx(ground));
    const rows: readonly Row[] = [
      { title: 'requests, 1 stream', kind: 'requests', count: 1, subjects: h2 },
      { title: 'requests, 64 streams', kind: 'requests', count: 64, subjects: h2 },
      { title: 'messages, 1 stream', kind: 'messages', count: 1, subjects: h2 },
      { title: 'messages, 64 streams', kind: 'messages', count: 64, subjects: h2 },
      {
        title: `${plan.events.toLocaleString('en')} event streams`,
        kind: 'events',
        count: plan.events,
        subjects: [relay(ground), ours],
      },
    ];
    const lines: string[][] = [];
    let [dropped, busy] = [0, 0];
    for (const row of rows) {
      const stands: Stand[] = [];
      try {
        for (const subject of row.subjects) stands.push(await start(ground, subject, row.kind));
        for (const stand of stands) await warm(client, row, stand, plan);
        const samples = stands.map((): Sample[] => []);
        for (let round = 0; round < plan.rounds; round += 1) {
          for (const [index, stand] of stands.entries()) {
            const take = () => measure(client, row, stand, plan);
            const window = await inQuietWindow(take, plan.retries);
            samples[index]!.push(window.result);
            dropped += window.dropped;
            if (window.isBusy) busy += 1;
          }
        }
        lines.push(...linesOf(row, samples));
      } finally {
        await Promise.all(stands.map(async ({ program }) => program?.stop()));
      }
    }
    console.log(
      'Streams of HTTP/2 on both sides, and event streams with an event each second; CPU of the best window, else medians.',
    );
    const heads = ['', 'subject', 'CPU µs', '÷ bare relay', 'p50 µs', 'p99 µs', 'KB a stream'];
    console.log(table(createDisplay({}, {}), heads, lines));
    console.log(`A window is dropped where ${busyText}: ${dropped} dropped.`);
    if (busy > 0) console.log(`The machine was BUSY in ${busy} of the windows: do not quote their CPU.`);
    if (!hasPeer) console.log('missing: nghttpx is not installed (apt-get install nghttp2-proxy)');
  } finally {
    await Promise.all([client.stop(), upstream.stop()]);
    await rm(folder, { recursive: true, force: true });
  }
}

let instances = 0;

async function start(ground: Ground, subject: Subject, kind: StreamKind): Promise<Stand> {
  instances += 1;
  const prepared = await prepareInstance(ground, subject, `${kind}-${instances}`);
  const stand = await startInstance(ground, subject, prepared);
  if (subject.id !== 'nghttpx') return stand;
  // A reverse proxy: it takes no CONNECT, and adds the field instead of replacing it.
  const { host, ca } = stand.target;
  return { ...stand, target: { proxyPort: null, host, port: prepared?.port ?? 0, ca } };
}

async function warm(client: LoadClient, row: Row, { target }: Stand, plan: StreamsPlan): Promise<void> {
  if (plan.warmSeconds === 0 || row.kind === 'events') return;
  await client.do('openStreams', target, row.kind, row.count);
  await client.do('runLoad', plan.warmSeconds);
  await client.do('closeLoad');
}

async function measure(client: LoadClient, row: Row, stand: Stand, plan: StreamsPlan): Promise<Sample> {
  const { subject, target, program } = stand;
  const before = program?.residentMb() ?? 0;
  await client.do('openStreams', target, row.kind, row.count);
  try {
    await client.do('runLoad', plan.seconds / 4);
    const begun = program?.cpuMicros() ?? 0;
    // An event stream has an event each second.
    const seconds = row.kind === 'events' ? Math.max(1, plan.seconds * 3) : plan.seconds;
    const { exchanges, failures, p50, p99 } = await client.do('runLoad', seconds);
    if (failures > 0 || exchanges === 0)
      throw new WrongAnswers(`${subject.title}, ${row.title}: ${failures} failures, ${exchanges} answers`);
    const cpu = ((program?.cpuMicros() ?? 0) - begun) / exchanges;
    const kb = (((program?.residentMb() ?? 0) - before) * 1_024) / row.count;
    return { cpu, p50, p99, kb };
  } finally {
    await client.do('closeLoad');
  }
}

function linesOf({ title, kind, subjects }: Row, samples: readonly (readonly Sample[])[]): string[][] {
  const best = samples.map((all) => Math.min(...all.map(({ cpu }) => cpu)));
  return subjects.map((subject, index) => {
    const all = samples[index]!;
    const ratio = best[index]! / best[0]!;
    return [
      title,
      subject.title,
      best[index]!.toFixed(1),
      Number.isFinite(ratio) ? ratio.toFixed(2) : '–',
      median(all.map(({ p50 }) => p50)).toFixed(0),
      median(all.map(({ p99 }) => p99)).toFixed(0),
      // The first window: later ones find the memory of earlier ones.
      kind === 'events' ? all[0]!.kb.toFixed(0) : '–',
    ];
  });
}

function nghttpx({ folder, host, port, root, rootFile, token }: Ground): Subject {
  return {
    id: 'nghttpx',
    title: 'nghttpx',
    what: 'nghttpx as a reverse proxy that adds Authorization',
    adds: true,
    coldReason: 'a reverse proxy',
    filesPerTunnel: 2,
    async prepare() {
      const own = await freePort();
      const args = [
        '--conf=/dev/null',
        `--frontend=127.0.0.1,${own}`,
        `--backend=127.0.0.1,${port};;proto=h2;tls;sni=${host}`,
        `--cacert=${rootFile}`,
        `--add-request-header=authorization: Bearer ${token}`,
        '--no-ocsp',
        '--workers=1',
        join(folder, 'leaf.key'),
        join(folder, 'leaf.pem'),
      ];
      return { command: 'nghttpx', args, port: own, ca: () => Promise.resolve(root) };
    },
  };
}
