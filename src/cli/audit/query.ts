import type { Config } from '../../config/config.ts';
import type { AuditLine } from '../../domain/event.ts';
import type { Context } from '../context.ts';
import { createTable, type Display } from '../display.ts';
import { type AuditConditions, checkConditions } from '../../operations/audit-conditions.ts';
import { eventQuery, tailEvents } from '../../operations/audit-events.ts';
import { counted, dateTime, duration } from '../../operations/format.ts';
import { openOutputFile, type OutputFileOptions } from '../output-file.ts';
import { duringStep } from '../operation-command.ts';
import { onInterrupt } from '../terminal.ts';
import { type Grant, titleOf } from '../../domain/grant.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { describeEmptyLog } from '../../operations/look-at-audit.ts';

/** Lines that are buffered to align their columns. Later lines are printed at once. */
const aligned = 500;

/** `sidekey audit query` */
export async function query(context: Context, options: QueryOptions): Promise<void> {
  const { output } = context;
  const { csv = false, raw = false } = options;
  if (csv && (raw || (output.json && options.output === undefined))) {
    throw new SidekeyError('input_invalid', '--csv excludes --json and --raw.', { hint: 'give one of them' });
  }
  if (csv || raw || options.output !== undefined) return exportLines(context, options);
  const { config, grants, events } = await prepareQuery(context, options);
  const nameOf = grantNames(grants);
  let held: AuditLine[] | null = [];
  let format = lineFormat(output.display, [], nameOf);
  const printHeld = () => {
    format = lineFormat(output.display, held ?? [], nameOf);
    for (const line of held ?? []) output.result(line, format(line));
    held = null;
  };
  await duringStep(output, 'Reading the audit log', async (onShare) => {
    for await (const line of events(onShare)) {
      if (held === null) {
        output.result(line, format(line));
        await output.drained();
        continue;
      }
      held.push(line);
      if (held.length === aligned) printHeld();
    }
  });
  if (held?.length === 0) output.say(await emptyText(context, config));
  printHeld();
}

interface QueryOptions extends AuditConditions, OutputFileOptions {
  readonly lines?: string;
  readonly csv?: boolean;
  readonly raw?: boolean;
}

/** Parses the options. Reads all grants if an option names one, or for people: JSON events have IDs. */
async function prepareQuery(context: Context, options: QueryOptions) {
  const config = await context.readConfig();
  const grants = options.grant === undefined && context.output.json ? [] : await readGrants(context);
  const at = context.now();
  checkConditions(options, at);
  const last = options.lines === undefined ? undefined : readCount(options.lines);
  return { ...eventQuery(config, options, { grants, at, last }), config, grants };
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
  const nameOf = grantNames(output.json ? [] : await readGrants(context));
  let format = lineFormat(output.display, [], nameOf);
  const print = (line: AuditLine) => output.result(line, format(line));

  if (options.follow !== true) {
    const last: AuditLine[] = [];
    for await (const line of tailEvents(config, { lines, brief })) last.push(line);
    format = lineFormat(output.display, last, nameOf);
    for (const line of last) print(line);
    if (last.length === 0) output.say(await emptyText(context, config));
    return;
  }
  const stop = new AbortController();
  const giveBack = onInterrupt(() => stop.abort());
  try {
    for await (const line of tailEvents(config, { lines, brief, signal: stop.signal })) print(line);
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

/** Reads the grants, to print names for ids. Best effort: the log is readable without the store. */
async function readGrants({ withView }: Context): Promise<readonly Grant[]> {
  return withView((view) => view.grants()).catch(() => []);
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
    result(line).replace(/(?<=\bgrant )[0-9a-f]{8}-[0-9a-f-]{27}\b/g, grantName),
    took === undefined ? '' : duration(took),
  ];
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
