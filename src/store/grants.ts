import type { Kysely } from 'kysely';
import type { Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { Run } from './agents.ts';
import { compare, damaged, type GrantRow, parseTexts, type Schema, unsynced } from './schema.ts';
import type { GrantRecord, Store } from './store.ts';

export interface GrantWrites {
  /** Called after a write of a grant. */
  readonly grantWritten: (id: string) => void;
  /** Resolves when the writes of `replace` are on the disk. */
  readonly synced: () => Promise<void>;
}

export function sqlGrants(
  db: Kysely<Schema>,
  run: Run,
  { grantWritten, synced }: GrantWrites,
): Store['grants'] {
  return {
    insert: (record) =>
      run(
        async () => {
          await db.insertInto('grants').values(toGrantRow(record)).execute();
          grantWritten(record.id);
        },
        () => grantExists(record),
      ),
    get: (id) =>
      run(async () => {
        const row = await db.selectFrom('grants').selectAll().where('id', '=', id).executeTakeFirst();
        return row === undefined ? null : fromGrantRow(row);
      }),
    some: (ids) =>
      run(async () => {
        const rows = await db.selectFrom('grants').selectAll().where('id', 'in', ids).execute();
        return rows.map(fromGrantRow);
      }),
    list: () =>
      run(async () => {
        const rows = await db.selectFrom('grants').selectAll().execute();
        // Sorted here: databases differ in their collation of text.
        return rows.map(fromGrantRow).toSorted((a, b) => compare(a.name, b.name) || compare(a.user, b.user));
      }),
    replace: (record, expectedRevision) =>
      run(
        async () => {
          if (record.revision <= expectedRevision) {
            throw new SidekeyError(
              'internal',
              `Revision ${record.revision} does not follow ${expectedRevision}.`,
            );
          }
          const result = await db
            .updateTable('grants')
            .set(toGrantRow(record))
            .where('id', '=', record.id)
            .where('revision', '=', expectedRevision)
            .modifyEnd(unsynced)
            .executeTakeFirstOrThrow();
          if (result.numUpdatedRows !== 1n) return false;
          grantWritten(record.id);
          await synced();
          return true;
        },
        () => grantExists(record),
      ),
    remove: (id) =>
      run(async () => {
        const result = await db.deleteFrom('grants').where('id', '=', id).executeTakeFirstOrThrow();
        grantWritten(id);
        return result.numDeletedRows === 1n;
      }),
  };
}

function grantExists(record: GrantRecord): SidekeyError {
  return new SidekeyError(
    'already_exists',
    `The user "${record.user}" has a grant named "${record.name}" already, or its id is taken.`,
    {
      hint: hintOf`Choose another name, or remove it first: ${remedy('grant.remove', { grant: record.name })}`,
    },
  );
}

const types: readonly Grant['type'][] = [
  'oauth2',
  'api_key',
  'jwt',
  'basic',
  'headers',
  'aws',
  'client_certificate',
  'source',
];
const states: readonly Grant['state'][] = ['active', 'expired', 'revoked', 'reauth_required'];

/** Returns a grant in the form of its table. */
export function toGrantRow(record: GrantRecord): GrantRow {
  return { ...record, scopes: JSON.stringify(record.scopes), refreshable: record.refreshable ? 1 : 0 };
}

/**
 * Returns the grant of a row.
 * @throws SidekeyError `store_damaged` for values that Sidekey never writes: such a grant must not be used
 */
export function fromGrantRow(row: GrantRow): GrantRecord {
  const place = `the grant "${row.name}" of user "${row.user}"`;
  const valueOf = <Value extends string>(column: 'type' | 'state', values: readonly Value[]): Value => {
    const value = values.find((each) => each === row[column]);
    if (value === undefined) throw damaged(place, column);
    return value;
  };
  return {
    ...row,
    type: valueOf('type', types),
    state: valueOf('state', states),
    scopes: parseTexts(row.scopes, place, 'scopes'),
    refreshable: row.refreshable !== 0,
  };
}
