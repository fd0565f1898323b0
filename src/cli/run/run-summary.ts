import { openView, type View } from '../../app/state.ts';
import type { AuditLine } from '../../domain/event.ts';
import { joinExchanges } from '../../audit/join.ts';
import { type LogPosition, readLinesFrom } from '../../audit/read.ts';
import type { Context } from '../context.ts';
import { questionOf } from '../../operations/dry-run-request.ts';
import { dryRun } from '../../operations/explain.ts';
import type { ProxyEndpoint } from './proxy-endpoint.ts';
import type { Config } from '../../config/config.ts';
import { errorPhrase, SidekeyError } from '../../lib/errors.ts';
import { type Hint, hintText, remedy } from '../../lib/hint.ts';
import { pause, systemTimers } from '../../lib/timers.ts';

/** Milliseconds after which another process has written its notes. */
const noteDelayMs = 250;

/** Prints the summary. An error here does not fail the command. */
export async function reportRun(
  { output }: Context,
  { config, lease, node }: ProxyEndpoint,
  from: LogPosition,
  notes: readonly string[],
): Promise<void> {
  const summary = { counts: null, refusals: [], notes: [...new Set(notes)] };
  if (lease === null) {
    if (notes.length > 0) output.note(summaryJson(summary), summaryText(summary));
    return;
  }
  try {
    if (node === null) await pause(systemTimers, noteDelayMs);
    const counts = countRequests(
      await linesOfRun({ file: config().audit.file, from, lease: lease.id, node }),
    );
    const refusals = await withHints(counts.refusals.slice(0, output.json ? Infinity : maxListed + 1), {
      config: config(),
      lease: lease.id,
    });
    const report = { ...summary, counts, refusals };
    output.note(summaryJson(report), summaryText(report));
  } catch (error) {
    const phrase = error instanceof SidekeyError ? error.message : errorPhrase(error);
    output.say(`sidekey: what the command did could not be read from the audit file: ${phrase}`);
  }
}

/** Summary at the end of a command. */
interface RunSummary {
  /** Counts; null: the proxy has other callers. */
  readonly counts: RequestCounts | null;
  readonly refusals: readonly RefusalWithHint[];
  /** Notes about the environment, and warnings of the log. */
  readonly notes: readonly string[];
}

/** Number of refusals and of notes that are printed. */
const maxListed = 5;

/** Formats the summary: one line if nothing was refused. */
export function summaryText({ counts, refusals, notes }: RunSummary): string {
  const listed = refusals.slice(0, maxListed);
  const more = refusals.length - listed.length;
  return [
    ...(counts === null ? [] : [`sidekey: ${countsText(counts)}`]),
    ...listed.map(refusalText),
    ...(more > 0 ? [`  and ${more} more: sidekey audit query --event denied`] : []),
    ...notes.map((note) => `sidekey: ${note}`),
  ].join('\n');
}

function summaryJson({ counts, refusals, notes }: RunSummary): object {
  return { run: counts === null ? null : { ...counts, refusals }, notes };
}

function countsText({ requests, tunnelled, failed, refused }: RequestCounts): string {
  if (requests + tunnelled.length + refused === 0) return 'no request came through the proxy';
  return [
    `${requests === 0 ? 'no' : requests} request${requests > 1 ? 's' : ''} with a credential`,
    ...(tunnelled.length === 0
      ? []
      : [`${tunnelled.length} host${tunnelled.length === 1 ? '' : 's'} tunnelled`]),
    ...(failed === 0 ? [] : [`${failed} failed`]),
    ...(refused === 0 ? [] : [`${refused} refused`]),
  ].join(', ');
}

function refusalText({ host, port, code, count, hint }: RefusalWithHint): string {
  const where = host === '' ? 'what was no request' : `${host}${port === 443 ? '' : `:${port}`}`;
  const often = count === 1 ? '' : ` (${count} times)`;
  return `  ${where} ${code}${often}${hint === null ? '' : ` → ${hint}`}`;
}

