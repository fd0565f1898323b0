import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { openConnection, type Connection, type LoadTarget, type Question } from './connection.ts';
import type { LoadResult } from './load.ts';
import type { Beats } from './metronome.ts';

/**
 * An open loop: questions are due at fixed times, whether earlier ones were answered or not, and the latency
 * counts from when a question was due. So one long pause is seen by all who would have asked in it (no
 * coordinated omission). What cannot keep up is given as much time again.
 */
export async function runPaced(
  target: LoadTarget,
  question: Question,
  {
    connections,
    perSecond,
    seconds,
  }: { readonly connections: number; readonly perSecond: number; readonly seconds: number },
): Promise<LoadResult> {
  const all = await Promise.all(Array.from({ length: connections }, () => openConnection(target)));
  const count = Math.round(perSecond * seconds);
  const beats: Beats = {
    begin: performance.timeOrigin + performance.now() + 200,
    count,
    interval: 1_000 / perSecond,
  };
  const metronome = new Worker(new URL('metronome.ts', import.meta.url), { workerData: beats });
  let giveUp: NodeJS.Timeout | undefined;
  try {
    const latencies: number[] = [];
    let failures = 0;
    const open = new Set<number>();
    await new Promise<void>((resolve, reject) => {
      giveUp = setTimeout(resolve, seconds * 2_000 + 1_000);
      const free: Connection[] = [...all];
      const waiting: number[] = [];
      const askAt = (connection: Connection, due: number) =>
        connection.ask(question, (isRight) => {
          latencies.push((performance.timeOrigin + performance.now() - due) * 1_000);
          open.delete(due);
          if (!isRight) failures += 1;
          const next = waiting.shift();
          if (next !== undefined) askAt(connection, next);
          else free.push(connection);
          if (latencies.length === count) resolve();
        });
      for (const connection of all) connection.onLoss = reject;
      metronome.on('error', reject).on('message', (beat: number) => {
        const due = beats.begin + beat * beats.interval;
        open.add(due);
        const connection = free.pop();
        if (connection === undefined) waiting.push(due);
        else askAt(connection, due);
      });
    });
    // Who is not answered by now has waited so long at least.
    const now = performance.timeOrigin + performance.now();
    for (const due of open) latencies.push((now - due) * 1_000);
    const elapsed = (now - beats.begin) / 1_000;
    return {
      exchanges: latencies.length,
      seconds: elapsed,
      latencies: Float64Array.from(latencies).toSorted(),
      failures,
    };
  } finally {
    clearTimeout(giveUp);
    for (const connection of all) connection.close();
    if (metronome.threadId > 0) await Promise.race([metronome.terminate(), once(metronome, 'exit')]);
  }
}
