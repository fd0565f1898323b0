import { createHash } from 'node:crypto';
import { z } from 'zod';
import { SidekeyError } from '../lib/errors.ts';
import { pagesOf, type Row, type Table, tables, type Untyped } from './copy.ts';

/**
 * The text of a backup: JSON, one value per line. The first line is the head, each further one a row of a
 * table, the last one the end, with a MAC of all lines before. The text is sealed (`store/vault/age.ts`).
 */

const format = 'sidekey-backup/1';

/** Tables of a backup. Sessions are left out: a sign-in that has ended must not begin again. */
const savedTables = tables.filter((table) => table !== 'sessions');

const headShape = z.strictObject({
  format: z.literal(format),
  /** Milliseconds since the epoch. */
  made: z.number(),
  /** Version of Sidekey that made it. */
  version: z.string(),
  store: z.string(),
  /** The migrations that all engines have. */
  schema: z.array(z.string()),
  /** The current master key in base64. */
  key: z.string(),
  /** The key file of the CA; null: there was none. */
  ca: z.string().nullable(),
});

export type BackupHead = Omit<z.infer<typeof headShape>, 'format'>;

const endShape = z.strictObject({ mac: z.string() });

export type RowCounts = Readonly<Record<string, number>>;

/** Summary of a whole backup. */
export interface BackupSum {
  readonly counts: RowCounts;
  /** SHA-256 of all lines before the last one, in hex. */
  readonly digest: string;
}

/** Reads the rows of a backup. The caller has a transaction that sees a single state of the store. */
export async function* rowsOf(db: Untyped): AsyncGenerator<readonly [Table, readonly Row[]]> {
  for (const table of savedTables) for await (const rows of pagesOf(db, table)) yield [table, rows];
}

/**
 * Writes the lines of a backup.
 * @param sign returns the authentication code of a digest
 */
export async function* writeLines(
  head: BackupHead,
  rows: AsyncIterable<readonly [Table, readonly Row[]]>,
  sign: (sum: BackupSum) => string,
): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  const counts: Record<string, number> = {};
  const hashed = (values: readonly unknown[]) => {
    const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value, written)}\n`).join(''));
    hash.update(bytes);
    return bytes;
  };
  yield hashed([{ format, ...head }]);
  for await (const [table, some] of rows) {
    counts[table] = (counts[table] ?? 0) + some.length;
    yield hashed(some.map((row) => [table, row]));
  }
  const sum = { counts, digest: hash.digest('hex') };
  yield Buffer.from(`${JSON.stringify({ mac: sign(sum) })}\n`);
}

/** A part of a backup. `rows` are of one table. */
export type BackupPart =
  | { readonly kind: 'head'; readonly head: BackupHead }
  | { readonly kind: 'rows'; readonly table: string; readonly rows: readonly Row[] }
  | ({ readonly kind: 'end'; readonly mac: string } & BackupSum);

const batch = 200;

/**
 * Parses a backup: the head, the rows in the order in which they were written, the end.
 * @throws SidekeyError `record_tampered` if it is incomplete or has another form; errors of `chunks`
 */
export async function* readParts(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<BackupPart> {
  const hash = createHash('sha256');
  const counts: Record<string, number> = {};
  let part: { readonly table: string; readonly rows: Row[] } | null = null;
  let place: 'start' | 'rows' | 'end' = 'start';
  for await (const line of linesOf(chunks)) {
    if (place === 'end') throw malformed(name);
    const value = parse(line);
    if (place === 'start') {
      const { success, data } = headShape.safeParse(value);
      if (!success) throw malformed(name);
      const { format: _format, ...head } = data;
      yield { kind: 'head', head };
      place = 'rows';
    } else if (isRow(value)) {
      const [table, row] = value;
      if (part !== null && (part.table !== table || part.rows.length === batch)) {
        yield { kind: 'rows', ...part };
        part = null;
      }
      part ??= { table, rows: [] };
      part.rows.push(row);
      counts[table] = (counts[table] ?? 0) + 1;
    } else {
      const { success, data } = endShape.safeParse(value);
      if (!success) throw malformed(name);
      if (part !== null) yield { kind: 'rows', ...part };
      yield { kind: 'end', mac: data.mac, counts, digest: hash.digest('hex') };
      place = 'end';
      continue;
    }
    hash.update(line).update('\n');
  }
  if (place !== 'end') throw malformed(name);
}

async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    rest = Buffer.concat([rest, chunk]);
    for (let at = rest.indexOf(0x0a); at >= 0; at = rest.indexOf(0x0a)) {
      yield rest.subarray(0, at);
      rest = rest.subarray(at + 1);
    }
  }
  if (rest.length > 0) yield rest;
}

/** Converts bytes for `JSON.stringify`. Reads `this`, because `Buffer` has already converted `value`. */
function written(this: Row, name: string, value: unknown): unknown {
  const bytes = this[name];
  return bytes instanceof Uint8Array ? { base64: Buffer.from(bytes).toString('base64') } : value;
}

function isRow(value: unknown): value is [string, Row] {
  return Array.isArray(value) && typeof value[0] === 'string' && typeof value[1] === 'object';
}

function parse(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString(), (_name, value: { readonly base64?: unknown } | null) =>
      typeof value?.base64 === 'string' ? Buffer.from(value.base64, 'base64') : value,
    );
  } catch {
    return null;
  }
}

function malformed(name: string): SidekeyError {
  return new SidekeyError('record_tampered', `${name} does not hold a whole backup.`, {
    hint: 'use another copy of the file, or an earlier backup; nothing was restored',
  });
}
