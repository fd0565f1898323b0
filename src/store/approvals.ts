import type { Kysely } from 'kysely';
import {
  type Answer,
  type Approval,
  isWaiting,
  longestPath,
  type Question,
  type StandingApproval,
} from '../domain/approval.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { Run } from './agents.ts';
import { damaged, type QuestionRow, type Schema } from './schema.ts';
import type { ApprovalStore } from './store.ts';

/**
 * Queries for questions, answers and standing approvals. Each is one statement, so only one of several
 * concurrent answers and withdrawals takes effect. None changes a right of an agent (see `rightsChange`).
 */

export function sqlApprovals(db: Kysely<Schema>, run: Run): ApprovalStore {
  const read = async (id: string) => {
    const row = await db.selectFrom('questions').selectAll().where('id', '=', id).executeTakeFirst();
    return row === undefined ? null : fromQuestionRow(row);
  };
  return {
    ask: (question) =>
      run(
        async () => {
          const { numInsertedOrUpdatedRows: asked } = await insertion(db, question).executeTakeFirstOrThrow();
          if (asked !== 1n)
            throw new SidekeyError(
              'grant_missing',
              'The grant that the request is for, or the agent or the lease that it comes from, is gone.',
              {
                hint: hintOf`${remedy('grant.list')}; ${remedy('agent.list')}; ${remedy('lease.list', { all: true })}`,
              },
            );
        },
        () =>
          new SidekeyError('already_exists', `There is a question ${question.id} already.`, {
            hint: 'ask under another id',
          }),
      ),
    get: (id) => run(() => read(id)),
    keepAlive: (ids, until) =>
      run(async () => {
        await db
          .updateTable('questions')
          .set({ aliveUntil: until })
          .where('id', 'in', ids)
          .where('answer', 'is', null)
          .execute();
      }),
    waiting: (at) =>
      run(async () => {
        const rows = await db
          .selectFrom('questions')
          .selectAll()
          .where('answer', 'is', null)
          .where('expiresAt', '>', at)
          .where('aliveUntil', '>', at)
          .orderBy('askedAt')
          .orderBy('id')
          .execute();
        return rows.map(fromQuestionRow);
      }),
    answer: (id, answer) =>
      run(async () => {
        let query = db
          .updateTable('questions')
          .set(toAnswerRow(answer))
          .where('id', '=', id)
          .where('answer', 'is', null)
          .where('expiresAt', '>', answer.at)
          .where('aliveUntil', '>', answer.at);
        // Without a lease the approval would never end.
        if (isForLease(answer)) query = query.where('lease', 'is not', null);
        const row = await query.returningAll().executeTakeFirst();
        if (row !== undefined) return fromQuestionRow(row);
        const question = await read(id);
        if (question !== null && isWaiting(question, answer.at) && isForLease(answer))
          throw new SidekeyError(
            'input_invalid',
            'The request comes under no lease, so a yes cannot last as long as one.',
            { hint: 'say yes once, or for a time' },
          );
        return null;
      }),
    withdraw: (id) =>
      run(async () => {
        const { numDeletedRows } = await db
          .deleteFrom('questions')
          .where('id', '=', id)
          .where('answer', 'is', null)
          .executeTakeFirstOrThrow();
        return numDeletedRows === 1n ? null : ((await read(id))?.answer ?? null);
      }),
    standing: ({ agent, lease, grantId, ruleKey }, at) =>
      run(async () => {
        const row = await standingAt(db, at)
          .where('agent', 'is not distinct from', agent)
          .where('lease', 'is not distinct from', lease)
          .where('grantId', '=', grantId)
          .where('ruleKey', '=', ruleKey)
          .executeTakeFirst();
        return row === undefined ? null : fromStandingRow(row);
      }),
    listStanding: (at) => run(async () => (await standingAt(db, at).execute()).map(fromStandingRow)),
    revoke: (id) =>
      run(async () => {
        const row = await db
          .updateTable('questions')
          .set({ stands: 0 })
          .where('id', '=', id)
          .where('stands', '=', 1)
          .returningAll()
          .executeTakeFirst();
        return row === undefined ? null : fromStandingRow(row);
      }),
    removeEnded: (before) =>
      run(async () => {
        await db
          .deleteFrom('questions')
          .where('askedAt', '<', before)
          .where('expiresAt', '<', before)
          // An approval without an end is removed with its lease.
          .where((row) => row.or([row('stands', '=', 0), row('until', '<', before)]))
          .execute();
      }),
  };
}

