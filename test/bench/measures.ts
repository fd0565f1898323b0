/** The measurements: each is one window of load on one subject, and its figures. */
import type { LoadClient } from './client.ts';
import type { LoadFigures } from './client-main.ts';
import { bulkLength } from './ground.ts';
import { kilobyteLength } from './load.ts';
import { kilobytePath, type Stand } from './stand.ts';
import type { Ground } from './subject.ts';

/** Size of a measurement. */
export interface Plan {
  /** Seconds of one window. */
  readonly seconds: number;
  readonly rounds: number;
  /** Load on each subject before the first round, until most of its code is compiled. */
  readonly warmSeconds: number;
  readonly connections: number;
  /** Requests per second of the open loop. */
  readonly perSecond: number;
  readonly coldHostsPerRound: number;
  readonly idleCounts: readonly [number, number];
  /** Maximum time to open idle tunnels. */
  readonly idlePatience: number;
  /** Further windows for one in which the machine was busy with other work. */
  readonly retries: number;
}

/** One window's figures. `isClientBound`: not the subject but the client was what limited the rate. */
export interface Sample {
  readonly figures: Readonly<Record<string, number>>;
  readonly isClientBound: boolean;
}

export interface Measuring {
  readonly client: LoadClient;
  readonly ground: Ground;
  readonly plan: Plan;
  readonly round: number;
}

/** Answers were wrong: whatever was measured is worth nothing. */
export class WrongAnswers extends Error {}

/** Measurements of running subjects, in each round. */
export const measures = { exchange, single, paced, bulk, tunnels, cold } as const;

async function exchange(measuring: Measuring, stand: Stand): Promise<Sample> {
  const { figures, cpuMicros } = await closedLoop(measuring, stand, measuring.plan.connections);
  return {
    figures: {
      perSecond: figures.exchanges / figures.seconds,
      cpu: cpuMicros / figures.exchanges,
      clientCpu: figures.clientMicros / figures.exchanges,
      clientBusy: figures.clientBusy,
    },
    isClientBound: figures.clientBusy >= 0.9,
  };
}

async function single(measuring: Measuring, stand: Stand): Promise<Sample> {
  const { figures } = await closedLoop(measuring, stand, 1);
  return { figures: { p50: figures.p50, p99: figures.p99 }, isClientBound: false };
}

async function paced({ client, plan }: Measuring, { target }: Stand): Promise<Sample> {
  const pace = { connections: plan.connections, perSecond: plan.perSecond, seconds: plan.seconds };
  const figures = right(await client.do('paced', target, kilobytePath, pace));
  return { figures: { p50: figures.p50, p99: figures.p99 }, isClientBound: figures.clientBusy >= 0.9 };
}

/** 10 MB over one kept-alive tunnel, again and again: down, then up, half a window each. */
async function bulk({ client, plan }: Measuring, { target, program }: Stand): Promise<Sample> {
  let peakMb = 0;
  const look = () => (peakMb = Math.max(peakMb, program?.residentMb() ?? 0));
  const watch = setInterval(look, 50);
  try {
    const run = async (path: string, length: number, sent: number | null) => {
      await client.do('openLoad', target, path, { connections: 1, length, sent });
      try {
        right(await client.do('runLoad', plan.seconds / 8));
        return right(await client.do('runLoad', plan.seconds / 2));
      } finally {
        await client.do('closeLoad');
      }
    };
    const down = await run('/10m', bulkLength, null);
    const up = await run('/upload', 2, bulkLength);
    look();
    return {
      figures: { down: megabytesPerSecond(down), up: megabytesPerSecond(up), peakMb },
      isClientBound: Math.max(down.clientBusy, up.clientBusy) >= 0.9,
    };
  } finally {
    clearInterval(watch);
  }
}

function megabytesPerSecond({ exchanges, seconds }: LoadFigures): number {
  return (exchanges * bulkLength) / 1e6 / seconds;
}

async function tunnels({ client, plan }: Measuring, { target, program }: Stand): Promise<Sample> {
  const how = { width: 8, seconds: plan.seconds };
  await client.do('newTunnels', target, kilobytePath, { ...how, seconds: plan.seconds / 4 });
  const before = program?.cpuMicros() ?? 0;
  const figures = right(await client.do('newTunnels', target, kilobytePath, how));
  const cpuMicros = (program?.cpuMicros() ?? 0) - before;
  return {
    figures: { perSecond: figures.exchanges / figures.seconds, cpu: cpuMicros / figures.exchanges },
    isClientBound: figures.clientBusy >= 0.9,
  };
}

/** Hosts that the subject has not seen: it looks each up, makes a leaf where it intercepts, and connects. */
async function cold({ client, plan, ground, round }: Measuring, { target, program }: Stand): Promise<Sample> {
  const begin = round * plan.coldHostsPerRound;
  const hosts = ground.coldHosts.slice(begin, begin + plan.coldHostsPerRound);
  const before = program?.cpuMicros() ?? 0;
  const how = { hosts, seconds: plan.seconds };
  const figures = right(await client.do('coldHosts', target, kilobytePath, how));
  const cpuMicros = (program?.cpuMicros() ?? 0) - before;
  return {
    figures: { p50: figures.p50 / 1_000, cpu: cpuMicros / figures.exchanges / 1_000 },
    isClientBound: false,
  };
}

/** Load that is not measured; wrong answers count all the same. */
export async function warm(
  { client, plan }: Pick<Measuring, 'client' | 'plan'>,
  { target }: Stand,
): Promise<void> {
  const { connections, warmSeconds } = plan;
  await client.do('openLoad', target, kilobytePath, { connections, length: kilobyteLength, sent: null });
  try {
    right(await client.do('runLoad', warmSeconds));
  } finally {
    await client.do('closeLoad');
  }
}

/** Each connection asks again as soon as it was answered. */
async function closedLoop(
  { client, plan }: Measuring,
  { target, program }: Stand,
  connections: number,
): Promise<{ readonly figures: LoadFigures; readonly cpuMicros: number }> {
  const what = { connections, length: kilobyteLength, sent: null };
  await client.do('openLoad', target, kilobytePath, what);
  try {
    right(await client.do('runLoad', plan.seconds / 4));
    const before = program?.cpuMicros() ?? 0;
    const figures = right(await client.do('runLoad', plan.seconds));
    return { figures, cpuMicros: (program?.cpuMicros() ?? 0) - before };
  } finally {
    await client.do('closeLoad');
  }
}

function right(figures: LoadFigures): LoadFigures {
  const { failures, exchanges } = figures;
  if (failures > 0) throw new WrongAnswers(`${failures} of ${exchanges} answers were wrong`);
  return figures;
}