interface RefusalWithHint {
  readonly host: string;
  readonly port: number | null;
  readonly code: string;
  readonly count: number;
  readonly hint: string | null;
}

/**
 * Adds remedies, which the audit file does not contain: a dry run of each request, as by `sidekey explain`,
 * for its time.
 */
async function withHints(
  refusals: readonly Refused[],
  { config, lease }: { readonly config: Config; readonly lease: string },
): Promise<readonly RefusalWithHint[]> {
  if (refusals.length === 0) return [];
  await using view = asItWas(await openView(config, { now: Date.now }), lease);
  const hinted: RefusalWithHint[] = [];
  for (const { line, count } of refusals) {
    const { host = '', port = null, code = 'internal' } = line;
    const hint = await hintFor(line, view, lease);
    hinted.push({ host, port, code, count, hint: hint === null ? null : hintText(hint) });
  }
  return hinted;
}

/** Ignores that the lease was revoked afterwards. */
function asItWas(view: View, lease: string): View {
  const { store } = view;
  if (store === null) return view;
  const read: typeof store.rights.read = async (since) => {
    const rights = await store.rights.read(since);
    const leases = rights.leases.map((each) => (each.id === lease ? { ...each, revokedAt: null } : each));
    return { ...rights, leases };
  };
  return { ...view, store: { ...store, rights: { ...store.rights, read } } };
}

async function hintFor(line: AuditLine, view: View, lease: string): Promise<Hint | null> {
  const { host, port, scheme = 'https', path = '/', code, time } = line;
  if (host === undefined || line.lease === undefined) return null;
  // The purpose of a CONNECT is unknown: any request of a tunnel.
  const method = line.method === undefined || line.method === 'CONNECT' ? 'GET' : line.method;
  const url = `${scheme}://${host}:${port}${path}`;
  const explanation = remedy('domain.explain', { method, url, agent: line.agent });
  try {
    const { refusal } = await dryRun(view, questionOf({ method, url, lease }, Date.parse(time)));
    // Body and header fields are unknown here.
    return refusal?.code === code ? (refusal?.hint ?? null) : explanation;
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return explanation;
  }
}

/** Number of requests of a command, by result. */
interface RequestCounts {
  /** Requests with a credential. */
  readonly requests: number;
  /** Hosts that were reached without a credential, as `host:port`, in order. */
  readonly tunnelled: readonly string[];
  /** Allowed requests that failed here or at the upstream server. */
  readonly failed: number;
  readonly refused: number;
  /** Each kind of refusal once, in order of first occurrence. */
  readonly refusals: readonly Refused[];
}

/** Requests to one host that were refused for one reason. */
interface Refused {
  /** The first of them. */
  readonly line: AuditLine;
  readonly count: number;
}

export function countRequests(lines: Iterable<AuditLine>): RequestCounts {
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
      const before = refusals.get(key) ?? { line, count: 0 };
      refusals.set(key, { line: before.line, count: before.count + 1 });
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

interface LinesOfRun {
  readonly file: string;
  readonly from: LogPosition;
  readonly lease: string;
  /**
   * Audit writer of this command, which also records refusals of unknown callers; null: it has other callers.
   */
  readonly node: string | null;
}

/** Returns the lines of a command that are in the audit file now. */
async function linesOfRun({ file, from, lease, node }: LinesOfRun): Promise<AuditLine[]> {
  const ours: AuditLine[] = [];
  const join = joinExchanges();
  for (let at = from; ;) {
    // Nothing is written to a rotated file any more that is about this command.
    const { lines, next } = await readLinesFrom(file, at, { lines: 10_000, bytes: 4_194_304 }, Infinity);
    for (const read of lines) {
      const line = join(read.line);
      const isOurs = line.lease === lease || (line.event === 'denied' && line.node === node);
      if (isOurs) ours.push(line);
    }
    if (next.segment === at.segment && next.offset === at.offset) return ours;
    at = next;
  }
}
