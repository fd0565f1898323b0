/**
 * Loaded with `--import` into a proxy under test: measures each turn of its event loop, in CPU time of the
 * thread, which other programs on the machine do not change. On SIGUSR2, writes the turns since the last time
 * to the file in `BENCH_LOOP`, as `TurnFigures`.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { createHistogram, monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';

/** Milliseconds. */
export interface TurnFigures {
  readonly turns: number;
  /** CPU time of a turn. */
  readonly p99: number;
  readonly p999: number;
  readonly longest: number;
  /** Delay of a timer of 1 ms by the clock: other programs on the core add to it. */
  readonly delayP99: number;
  /** Longest pause for the garbage collector, by the clock, and the number of pauses. */
  readonly pause: number;
  readonly pauses: number;
}

const turns = createHistogram();
const delays = monitorEventLoopDelay({ resolution: 1 });
let [longestPause, pauses] = [0, 0];
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) {
    pauses += 1;
    longestPause = Math.max(longestPause, duration);
  }
}).observe({ entryTypes: ['gc'] });

const cpuMicros = () => {
  const { user, system } = process.threadCpuUsage();
  return user + system;
};
let before = cpuMicros();
/** Runs once in each turn: an immediate without a reference does not keep the loop from waiting. */
function endTurn(): void {
  const now = cpuMicros();
  turns.record(Math.max(1, Math.round(now - before)));
  before = now;
  setImmediate(endTurn).unref();
}
setImmediate(endTurn).unref();
delays.enable();

process.on('SIGUSR2', () => {
  const file = process.env['BENCH_LOOP'] ?? '';
  const figures: TurnFigures = {
    turns: turns.count,
    p99: turns.percentile(99) / 1_000,
    p999: turns.percentile(99.9) / 1_000,
    longest: turns.max / 1_000,
    delayP99: delays.percentile(99) / 1e6,
    pause: longestPause,
    pauses,
  };
  // The reader must not see half of it.
  writeFileSync(`${file}.new`, JSON.stringify(figures));
  renameSync(`${file}.new`, file);
  turns.reset();
  delays.reset();
  [longestPause, pauses] = [0, 0];
});
