/** The load of other programs on the machine, from `/proc/stat` (proc(5)). */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { cpuMicrosOf, tickMicros } from './process.ts';

/** Shares of the capacity of all cores, 0 to 1, in a time window. */
export interface OtherWork {
  /** Time that the hypervisor gave to other machines. */
  readonly steal: number;
  /** CPU time of processes that are not part of the bench. */
  readonly others: number;
}

/** A window in which either share is larger is dropped. */
const limits: OtherWork = { steal: 0.02, others: 0.05 };

/** These limits, as the end of a sentence. */
export const busyText = `other machines take more than ${limits.steal * 100} % of the cores (steal), or other programs here more than ${limits.others * 100} %`;

export function isQuiet({ steal, others }: OtherWork): boolean {
  return steal <= limits.steal && others <= limits.others;
}

/**
 * Starts to watch the machine.
 * @param ownMicros the CPU time of the bench and its processes so far, in microseconds
 * @returns a function that answers for the time since; null where there is no `/proc/stat`
 */
export function watchMachine(ownMicros: () => number): () => OtherWork | null {
  const before = { stat: readStat(), own: ownMicros(), at: performance.now() };
  return () => {
    const after = { stat: readStat(), own: ownMicros(), at: performance.now() };
    if (before.stat === null || after.stat === null) return null;
    const capacity = (after.at - before.at) * 1_000 * cpus().length;
    const busy = after.stat.busyMicros - before.stat.busyMicros;
    return {
      steal: (after.stat.stealMicros - before.stat.stealMicros) / capacity,
      // Ticks of 10 ms make the difference of two counts less than nothing at times.
      others: Math.max(0, busy - (after.own - before.own)) / capacity,
    };
  };
}

/** A window of a measurement, and how many before it were dropped. */
export interface QuietWindow<Result> {
  readonly result: Result;
  readonly dropped: number;
  /** True if the machine had other work in this window too. */
  readonly isBusy: boolean;
}

/** Repeats a window while the machine has other work, at most `retries` times. */
export async function inQuietWindow<Result>(
  take: () => Promise<Result>,
  retries: number,
): Promise<QuietWindow<Result>> {
  for (let dropped = 0; ; dropped += 1) {
    const otherWork = watchMachine(() => cpuMicrosOf(process.pid));
    const result = await take();
    const work = otherWork();
    const isBusy = work === null || !isQuiet(work);
    if (!isBusy || dropped >= retries) return { result, dropped, isBusy };
  }
}

interface Stat {
  readonly busyMicros: number;
  readonly stealMicros: number;
}

function readStat(): Stat | null {
  try {
    const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? '';
    return statOf(line);
  } catch {
    return null;
  }
}

/**
 * The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and guests, which
 * user has too.
 */
export function statOf(line: string): Stat {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return {
    busyMicros: (user + nice + system + irq + softirq) * tickMicros,
    stealMicros: steal * tickMicros,
  };
}
