import type { AuditLine } from '../../src/domain/event.ts';
import { tailAudit } from '../../src/audit/query.ts';
import { DemoFailure } from './claim.ts';

const patienceMs = 10_000;

/** Number (`seq`) of the last line of an audit file that one process wrote; 0 where there is none. */
export async function lastLine(file: string): Promise<number> {
  let last = 0;
  for await (const { seq } of tailAudit({ file, lines: 1 })) last = seq;
  return last;
}

/**
 * The lines after the one with number `after`, as they come, until `complete` is content with what came.
 * How a response ended is written a moment after it: this waits for that.
 */
export async function auditSince(
  file: string,
  after: number,
  complete: (lines: readonly AuditLine[]) => boolean,
  signal: AbortSignal,
): Promise<readonly AuditLine[]> {
  const lines: AuditLine[] = [];
  const patience = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]);
  for await (const line of tailAudit({ file, lines: Infinity, follow: true, signal: patience })) {
    if (line.seq <= after) continue;
    lines.push(line);
    if (complete(lines)) return lines;
  }
  signal.throwIfAborted();
  const found = lines.map(({ event }) => event).join(', ') || 'nothing';
  throw new DemoFailure(`The audit file does not tell of the request: it has ${found}.`);
}
