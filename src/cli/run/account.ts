import type { AuditLine } from '../../audit/event.ts';
import { readOn, type LogPosition } from '../../audit/read-on.ts';

/** What a command did through the proxy, in numbers. */
export interface Account {
  /** Requests that a credential went along with. */
  readonly requests: number;
  /** Hosts that were reached without one, as `host:port`, in order. */
  readonly tunnelled: readonly string[];
  /** Of all that was let through, what failed on our side or the service's. */
  readonly failed: number;
  /** Requests that were refused. */
  readonly refused: number;
  /** Each kind of refusal once, in the order in which it came first. */
  readonly refusals: readonly Refused[];
}

/** Requests to one host that were refused for one reason. */
export interface Refused {
  /** The first of them. */
  readonly line: AuditLine;
  readonly count: number;
}

/** Counts the lines of one command. */
export function accountOf(lines: Iterable<AuditLine>): Account {
  const requests = new Set<string>();
  const tunnelled = new Set<string>();
  const refusals = new Map<string, Refused>();
  let [failed, refused] = [0, 0];
  for (const line of lines) {
    const { event, exchange = '', host = '', port, code, grant, outcome } = line;
    if (event === 'access' && grant !== undefined) requests.add(exchange);
    else if (event === 'access') tunnelled.add(`${host}:${port}`);
    else if (event === 'denied') {
      refused += 1;
      const key = `${host}:${port} ${code}`;
      refusals.set(key, {
        line: refusals.get(key)?.line ?? line,
        count: (refusals.get(key)?.count ?? 0) + 1,
      });
    } else if ((event === 'outcome' || event === 'tunnel') && outcome === 'failed') failed += 1;
  }
  return {
    requests: requests.size,
    tunnelled: [...tunnelled].toSorted(),
    failed,
    refused,
    refusals: [...refusals.values()],
  };
}

/** Whose lines are read, and from where on. */
export interface LinesOfRun {
  /** The audit file. */
  readonly file: string;
  readonly from: LogPosition;
  readonly lease: string;
  /** A writer that writes for this command alone: it knows of refusals to callers that it could not tell whose they were. */
  readonly node: string | null;
}

/** The lines of a command that the audit file has by now. */
export async function linesOfRun({ file, from, lease, node }: LinesOfRun): Promise<AuditLine[]> {
  const found: AuditLine[] = [];
  for (let at = from; ;) {
    // Nothing is written to a rotated file any more that is about this command.
    const { lines, next } = await readOn(file, at, { lines: 10_000, bytes: 4_194_304 }, Infinity);
    for (const { line } of lines) {
      const isOurs = line.lease === lease || (line.event === 'denied' && line.node === node);
      if (isOurs) found.push(line);
    }
    if (next.segment === at.segment && next.offset === at.offset) return found;
    at = next;
  }
}
