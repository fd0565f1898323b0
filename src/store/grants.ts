import { type ExpressionBuilder, type Kysely, sql, type UpdateQueryBuilder, type UpdateResult } from 'kysely';
import { defaultUser, type Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { activityNote } from './activity.ts';
import { all, done, first, inBatches, pageOf, releaseOf, type Run, written } from './queries.ts';
import { compare, damaged, type GrantRow, parseTexts, type Schema, unsynced } from './schema.ts';
import type {
  DueQuery,
  GrantChoice,
  GrantNames,
  GrantQuery,
  GrantRecord,
  MintedQuery,
  Store,
  StoredRefresh,
} from './store.ts';

export interface StoreWrites {
  /** Called after a write of rights, with its notifications (see `change-log.ts`). */
  readonly rightsWritten: (notifications: readonly string[]) => void;
  /** Called after a write of a grant; null: it was removed. */
  readonly grantWritten: (id: string, names: GrantNames | null) => void;
  /** Resolves when the writes of `replace` are on the disk. */
  readonly synced: () => Promise<void>;
  readonly now: () => number;
  /** The database takes writes in WITH (PostgreSQL). */
  readonly writesInWith: boolean;
}

/** Writes grants, in one transaction with their policies if they have any. Returns the rows of `write`. */
type PolicyWrite = (
  records: readonly GrantRecord[],
  write: (on: Kysely<Schema>) => Promise<number>,
  duplicate: () => SidekeyError,
) => Promise<number>;

/** Columns that a reference can name. */
const references = ['id', 'name', 'provider'] as const;

export function sqlGrants(
  db: Kysely<Schema>,
  run: Run,
  { grantWritten, synced, now, writesInWith }: StoreWrites,
  policyWrite: PolicyWrite,
): Store['grants'] {
  function refreshNote(id: string, { at }: StoredRefresh, condition = sql<boolean>`true`) {
    return activityNote(db, id, { refreshedAt: at }, { now: now(), condition });
  }

  /** Notes the refresh and releases its lock in the statement of the update. Returns the rows updated. */
  async function withRest(
    update: UpdateQueryBuilder<Schema, 'grants', 'grants', UpdateResult>,
    id: string,
    refresh: StoredRefresh,
  ): Promise<number> {
    const isReplaced = sql<boolean>`exists (select from replaced)`;
    const rows = await db
      .with('replaced', () => update.set({ changedIn: currentTransaction }).returning('id'))
      .with('noted', () => refreshNote(id, refresh, isReplaced))
      .with('released', () => releaseOf(db, refresh).where(isReplaced))
      .selectFrom('replaced')
      .select('id')
      .execute();
    return rows.length;
  }

  return {
    insert: (...records) =>
      run(
        async () => {
          if (records.length === 0) return;
          await policyWrite(
            records,
            (on) => written(on.insertInto('grants').values(records.map(toGrantRow))),
            () => grantExists(records),
          );
          for (const record of records) grantWritten(record.id, record);
        },
        () => grantExists(records),
      ),
    get: (id) => run(() => first(storedGrants(db).where('id', '=', id), fromGrantRow)),
    some: (ids) =>
      run(() => inBatches(ids, (some) => all(storedGrants(db).where('id', 'in', some), fromGrantRow))),
    find: (query) => run(() => findGrants(db, query)),
    matching: (choice, limit) => run(() => all(matchingGrants(db, choice).limit(limit), fromGrantRow)),
    newest: (provider, limit) =>
      run(() => {
        const ofProvider = storedGrants(db).where('provider', '=', provider).where('parent', 'is', null);
        const query = ofProvider.orderBy('updatedAt', 'desc');
        return all(query.limit(limit), fromGrantRow);
      }),
    ofLeases: (page) => run(() => all(grantsOfLeases(db, page), fromGrantRow)),
    minted: (query) => run(() => all(mintedGrants(db, query), fromGrantRow)),
    replace: (record, expectedRevision, refresh) =>
      run(
        async () => {
          if (record.revision <= expectedRevision) {
            throw new SidekeyError(
              'internal',
              `Revision ${record.revision} does not follow ${expectedRevision}.`,
            );
          }
          const updateOn = (on: Kysely<Schema>) =>
            on
              .updateTable('grants')
              .set(toGrantRow(record))
              .where('id', '=', record.id)
              .where('revision', '=', expectedRevision);
          const isWhole = refresh !== undefined && writesInWith;
          const replaced = isWhole
            ? await withRest(updateOn(db), record.id, refresh)
            : await policyWrite(
                [record],
                (on) => written(on === db ? updateOn(on).modifyEnd(unsynced) : updateOn(on)),
                () => grantExists([record]),
              );
          if (replaced !== 1) return false;
          grantWritten(record.id, record);
          await synced();
          if (refresh !== undefined && !isWhole) {
            await done(refreshNote(record.id, refresh).modifyEnd(unsynced));
            await done(releaseOf(db, refresh).modifyEnd(unsynced));
          }
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
        all(dueGrants(db, query), ({ at, usedAt, ...row }) => ({
          record: fromGrantRow(row),
          at,
          usedAt,
          endsAt: row.endsAt,
        })),
      ),
    providerAfter: (name) =>
      run(() => {
        const query = db.selectFrom('grants').select('provider').where('provider', '>', name);
        return first(query.orderBy('provider').limit(1), ({ provider }) => provider);
      }),
    perhapsWithFiles: (after, limit) =>
      run(() => all(grantsPerhapsWithFiles(db, after, limit), fromGrantRow)),
    markFileless: (grants) =>
      run(async () => {
        if (grants.length === 0) return;
        await db.transaction().execute(async (inside) => {
          for (const { id, revision, sealed } of grants)
            await inside
              .updateTable('grants')
              .set({ filelessIn: revision })
              .where('id', '=', id)
              .where('revision', '=', revision)
              .where('sealed', '=', sealed)
              .execute();
        });
      }),
    plan: (plans) =>
      run(async () => {
        if (plans.length === 0) return;
        const rows = plans.map(({ id, revision, was, dueAt, obtainedAt = -1 }) => {
          const values = [id, revision, was, dueAt, obtainedAt];
          return sql`(${sql.join(values)})`;
        });
        const [, revision, was, dueAt, obtainedAt] = [1, 2, 3, 4, 5].map(
          (column) => sql`cast(${sql.raw(`column${column}`)} as bigint)`,
        );
        await sql`update "grants" set "due_at" = ${dueAt},
          obtained_at = case ${obtainedAt} when -1 then obtained_at else ${obtainedAt} end
          from (values ${sql.join(rows)}) as plans
          where id = column1 and revision = ${revision} and due_at = ${was} ${unsynced}`.execute(db);
      }),
    planAnew: () =>
      run(() => {
        const update = db.updateTable('grants').set({ dueAt: 0 }).where('dueAt', 'is', null);
        return done(update.where('refreshable', '=', 1).where('state', 'in', ['active', 'expired']));
      }),
  };
}

/** Returns grants with the columns of their policies that requests need. */
export function storedGrants(db: Kysely<Schema>) {
  return (
    db
      .selectFrom('grants')
      // The policy of a parent applies to its minted grants.
      .leftJoin('grantPolicies', (join) =>
        join.on('grantPolicies.grantId', '=', sql<string>`coalesce(grants.parent, grants.id)`),
      )
      .selectAll('grants')
      .select(['grantPolicies.labels', 'grantPolicies.expiresAt as endsAt'])
  );
}

/** Returns the grants of a query in their order. */
async function findGrants(
  db: Kysely<Schema>,
  { reference, name, users, named, unminted = false, after, limit }: GrantQuery,
): Promise<GrantRecord[]> {
  if (named?.length === 0) return [];
  let chosen = storedGrants(db);
  if (unminted) chosen = chosen.where('parent', 'is', null);
  if (name !== undefined) chosen = chosen.where('name', '=', name);
  if (named !== undefined) {
    const pairs = named.map((each) => sql`(${each.name}, ${each.user})`);
    chosen = chosen.where(sql<boolean>`(name, "user") in (values ${sql.join(pairs)})`);
  }
  /** A provider has only those that requests select without a placeholder. */
  const refers = (row: ExpressionBuilder<Schema, 'grants'>, column: (typeof references)[number]) =>
    column === 'provider'
      ? row.and([row(column, '=', reference!), row('parent', 'is', null)])
      : row(column, '=', reference!);
  /** @param only the single name of the grants */
  const page = (some: typeof chosen, only = name) =>
    // A comparison of pairs would read all users of the name.
    after !== undefined && only === after.name
      ? pageOf(some.where('user', '>', after.user), nameOrder, undefined, limit)
      : pageOf(some, nameOrder, after && [after.name, after.user], limit);
  const merged = (records: readonly GrantRecord[]) =>
    [...new Map(records.map((record) => [record.id, record])).values()].toSorted(inNameOrder).slice(0, limit);
  if (users !== undefined)
    return merged(
      await inBatches(users, (some) => {
        if (reference === undefined) {
          const ofSome =
            some.length === 1 ? chosen.where('user', '=', some[0]!) : chosen.where('user', 'in', some);
          return all(page(ofSome), fromGrantRow);
        }
        // The users in each, so that each uses an index.
        const ofUsers = chosen.where((row) =>
          row.or(references.map((column) => row.and([refers(row, column), row('user', 'in', some)]))),
        );
        return all(page(ofUsers), fromGrantRow);
      }),
    );
  if (reference === undefined) return all(page(chosen), fromGrantRow);
  if (limit === undefined)
    return all(
      page(chosen.where((row) => row.or(references.map((column) => refers(row, column))))),
      fromGrantRow,
    );
  // Each part reads an index in the order of the result. With `or`, all grants would be sorted first. A grant
  // of a provider of its own name is in one part only.
  const part = (query: typeof chosen) => db.selectFrom(query.as('part')).selectAll();
  const ofProvider = chosen.where((row) => refers(row, 'provider'));
  const place = after === undefined ? -1 : compare(after.name, reference);
  let parts = part(chosen.where('id', '=', reference));
  if (place < 0) parts = parts.unionAll(part(page(ofProvider.where('name', '<', reference))));
  if (place <= 0)
    parts = parts
      .unionAll(part(page(chosen.where('name', '=', reference), reference)))
      .unionAll(part(pageOf(ofProvider.where('name', '>', reference), nameOrder, undefined, limit)));
  else parts = parts.unionAll(part(page(ofProvider)));
  const records = await all(parts, fromGrantRow);
  return merged(records.filter((each) => after === undefined || inNameOrder(after, each) < 0));
}

/** ID of the transaction in PostgreSQL. See `watchChanges`. */
const currentTransaction = sql<number>`pg_current_xact_id()::text::bigint`;

/** Returns rows of grants by an index of the choice. */
export function matchingGrants(
  db: Kysely<Schema>,
  { type, provider, user, label, state, unleased = false }: GrantChoice,
) {
  let query = storedGrants(db).where('parent', 'is', null);
  // Not by the index of leases, because most grants have none.
  if (unleased) query = query.where(sql<boolean>`coalesce(lease, '') = ''`);
  if (type !== undefined) query = query.where('type', '=', type);
  if (provider !== undefined) query = query.where('provider', '=', provider);
  if (user !== undefined) query = query.where('user', '=', user);
  // Not by the index of states, because most grants are active.
  if (state !== undefined) query = query.where(sql<string>`coalesce(state, '')`, '=', state);
  if (label === undefined) return query;
  // The text of a label has no character that JSON escapes.
  const labelled = sql`select grant_id from grant_policies
    where labels <> '[]' and replace(labels, ${JSON.stringify(label)}, '') <> labels`;
  return query.where(sql<boolean>`id in (${labelled})`);
}

/** Returns rows of grants by an index of `0030-grants-of-leases`. */
export function grantsOfLeases(
  db: Kysely<Schema>,
  { lease, after, limit }: Parameters<Store['grants']['ofLeases']>[0],
) {
  let query = storedGrants(db).where('lease', 'is not', null);
  if (lease !== undefined) query = query.where('lease', '=', lease);
  return pageOf(query, ['lease', 'id'], after && [after.lease, after.id], limit);
}

/** Returns rows of grants by the index of `0040-minted-grants`. */
function mintedGrants(db: Kysely<Schema>, { parents, lease, mint, after, limit }: MintedQuery) {
  const ofLease = sql<string>`coalesce(lease, '')`;
  const order = sql`parent, ${ofLease}, grants.id`;
  let query = storedGrants(db);
  query = parents === undefined ? query.where('parent', '>', '') : query.where('parent', 'in', parents);
  if (lease !== undefined) query = query.where(ofLease, '=', lease ?? '');
  if (mint !== undefined) query = query.where('mint', '=', mint);
  if (after !== undefined) {
    const place = [after.parent, after.lease ?? '', after.id];
    query = query.where(sql<boolean>`(${order}) > (${sql.join(place)})`);
  }
  return query.orderBy(order).limit(limit);
}

/** Returns rows of grants by an index of `0027-refresh-times`. */
export function dueGrants(db: Kysely<Schema>, { before, provider, after, limit }: DueQuery) {
  const column = provider === undefined ? 'grants.dueAt' : 'grants.obtainedAt';
  let query = storedGrants(db)
    .leftJoin('grantActivity', 'grantActivity.grantId', 'grants.id')
    .select((row) => row.ref(column).$notNull().as('at'))
    .select('grantActivity.usedAt')
    .where(column, '<=', before);
  if (provider !== undefined) query = query.where('grants.provider', '=', provider);
  return pageOf(query, [column, 'grants.id'], after ? [after.at, after.id] : undefined, limit);
}

/** Returns rows of grants by the index of `0036-fileless`. */
export function grantsPerhapsWithFiles(db: Kysely<Schema>, after: string, limit: number) {
  // Not by the index of types, because most grants are of these.
  const isUnknown = sql<boolean>`coalesce(type, '') in ('source', 'oauth2') and coalesce(fileless_in, 0) <> revision`;
  return storedGrants(db).where(isUnknown).where('id', '>', after).orderBy('id').limit(limit);
}

/** The order of names and users, by code unit (see `postgresMigrations`). */
const nameOrder = ['name', 'user'];

/** Compares grants for that order. */
export function inNameOrder(a: Pick<Grant, 'name' | 'user'>, b: Pick<Grant, 'name' | 'user'>): number {
  return compare(a.name, b.name) || compare(a.user, b.user);
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
export function toGrantRow({
  times,
  policy: _policy,
  labels: _labels,
  endsAt: _endsAt,
  ...record
}: GrantRecord): GrantRow {
  const { scopes, refreshable } = record;
  return {
    ...record,
    scopes: JSON.stringify(scopes),
    refreshable: refreshable ? 1 : 0,
    filelessIn: null,
    ...(times ?? { dueAt: refreshable ? 0 : null, obtainedAt: null }),
  };
}

/**
 * Returns the grant of a row.
 * @throws SidekeyError `store_damaged` for values that Sidekey never writes: such a grant must not be used
 */
export function fromGrantRow({
  dueAt: _due,
  obtainedAt: _obtained,
  filelessIn: _fileless,
  changedIn: _changed,
  labels,
  endsAt,
  ...row
}: GrantRow & {
  readonly changedIn?: number | null;
  readonly labels?: string | null;
  readonly endsAt?: number | null;
}): GrantRecord {
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
    ...(labels == null || labels === '[]' ? {} : { labels: parseTexts(labels, place, 'labels') }),
    ...(endsAt == null ? {} : { endsAt }),
  };
}

/** Returns the columns that a person may see. */
export function grantOf(record: GrantRecord): Grant {
  const { sealed: _sealed, times: _times, policy: _policy, ...grant } = record;
  return Object.freeze(grant);
}
