import type { AuditEvent } from '../../../../src/domain/event.ts';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Question, Reach } from '../../../../src/domain/approval.ts';
import {
  type ApprovalQueue,
  createApprovalQueue,
  type Asked,
} from '../../../../src/agents/approvals/queue.ts';
import type { Gone } from '../../../../src/proxy/http/message.ts';
import type { Store } from '../../../../src/store/store.ts';
import { grantRecord } from '../../../support/grant-record.ts';
import { question } from '../../../support/question.ts';
import { agentRecord } from '../../../support/rights.ts';
import { sqliteUnderTest } from '../../../support/sqlite-under-test.ts';
import { manualTime, type ManualTime } from '../../lib/manual-time.ts';

const start = 1_700_000_000_000;
const never: Gone = { already: false, listen: () => undefined, forget: () => undefined };
const grant = grantRecord();

let store: Store;
let second: () => Promise<Store>;
let time: ManualTime;

beforeEach(async () => {
  time = manualTime(start);
  const under = await sqliteUnderTest(time.now);
  ({ store, second } = under);
  await store.grants.insert(grant);
  for (const name of ['claude', 'other']) await store.agents.insert(agentRecord({ name }));
  return under.cleanup;
});

function asked(agent: string | null = null, ruleKey = 'rule'): Asked {
  return {
    exchange: 'exchange',
    who: { agent, lease: null, grantId: grant.id, ruleKey },
    method: 'DELETE',
    scheme: 'https',
    authority: 'api.example.com:443',
    path: '/x',
    query: null,
    fields: [],
    operation: null,
    bodyBytes: 0,
    grantName: grant.name,
    grantUser: grant.user,
    provider: grant.provider,
    client: '127.0.0.1:4711',
    reason: null,
    purpose: null,
    rule: 'domains.x.rules[0] (sidekey.yaml:3)',
    ruleName: null,
  };
}

function queue({
  maxPending = 2,
  timeoutMs = 60_000,
  showBody,
}: { maxPending?: number; timeoutMs?: number; showBody?: ApprovalQueue['showBody'] } = {}) {
  let count = 0;
  const shown: Question[] = [];
  const recorded: AuditEvent[] = [];
  const over: string[] = [];
  const made = createApprovalQueue({
    store,
    audit: { append: async (event) => void recorded.push(event), note: (event) => void recorded.push(event) },
    now: time.now,
    timers: time.timers,
    showBody,
    newId: () => `0000000${(count += 1)}`,
    limits: () => ({ timeoutMs, maxPending }),
    announce: (question) => {
      shown.push(question);
      return () => void over.push(question.id);
    },
  });
  /** A pending approval that can be answered. */
  const ask = async (what = asked(), leaving: Gone = never, body: string | null = null) => {
    const verdict = made.ask(what, leaving, async () => undefined, body);
    const before = shown.length;
    while (shown.length === before) await new Promise((resolve) => setImmediate(resolve));
    return { verdict, id: shown.at(-1)?.id ?? '' };
  };
  return { queue: made, ask, shown, over, recorded };
}

const yes = (reach: Reach = { kind: 'once' }) =>
  ({ at: time.now(), by: 'alice', outcome: 'allowed', reach }) as const;

