import type { Kysely } from 'kysely';
import { defaultUser, type Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { all, first, type Run, written } from './queries.ts';
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
  const grants = () => db.selectFrom('grants').selectAll();
  return {
    insert: (record) =>
      run(
        async () => {
          await db.insertInto('grants').values(toGrantRow(record)).execute();
          grantWritten(record.id);
        },
        () => grantExists(record),
      ),
    get: (id) => run(() => first(grants().where('id', '=', id), fromGrantRow)),
    some: (ids) => run(() => all(grants().where('id', 'in', ids), fromGrantRow)),
    list: () =>
      run(async () => {
        const records = await all(grants(), fromGrantRow);
        // Sorted here: databases differ in their collation of text.
        return records.toSorted((a, b) => compare(a.name, b.name) || compare(a.user, b.user));
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
          const update = db
            .updateTable('grants')
            .set(toGrantRow(record))
            .where('id', '=', record.id)
            .where('revision', '=', expectedRevision)
            .modifyEnd(unsynced);
          if ((await written(update)) !== 1) return false;
          grantWritten(record.id);
          await synced();
          return true;
        },
        () => grantExists(record),
      ),
    remove: (id) =>
      run(async () => {
        const removed = await written(db.deleteFrom('grants').where('id', '=', id));
        grantWritten(id);
        return removed === 1;
      }),
  };
}

function grantExists({ name, user }: GrantRecord): SidekeyError {
  // Without it, the command would remove the grant of the default user.
  const owner = user === defaultUser ? undefined : user;
  return new SidekeyError(
    'already_exists',
    `The user "${user}" has a grant named "${name}" already, or its id is taken.`,
    {
      hint: hintOf`Choose another name, or remove it first: ${remedy('grant.remove', { grant: name, user: owner })}`,
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
