/** What is remembered of a sink, beside the log in `<file>.sink-NAME`: how far it is, and how it fares. */
import fs from 'node:fs';
import { z } from 'zod';
import type { LogPosition } from '../read-on.ts';

/** What is remembered. */
export interface SinkState {
  readonly position: LogPosition;
  /** Lines delivered, since the sink is there. */
  readonly delivered: number;
  /** When the last were: milliseconds since the epoch; null: none yet. */
  readonly deliveredAt: number | null;
  /** How often lines could not be given any more: retention had removed them, or their packed file was damaged. */
  readonly skips: number;
  /** Records that a receiver took a batch without. */
  readonly rejected: number;
  /** Since when nothing was delivered, and why; null: all is well. */
  readonly failing: { readonly since: number; readonly attempts: number; readonly reason: string } | null;
}

/** The path of the state of a sink. */
export function sinkStateFile(file: string, name: string): string {
  return `${file}.sink-${name}`;
}

const count = z.int().min(0);
const shape = z.object({
  position: z.object({ segment: count, offset: count }),
  delivered: count,
  deliveredAt: z.number().nullable(),
  skips: count,
  rejected: count,
  failing: z.object({ since: z.number(), attempts: count, reason: z.string() }).nullable(),
});

/** Reads it; null where there is none, `broken` where it cannot be read. */
export function readSinkState(file: string, name: string): SinkState | 'broken' | null {
  let text: string;
  try {
    text = fs.readFileSync(sinkStateFile(file, name), 'utf8');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? null : 'broken';
  }
  try {
    return shape.parse(JSON.parse(text));
  } catch {
    return 'broken';
  }
}

/** Puts it in the place of the one before. Not synced: after a power cut some lines are delivered again. */
export function writeSinkState(file: string, name: string, state: SinkState): void {
  const target = sinkStateFile(file, name);
  fs.writeFileSync(`${target}.new`, `${JSON.stringify(state)}\n`, { mode: 0o600 });
  fs.renameSync(`${target}.new`, target);
}
