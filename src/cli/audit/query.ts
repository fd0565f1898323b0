import type { Config } from '../../config/config.ts';
import type { AuditLine } from '../../domain/event.ts';
import type { Context } from '../context.ts';
import { createTable, type Display } from '../display.ts';
import { type AuditConditions, checkConditions } from '../../operations/audit-conditions.ts';
import { eventQuery, grantsOf, tailEvents } from '../../operations/audit-events.ts';
import { counted, dateTime, duration } from '../../operations/format.ts';
import { openOutputFile, type OutputFileOptions } from '../output-file.ts';
import { duringStep } from '../operation-command.ts';
import { onInterrupt } from '../terminal.ts';
import { type Grant, titleOf } from '../../domain/grant.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { describeEmptyLog } from '../../operations/look-at-audit.ts';
import { grantsById } from '../../operations/reach.ts';
import type { Store } from '../../store/store.ts';

/** Lines printed at once: the first ones to align columns, later ones to read names of grants together. */
const [aligned, buffered] = [500, 5_000];

/** `sidekey audit query` */
export async function query(context: Context, options: QueryOptions): Promise<void> {
  const { output } = context;
  const { csv = false, raw = false } = options;
  if (csv && (raw || (output.json && options.output === undefined))) {
    throw new SidekeyError('input_invalid', '--csv excludes --json and --raw.', { hint: 'give one of them' });
  }
  if (csv || raw || options.output !== undefined) return exportLines(context, options);
  const { config, events } = await prepareQuery(context, options);
  const print = linePrinter(context);
  let held: AuditLine[] = [];
  let size = aligned;
  await duringStep(output, 'Reading the audit log', async (onShare) => {
    for await (const line of events(onShare)) {
      held.push(line);
      if (held.length < size) continue;
      await print(held);
      held = [];
      size = buffered;
    }
  });
  if (held.length === 0 && size === aligned) output.say(await emptyText(context, config));
  await print(held);
}

interface QueryOptions extends AuditConditions, OutputFileOptions {
  readonly lines?: string;
  readonly csv?: boolean;
  readonly raw?: boolean;
}

/** Parses the options. */
async function prepareQuery(context: Context, options: QueryOptions) {
  const config = await context.readConfig();
  const at = context.now();
  checkConditions(options, at);
  const last = options.lines === undefined ? undefined : readCount(options.lines);
  const grants =
    options.grant === undefined ? [] : await fromStore(context, (store) => grantsOf(store, options));
  return { ...eventQuery(config, options, { grants, at, last }), config };
}

/** Writes lines byte for byte, so that their hashes can still be verified, or as CSV. */
async function exportLines(context: Context, options: QueryOptions): Promise<void> {
  const { output } = context;
  const { pieces } = await prepareQuery(context, options);
  await using target =
    options.output === undefined
      ? undefined
      : await openOutputFile(options.output, options.force === true, 0o600);
  let count = 0;
  await duringStep(output, 'Reading the audit log', async (onShare) => {
    for await (const { bytes, lines } of pieces(options.csv === true ? 'csv' : 'raw', onShare)) {
      count += lines;
      if (target !== undefined) await target.write(bytes);
      else {
        output.bytes(bytes);
        await output.drained();
      }
    }
  });
  await target?.sync();
  if (options.output !== undefined) {
    output.result(
      { file: options.output, lines: count },
      `Wrote ${counted(count, 'line')} to ${options.output}.`,
    );
  }
}

/** `sidekey audit tail` */
export async function tail(
  context: Context,
  options: { readonly lines: string; readonly follow?: boolean; readonly all?: boolean },
): Promise<void> {
  const { readConfig, output } = context;
  const lines = readCount(options.lines);
  // Programs get every event.
  const brief = !output.json && options.all !== true;
  const config = await readConfig();
  const print = linePrinter(context);

  if (options.follow !== true) {
    const last: AuditLine[] = [];
    for await (const line of tailEvents(config, { lines, brief })) last.push(line);
    await print(last);
    if (last.length === 0) output.say(await emptyText(context, config));
    return;
  }
  const stop = new AbortController();
  const giveBack = onInterrupt(() => stop.abort());
  try {
    for await (const line of tailEvents(config, { lines, brief, signal: stop.signal })) await print([line]);
  } finally {
    giveBack();
  }
}

/** Returns why a reading of the log shows no event. */
function emptyText({ withView }: Context, { audit }: Pick<Config, 'audit'>): Promise<string> {
  return withView((view) => describeEmptyLog(audit, view)).catch(() => describeEmptyLog(audit, null));
}

function readCount(text: string): number {
  if (/^[0-9]{1,7}$/.test(text)) return Number(text);
  throw inputInvalid('--lines is not a number from 0 to 9999999.', 'sidekey audit tail -n 50');
}