describe('a pending approval', () => {
  test('is decided at once when it is answered in this process', async () => {
    const at = queue();
    const { verdict, id } = await at.ask();
    await at.queue.answer(id, yes());
    expect(await verdict).toEqual({ kind: 'allowed', id, by: 'alice', standing: false });
    expect(at.over).toEqual([id]);
    expect(at.recorded).toMatchObject([
      { event: 'approval.allowed', outcome: 'allow', approval: id, reason: 'alice, once', method: 'DELETE' },
    ]);
    await time.advance(100);
    expect(time.waiting()).toBe(0);
  });

  test('keeps its body in memory until it is decided', async () => {
    const at = queue();
    const { verdict, id } = await at.ask(asked(), never, 'the body');
    expect(at.queue.body(id)).toBe('the body');
    expect(JSON.stringify([await store.approvals.get(id), at.shown, at.recorded])).not.toContain('the body');
    await at.queue.answer(id, yes());
    await verdict;
    expect(at.queue.body(id)).toBeNull();
  });

  test('passes its body to the process that serves the pages', async () => {
    const passed: unknown[] = [];
    const worker = queue({ showBody: (...all) => void passed.push(all) });
    const other = await worker.ask(asked(), never, 'another');
    expect(worker.queue.body(other.id)).toBeNull();
    await worker.queue.answer(other.id, yes());
    await other.verdict;
    expect(passed).toEqual([
      [other.id, 'another'],
      [other.id, null],
    ]);
  });

  test('is decided within 100 ms when it is answered in another process', async () => {
    const { verdict, id } = await queue().ask();
    const other = await second();
    await other.approvals.answer(id, { at: time.now(), by: 'bob', outcome: 'denied' });
    await time.advance(100);
    expect(await verdict).toEqual({ kind: 'denied', id, by: 'bob' });
  });

  test('expires at its time limit, and cannot be answered after that', async () => {
    const at = queue({ timeoutMs: 5_000 });
    const { verdict, id } = await at.ask();
    await time.advance(4_999);
    expect(at.over).toEqual([]);
    await time.advance(1);
    expect(await verdict).toEqual({ kind: 'unanswered', id, waitedMs: 5_000 });
    expect(await at.queue.answer(id, yes())).toBeNull();
    expect(await store.approvals.get(id)).toBeNull();
  });

  test('is decided by an answer that arrives at the last moment', async () => {
    const at = queue({ timeoutMs: 150 });
    const { verdict, id } = await at.ask();
    await time.advance(149);
    const other = await second();
    await other.approvals.answer(id, yes());
    await time.advance(1);
    expect(await verdict).toMatchObject({ kind: 'allowed' });
  });

  test('is withdrawn when the client disconnects', async () => {
    const at = queue();
    const listeners: (() => void)[] = [];
    const leaving = { ...never, listen: (listener: () => void) => void listeners.push(listener) };
    const { verdict, id } = await at.ask(asked(), leaving);
    for (const leave of listeners) leave();
    expect(await verdict).toEqual({ kind: 'gone' });
    expect(await store.approvals.waiting(time.now())).toEqual([]);
    expect(await at.queue.answer(id, yes())).toBeNull();
  });

  test('is not created when the client has already disconnected', async () => {
    const at = queue();
    const verdict = at.queue.ask(asked(), { ...never, already: true }, async () => undefined);
    expect(await verdict).toEqual({ kind: 'gone' });
    expect(at.shown).toEqual([]);
  });

  test('is not created when the audit record fails', async () => {
    const at = queue();
    const refusal = new Error('no audit');
    await expect(at.queue.ask(asked(), never, () => Promise.reject(refusal))).rejects.toBe(refusal);
    expect(await store.approvals.waiting(time.now())).toEqual([]);
    // Its place is free again.
    const again = await Promise.all([at.ask(), at.ask(asked('other'))]);
    expect(again).toHaveLength(2);
  });

  test('counts toward the limit of its own agent, and not of other agents', async () => {
    const at = queue({ maxPending: 1 });
    const { verdict, id } = await at.ask(asked('claude'));
    expect(await at.queue.ask(asked('claude'), never, async () => undefined)).toEqual({
      kind: 'too_many',
      maxPending: 1,
    });
    await at.ask(asked('other'));
    await at.queue.answer(id, yes());
    await verdict;
    await at.ask(asked('claude'));
  });

  test('counts toward the limit even if it waits in another process', async () => {
    const at = queue({ maxPending: 1 });
    const { who } = asked('claude');
    await store.approvals.ask(question({ id: 'elsewher', who, askedAt: time.now() }));
    expect(await at.queue.ask(asked('claude'), never, async () => undefined)).toMatchObject({
      kind: 'too_many',
    });
    await at.ask(asked('other'));
  });

  test('is refused when the queue closes, as are later approvals', async () => {
    const at = queue();
    const { verdict, id } = await at.ask();
    await at.queue.close();
    expect(await verdict).toEqual({ kind: 'stopping' });
    expect(await store.approvals.get(id)).toBeNull();
    expect(await at.queue.ask(asked(), never, async () => undefined)).toEqual({ kind: 'stopping' });
    expect(at.shown).toHaveLength(1);
    expect(time.waiting()).toBe(0);
  });
});

