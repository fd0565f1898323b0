import { auditEventNames, type AuditLine } from '../domain/event.ts';
import { inheritsField } from './join.ts';
import { formatLine, usualOutcome } from './line.ts';

/** Fields that a filter compares as they are. */
const exactFields = [
  'exchange',
  'agent',
  'lease',
  'user',
  'provider',
  'host',
  'outcome',
  'code',
] as const satisfies readonly (keyof AuditLine)[];

/** Conditions of a filter. A line must fulfil all of them. */
export interface AuditFilter extends Partial<Pick<AuditLine, (typeof exactFields)[number]>> {
  /** Milliseconds since the epoch; `since` is inclusive, `until` exclusive. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** Compared without an index: indexes of files that were written before have no ports. */
  readonly port?: number | undefined;
  /** The name of an event, or a prefix with a star: `grant.*`. */
  readonly event?: string | undefined;
  /** The author of a change: the user, or the user before `sudo`. */
  readonly by?: string | undefined;
  /** Ids of grants, one of which the line names. */
  readonly grants?: ReadonlySet<string> | undefined;
}

/** Returns a function that reports whether a line fulfils all conditions. */
export function auditMatcher(filter: AuditFilter): (line: AuditLine) => boolean {
  const { event, by, grants, port } = filter;
  const isInRange = rangeOf(filter);
  const exact = exactFields.filter((name) => filter[name] !== undefined);
  return (line) => {
    if (!isInRange(line.time)) return false;
    if (event !== undefined) {
      const fits = isEventOf(event, line.event);
      if (!fits) return false;
    }
    if (by !== undefined && !authorsOf(line.by).includes(by)) return false;
    if (grants?.has(line.grant ?? '') === false) return false;
    if (port !== undefined && line.port !== port) return false;
    return exact.every((name) => line[name] === filter[name]);
  };
}

/** Returns a function that reports whether a time is in the range of the filter. */
function rangeOf({ since = -Infinity, until = Infinity }: AuditFilter): (time: string) => boolean {
  if (since === -Infinity && until === Infinity) return () => true;
  return (time) => {
    const at = Date.parse(time);
    // Not `at < since`: an unreadable time is in no range.
    return at >= since && at < until;
  };
}

/** Reports whether a condition, such as `grant.*`, covers an event of this name. */
export function isEventOf(condition: string, name: string): boolean {
  return condition.endsWith('*') ? name.startsWith(condition.slice(0, -1)) : name === condition;
}

/** Returns the names under which a `by` is found: itself and, for `alice (as root)`, both users. */
function authorsOf(by = ''): readonly string[] {
  const [, before, after] = /^(.+) \(as (.+)\)$/.exec(by) ?? [];
  return before === undefined || after === undefined ? [by] : [by, before, after];
}

/*
 * A query skips lines that cannot match without parsing them, by two necessary conditions: the keys of a
 * block of lines (see `block-index.ts`), and the bytes of a line (see `createGate`).
 */

/** A condition: a line that fulfils it, or the access of its exchange if `inherited`, has one of the keys. */
export interface KeyCondition {
  readonly keys: readonly string[];
  readonly inherited: boolean;
}

/** The key of an unknown event; a condition with a star may cover it. */
const unknownEvent = 'event=?';

/** Returns the keys of a line by itself, without the access of its exchange. */
export function keysOf(line: AuditLine): string[] {
  const { event, by, grant, outcome = usualOutcome(event) } = line;
  const keys = [`event=${event}`];
  if (!(auditEventNames as readonly string[]).includes(event)) keys.push(unknownEvent);
  if (by !== undefined) keys.push(...authorsOf(by).map((name) => `by=${name}`));
  if (grant !== undefined) keys.push(`grant=${grant}`);
  for (const name of exactFields) {
    const value = name === 'outcome' ? outcome : line[name];
    if (value !== undefined) keys.push(`${name}=${value}`);
  }
  return keys;
}

/** Returns the conditions of a filter, except its time range. */
export function keyConditions(filter: AuditFilter): KeyCondition[] {
  const { event, by, grants } = filter;
  const conditions: KeyCondition[] = exactFields.flatMap((name) =>
    filter[name] === undefined ? [] : [{ keys: [`${name}=${filter[name]}`], inherited: inheritsField(name) }],
  );
  if (grants !== undefined)
    conditions.push({ keys: Array.from(grants, (id) => `grant=${id}`), inherited: true });
  if (by !== undefined) conditions.push({ keys: [`by=${by}`], inherited: false });
  if (event?.endsWith('*') === true) {
    const names = auditEventNames.filter((name) => isEventOf(event, name));
    conditions.push({ keys: [...names.map((name) => `event=${name}`), unknownEvent], inherited: false });
  } else if (event !== undefined) conditions.push({ keys: [`event=${event}`], inherited: false });
  return conditions;
}

/** Reports, without parsing, that a writer's line may match: neither function rules it out. */
export type Gate = ReturnType<typeof createGate>;

/** Outcomes that lines omit. */
const usualOutcomes: ReadonlySet<string | undefined> = new Set(auditEventNames.map(usualOutcome));

/** Returns the text of a field as in a line. */
function textOf(field: object): Buffer {
  return Buffer.from(formatLine(field as AuditLine).slice(1, -1));
}

export function createGate(filter: AuditFilter) {
  const { event, by, outcome, grants, port } = filter;
  const isInRange = rangeOf(filter);
  const fields = exactFields.filter((name) => name !== 'outcome' && filter[name] !== undefined);
  const terms = fields.filter((name) => !inheritsField(name)).map((name) => textOf({ [name]: filter[name] }));
  // Both users of `alice (as root)` are within the text.
  if (by !== undefined) terms.push(textOf({ by }).subarray('"by":"'.length, -1));
  const inherited = fields.filter(inheritsField).map((name) => [textOf({ [name]: filter[name] })]);
  if (grants !== undefined) inherited.push(Array.from(grants, (grant) => textOf({ grant })));
  if (port !== undefined) inherited.push([textOf({ port })]);
  const outcomeText = textOf({ outcome });
  const everywhere = [...terms];
  if (event?.endsWith('*') === false) everywhere.push(textOf({ event }));
  if (outcome !== undefined && !usualOutcomes.has(outcome)) everywhere.push(outcomeText);
  return {
    /** Reports whether a line in a text may pass `own`. */
    ownIn: (text: Buffer) => everywhere.every((part) => text.includes(part)),
    /** Checks the fields that a line has by itself: its bytes, event and time. */
    own: (line: Buffer, name: string, time: string) =>
      (event === undefined || isEventOf(event, name)) &&
      isInRange(time) &&
      (outcome === undefined || usualOutcome(name) === outcome || line.includes(outcomeText)) &&
      terms.every((text) => line.includes(text)),
    /** Checks the other fields, which may be in the access of the exchange that the line ends. */
    inherited: (line: Buffer, access?: Buffer) =>
      inherited.every((texts) =>
        texts.some((text) => line.includes(text) || access?.includes(text) === true),
      ),
  };
}
