import type { Kysely } from 'kysely';
import {
  type Answer,
  type Approval,
  type Asking,
  isWaiting,
  longestPath,
  type Question,
  type StandingApproval,
} from '../approvals/approval.ts';
import { SidekeyError } from '../lib/errors.ts';
import { damaged, type Run } from './rights.ts';
import type { QuestionTable, Schema } from './schema.ts';
import type { ApprovalStore } from './store.ts';

/**
 * The queries for questions and for what stands of their answers. Each is one statement, so of an answer, another and a
 * withdrawal that come at once one happens. None changes a right of an agent: see `sql-change.ts`.
 */

/** What `ApprovalStore` says. */
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
          if (asked !== 1n) throw nothingToAskFor();
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
          .set({ alive_until: until })
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
          .where('expires_at', '>', at)
          .where('alive_until', '>', at)
          .orderBy('asked_at')
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
          .where('expires_at', '>', answer.at)
          .where('alive_until', '>', answer.at);
        // Without a lease it would stand for ever.
        if (isForLease(answer)) query = query.where('lease', 'is not', null);
        const row = await query.returningAll().executeTakeFirst();
        if (row !== undefined) return fromQuestionRow(row);
        const found = await read(id);
        if (found !== null && isWaiting(found, answer.at) && isForLease(answer)) throw underNoLease();
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
          .where('grant_id', '=', grantId)
          .where('rule_key', '=', ruleKey)
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
          .where('asked_at', '<', before)
          .where('expires_at', '<', before)
          // One without an end goes with its lease.
          .where((row) => row.or([row('stands', '=', 0), row('until', '<', before)]))
          .execute();
      }),
  };
}

/** Inserts nothing where what the question names is gone: between a look and a write somebody may take it away. */
function insertion(db: Kysely<Schema>, question: Question) {
  const row = toQuestionRow(question);
  const { agent, lease, grant_id } = row;
  const columns = Object.keys(row) as (keyof QuestionTable)[];
  return db
    .insertInto('questions')
    .columns(columns)
    .expression((from) => {
      let query = from.selectFrom('grants').where('grants.id', '=', grant_id);
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

/** All that stand at this time, in order of the answers. Under a lease none stands longer than that. */
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
            .where('leases.revoked_at', 'is', null)
            .where('leases.expires_at', '>', at),
        ),
      ]),
    )
    .orderBy('answered_at')
    .orderBy('id');
}

function isForLease(answer: Answer): boolean {
  return answer.outcome === 'allowed' && answer.reach.kind === 'lease';
}

function underNoLease(): SidekeyError {
  return new SidekeyError(
    'input_invalid',
    'The request comes under no lease, so a yes cannot last as long as one.',
    { hint: 'say yes once, or for a time' },
  );
}

function nothingToAskFor(): SidekeyError {
  return new SidekeyError(
    'grant_missing',
    'The grant that the request is for, or the agent or the lease that it comes from, is gone.',
    { hint: 'sidekey grant list; sidekey agent list; sidekey lease list --all' },
  );
}

/** Questions, answers and standing approvals as they stand in their tables. */

/** Agents choose these texts: so many characters (UTF-16 units) of them are kept. */
const longestReason = 1_024;

function toQuestionRow(question: Question): QuestionTable {
  return {
    id: question.id,
    exchange: question.exchange,
    asked_at: question.askedAt,
    expires_at: question.expiresAt,
    alive_until: question.aliveUntil,
    ...toAskingRow(question.who),
    method: question.method,
    scheme: question.scheme,
    authority: question.authority,
    path: cut(question.path, longestPath),
    has_query: question.query === null ? 0 : 1,
    query: question.query === null ? null : cut(question.query, longestPath),
    body_bytes: question.bodyBytes,
    grant_name: question.grantName,
    grant_user: question.grantUser,
    provider: question.provider,
    client: question.client,
    reason: question.reason === null ? null : cut(question.reason, longestReason),
    purpose: question.purpose === null ? null : cut(question.purpose, longestReason),
    rule: question.rule,
    rule_name: question.ruleName,
    ...unanswered,
  };
}

const unanswered = { answered_at: null, answered_by: null, answer: null, until: null, stands: 0 };

/** @throws SidekeyError `store_damaged`, as all of these: what Sidekey did not write is no answer. */
function fromQuestionRow(row: QuestionTable): Approval {
  const { scheme } = row;
  if (scheme !== 'https' && scheme !== 'http') throw damaged(`the question ${row.id}`, 'scheme');
  return {
    id: row.id,
    exchange: row.exchange,
    askedAt: row.asked_at,
    expiresAt: row.expires_at,
    aliveUntil: row.alive_until,
    who: askingOf(row),
    method: row.method,
    scheme,
    authority: row.authority,
    path: row.path,
    // An earlier version kept no query, only that there was one.
    query: row.query ?? (row.has_query === 1 ? '' : null),
    bodyBytes: row.body_bytes,
    grantName: row.grant_name,
    grantUser: row.grant_user,
    provider: row.provider,
    client: row.client,
    reason: row.reason,
    purpose: row.purpose,
    rule: row.rule,
    ruleName: row.rule_name,
    answer: answerOf(row),
  };
}

/** The columns that an answer fills. */
function toAnswerRow(answer: Answer): Pick<QuestionTable, keyof typeof unanswered> {
  const said = { answered_at: answer.at, answered_by: answer.by };
  if (answer.outcome === 'denied') return { ...unanswered, ...said, answer: 'denied' };
  const { reach } = answer;
  return {
    ...said,
    answer: reach.kind,
    until: reach.kind === 'until' ? reach.at : null,
    stands: reach.kind === 'once' ? 0 : 1,
  };
}

function answerOf({ id, answered_at: at, answered_by: by, answer, until }: QuestionTable): Answer | null {
  if (answer === null) return null;
  if (at === null || by === null) throw damaged(`the question ${id}`, 'answered_at');
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

/** The row of a yes that stands. */
function fromStandingRow(row: QuestionTable): StandingApproval {
  const { id, who, grantName, rule, ruleName, answer } = fromQuestionRow(row);
  if (answer?.outcome !== 'allowed' || answer.reach.kind === 'once')
    throw damaged(`the question ${id}`, 'stands');
  const { at, by, reach } = answer;
  return { id, who, grantName, rule, ruleName, at, by, until: reach.kind === 'until' ? reach.at : null };
}

type AskingColumns = Pick<QuestionTable, 'agent' | 'lease' | 'grant_id' | 'rule_key'>;

function toAskingRow({ agent, lease, grantId, ruleKey }: Asking): AskingColumns {
  return { agent, lease, grant_id: grantId, rule_key: ruleKey };
}

function askingOf({ agent, lease, grant_id, rule_key }: AskingColumns): Asking {
  return { agent, lease, grantId: grant_id, ruleKey: rule_key };
}

/** The beginning of a text, without half a character at its end. */
function cut(text: string, most: number): string {
  return text.slice(0, most).toWellFormed();
}