describe('the keep-alive of pending approvals', () => {
  test('lets an approval expire some seconds after its proxy has died', async () => {
    const { id } = await queue({ timeoutMs: 600_000 }).ask();
    const other = await second();
    await time.advance(60_000);
    expect(await other.approvals.waiting(time.now())).toMatchObject([{ id }]);
    // The state after `kill -9`: timers have stopped, and the clock continues.
    const later = time.now() + 10_001;
    expect(await other.approvals.waiting(later)).toEqual([]);
    const long = { ...yes({ kind: 'until', at: later + 3_600_000 }), at: later };
    expect(await other.approvals.answer(id, long)).toBeNull();
    expect(await other.approvals.listStanding(later)).toEqual([]);
  });

  test('is one write for all pending approvals', async () => {
    const writes: (readonly string[])[] = [];
    const keepAlive = store.approvals.keepAlive.bind(store.approvals);
    store.approvals.keepAlive = (ids, until) => {
      writes.push(ids);
      return keepAlive(ids, until);
    };
    const at = queue();
    const ids = [(await at.ask(asked('claude'))).id, (await at.ask(asked('other'))).id];
    await time.advance(5_000);
    expect(writes).toEqual([ids, ids]);
  });

  test('repeats a withdrawal that failed because of the store', async () => {
    const at = queue({ timeoutMs: 1_000 });
    const { verdict, id } = await at.ask();
    const withdraw = store.approvals.withdraw.bind(store.approvals);
    store.approvals.withdraw = () => Promise.reject(new Error('busy'));
    const refused = expect(verdict).rejects.toThrow('busy');
    await time.advance(1_000);
    await refused;
    expect(await store.approvals.get(id)).not.toBeNull();
    store.approvals.withdraw = withdraw;
    await time.advance(2_100);
    expect(await store.approvals.get(id)).toBeNull();
    expect(time.waiting()).toBe(0);
  });
});

test('removing an agent ends its pending approvals', async () => {
  const { verdict } = await queue().ask(asked('claude'));
  await (await second()).agents.remove('claude');
  await time.advance(100);
  expect(await verdict).toEqual({ kind: 'removed' });
});

test('an answer that the store does not accept is recorded as failed', async () => {
  const at = queue();
  const { id } = await at.ask();
  const failure = new Error('busy');
  store.approvals.answer = () => Promise.reject(failure);
  await expect(at.queue.answer(id, yes())).rejects.toBe(failure);
  expect(at.recorded).toMatchObject([
    { event: 'approval.allowed', outcome: 'allow', approval: id },
    { event: 'approval.allowed', outcome: 'failed', approval: id, code: 'internal' },
  ]);
});

test('an answer after the deadline is recorded as late', async () => {
  const at = queue();
  const { id } = await at.ask();
  store.approvals.answer = () => Promise.resolve(null);
  expect(await at.queue.answer(id, yes())).toBeNull();
  expect(at.recorded.at(-1)).toMatchObject({ outcome: 'failed', code: 'approval_over' });
});

test('old approvals are removed at most once a minute', async () => {
  let looks = 0;
  const removeEnded = store.approvals.removeEnded.bind(store.approvals);
  store.approvals.removeEnded = (before) => {
    looks += 1;
    return removeEnded(before);
  };
  const at = queue({ maxPending: 10 });
  for (let count = 0; count < 3; count += 1) await at.ask();
  expect(looks).toBe(1);
  await time.advance(60_000);
  await at.ask();
  expect(looks).toBe(2);
});

test('a standing approval is used before a new approval is created', async () => {
  const at = queue();
  const { verdict, id } = await at.ask();
  await at.queue.answer(id, yes({ kind: 'until', at: time.now() + 60_000 }));
  await verdict;
  expect(await at.queue.ask(asked(), never, async () => undefined)).toEqual({
    kind: 'allowed',
    id,
    by: 'alice',
    standing: true,
  });
  expect(at.shown).toHaveLength(1);
  const other = await at.ask(asked(null, 'another rule'));
  expect(other.id).not.toBe(id);
});
