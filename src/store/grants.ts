import { type Kysely, type SelectQueryBuilder, sql } from 'kysely';
import { defaultUser, type Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { all, done, first, type Run, written } from './queries.ts';
import { damaged, type GrantRow, parseTexts, type Schema, unsynced } from './schema.ts';
import type { DueQuery, GrantNames, GrantRecord, Store } from './store.ts';

export interface GrantWrites {
  /** Called after a write of a grant; null: it was removed. */
  readonly grantWritten: (id: string, names: GrantNames | null) => void;
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
    insert: (...records) =>
      run(
        async () => {
          if (records.length === 0) return;
          await db.insertInto('grants').values(records.map(toGrantRow)).execute();
          for (const record of records) grantWritten(record.id, record);
        },
        () => grantExists(records),
      ),
    get: (id) => run(() => first(grants().where('id', '=', id), fromGrantRow)),
    some: (ids) => run(() => all(grants().where('id', 'in', ids), fromGrantRow)),
    find: ({ reference, name, users, named, after, limit }) =>
      run(async () => {
        if (named?.length === 0) return [];
        let query = inOrder(grants());
        if (reference !== undefined) {
          query = query.where((row) =>
            row.or(
              // The users in each, so that each uses an index.
              (['id', 'name', 'provider'] as const).map((column) =>
                row.and([
                  row(column, '=', reference),
                  ...(users === undefined ? [] : [row('user', 'in', users)]),
                ]),
              ),
            ),
          );
        } else if (users !== undefined) {
          query = users.length === 1 ? query.where('user', '=', users[0]!) : query.where('user', 'in', users);
        }
        if (name !== undefined) query = query.where('name', '=', name);
        if (named !== undefined) {
          const pairs = named.map((each) => sql`(${each.name}, ${each.user})`);
          query = query.where(sql<boolean>`(name, "user") in (values ${sql.join(pairs)})`);
        }
        if (after !== undefined)
          query = query.where((row) =>
            row(row.refTuple('name', 'user'), '>', row.tuple(after.name, after.user)),
          );
        return all(limit === undefined ? query : query.limit(limit), fromGrantRow);
      }),
    list: () => run(() => all(inOrder(grants()), fromGrantRow)),
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
          grantWritten(record.id, record);
          await synced();
          return true;
        },
        () => grantExists([record]),
      ),
    remove: (id) =>
      run(async () => {
        const removed = await written(db.deleteFrom('grants').where('id', '=', id));
        grantWritten(id, null);
        return removed === 1;
      }),
    due: (query) =>
      run(() =>
        all(dueGrants(db, query), ({ at, usedAt, endsAt, ...row }) => ({
          record: fromGrantRow(row),
          at,
          usedAt,
          endsAt,
        })),
      ),
    providerAfter: (name) =>
      run(() => {
        const query = db.selectFrom('grants').select('provider').where('provider', '>', name);
        return first(query.orderBy('provider').limit(1), ({ provider }) => provider);
      }),
    plan: (plans) =>
      run(async () => {
        if (plans.length === 0) return;
        await db.transaction().execute(async (inside) => {
          for (const { id, revision, was, ...times } of plans) {
            const update = inside.updateTable('grants').set(times).where('id', '=', id);
            await update.where('revision', '=', revision).where('dueAt', '=', was).execute();
          }
        });
      }),
    planAnew: () =>
      run(() => {
        const update = db.updateTable('grants').set({ dueAt: 0 }).where('dueAt', 'is', null);
        return done(update.where('refreshable', '=', 1).where('state', 'in', ['active', 'expired']));
      }),
  };
}

/** Returns rows of grants by an index of `0027-refresh-times`. */
export function dueGrants(db: Kysely<Schema>, { before, provider, after, limit }: DueQuery) {
  const column = provider === undefined ? 'grants.dueAt' : 'grants.obtainedAt';
  let query = db
    .selectFrom('grants')
    .leftJoin('grantActivity', 'grantActivity.grantId', 'grants.id')
    .leftJoin('grantPolicies', 'grantPolicies.grantId', 'grants.id')
    .selectAll('grants')
    .select((row) => row.ref(column).$notNull().as('at'))
    .select(['grantActivity.usedAt', 'grantPolicies.expiresAt as endsAt'])
    .where(column, '<=', before);
  if (provider !== undefined) query = query.where('grants.provider', '=', provider);
  if (after != null)
    query = query.where((row) => row(row.refTuple(column, 'grants.id'), '>', row.tuple(after.at, after.id)));
  return query.orderBy(column).orderBy('grants.id').limit(limit);
}

/** The order of names and users, by code unit (see `postgresMigrations`). */
function inOrder(query: SelectQueryBuilder<Schema, 'grants', GrantRow>) {
  return query.orderBy('name').orderBy('user');
}

function grantExists(records: readonly GrantRecord[]): SidekeyError {
  const [{ name, user } = { name: '', user: '' }, ...more] = records;
  if (more.length > 0)
    return new SidekeyError('already_exists', 'A user has a grant of one of these names already.');
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
export function toGrantRow({ times, ...record }: GrantRecord): GrantRow {
  const { scopes, refreshable } = record;
  return {
    ...record,
    scopes: JSON.stringify(scopes),
    refreshable: refreshable ? 1 : 0,
    ...(times ?? { dueAt: refreshable ? 0 : null, obtainedAt: null }),
  };
}

/**
 * Returns the grant of a row.
 * @throws SidekeyError `store_damaged` for values that Sidekey never writes: such a grant must not be used
 */
export function fromGrantRow({ dueAt: _due, obtainedAt: _obtained, ...row }: GrantRow): GrantRecord {
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

/** Returns the columns that a person may see. */
export function grantOf(record: GrantRecord): Grant {
  const { sealed: _sealed, times: _times, ...grant } = record;
  return Object.freeze(grant);
}
