import { hash } from 'node:crypto';
import { expect, test } from 'vitest';
import { namedParameters } from '../../../../src/agents/approvals/card.ts';
import { answeredPage, overPage, questionPage } from '../../../../src/agents/approvals/pages.ts';
import { no, question, yes } from '../../../support/question.ts';

const hostile = `</p></form><script>alert('x')</script>&"<img src=x onerror=alert(1)>\u202e\u0007`;
const asked = question({ id: 'k7w2m9qd', who: { grantId: 'g-1', agent: 'ci-bot', lease: 'lease-1' } });
const now = asked.askedAt + 19_000;

test('the page shows caller, request, grant, reason, rule and time limit', () => {
  const { body } = questionPage(
    {
      ...asked,
      grantUser: 'alice',
      reason: 'not used any more',
      purpose: 'spring clean',
      ruleName: 'deletes',
      answer: null,
    },
    now,
  );
  for (const words of [
    'May ci-bot send this request?',
    '<b>DELETE</b> https://api.github.com/repos/acme/x',
    'The agent’s own words, which nobody has checked:',
    'not used any more',
    'ci-bot, from 127.0.0.1:4711',
    'lease-1, made for: spring clean',
    'github (github) of the user alice',
    'deletes, config/sidekey.yaml:12',
    '2 min 41 s left, until 22:16:20 UTC; then it is refused',
  ]) {
    expect(body).toContain(words);
  }
});

test('the page names no user of a grant of the default user', () => {
  const { body } = questionPage({ ...asked, grantUser: 'default', answer: null }, now);
  expect(body).toContain('github (github)');
  expect(body).not.toContain('of the user');
});

test('the page describes the request in the words of the catalog, if the provider has them', () => {
  const { body } = questionPage({ ...asked, operation: 'delete a repository', answer: null }, now);
  expect(body).toContain('May ci-bot delete a repository?');
  expect(body).toContain('<b>DELETE</b> https://api.github.com/repos/acme/x');
});

test('the page shows the query and says that the body is not shown', () => {
  const more = { ...asked, query: 'a=b', bodyBytes: null, answer: null };
  expect(questionPage(more, now).body).toContain('a body, which is not shown');
  expect(questionPage(more, now).body).toContain('?a=b</p>');
  expect(questionPage({ ...asked, answer: null }, now).body).not.toContain('not shown');
});

test.each([
  ['{"to": "bob", "amount": 5, "tos": 1}', '$.to', '{<mark>"to": "bob"</mark>, "amount": 5, "tos": 1}'],
  ['{"a": {"to": [1]}}', '$.a.to', '{"a": {<mark>"to": </mark>[1]}}'],
  ['[{"p": 1}, {"p": "<"}]', '$[*].p', '[{<mark>"p": 1</mark>}, {<mark>"p": "<"</mark>}]'],
  ['a=1&to=bob&tos=2', 'to', 'a=1&<mark>to=bob</mark>&tos=2'],
  ['{"a.b": 1}', "$['a.b']", '{<mark>"a.b": 1</mark>}'],
])('the page of the body %s marks the parameter %s that the rule names', (text, path, marked) => {
  const rule = { rule: { key: 'rule-1', conditions: { json: new Map([[path, []]]) } } };
  const other = { rule: { key: 'rule-2', conditions: { form: new Map([['a', []]]) } } };
  const named = namedParameters(asked.who, { domains: [{ rules: { rules: [other, rule] } }] } as never);
  const { body } = questionPage({ ...asked, answer: null }, now, { body: text, account: null, named });
  const entities: Record<string, string> = { '"': '&quot;', '&': '&amp;', '<': '&lt;' };
  const escaped = marked.replace(/<\/?mark>|["&<]/g, (found) => entities[found] ?? found);
  expect(body).toContain(escaped);
  expect(body).toContain('<dt>It is about</dt>');
});

test('the page shows the header fields, one on each line', () => {
  const fields = ['X-Impersonate-User: alice', `X-Mode: ${hostile}`, '(trailer) X-Last: 1'];
  const { body } = questionPage({ ...asked, fields, answer: null }, now);
  expect(body).toContain('Its header fields that are not common, 3:');
  expect(body).toContain('X-Impersonate-User: alice\nX-Mode: &lt;/p&gt;');
  expect(body).toContain('\\u202e\\u0007\n(trailer) X-Last: 1</pre>');
  expect(questionPage({ ...asked, answer: null }, now).body).not.toContain('Its header fields');
});

test('a caller without a token is shown as one without a token, and without a reason or a lease', () => {
  const { body } = questionPage(
    { ...asked, who: { ...asked.who, agent: null, lease: null }, answer: null },
    now,
  );
  expect(body).toContain('May a caller without a token send this request?');
  expect(body).toContain('The agent gave no reason.');
  expect(body).not.toContain('<dt>Lease</dt>');
});

const all = {
  ...asked,
  method: hostile,
  authority: hostile,
  path: hostile,
  grantName: hostile,
  grantUser: hostile,
  provider: hostile,
  client: hostile,
  reason: hostile,
  purpose: hostile,
  rule: hostile,
  ruleName: hostile,
  who: { ...asked.who, agent: hostile, lease: hostile },
};

test.each([
  ['agent, lease, account and header fields', 'ci-bot', 'lease-1'],
  ['agent, account and header fields', 'ci-bot', null],
  ['account and header fields, and come without a token', null, null],
])('the page says that a longer approval covers requests with the same rule, %s', (same, agent, lease) => {
  const { body } = questionPage({ ...asked, who: { ...asked.who, agent, lease }, answer: null }, now);
  expect(body).toContain(`Requests like it have the same rule, ${same}.`);
});

test.each([
  ['a pending approval', questionPage({ ...all, answer: null }, now)],
  ['an answer', answeredPage({ ...all, answer: null }, { ...yes(now), by: hostile }, true, 200)],
  ['an expired approval', overPage({ ...all, answer: null })],
])('markup in the page of %s is escaped', (_, { body, status }) => {
  expect(status).toBeGreaterThan(0);
  expect(body).not.toMatch(/<script|<img|\p{Cf}|[^\P{Cc}\n]/u);
  expect(body.match(/<\/form>/g) ?? []).toHaveLength(body.includes('<form') ? 1 : 0);
  expect(body).toContain('&lt;img src=x onerror=alert(1)&gt;\\u202e\\u0007');
});

test('blank-like characters and long runs of combining marks are escaped', () => {
  const reason = 'a\u3164\u00a0b e\u0301\u0301\u0301\u0301\u0301';
  const { body } = questionPage({ ...asked, reason, answer: null }, now);
  expect(body).toContain(String.raw`a\u3164\u00a0b e\u0301\u0301`);
});

test('the content security policy allows only the page’s own style, and forms to its own origin', () => {
  const asks = questionPage({ ...asked, answer: null }, now);
  const style = /<style>([^]*)<\/style>/.exec(asks.body)?.[1] ?? '';
  expect(asks.headers['content-security-policy']).toBe(
    `default-src 'none'; style-src 'sha256-${hash('sha256', style, 'base64')}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`,
  );
  expect(asks.headers).toMatchObject({
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  expect(asks.body).not.toMatch(/ style=|<script|src=|href=|action=/);
  const over = answeredPage({ ...asked, answer: null }, no(now), false, 200);
  expect(over.headers['content-security-policy']).toContain("form-action 'none'");
});
