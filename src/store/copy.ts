import { createHash } from 'node:crypto';
import { type Kysely, sql } from 'kysely';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { sealedKeyId } from './vault/envelope.ts';
import { keyNames, type RingValues, valuesIn } from './vault/ring.ts';
import type { Schema } from './schema.ts';
import type { Fault } from './sql-store.ts';

/** The tables of an open store. */
export interface StoreTables {
  readonly location: string;
  readonly db: Kysely<Schema>;
  /** Classifies an error of the driver. */
  readonly fault: (error: unknown) => Fault;
  close(): Promise<void>;
}

/** Returns the ids of all master keys that a store has had, current first. */
type KeysOf = (values: RingValues) => Promise<readonly string[]>;

/** Columns of the primary keys. In the order of the tables, a row comes after the rows that it refers to. */
const keys = {
  meta: ['name'],
  agents: ['name'],
  agentTokens: ['id'],
  agentUses: ['id'],
  bindings: ['agent', 'kind', 'value'],
  leases: ['id'],
  grants: ['id'],
  grantPolicies: ['grantId'],
  grantActivity: ['grantId'],
  questions: ['id'],
  proposals: ['id'],
  sessions: ['id'],
  auditEnds: ['log', 'node'],
  apiKeys: ['name'],
  people: ['name'],
  passkeys: ['id'],
  nodes: ['id'],
} as const satisfies Partial<Record<keyof Schema, readonly string[]>>;

export type Table = keyof typeof keys;
export type Row = Record<string, unknown>;
/** Tables and columns are chosen at run time. */
export type Untyped = Kysely<Record<string, Row>>;

export const tables = Object.keys(keys) as Table[];
/** Tables that are copied. `nodes` is left out: each running node writes to its row. */
const copied = tables.filter((table) => table !== 'nodes');
const batch = 500;

/**
 * Makes the tables of `to` equal to those of `from`, each in one transaction. Equal tables are skipped, so a
 * new call continues an interrupted copy. Locks and nodes are not copied. Returns the number of rows.
 * @param keysOf called for `from` if the stores have different master keys
 * @throws SidekeyError `input_invalid` if `to` is another store, has newer grants or another key than `from`,
 * or `from` has changed meanwhile; errors of `keysOf`
 */
export async function copyStore(from: StoreTables, to: StoreTables, keysOf: KeysOf): Promise<number> {
  const source = from.db as unknown as Untyped;
  const target = to.db as unknown as Untyped;
  await checkTarget(from, to, keysOf);
  for (const table of copied) {
    if ((await sumOf(source, table)).hash === (await sumOf(target, table)).hash) continue;
    await target.transaction().execute(async (inside) => {
      await inside.deleteFrom(table).execute();
      for await (const rows of pagesOf(source, table)) await inside.insertInto(table).values(rows).execute();
    });
  }
  // Makes processes that already use the target read the rights again.
  await to.db
    .updateTable('revisions')
    .set((row) => ({ value: row('value', '+', 1) }))
    .execute();
  let count = 0;
  for (const table of copied) {
    const [a, b] = [await sumOf(source, table), await sumOf(target, table)];
    if (a.hash !== b.hash)
      throw inputInvalid(
        `The table ${table} of ${from.location} changed while it was copied (${a.count} rows, and ${b.count} at ${to.location}).`,
        'stop the proxies that use either store, and run the command again',
      );
    count += a.count;
  }
  return count;
}

/** Refuses a copy that would mix two stores, or bring back refresh tokens that were used since. */
async function checkTarget(from: StoreTables, to: StoreTables, keysOf: KeysOf): Promise<void> {
  const [values, others] = [
    await metaOf(from.db as unknown as Untyped),
    await metaOf(to.db as unknown as Untyped),
  ];
  const [known, found] = [values.get(keyNames.check), others.get(keyNames.check)];
  if (known === undefined) {
    throw new SidekeyError('input_invalid', `The store at ${from.location} is empty.`, {
      hint: hintOf`name the store that is in use as the first argument: ${remedy('store.copy', { from: null, to: null })}`,
    });
  }
  // Each rotation makes another key check, and each store has its own.
  const isSame = found === undefined || Buffer.compare(known, found) === 0;
  if (!isSame && !(await keysOf(valuesIn(values))).slice(1).includes(sealedKeyId(found))) {
    throw inputInvalid(
      `The store at ${to.location} is another store, or its master key was rotated and that of ${from.location} was not.`,
      'copy to an empty database, or to a file that does not exist',
    );
  }
  const revisions = new Map<string, number>();
  for (const { id, revision } of await from.db.selectFrom('grants').select(['id', 'revision']).execute())
    revisions.set(id, revision);
  for (const { id, name, revision } of await to.db
    .selectFrom('grants')
    .select(['id', 'name', 'revision'])
    .execute()) {
    if (revision <= (revisions.get(id) ?? Infinity)) continue;
    throw inputInvalid(
      `The grant ${name} is newer at ${to.location} than at ${from.location}.`,
      'copy the other way round, or to an empty store: an old refresh token may be used up',
    );
  }
}

/** Reads the named values of a store. */
export async function metaOf(db: Untyped): Promise<Map<string, Uint8Array>> {
  const rows = await db.selectFrom('meta').selectAll().execute();
  return new Map(rows.map(({ name, value }) => [name as string, value as Uint8Array]));
}

/** Reads a table in pages, in the order of its key. */
export async function* pagesOf(db: Untyped, table: Table): AsyncGenerator<Row[]> {
  const columns = keys[table].map((name) => sql.ref(name));
  const key = sql`(${sql.join(columns)})`;
  let last: Row | undefined;
  for (;;) {
    const values = last && keys[table].map((name) => sql.val(last?.[name]));
    const rows: Row[] = await db
      .selectFrom(table)
      .selectAll()
      .$if(values !== undefined, (query) => query.where(sql<boolean>`${key} > (${sql.join(values ?? [])})`))
      .orderBy(sql.join(columns))
      .limit(batch)
      .execute();
    if (rows.length > 0) yield rows;
    if (rows.length < batch) return;
    last = rows.at(-1);
  }
}

/** Returns the number of rows and the sum of their hashes, which ignores their order: collations differ. */
async function sumOf(db: Untyped, table: Table): Promise<{ readonly count: number; readonly hash: string }> {
  let count = 0;
  let sum = 0n;
  for await (const rows of pagesOf(db, table)) {
    count += rows.length;
    for (const row of rows) sum += BigInt(`0x${createHash('sha256').update(canonical(row)).digest('hex')}`);
  }
  return { count, hash: `${count} ${sum.toString(16)}` };
}

function canonical(row: Row): string {
  const members = Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(
    members.map(([name, value]) => [
      name,
      value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value,
    ]),
    // PostgreSQL keeps no NUL in a text.
    (_name, value: unknown) => (typeof value === 'string' ? value.replaceAll('\0', '\ufffd') : value),
  );
}
