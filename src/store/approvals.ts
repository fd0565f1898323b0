import type { Kysely } from 'kysely';
import {
  type Answer,
  type Approval,
  isWaiting,
  longestPath,
  type Question,
  type StandingApproval,
} from '../domain/approval.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { all, done, equals, first, inBatches, pageOf, rowsOf, type Run, taken, written } from './queries.ts';
import { damaged, type QuestionRow, type Schema } from './schema.ts';
import type { ApprovalStore } from './store.ts';

/**
 * Queries for questions, answers and standing approvals. Each is one statement, so only one of several
 * concurrent answers and withdrawals takes effect. None changes a right of an agent (see `rightsChange`).
 */

export function sqlApprovals(db: Kysely<Schema>, run: Run): ApprovalStore {
  const questions = () => db.selectFrom('questions').selectAll();
  const read = (id: string) => first(questions().where('id', '=', id), fromQuestionRow);
  return {
    ask: (question) =>
      run(
        async () => {
          if ((await written(insertion(db, question))) !== 1)
            throw new SidekeyError(
              'grant_missing',
              'The grant that the request is for, or the agent or the lease that it comes from, is gone.',
              {
                hint: hintOf`${remedy('grant.list')}; ${remedy('agent.list')}; ${remedy('lease.list', { all: true })}`,
              },
            );
        },
        taken(`There is a question ${question.id} already.`, 'ask under another id'),
      ),
    get: (id) => run(() => read(id)),
    keepAlive: (ids, until) =>
      run(async () => {
        const alive = db.updateTable('questions').set({ aliveUntil: until }).where('answer', 'is', null);
        await inBatches(ids, (some) => alive.where('id', 'in', some).execute());
      }),
    waiting: (at, { after, limit } = {}) =>
      run(() => {
        const place = after && [after.askedAt, after.id];
        return all(pageOf(waitingAt(db, at).selectAll(), ['askedAt', 'id'], place, limit), fromQuestionRow);
      }),
    countWaiting: (at, agent) =>
      run(() => {
        const waiting = waitingAt(db, at);
        return rowsOf(agent === undefined ? waiting : waiting.where('agent', equals(agent), agent));
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
        const answered = await first(query.returningAll(), fromQuestionRow);
        if (answered !== null) return answered;
        const question = await read(id);
        if (question !== null && isWaiting(question, answer.at) && isForLease(answer))
          throw inputInvalid(
            'The request comes under no lease, so a yes cannot last as long as one.',
            'say yes once, or for a time',
          );
        return null;
      }),
    withdraw: (id) =>
      run(async () => {
        const open = db.deleteFrom('questions').where('id', '=', id).where('answer', 'is', null);
        return (await written(open)) === 1 ? null : ((await read(id))?.answer ?? null);
      }),
    standing: ({ agent, lease, grantId, ruleKey }, at) =>
      run(() => {
        const same = standingAt(db, at)
          .where('agent', equals(agent), agent)
          .where('lease', equals(lease), lease)
          .where('grantId', '=', grantId)
          .where('ruleKey', '=', ruleKey);
        return first(same.orderBy('answeredAt').orderBy('id'), fromStandingRow);
      }),
    standingOf: (id, at) => run(() => first(standingAt(db, at).where('id', '=', id), fromStandingRow)),
    listStanding: (at, { after, limit } = {}) =>
      run(() => {
        const place = after && [after.at, after.id];
        return all(pageOf(standingAt(db, at), ['answeredAt', 'id'], place, limit), fromStandingRow);
      }),
    revoke: (id) =>
      run(() => {
        const end = db.updateTable('questions').set({ stands: 0 }).where('id', '=', id);
        return first(end.where('stands', '=', 1).returningAll(), fromStandingRow);
      }),
    removeEnded: (before) =>
      run(() => {
        const ended = db.deleteFrom('questions').where('askedAt', '<', before);
        // An approval without an end is removed with its lease.
        const unneeded = ended.where((row) => row.or([row('stands', '=', 0), row('until', '<', before)]));
        return done(unneeded.where('expiresAt', '<', before));
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

/** Returns the questions that wait at this time. */
function waitingAt(db: Kysely<Schema>, at: number) {
  const open = db.selectFrom('questions').where('answer', 'is', null);
  return open.where('expiresAt', '>', at).where('aliveUntil', '>', at);
}

/**
 * Returns the standing approvals that are valid at this time. An approval for a lease ends with the lease at
 * the latest.
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
    );
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