/** Reads grants. Best effort: the log is readable without the store. */
async function fromStore(
  { withView }: Context,
  read: (store: Store) => Promise<readonly Grant[]>,
): Promise<readonly Grant[]> {
  return withView(async ({ store }) => (store === null ? [] : read(store))).catch(() => []);
}

/**
 * Returns a function that prints events. Columns are aligned to the first ones. For people, it reads the
 * names of their grants: JSON events have IDs.
 */
function linePrinter(context: Context): (lines: readonly AuditLine[]) => Promise<void> {
  const { output } = context;
  const names = new Map<string, string>();
  let format: ReturnType<typeof lineFormat> | undefined;
  return async (lines) => {
    const ids = new Set(output.json ? [] : lines.flatMap(grantIdsOf));
    const unread = [...ids].filter((id) => !names.has(id));
    const grants = unread.length === 0 ? [] : await fromStore(context, (store) => grantsById(store, unread));
    const nameOf = grantNames(grants);
    for (const id of unread) names.set(id, nameOf(id));
    format ??= lineFormat(output.display, lines, (id) => names.get(id) ?? id);
    for (const line of lines) {
      output.result(line, format(line));
      await output.drained();
    }
  };
}

const headings = ['TIME', 'EVENT', 'AGENT', 'REQUEST', 'GRANT', 'RESULT', 'TOOK'];

/** A longer path does not widen its column. */
const shape = { least: ['TOOK', 'GRANT', 'AGENT', 'RESULT', 'REQUEST'], floor: 20, widest: 60 };

/**
 * Returns a formatter for events, in columns as wide as the widest cell so far.
 *
 * @param first lines whose columns are aligned from the start
 * @param grantName returns the name of the grant with that id
 */
export function lineFormat(
  display: Display,
  first: readonly AuditLine[],
  grantName: (id: string) => string,
): (line: AuditLine) => string {
  const events = createTable(display, headings, shape);
  const cellsOf = (line: AuditLine) => cells(line, grantName, display.width === Infinity);
  for (const line of first) events.add(cellsOf(line));
  let isBegun = false;
  return (line) => {
    const shown = cellsOf(line);
    events.add(shown);
    const head = isBegun ? [] : [events.head()];
    isBegun = true;
    return [...head, events.line(shown)].join('\n');
  };
}

function cells(line: AuditLine, grantName: (id: string) => string, isDated: boolean): string[] {
  const { time, event, agent, grant, duration_ms: took } = line;
  const [date, clock] = dateTime(Date.parse(time)).split(' ');
  const isToday = date === dateTime(Date.now()).split(' ')[0];
  return [
    !isDated && isToday ? `${clock}` : `${date} ${clock}`,
    event,
    agent ?? '-',
    subject(line),
    grant === undefined ? '-' : grantName(grant),
    result(line).replace(grantId, grantName),
    took === undefined ? '' : duration(took),
  ];
}

const grantId = /(?<=\bgrant )[0-9a-f]{8}-[0-9a-f-]{27}\b/g;

/** Returns the IDs of grants that the cells of a line name. */
function grantIdsOf(line: AuditLine): readonly string[] {
  return [...(line.grant === undefined ? [] : [line.grant]), ...(result(line).match(grantId) ?? [])];
}

/** Returns the request, such as `GET https://api.github.com/user`; else the host or the provider. */
function subject({ method, scheme, host, port, path, provider }: AuditLine): string {
  if (host === undefined) return provider ?? '-';
  const isUsual = port === undefined || (scheme === 'http' ? port === 80 : port === 443);
  const where = `${scheme === 'http' ? 'http://' : ''}${host}${isUsual ? '' : `:${port}`}${path ?? ''}`;
  return method === undefined ? where : `${method} ${where}`;
}

/** Returns `200`, or `deny 403 domain_not_allowed`; for other events the reason, and a failed outcome. */
function result({ event, outcome, status, code, reason, method, by }: AuditLine): string {
  const isRequest = method !== undefined && !event.startsWith('approval.');
  const isPlain = outcome === 'ok' ? status !== undefined || !isRequest : outcome === 'allow' && !isRequest;
  const parts = [isPlain ? undefined : outcome, status, code, isRequest ? undefined : reason];
  const words = parts.filter((part) => part !== undefined).join(' ') || 'ok';
  return by === undefined ? words : `${words}, by ${by}`;
}

/** Returns the name of a grant by its id, or the start of the id if the grant is gone. */
export function grantNames(grants: readonly Grant[]): (id: string) => string {
  const names = new Map(grants.map((grant) => [grant.id, titleOf(grant)]));
  return (id) => names.get(id) ?? `${id.slice(0, 8)}…`;
}
