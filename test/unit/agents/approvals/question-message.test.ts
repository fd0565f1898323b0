import { expect, test } from 'vitest';
import { questionMessage } from '../../../../src/agents/approvals/announce.ts';
import { question } from '../../../support/question.ts';

const asked = question({
  id: 'k7w2m9qd',
  who: { grantId: 'g-1', agent: 'ci-bot', lease: 'l-1' },
  reason: 'the repository is no longer used',
  purpose: 'spring clean',
  ruleName: 'deletes',
  grantUser: 'alice',
});

test('the webhook message contains all that a person needs to decide', () => {
  const link = 'http://127.0.0.1:8378/approve/k7w2m9qd/s';
  expect(questionMessage(asked, link)).toEqual({
    text: `ci-bot asks for DELETE api.github.com/repos/acme/x with the grant github. Answer: ${link}`,
    id: 'k7w2m9qd',
    expires_at: '2023-11-14T22:16:20.000Z',
    agent: 'ci-bot',
    lease: 'l-1',
    purpose: 'spring clean',
    operation: null,
    method: 'DELETE',
    url: 'https://api.github.com/repos/acme/x',
    has_query: false,
    field_names: [],
    body_bytes: 0,
    grant: 'github',
    user: 'alice',
    provider: 'github',
    reason: 'the repository is no longer used',
    rule: 'config/sidekey.yaml:12',
    rule_name: 'deletes',
    answers: [
      'Yes, once: This request goes on, and no other.',
      'No: It is refused; the next one asks again.',
      'Yes, for 15 minutes: It goes on, and all like it for 15 minutes.',
      'Yes, for 1 hour: It goes on, and all like it for 1 hour.',
      'Yes, for the lease: It goes on, and all like it until the lease ends.',
      'Requests like it have the same rule, agent, lease, account and header fields.',
    ],
    link,
    command: 'sidekey approve k7w2m9qd',
  });
});

test('the message says what the request does, if the catalog has words for it', () => {
  expect(questionMessage({ ...asked, operation: 'delete a repository' }, null)).toMatchObject({
    operation: 'delete a repository',
    text: 'ci-bot asks to delete a repository (DELETE api.github.com/repos/acme/x) with the grant github. Answer: sidekey approve k7w2m9qd',
  });
});

test('the message names the command when there is no link', () => {
  const local = { ...asked, who: { ...asked.who, agent: null } };
  expect(questionMessage(local, null)).toMatchObject({
    link: null,
    agent: null,
    text: 'A caller on this machine asks for DELETE api.github.com/repos/acme/x with the grant github. Answer: sidekey approve k7w2m9qd',
  });
});

test('the chat line says that query and body are not shown', () => {
  const more = questionMessage({ ...asked, query: 'a=b', bodyBytes: 5_000 }, null);
  expect(more).toMatchObject({ has_query: true, body_bytes: 5_000 });
  expect(more.text).toContain(
    'with the grant github, and sends a query and 5,000 bytes of body, which are not shown. Answer:',
  );
});

test('the chat line names the header fields without their values', () => {
  const names = ["X-*|'", ...Array.from({ length: 90 }, (_, index) => `X-${index}`)];
  const many = { ...asked, fields: names.map((name) => `${name}: <https://evil.example|Answer>`) };
  const { text, field_names } = questionMessage(many, null);
  expect(field_names).toEqual(names);
  expect(text).toMatch(
    / github, with the header fields X-%2A%7C%27, X-0, .* …\d+ characters in all… .*, X-89\. Answer:/,
  );
  expect(text).not.toContain('evil');
  expect(text.length).toBeLessThan(400);
});

test('the chat line is short with any request, so that the link stays visible', () => {
  const link = 'http://127.0.0.1:8378/approve/k7w2m9qd/s';
  const long = { ...asked, method: 'M'.repeat(5_000), path: `/${'ü'.repeat(2_000)}/the-end` };
  const { text, url } = questionMessage(long, link);
  expect(text.length).toBeLessThan(600);
  expect(text).toMatch(
    / api\.github\.com\/%C3.* …12023 characters in all… .*\/the-end with the grant github\./,
  );
  expect(text.endsWith(` Answer: ${link}`)).toBe(true);
  expect(url).toBe(`https://api.github.com${long.path}`);
});

test('the chat line contains no markup, mention or link from the agent', () => {
  const hostile = {
    ...asked,
    method: "DEL*`|'",
    path: '/<https://evil.example|Answer>[here](https://evil.example)@channel&<!here>\n\u202eü',
    reason: 'see https://evil.example',
  };
  const { text, reason } = questionMessage(hostile, null);
  expect(text).not.toMatch(/[<>|()[\]@&!*`\n\u202e]|https?:\/\/|see/);
  expect(text).toContain('DEL%2A%60%7C%27 api.github.com/%3Chttps%3A//evil.example%7CAnswer%3E');
  // Programs that show the message must say that the agent wrote this text.
  expect(reason).toBe(hostile.reason);
});
