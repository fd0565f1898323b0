import { joinExchanges } from '../audit/join.ts';
import { endOfLog, readLinesFrom } from '../audit/position.ts';
import type { AuditLine } from '../domain/event.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type FailureCode, failures } from '../lib/failures.ts';
import { type Hint, hintText, remedy } from '../lib/hint.ts';
import { pause, systemTimers } from '../lib/timers.ts';
import type { View } from './dry-run.ts';
import { dryRun } from './explain.ts';
import { questionOf } from './dry-run-request.ts';

/** Requests of the command of a lease, by the audit log. */

/** Number of requests of a command, by result. */
export type RequestCounts = ReturnType<typeof countRequests>;

/** Requests to one host that were refused, or failed, for one reason. */
interface Refused {
  /** The first of them. */
  readonly line: AuditLine;
  readonly count: number;
}

export function countRequests(lines: Iterable<AuditLine>) {
  const requests = new Set<string>();
  const tunnelled = new Set<string>();
  const refusals = new Map<string, Refused>();
  const failedKinds = new Map<string, Refused>();
  const keep = (kinds: typeof refusals, line: AuditLine) => {
    const key = `${line.host ?? ''}:${line.port} ${line.code}`;
    const { line: first, count } = kinds.get(key) ?? { line, count: 0 };
    kinds.set(key, { line: first, count: count + 1 });
  };
  let [failed, refused] = [0, 0];
  for (const line of lines) {
    const { event, exchange = '', host = '', port, grant, outcome } = line;
    if (event === 'access' && grant !== undefined) requests.add(exchange);
    else if (event === 'access') tunnelled.add(`${host}:${port}`);
    else if (event === 'denied') {
      refused += 1;
      keep(refusals, line);
    } else if ((event === 'outcome' || event === 'tunnel') && outcome === 'failed') {
      failed += 1;
      keep(failedKinds, line);
    }
  }
  return {
    /** Requests with a credential. */
    requests: requests.size,
    /** Hosts that were reached without a credential, as `host:port`, in order. */
    tunnelled: [...tunnelled].toSorted(),
    /** Allowed requests that failed here or at the upstream server. */
    failed,
    refused,
    /** Each kind of refusal once, in order of first occurrence. */
    refusals: [...refusals.values()],
    /** Each kind of failure once, in order of first occurrence. */
    failures: [...failedKinds.values()],
  };
}

/** Milliseconds after which another process has written its notes. */
const noteDelayMs = 250;

/**
 * Returns a function that counts the requests of a lease since this call.
 *
 * @param file the audit log
 * @param node audit writer of the command, which also records refusals of unknown callers; null: it has other
 * callers
 */
export function requestCounter(file: string, node: string | null): (lease: string) => Promise<RequestCounts> {
  let at = endOfLog(file);
  return async (lease) => {
    if (node === null) await pause(systemTimers, noteDelayMs);
    const ours: AuditLine[] = [];
    const join = joinExchanges();
    for (;;) {
      // Nothing is written to a rotated file any more that is about this command.
      const { lines, next } = await readLinesFrom(file, at, { lines: 10_000, bytes: 4_194_304 }, Infinity);
      for (const read of lines) {
        const line = join(read.line);
        const isOurs = line.lease === lease || (line.event === 'denied' && line.node === node);
        if (isOurs) ours.push(line);
      }
      if (next.segment === at.segment && next.offset === at.offset) return countRequests(ours);
      at = next;
    }
  };
}

/** Requests that were refused or failed, with the next step. */
export type RefusalWithHint = ReturnType<typeof shown>;

/**
 * Adds remedies, which the audit file does not contain: a dry run of each request, as by `sidekey explain`,
 * for its time.
 */
export async function withHints(
  view: View,
  refusals: readonly Refused[],
  lease: string,
): Promise<readonly RefusalWithHint[]> {
  const then = asItWas(view, lease);
  const hinted: RefusalWithHint[] = [];
  for (const refused of refusals) hinted.push(shown(refused, await hintFor(refused.line, then, lease)));
  return hinted;
}

/** Adds the hints of the table of failures. */
export function withTableHints(failed: readonly Refused[]): readonly RefusalWithHint[] {
  return failed.map((each) => shown(each, tableHint(each.line.code)));
}

function shown({ line, count }: Refused, hint: Hint | null) {
  const { host = '', port = null, code = 'internal' } = line;
  return { host, port, code, count, hint: hint === null ? null : hintText(hint) };
}

function tableHint(code = 'internal'): Hint | null {
  return Object.hasOwn(failures, code) ? failures[code as FailureCode].hint : null;
}

/** Ignores that the lease was revoked afterwards. */
function asItWas(view: View, lease: string): View {
  const { store } = view;
  if (store === null) return view;
  const holder: typeof store.rights.holder = async (tokenHash) => {
    const held = await store.rights.holder(tokenHash);
    if (held?.kind !== 'lease' || held.lease.id !== lease) return held;
    return { ...held, lease: { ...held.lease, revokedAt: null } };
  };
  return { ...view, store: { ...store, rights: { ...store.rights, holder } } };
}

async function hintFor(line: AuditLine, view: View, lease: string): Promise<Hint | null> {
  const { host, port, scheme = 'https', path = '/', code, time } = line;
  if (host === undefined || line.lease === undefined) return null;
  // The purpose of a CONNECT is unknown: any request of a tunnel.
  const method = line.method === undefined || line.method === 'CONNECT' ? 'GET' : line.method;
  const url = `${scheme}://${host}:${port}${path}`;
  // A dry run knows no body, no header fields and no answer of a person. Where it allows the request, only
  // the rules are worth a look.
  const isOfRules = code === 'rule_denied' || code === 'policy_violation';
  const explanation = isOfRules
    ? remedy('domain.explain', { method, url, agent: line.agent })
    : tableHint(code);
  try {
    const { refusal } = await dryRun(view, questionOf({ method, url, lease }, Date.parse(time)));
    return refusal?.code === code ? (refusal?.hint ?? null) : explanation;
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return explanation;
  }
}
