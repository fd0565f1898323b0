import { type ExpressionBuilder, type Kysely } from 'kysely';
import {
  maxReasonLength,
  onceMs,
  type Proposal,
  type ProposalOutcome,
  type ProposedChange,
  replacedBy,
} from '../domain/proposal.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { oneAtATime } from './agents.ts';
import { all, done, equals, first, pageOf, rowsOf, type Run, written } from './queries.ts';
import { damaged, type ProposalRow, type Schema } from './schema.ts';
import type { ProposalStore } from './store.ts';

/** Queries for proposals. Each write is atomic, so only one of concurrent answers and uses takes effect. */

type Row = ExpressionBuilder<Schema, 'proposals'>;

/** Returns the queries of `ProposalStore`. None changes a right of an agent (see `rightsChange`). */
export function sqlProposals(db: Kysely<Schema>, run: Run): ProposalStore {
  const proposals = () => db.selectFrom('proposals').selectAll();
  return {
    propose: (proposal, maxWaiting) =>
      run(() =>
        db.transaction().execute(async (inside) => {
          await oneAtATime(inside);
          const row = toProposalRow(proposal);
          if ((await written(insertion(inside, row, maxWaiting))) === 1) return fromProposalRow(row);
          const same = inside.selectFrom('proposals').selectAll().where(isSame(row));
          const newest = await first(same.orderBy('askedAt', 'desc'), fromProposalRow);
          if (newest === null && !(await proposerExists(inside, row))) throw nobodyProposes();
          return newest;
        }),
      ),
    get: (id) => run(() => first(proposals().where('id', '=', id), fromProposalRow)),
    list: ({ agent, after, limit } = {}) =>
      run(() => {
        const chosen = agent === undefined ? proposals() : proposals().where('agent', equals(agent), agent);
        const place = after && [after.askedAt, after.id];
        return all(pageOf(chosen, ['askedAt', 'id'], place, limit), fromProposalRow);
      }),
    countWaiting: (at) => run(() => rowsOf(db.selectFrom('proposals').where((it) => isWaiting(it, at)))),
    answer: (id, answer) =>
      run(() => {
        const { at, by, outcome } = answer;
        const update = db
          .updateTable('proposals')
          .set({
            answeredAt: at,
            answeredBy: by,
            outcome,
            until: outcome === 'once' ? at + onceMs : null,
            usedAt: null,
          })
          .where('id', '=', id)
          .where((it) => it.or([isWaiting(it, at), it('outcome', 'in', replacedBy(outcome))]))
          // Without a lease the acceptance would never end.
          .$if(outcome === 'lease', (query) => query.where('lease', 'is not', null));
        return first(update.returningAll(), fromProposalRow);
      }),
    inForce: ({ agent, lease }, at) =>
      run(async () => {
        const ofCaller = proposals()
          .where('agent', equals(agent), agent)
          .where('lease', equals(lease), lease);
        const rows = await all(ofCaller.where((it) => isInForce(it, at)).orderBy('askedAt'), fromProposalRow);
        // All rows of the caller are here, so the database needs no index for this order.
        return rows.toSorted((a, b) => a.answer!.at - b.answer!.at || (a.id < b.id ? -1 : 1));
      }),
    use: (id, at) =>
      run(async () => {
        const use = db.updateTable('proposals').set({ usedAt: at }).where('id', '=', id);
        return (await written(use.where((it) => isUnused(it, at)))) === 1;
      }),
    removeEnded: (before) =>
      run(() => {
        const ended = db.deleteFrom('proposals').where('expiresAt', '<', before);
        return done(ended.where((it) => it.or([it('outcome', 'is', null), it.not(isStanding(it, before))])));
      }),
  };
}

function isWaiting(row: Row, at: number) {
  return row.and([row('outcome', 'is', null), row('expiresAt', '>', at)]);
}

/** Matches an unused acceptance for one exchange. */
function isUnused(row: Row, at: number) {
  return row.and([row('outcome', '=', 'once'), row('usedAt', 'is', null), row('until', '>', at)]);
}

/** Matches a temporary acceptance that has not ended, except by the end of its lease. */
function isStanding(row: Row, at: number) {
  const forLease = row.and([row('outcome', '=', 'lease'), row('until', 'is', null)]);
  return row.or([isUnused(row, at), forLease]);
}

