import { openConnection, questionOf, type LoadTarget, type Question } from './connection.ts';

export interface LoadResult {
  readonly exchanges: number;
  readonly seconds: number;
  /** Times of all exchanges, in microseconds, sorted. */
  readonly latencies: Float64Array;
  /** Answers that were not 200, or not as long as they have to be. */
  readonly failures: number;
}

/** Keep-alive connections that each ask for the same thing again and again. */
export interface Load {
  run(seconds: number): Promise<LoadResult>;
  close(): void;
}

/** The length of the body behind `/1k` and `/guarded`. */
export const kilobyteLength = 1_024;

/**
 * Opens the connections (CONNECT, then TLS, as an agent would) and has them ready. The client speaks just
 * enough HTTP/1.1 to count answers, so that it leaves the machine to what is measured.
 */
export async function openLoad(
  target: LoadTarget,
  path: string,
  connections: number,
  question: Question = questionOf(target, path, kilobyteLength),
): Promise<Load> {
  const all = await Promise.all(Array.from({ length: connections }, () => openConnection(target)));
  return {
    async run(seconds) {
      const latencies: number[] = [];
      let failures = 0;
      const begin = performance.now();
      const end = begin + seconds * 1_000;
      await Promise.all(
        all.map(
          (connection) =>
            new Promise<void>((resolve, reject) => {
              connection.onLoss = reject;
              let startedAt = begin;
              const onAnswer = (isRight: boolean) => {
                const now = performance.now();
                latencies.push((now - startedAt) * 1_000);
                if (!isRight) failures += 1;
                if (now >= end) return resolve();
                startedAt = now;
                connection.ask(question, onAnswer);
              };
              connection.ask(question, onAnswer);
            }),
        ),
      );
      const elapsed = (performance.now() - begin) / 1_000;
      return {
        exchanges: latencies.length,
        seconds: elapsed,
        latencies: Float64Array.from(latencies).toSorted(),
        failures,
      };
    },
    close() {
      for (const connection of all) connection.close();
    },
  };
}
