import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { receiversOf } from '../../../../src/agents/approvals/receivers.ts';
import { createApprovalTeller } from '../../../../src/agents/approvals/announce.ts';
import type { ApprovalsConfig } from '../../../../src/config/approvals.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { question } from '../../../support/question.ts';
import { manualTime, settle } from '../../lib/manual-time.ts';

const link = 'http://127.0.0.1:8378/approve/k7w2m9qd/SIGNATURE-OF-THE-LINK';
const hook: ApprovalsConfig['webhook'] = { url: 'https://chat.acme.test/hooks/PATH-OF-THE-HOOK' };

interface Sent {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signal: AbortSignal;
}

/** A webhook whose receiver gives these responses; `pending` does not respond before the time-out. */
function teller(
  answers: readonly (number | 'broken' | 'pending')[],
  webhook: ApprovalsConfig['webhook'] = hook,
  readSecret = async () => 's3cret',
) {
  const time = manualTime(1_700_000_000_000);
  const sent: Sent[] = [];
  const logged: string[] = [];
  const fetch = ((url: string, init: Omit<Sent, 'url'>) => {
    sent.push({ url, headers: init.headers, body: init.body, signal: init.signal });
    const answer = answers[sent.length - 1] ?? 200;
    if (typeof answer === 'number') return Promise.resolve(new Response('ok', { status: answer }));
    const failure = new TypeError(`cannot reach ${link}`, {
      cause: Object.assign(new Error(`refused ${link}`), { code: 'ECONNREFUSED' }),
    });
    if (answer === 'broken') return Promise.reject(failure);
    return new Promise((_, reject) => init.signal.addEventListener('abort', () => reject(failure)));
  }) as unknown as typeof globalThis.fetch;
  const log = (fields: object, message: string) => logged.push(`${message} ${JSON.stringify(fields)}`);
  const made = createApprovalTeller({
    receivers: () => receiversOf({ webhook, notify: [] }, { readSecret, fetch, now: time.now, env: {} }),
    link: () => link,
    ...time,
    log: { info: log, warn: log },
    random: () => 1,
  });
  return { ...made, time, sent, logged };
}

const asked = question({ id: 'k7w2m9qd', who: { grantId: 'g-1' } });

test('a pending approval is sent immediately and only once', async () => {
  const { announce, sent, time, logged } = teller([202]);
  announce(asked);
  await settle();
  expect(sent).toHaveLength(1);
  expect(sent[0]).toMatchObject({
    url: hook.url,
    headers: { 'content-type': 'application/json', 'idempotency-key': '"exchange-1"' },
  });
  expect(JSON.parse(sent[0]?.body ?? '')).toMatchObject({ id: 'k7w2m9qd', link });
  expect(sent[0]?.headers).not.toHaveProperty('sidekey-signature');
  await time.advance(600_000);
  expect(sent).toHaveLength(1);
  expect(logged).toEqual([]);
  expect(time.waiting()).toBe(0);
});

test('the message is signed when a secret is configured', async () => {
  const { announce, sent } = teller([202], { ...hook, secret: { kind: 'env', name: 'S' } });
  announce(asked);
  await settle();
  const { headers, body } = sent[0] ?? { headers: {}, body: '' };
  const mac = createHmac('sha256', 's3cret').update(`1700000000.${body}`).digest('hex');
  expect(headers).toMatchObject({ 'sidekey-signature': `t=1700000000,v1=${mac}` });
});

test('a failed delivery is repeated at growing intervals until it succeeds', async () => {
  const { announce, sent, time, logged } = teller([500, 'broken', 307, 200]);
  announce(asked);
  await settle();
  const counts = [];
  for (const ms of [999, 1, 1_999, 1, 3_999, 1]) {
    await time.advance(ms);
    counts.push(sent.length);
  }
  expect(counts).toEqual([1, 2, 2, 3, 3, 4]);
  expect(new Set(sent.map(({ body }) => body)).size).toBe(1);
  expect(logged).toEqual([
    'the receiver of approvals did not take a question; it is tried again {"approval":"k7w2m9qd","receiver":"webhook","reason":"chat.acme.test answered 500"}',
    'the receiver of approvals has the question now {"approval":"k7w2m9qd","receiver":"webhook"}',
  ]);
});

test('a request to a receiver that does not respond is aborted after ten seconds', async () => {
  const { announce, sent, time } = teller(['pending', 200]);
  announce(asked);
  await time.advance(10_999);
  expect(sent.map(({ signal }) => signal.aborted)).toEqual([true]);
  await time.advance(1);
  expect(sent).toHaveLength(2);
});

test('delivery ends when the approval is answered', async () => {
  const { announce, sent, time, logged } = teller(['pending']);
  const over = announce(asked);
  await settle();
  over();
  await settle();
  expect(sent.map(({ signal }) => signal.aborted)).toEqual([true]);
  await time.advance(600_000);
  expect(sent).toHaveLength(1);
  expect(logged).toEqual([]);
  expect(time.waiting()).toBe(0);
});

test('delivery ends when the approval expires, and this is logged', async () => {
  const { announce, sent, time, logged } = teller(Array.from({ length: 99 }, () => 'broken' as const));
  announce(asked);
  await time.advance(180_000);
  const { length } = sent;
  expect(length).toBeGreaterThan(5);
  expect(logged).toEqual([
    'the receiver of approvals did not take a question; it is tried again {"approval":"k7w2m9qd","receiver":"webhook","reason":"chat.acme.test gave no answer (ECONNREFUSED)"}',
    'the receiver of approvals did not take a question in time {"approval":"k7w2m9qd","receiver":"webhook"}',
  ]);
  await time.advance(600_000);
  expect(sent).toHaveLength(length);
});

test('an unreadable secret is logged, and read again at the next attempt', async () => {
  let isThere = false;
  const { announce, sent, time, logged } = teller([], { ...hook, secret: { kind: 'env', name: 'S' } }, () =>
    isThere ? Promise.resolve('s') : Promise.reject(new SidekeyError('secret_missing', 'S is not set.')),
  );
  announce(asked);
  await settle();
  expect(sent).toEqual([]);
  expect(logged.join()).toContain('S is not set.');
  isThere = true;
  await time.advance(1_000);
  expect(sent).toHaveLength(1);
});

test('the link and the path of the webhook are not logged', async () => {
  const { announce, time, logged } = teller([500, 'broken', 'pending']);
  announce(asked);
  await time.advance(180_000);
  expect(logged).not.toEqual([]);
  expect(logged.join()).not.toMatch(/SIGNATURE-OF-THE-LINK|PATH-OF-THE-HOOK/);
});

test('nothing is sent without a webhook or after the proxy stops', async () => {
  const none = teller([], null);
  none.announce(asked)();
  await settle();
  expect(none.sent).toEqual([]);
  const stopped = teller(['pending']);
  stopped.announce(asked);
  await settle();
  await stopped.close();
  expect(stopped.sent.map(({ signal }) => signal.aborted)).toEqual([true]);
  stopped.announce(asked);
  await settle();
  expect(stopped.sent).toHaveLength(1);
});
