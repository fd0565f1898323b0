import { titleOf } from '../domain/grant.ts';
import { restoreGrant } from '../grants/restored-grant.ts';
import type { Row, Untyped } from '../store/copy.ts';
import type { GrantRow } from '../store/schema.ts';
import { runningMs } from '../store/node-life.ts';
import type { Keys } from './restore-keys.ts';

/** Sorted titles of grants after a restore. */
export interface RestoredGrants {
  readonly written: readonly string[];
  /** Grants that stay as they are, because they changed since the backup or their name is taken. */
  readonly newer: readonly string[];
  /** Grants with a refresh token that may have been used since the backup. */
  readonly check: readonly string[];
  /** Grants that need a new consent. */
  readonly consent: readonly string[];
}

interface RowWriterParts {
  readonly keys: Keys;
  /** True: the store is empty. */
  readonly isNew: boolean;
  /** True: other machines may use the store. */
  readonly isShared: boolean;
  readonly rollBack: boolean;
  readonly now: () => number;
}

/** Writes rows of a backup: all into an empty store, else only grants with their policies and activity. */
export function rowWriter(db: Untyped, { keys, isNew, isShared, rollBack, now }: RowWriterParts) {
  const titles = {
    written: [] as string[],
    newer: [] as string[],
    check: [] as string[],
    consent: [] as string[],
  };
  /** Ids of grants that the store lacked. */
  const added = new Set<unknown>();

  async function write(table: string, rows: readonly Row[]): Promise<void> {
    if (table === 'grants') await writeGrants(rows as unknown as readonly GrantRow[]);
    else if (table === 'nodes') await insert(table, isNew && isShared ? copiesOf(rows) : []);
    else if (isNew) await insert(table, rows);
    else if (table === 'grantPolicies' || table === 'grantActivity')
      await insert(
        table,
        rows.filter(({ grantId }) => added.has(grantId)),
      );
  }

  /** Returns the nodes with a copy of the key, which a rotation waits for 30 days after the restore. */
  function copiesOf(rows: readonly Row[]): readonly Row[] {
    const copies = rows.filter(({ source }) => source !== 'node');
    return copies.map((row) => ({ ...row, seenAt: now() - runningMs }));
  }

  async function writeGrants(grants: readonly GrantRow[]): Promise<void> {
    const ids = grants.map(({ id }) => id);
    const found = isNew ? [] : await db.selectFrom('grants').selectAll().where('id', 'in', ids).execute();
    const present = new Map((found as unknown as GrantRow[]).map((row) => [row.id, row]));
    const missing: GrantRow[] = [];
    for (const theirs of grants) {
      const mine = present.get(theirs.id) ?? null;
      const vaults = { from: keys.from.vault, to: keys.to.vault };
      const { write: next, attention } = restoreGrant({ theirs, mine, rollBack, ...vaults });
      let isWritten = next !== null && (isNew || !(await isTaken(next)));
      if (next !== null && isWritten && mine === null) missing.push(next);
      else if (next !== null && isWritten) isWritten = await update(next, mine!.revision);
      const listed = next !== null && !isWritten ? 'newer' : attention;
      if (listed !== 'none') titles[listed].push(titleOf(theirs));
      if (isWritten) titles.written.push(titleOf(theirs));
    }
    for (const { id } of missing) added.add(id);
    await insert('grants', missing);
  }

  /** Returns false if the grant changed meanwhile. */
  async function update({ id, ...columns }: GrantRow, revision: number): Promise<boolean> {
    const change = db.updateTable('grants').set(columns).where('id', '=', id);
    const { numUpdatedRows } = await change.where('revision', '=', revision).executeTakeFirstOrThrow();
    return numUpdatedRows === 1n;
  }

  /** Reports whether another grant has the name, or the lease that the grant ended with is gone. */
  async function isTaken({ id, user, name, lease }: GrantRow): Promise<boolean> {
    const named = db.selectFrom('grants').select('id').where('user', '=', user).where('name', '=', name);
    if ((await named.where('id', '!=', id).executeTakeFirst()) !== undefined) return true;
    if (lease === null) return false;
    const found = db.selectFrom('leases').select('id').where('id', '=', lease);
    return (await found.executeTakeFirst()) === undefined;
  }

  async function insert(table: string, rows: readonly Row[]): Promise<void> {
    if (rows.length > 0) await db.insertInto(table).values(rows).execute();
  }

  function grants(): RestoredGrants {
    for (const list of Object.values(titles)) list.sort();
    return titles;
  }

  return { write, grants };
}
