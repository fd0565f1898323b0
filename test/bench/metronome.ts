/**
 * A thread that only keeps time, in fractions of a millisecond: timers of the event loop have none. It says
 * the number of each beat when its time has come, and never waits for anybody.
 */
import { parentPort, workerData } from 'node:worker_threads';

/** Start and end in milliseconds since the epoch, and the milliseconds between two beats. */
export interface Beats {
  readonly begin: number;
  readonly count: number;
  readonly interval: number;
}

const { begin, count, interval } = workerData as Beats;
const nobody = new Int32Array(new SharedArrayBuffer(4));
for (let beat = 0; beat < count; beat += 1) {
  const wait = begin + beat * interval - (performance.timeOrigin + performance.now());
  if (wait > 0) Atomics.wait(nobody, 0, 0, wait);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has no origin
  parentPort?.postMessage(beat);
}