function isInForce(row: Row, at: number) {
  const live = row
    .selectFrom('leases')
    .select('leases.id')
    .whereRef('leases.id', '=', 'proposals.lease')
    .where('leases.revokedAt', 'is', null)
    .where('leases.expiresAt', '>', at);
  return row.and([isStanding(row, at), row.or([row('lease', 'is', null), row.exists(live)])]);
}

/** Matches proposals of this change by this caller that wait, were declined, or are in force. */
function isSame({ agent, lease, change, askedAt: at }: ProposalRow) {
  return (row: Row) =>
    row.and([
      row('agent', equals(agent), agent),
      row('lease', equals(lease), lease),
      row('change', '=', change),
      row.or([
        isWaiting(row, at),
        row.and([row('outcome', 'in', ['declined', 'connect']), row('expiresAt', '>', at)]),
        isStanding(row, at),
      ]),
    ]);
}

/** Inserts nothing if the proposal exists, too many wait, or the caller was removed, in one statement. */
function insertion(db: Kysely<Schema>, row: ProposalRow, maxWaiting: number) {
  const columns = Object.keys(row) as (keyof ProposalRow)[];
  const { agent, lease, askedAt } = row;
  const same = db.selectFrom('proposals').select('id').where(isSame(row));
  const waiting = db
    .selectFrom('proposals')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('agent', equals(agent), agent)
    .where((it) => isWaiting(it, askedAt));
  return db
    .insertInto('proposals')
    .columns(columns)
    .expression(
      db
        .selectNoFrom((it) => columns.map((column) => it.val(row[column]).as(column)))
        .where((it) => it.not(it.exists(same)))
        .where((it) => it(waiting, '<', maxWaiting))
        .$if(agent !== null, (query) => query.where((it) => it.exists(agentOf(db, row))))
        .$if(lease !== null, (query) => query.where((it) => it.exists(leaseOf(db, row)))),
    );
}

const agentOf = (db: Kysely<Schema>, { agent }: ProposalRow) =>
  db.selectFrom('agents').select('name').where('name', '=', agent);
const leaseOf = (db: Kysely<Schema>, { lease }: ProposalRow) =>
  db.selectFrom('leases').select('id').where('id', '=', lease);

async function proposerExists(db: Kysely<Schema>, row: ProposalRow): Promise<boolean> {
  const { agent, lease } = row;
  if (agent !== null && (await agentOf(db, row).executeTakeFirst()) === undefined) return false;
  return lease === null || (await leaseOf(db, row).executeTakeFirst()) !== undefined;
}

function nobodyProposes(): SidekeyError {
  return new SidekeyError('not_found', 'The agent or the lease that the proposal comes from is gone.', {
    hint: hintOf`${remedy('agent.list')}; ${remedy('lease.list', { all: true })}`,
  });
}

function toProposalRow({ change, answer, reason, ...proposal }: Proposal): ProposalRow {
  return {
    ...proposal,
    change: JSON.stringify(change),
    reason: reason.slice(0, maxReasonLength).toWellFormed(),
    answeredAt: answer?.at ?? null,
    answeredBy: answer?.by ?? null,
    outcome: answer?.outcome ?? null,
    until: null,
  };
}

const outcomes: readonly ProposalOutcome[] = [
  'declined',
  'once',
  'lease',
  'for_good',
  'connect',
  'connected',
];

/** Parses a row. @throws SidekeyError `store_damaged` for values that Sidekey never writes */
function fromProposalRow(row: ProposalRow): Proposal {
  const { change, answeredAt, answeredBy, outcome: written, until: _until, ...proposal } = row;
  const place = `the proposal ${row.id}`;
  const outcome = outcomes.find((each) => each === written);
  if (written !== null && outcome === undefined) throw damaged(place, 'outcome');
  if (outcome === undefined) return { ...proposal, change: changeOf(change, place), answer: null };
  if (answeredAt === null || answeredBy === null) throw damaged(place, 'answered_at');
  const answer = { at: answeredAt, by: answeredBy, outcome };
  return { ...proposal, change: changeOf(change, place), answer };
}

/** Parses a change. Sidekey writes the members in canonical form; a text of another form grants nothing. */
function changeOf(json: string, place: string): ProposedChange {
  try {
    const change = JSON.parse(json) as ProposedChange;
    const texts: readonly unknown[] =
      change.kind === 'domain'
        ? [change.host, change.grant ?? '']
        : [change.kind === 'grant' ? change.provider : change.grant, ...change.scopes];
    if (texts.every((text) => typeof text === 'string')) return change;
  } catch (error) {
    throw damaged(place, 'change', error);
  }
  throw damaged(place, 'change');
}
