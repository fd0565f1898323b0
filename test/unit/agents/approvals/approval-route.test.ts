import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { approvalRoute } from '../../../../src/agents/approvals/pages.ts';
import type { Question } from '../../../../src/domain/approval.ts';
import { createApprovalLinks } from '../../../../src/agents/approvals/announce.ts';
import { createVault } from '../../../../src/store/vault/vault.ts';
import { masterKey } from '../../../../src/store/vault/key-source.ts';
import { question } from '../../../support/question.ts';
import { queueForTest } from './queue-for-test.ts';

const from = '127.0.0.1:4711';
const known = async () => ({ body: null, account: 'alice@acme.test', named: [] });
const links = createApprovalLinks(createVault(masterKey(randomBytes(32))));

function at(fields: Partial<Question> = {}, agent: string | null = 'ci-bot', lease: string | null = 'l-1') {
  const asked = question({ ...fields, who: { grantId: 'g-1', agent, lease } });
  const queue = queueForTest(asked);
  let now = asked.askedAt + 1_000;
  const path = links.pathFor(asked);
  const go = async (form: string | null, where = path) => {
    const page = await approvalRoute({ path: where, form, from }, { queue, links, known, now: () => now });
    if (page === null) throw new Error('no page');
    return page;
  };
  return { asked, queue, go, path, now, later: (ms: number) => (now += ms) };
}

test.each([
  ['once', { kind: 'once' }],
  ['15m', { kind: 'until', at: 900_000 }],
  ['1h', { kind: 'until', at: 3_600_000 }],
  ['lease', { kind: 'lease' }],
])('the button %s allows the request, for the scope that the button names', async (value, reach) => {
  const { queue, go, now } = at();
  const page = await go(`answer=${value}`);
  expect(page.status).toBe(200);
  expect(page.body).toContain('<h1>Allowed</h1>');
  const expected = 'at' in reach ? { kind: 'until', at: now + reach.at } : reach;
  expect(queue.said).toEqual([
    { at: now, by: 'the link, from 127.0.0.1:4711', outcome: 'allowed', reach: expected },
  ]);
});

test('the button "deny" denies', async () => {
  const { queue, go, now } = at();
  expect((await go('answer=deny')).body).toContain('<h1>Refused</h1>');
  expect(queue.said).toEqual([{ at: now, by: 'the link, from 127.0.0.1:4711', outcome: 'denied' }]);
});

test('the question names the account of the grant', async () => {
  expect((await at().go(null)).body).toContain('alice@acme.test');
});

test('a GET request does not answer the approval', async () => {
  const { queue, go } = at();
  const page = await go(null);
  expect(page.status).toBe(200);
  expect(page.body.match(/value="[^"]*"/g)).toEqual(
    ['once', 'deny', '15m', '1h', 'lease'].map((each) => `value="${each}"`),
  );
  expect(page.headers).toMatchObject({ refresh: '180' });
  expect(queue.said).toEqual([]);
});

test('an approval for the lease is refused without a lease', async () => {
  const { queue, go } = at({}, 'ci-bot', null);
  expect((await go(null)).body).not.toContain('value="lease"');
  expect((await go('answer=lease')).status).toBe(400);
  expect(queue.said).toEqual([]);
});

test.each(['', 'answer=', 'answer=yes', 'answer=once&answer=deny', 'once', 'Answer=once', 'answer=once%00'])(
  'the form %j is refused',
  async (form) => {
    const { queue, go } = at();
    expect((await go(form)).status).toBe(400);
    expect(queue.said).toEqual([]);
  },
);

test('a second answer is refused, and the page shows the first', async () => {
  const { go, queue } = at();
  await go('answer=deny');
  expect(await go(null)).toMatchObject({ status: 200, body: expect.stringContaining('Already refused') });
  const again = await go('answer=1h');
  expect(again).toMatchObject({ status: 409, body: expect.stringContaining('Already refused') });
  expect(again.body).toContain('Answered by the link, from 127.0.0.1:4711');
  expect(queue.said).toHaveLength(2);
});

test('an answer after the deadline, or after the client has left, is refused', async () => {
  const expired = at();
  expired.later(179_000);
  for (const form of [null, 'answer=once']) {
    expect(await expired.go(form)).toMatchObject({ status: 410, body: expect.stringContaining('Too late') });
  }
  const left = at();
  left.queue.withdraw(left.asked.id);
  for (const form of [null, 'answer=once']) expect(await left.go(form)).toMatchObject({ status: 410 });
  expect(left.queue.said).toEqual([]);
  // A new approval with the same id is a different one.
  const again = queueForTest({ ...left.asked, expiresAt: left.asked.expiresAt + 1 });
  const parts = { queue: again, links, known, now: () => left.now };
  const page = await approvalRoute({ path: left.path, form: 'answer=once', from }, parts);
  expect([page?.status, again.said]).toEqual([410, []]);
});

test('the link of a body returns the sealed body, and does not answer the approval', async () => {
  const { asked, queue, go } = at();
  const path = links.pathFor(asked, 'body');
  expect(await go(null, path)).toMatchObject({ status: 404, body: '' });
  Object.assign(queue, { body: () => 'to: bob' });
  const answer = await go('answer=once', path);
  expect(answer).toMatchObject({ status: 200, body: 'to: bob' });
  expect(answer.headers).toMatchObject({
    'content-type': 'text/plain; charset=utf-8',
    'sidekey-seal': links.sealOf(asked, 'to: bob'),
  });
  expect(queue.said).toEqual([]);
});

test('a wrong signature for a pending approval gets the same response as an unknown approval, without a store lookup', async () => {
  const { asked, path } = at();
  const other = question({ id: 'zzzzzzzz', who: { grantId: 'g-1' } });
  const looked: string[] = [];
  const queue = {
    body: () => null,
    get: async (id: string) => (looked.push(id), null),
    answer: async (id: string) => (looked.push(id), null),
  };
  const wrong = [
    `${path.slice(0, -43)}${'A'.repeat(43)}`,
    links.pathFor(other).replace('zzzzzzzz', asked.id),
    path.replace(asked.id, 'zzzzzzzz'),
  ];
  const answers = [];
  for (const where of wrong) {
    for (const form of [null, 'answer=once', 'answer=nonsense']) {
      answers.push(
        await approvalRoute({ path: where, form, from }, { queue, links, known, now: () => asked.askedAt }),
      );
    }
  }
  expect(answers[0]?.status).toBe(404);
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  expect(looked).toEqual([]);
});

test('a path that is not a link gets 404', async () => {
  const { queue } = at();
  const parts = { queue, links, known, now: Date.now };
  expect(await approvalRoute({ path: '/', form: null, from }, parts)).toBeNull();
});
