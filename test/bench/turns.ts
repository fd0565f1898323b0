/**
 * `npm run bench -- --section turns`: how long the turns of the event loop are in Sidekey and in the bare
 * relay. A request waits for the turn before it, so long turns are the tail of latencies. CPU time of turns
 * does not depend on other programs.
 */
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createDisplay, table } from '../../src/cli/display.ts';
import { startLoadClient, type LoadClient } from './client.ts';
import type { LoadFigures } from './client-main.ts';
import { prepareGround } from './ground.ts';
import type { LoadTarget } from './connection.ts';
import type { TurnFigures } from './loop-watch.ts';
import { kilobyteLength } from './load.ts';
import { median } from './results.ts';
import { kilobytePath, prepareInstance, startInstance, type Stand } from './stand.ts';
import type { Ground } from './subject.ts';
import { relay } from './subjects/relay.ts';
import { sidekey, sidekeyUpkeep } from './subjects/sidekey.ts';

interface TurnsPlan {
  readonly seconds: number;
  readonly rounds: number;
  readonly warmSeconds: number;
  readonly connections: number;
}

const watch = fileURLToPath(new URL('loop-watch.ts', import.meta.url));

/** Requests per second of the open loop. */
const perSecond = 500;

/** Number of new hosts in a window: Sidekey makes a certificate for each. */
const coldHosts = 10;

interface Watched {
  readonly stand: Stand;
  /** File for the figures. */
  readonly file: string;
}

const both = ['relay', 'sidekey'];

/** Prints the table. */
export async function benchTurns(plan: TurnsPlan): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-bench-'));
  const client = startLoadClient();
  const { ground, upstream } = await prepareGround(folder, plan.rounds * coldHosts);
  const all: Watched[] = [];
  try {
    for (const subject of [relay(ground), sidekey(ground), sidekeyUpkeep(ground)]) {
      const prepared = await prepareInstance(ground, subject, 'turns');
      if (prepared === null) continue;
      const file = join(folder, `${subject.id}.json`);
      const args = ['--import', watch, ...prepared.args];
      const env = { ...prepared.env, BENCH_LOOP: file };
      all.push({ file, stand: await startInstance(ground, subject, { ...prepared, args, env }) });
    }
    const lines: string[][] = [];
    for (const { stand } of all) await closed(client, stand.target, plan.connections, plan.warmSeconds);
    for (const { title, run, of: ids } of loads(client, ground, plan)) {
      for (const each of all) {
        if (!ids.includes(each.stand.subject.id)) continue;
        const figures: TurnFigures[] = [];
        const latencies: LoadFigures[] = [];
        for (let round = 0; round < plan.rounds; round += 1) {
          await figuresOf(each);
          const latency = await run(each.stand, round);
          if (latency !== null) latencies.push(latency);
          figures.push(await figuresOf(each));
        }
        const of = (name: keyof TurnFigures) => median(figures.map((it) => it[name]));
        lines.push([
          title,
          each.stand.subject.title,
          of('turns').toFixed(0),
          ...(['p99', 'p999', 'longest', 'pause', 'delayP99'] as const).map((name) => of(name).toFixed(2)),
          ...(['p50', 'p99', 'p999'] as const).map((name) =>
            latencies.length === 0 ? '–' : (median(latencies.map((it) => it[name])) / 1_000).toFixed(2),
          ),
        ]);
      }
    }
    console.log(
      'Turns of the event loop, in ms: CPU time of the thread. Pauses, delays and requests by the clock.',
    );
    const heads = [
      '',
      'subject',
      'turns',
      'p99',
      'p99.9',
      'longest',
      'longest pause of GC',
      'p99 of delays',
      'request p50',
      'p99',
      'p99.9',
    ];
    console.log(table(createDisplay({}, {}), heads, lines));
  } finally {
    await Promise.all([client.stop(), upstream.stop(), ...all.map(({ stand }) => stand.program?.stop())]);
    await rm(folder, { recursive: true, force: true });
  }
}

interface TurnsLoad {
  readonly title: string;
  readonly run: (stand: Stand, round: number) => Promise<LoadFigures | null>;
  /** Subjects that it is for. */
  readonly of: readonly string[];
}

function loads(
  client: LoadClient,
  ground: Ground,
  { connections, seconds }: TurnsPlan,
): readonly TurnsLoad[] {
  const paced = ({ target }: Stand) =>
    client.do('paced', target, kilobytePath, { connections, perSecond, seconds });
  const cold = ({ target }: Stand, round: number) => {
    const hosts = ground.coldHosts.slice(round * coldHosts, (round + 1) * coldHosts);
    return client.do('coldHosts', target, kilobytePath, { hosts, seconds: 60 }).then(() => null);
  };
  return [
    { title: '1 client', run: ({ target }) => closed(client, target, 1, seconds), of: both },
    {
      title: `${connections} clients`,
      run: ({ target }) => closed(client, target, connections, seconds),
      of: both,
    },
    { title: `${perSecond}/s`, run: paced, of: both },
    { title: `${coldHosts} new hosts`, run: cold, of: ['sidekey'] },
    { title: `${perSecond}/s, the config edited`, run: edited, of: ['sidekey'] },
    // The log is rotated every second, and 500 tokens are refreshed each 37 s: about 13 a second.
    { title: `${perSecond}/s, log rotated, tokens refreshed`, run: paced, of: ['sidekey-upkeep'] },
  ];

  async function edited(stand: Stand): Promise<LoadFigures> {
    const config = join(ground.folder, 'sidekey-turns', 'config', 'sidekey.yaml');
    const edit = setInterval(() => void appendFile(config, '# edited\n'), (seconds * 1_000) / 4);
    return paced(stand).finally(() => clearInterval(edit));
  }
}

async function closed(
  client: LoadClient,
  target: LoadTarget,
  connections: number,
  seconds: number,
): Promise<LoadFigures> {
  await client.do('openLoad', target, kilobytePath, { connections, length: kilobyteLength, sent: null });
  const figures = await client.do('runLoad', seconds);
  await client.do('closeLoad');
  return figures;
}

/** The figures since the last call. */
async function figuresOf({ stand, file }: Watched): Promise<TurnFigures> {
  await rm(file, { force: true });
  process.kill(stand.program?.pid ?? 0, 'SIGUSR2');
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => null);
    if (text !== null) return JSON.parse(text) as TurnFigures;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