/** Inserts nothing if a referenced record no longer exists, in the same statement. */
function insertion(db: Kysely<Schema>, question: Question) {
  const row = toQuestionRow(question);
  const { agent, lease, grantId } = row;
  const columns = Object.keys(row) as (keyof QuestionRow)[];
  return db
    .insertInto('questions')
    .columns(columns)
    .expression((from) => {
      let query = from.selectFrom('grants').where('grants.id', '=', grantId);
      if (agent !== null) {
        const named = from.selectFrom('agents').select('name').where('name', '=', agent);
        query = query.where((it) => it.exists(named));
      }
      if (lease !== null) {
        const named = from.selectFrom('leases').select('id').where('id', '=', lease);
        query = query.where((it) => it.exists(named));
      }
      return query.select((it) => columns.map((column) => it.val(row[column]).as(column)));
    });
}

/**
 * Returns the standing approvals that are valid at this time, in order of the answers. An approval for a
 * lease ends with the lease at the latest.
 */
function standingAt(db: Kysely<Schema>, at: number) {
  return db
    .selectFrom('questions')
    .selectAll()
    .where('stands', '=', 1)
    .where((row) =>
      row.or([row('until', '>', at), row.and([row('until', 'is', null), row('lease', 'is not', null)])]),
    )
    .where((row) =>
      row.or([
        row('lease', 'is', null),
        row.exists(
          row
            .selectFrom('leases')
            .select('leases.id')
            .whereRef('leases.id', '=', 'questions.lease')
            .where('leases.revokedAt', 'is', null)
            .where('leases.expiresAt', '>', at),
        ),
      ]),
    )
    .orderBy('answeredAt')
    .orderBy('id');
}

function isForLease(answer: Answer): boolean {
  return answer.outcome === 'allowed' && answer.reach.kind === 'lease';
}

/** Questions, answers and standing approvals in the form of their table. */

/** Maximum lengths of texts from agents, in UTF-16 units. */
const maxReasonLength = 1_024;

function toQuestionRow({ who, ...question }: Question): QuestionRow {
  const { path, query, fields, reason, purpose } = question;
  return {
    ...question,
    ...who,
    path: cut(path, longestPath),
    hasQuery: query === null ? 0 : 1,
    query: query === null ? null : cut(query, longestPath),
    fields: fields.join('\n'),
    reason: reason === null ? null : cut(reason, maxReasonLength),
    purpose: purpose === null ? null : cut(purpose, maxReasonLength),
    ...unanswered,
  };
}

const unanswered = { answeredAt: null, answeredBy: null, answer: null, until: null, stands: 0 };

/** Parses a row. @throws SidekeyError `store_damaged` for values that Sidekey never writes */
function fromQuestionRow(row: QuestionRow): Approval {
  const { agent, lease, grantId, ruleKey, scheme, hasQuery, query, fields, ...columns } = row;
  const {
    answeredAt: _at,
    answeredBy: _by,
    answer: _answer,
    until: _until,
    stands: _stands,
    ...rest
  } = columns;
  if (scheme !== 'https' && scheme !== 'http') throw damaged(`the question ${row.id}`, 'scheme');
  return {
    ...rest,
    who: { agent, lease, grantId, ruleKey },
    scheme,
    // Earlier versions stored only the presence of a query.
    query: query ?? (hasQuery === 1 ? '' : null),
    fields: fields?.split('\n').filter((line) => line !== '') ?? [],
    answer: answerOf(row),
  };
}

/** Returns the columns that an answer fills. */
function toAnswerRow(answer: Answer): Pick<QuestionRow, keyof typeof unanswered> {
  const answered = { answeredAt: answer.at, answeredBy: answer.by };
  if (answer.outcome === 'denied') return { ...unanswered, ...answered, answer: 'denied' };
  const { reach } = answer;
  return {
    ...answered,
    answer: reach.kind,
    until: reach.kind === 'until' ? reach.at : null,
    stands: reach.kind === 'once' ? 0 : 1,
  };
}

function answerOf({ id, answeredAt: at, answeredBy: by, answer, until }: QuestionRow): Answer | null {
  if (answer === null) return null;
  if (at === null || by === null) throw damaged(`the question ${id}`, 'answeredAt');
  switch (answer) {
    case 'denied':
      return { at, by, outcome: 'denied' };
    case 'once':
    case 'lease':
      return { at, by, outcome: 'allowed', reach: { kind: answer } };
    case 'until':
      if (until !== null) return { at, by, outcome: 'allowed', reach: { kind: 'until', at: until } };
  }
  throw damaged(`the question ${id}`, 'answer');
}

function fromStandingRow(row: QuestionRow): StandingApproval {
  const { id, who, grantName, rule, ruleName, answer } = fromQuestionRow(row);
  if (answer?.outcome !== 'allowed' || answer.reach.kind === 'once')
    throw damaged(`the question ${id}`, 'stands');
  const { at, by, reach } = answer;
  return { id, who, grantName, rule, ruleName, at, by, until: reach.kind === 'until' ? reach.at : null };
}

/** Truncates a text at a character boundary. */
function cut(text: string, maxLength: number): string {
  return text.slice(0, maxLength).toWellFormed();
}
