/** Tunnels one by one: new ones for one exchange each, the first to a host, and many that rest. */
import { openConnection, questionOf, type Connection, type LoadTarget } from './connection.ts';
import { kilobyteLength, type LoadResult } from './load.ts';

/** One exchange each over tunnels that are opened for it and closed behind it; `width` of them at once. */
export async function runNewTunnels(
  target: LoadTarget,
  path: string,
  { width, seconds }: { readonly width: number; readonly seconds: number },
): Promise<LoadResult> {
  const latencies: number[] = [];
  let failures = 0;
  const begin = performance.now();
  const end = begin + seconds * 1_000;
  const work = async () => {
    do {
      const { micros, isRight } = await once(target, path);
      latencies.push(micros);
      if (!isRight) failures += 1;
    } while (performance.now() < end);
  };
  await Promise.all(Array.from({ length: width }, work));
  return result(latencies, failures, begin);
}

/** The first exchange with each of the hosts, one after the other, as far as the time goes. */
export async function runColdHosts(
  target: LoadTarget,
  path: string,
  { hosts, seconds }: { readonly hosts: readonly string[]; readonly seconds: number },
): Promise<LoadResult> {
  const latencies: number[] = [];
  let failures = 0;
  const begin = performance.now();
  for (const host of hosts) {
    const { micros, isRight } = await once({ ...target, host }, path);
    latencies.push(micros);
    if (!isRight) failures += 1;
    if (performance.now() - begin >= seconds * 1_000) break;
  }
  return result(latencies, failures, begin);
}

/** Tunnels that have carried one exchange each, and rest. */
export interface IdleTunnels {
  /**
   * Opens more, up to `count` in all or as far as the time goes. Answers how many there are, and how many
   * answers were wrong.
   */
  growTo(count: number, seconds: number): Promise<{ readonly opened: number; readonly failures: number }>;
  /** Number of tunnels that are still open. */
  open(): number;
  close(): void;
}

export function idleTunnels(target: LoadTarget, path: string): IdleTunnels {
  const all: Connection[] = [];
  const question = questionOf(target, path, kilobyteLength);
  return {
    async growTo(count, seconds) {
      const end = performance.now() + seconds * 1_000;
      let begun = all.length;
      let failures = 0;
      const work = async () => {
        while (begun < count && performance.now() < end) {
          begun += 1;
          const connection = await openConnection(target);
          all.push(connection);
          if (!(await askOnce(connection, question))) failures += 1;
        }
      };
      await Promise.all(Array.from({ length: 16 }, work));
      return { opened: all.length, failures };
    },
    open: () => all.filter(({ socket }) => !socket.destroyed && !socket.readableEnded).length,
    close() {
      for (const connection of all.splice(0)) connection.close();
    },
  };
}

async function once(target: LoadTarget, path: string): Promise<{ micros: number; isRight: boolean }> {
  const begin = performance.now();
  const connection = await openConnection(target);
  const isRight = await askOnce(connection, questionOf(target, path, kilobyteLength));
  const micros = (performance.now() - begin) * 1_000;
  connection.close();
  return { micros, isRight };
}

function askOnce(connection: Connection, question: Parameters<Connection['ask']>[0]): Promise<boolean> {
  return new Promise((resolve, reject) => {
    connection.onLoss = reject;
    connection.ask(question, (isRight) => {
      connection.onLoss = () => {};
      resolve(isRight);
    });
  });
}

function result(latencies: number[], failures: number, begin: number): LoadResult {
  return {
    exchanges: latencies.length,
    seconds: (performance.now() - begin) / 1_000,
    latencies: Float64Array.from(latencies).toSorted(),
    failures,
  };
}
