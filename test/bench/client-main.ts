/** The load client's own process: it does what the bench tells it over IPC, and says what came of it. */
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { openConnection, questionOf, type LoadTarget } from './connection.ts';
import { kilobyteLength, openLoad, type Load, type LoadResult } from './load.ts';
import { runPaced } from './paced.ts';
import { openStreams, type StreamKind } from './streams/load.ts';
import { idleTunnels, runColdHosts, runNewTunnels, type IdleTunnels } from './tunnels.ts';

/** One window of load. */
export interface LoadFigures {
  readonly exchanges: number;
  readonly seconds: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly failures: number;
  /** CPU of the client itself, microseconds. */
  readonly clientMicros: number;
  /**
   * The share of the window in which the client had something to do: from 0.9 on it was what limited the
   * rate.
   */
  readonly clientBusy: number;
}

let load: Load | null = null;
let idle: IdleTunnels | null = null;

const tasks = {
  /** One exchange, looked at closely. */
  async prove(target: LoadTarget, path: string) {
    const connection = await openConnection(target);
    connection.keepBodies();
    await new Promise<void>((resolve, reject) => {
      connection.onLoss = reject;
      connection.ask(questionOf(target, path, 0), () => resolve());
    });
    const sha256 = createHash('sha256').update(connection.takeBody()).digest('hex');
    connection.close();
    return { status: connection.status, sha256 };
  },

  /** Opens what `runLoad` runs on. `sent`: bytes of the request's body; null: it has none. */
  async openLoad(
    target: LoadTarget,
    path: string,
    {
      connections,
      length,
      sent,
    }: { readonly connections: number; readonly length: number; readonly sent: number | null },
  ) {
    const body = sent === null ? null : Buffer.alloc(sent, 0x5a);
    load = await openLoad(target, path, connections, questionOf(target, path, length, body));
  },
  async openStreams(target: LoadTarget, kind: StreamKind, count: number) {
    load = await openStreams(target, kind, count);
  },
  async runLoad(seconds: number) {
    const opened = load;
    if (opened === null) throw new Error('no load is open');
    return watched(() => opened.run(seconds));
  },
  async closeLoad() {
    load?.close();
    load = null;
  },

  async paced(
    target: LoadTarget,
    path: string,
    pace: { readonly connections: number; readonly perSecond: number; readonly seconds: number },
  ) {
    return watched(() => runPaced(target, questionOf(target, path, kilobyteLength), pace));
  },
  async newTunnels(
    target: LoadTarget,
    path: string,
    how: { readonly width: number; readonly seconds: number },
  ) {
    return watched(() => runNewTunnels(target, path, how));
  },
  async coldHosts(
    target: LoadTarget,
    path: string,
    how: { readonly hosts: readonly string[]; readonly seconds: number },
  ) {
    return watched(() => runColdHosts(target, path, how));
  },

  /** Opens more idle tunnels; see `IdleTunnels`. */
  async growIdle(target: LoadTarget, path: string, count: number, seconds: number) {
    idle ??= idleTunnels(target, path);
    return idle.growTo(count, seconds);
  },
  async countIdle() {
    return idle?.open() ?? 0;
  },
  async closeIdle() {
    idle?.close();
    idle = null;
  },

  /**
   * Knocks until a program lets in, then asks it once. Answers when both came about, in milliseconds since
   * the epoch.
   */
  async firstAnswer(target: LoadTarget, path: string, patienceMs: number) {
    const giveUp = performance.now() + patienceMs;
    const question = questionOf(target, path, kilobyteLength);
    let listeningAt: number | null = null;
    for (;;) {
      try {
        listeningAt ??= await acceptedAt(target.proxyPort ?? target.port);
        const connection = await openConnection(target);
        const isRight = await new Promise<boolean>((resolve, reject) => {
          connection.onLoss = reject;
          connection.ask(question, resolve);
        });
        connection.close();
        if (!isRight) throw new Error('the first answer was wrong');
        return { listeningAt, answeredAt: performance.timeOrigin + performance.now() };
      } catch (error) {
        if (performance.now() > giveUp) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
  },
};

/** Commands of the client. */
export type Tasks = typeof tasks;

async function watched(run: () => Promise<LoadResult>): Promise<LoadFigures> {
  const cpu = process.cpuUsage();
  const loop = performance.eventLoopUtilization();
  const { exchanges, seconds, latencies, failures } = await run();
  const { user, system } = process.cpuUsage(cpu);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? Number.NaN;
  return {
    exchanges,
    seconds,
    failures,
    p50: at(0.5),
    p99: at(0.99),
    p999: at(0.999),
    clientMicros: user + system,
    clientBusy: performance.eventLoopUtilization(loop).utilization,
  };
}

function acceptedAt(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('error', reject).once('connect', () => {
      socket.destroy();
      resolve(performance.timeOrigin + performance.now());
    });
  });
}

interface Order {
  readonly id: number;
  readonly task: keyof Tasks;
  readonly args: readonly unknown[];
}

process.on('message', ({ id, task, args }: Order) => {
  const run = tasks[task] as (...given: readonly unknown[]) => Promise<unknown>;
  void run(...args).then(
    (result) => process.send?.({ id, result }),
    (error: unknown) =>
      process.send?.({ id, failure: error instanceof Error ? error.message : String(error) }),
  );
});
