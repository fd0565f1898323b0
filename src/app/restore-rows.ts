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
  /** Titles of grants that stay unchanged, to which more are added. */
  readonly newer: string[];
  readonly now: () => number;
}

/** Returns the grants of the store with the IDs of these grants, by ID. */
async function presentOf(
  db: Untyped,
  grants: readonly Pick<GrantRow, 'id'>[],
): Promise<ReadonlyMap<string, GrantRow>> {
  const ids = grants.map(({ id }) => id);
  const found = await db.selectFrom('grants').selectAll().where('id', 'in', ids).execute();
  return new Map((found as unknown as GrantRow[]).map((row) => [row.id, row]));
}

/**
 * Returns a function that returns those rows of a backup that `rowWriter` may write to a store in use. Adds
 * the titles of the other grants that changed since to `newer`.
 */
export function changedRows(
  db: Untyped,
  { keys, rollBack, newer }: Pick<RowWriterParts, 'keys' | 'rollBack' | 'newer'>,
) {
  const changed = new Set<unknown>();
  return async (table: string, rows: readonly Row[]): Promise<readonly Row[]> => {
    if (table !== 'grants') return rows.filter(({ grantId }) => changed.has(grantId));
    const grants = rows as unknown as readonly GrantRow[];
    const present = await presentOf(db, grants);
    const news = grants.filter((theirs) => {
      const mine = present.get(theirs.id) ?? null;
      const result = restoreGrant({ theirs, mine, rollBack, from: keys.from.vault, to: keys.to.vault });
      if (result.attention === 'newer') newer.push(titleOf(theirs));
      return result.write !== null || result.attention === 'consent';
    });
    for (const { id } of news) changed.add(id);
    return news;
  };
}

/** Writes rows of a backup: all into an empty store, else only grants with their policies and activity. */
export function rowWriter(db: Untyped, { keys, isNew, isShared, rollBack, newer, now }: RowWriterParts) {
  const titles = {
    written: [] as string[],
    newer,
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

  async function writeGrants(saved: readonly GrantRow[]): Promise<void> {
    // Minted grants end within hours, and their parents may not be written. A backup of before has no column.
    const grants = isNew ? saved : saved.filter(({ parent }) => (parent ?? null) === null);
    const present = isNew ? new Map<string, GrantRow>() : await presentOf(db, grants);
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
