import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { receiversOf } from '../../../../src/agents/approvals/receivers.ts';
import { questionMessage } from '../../../../src/agents/approvals/announce.ts';
import type { ApprovalNotice } from '../../../../src/config/approvals.ts';
import type { SecretReference } from '../../../../src/config/secret-reference.ts';
import { question } from '../../../support/question.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const link = 'https://sidekey.acme.test/approve/k7w2m9qd/SIGNATURE';
const secret: SecretReference = { kind: 'env', name: 'S' };
const hostile = 'see <https://evil.example|here> <!channel> @dana & [x](https://evil.example)\n\u202e<b>';
const asked = question({
  id: 'k7w2m9qd',
  who: { grantId: 'g-1', agent: 'ci-bot' },
  reason: hostile,
  purpose: 'spring clean',
});
/** The answers, in the words of the page. */
const answers = [
  'Yes, once: This request goes on, and no other.',
  'No: It is refused; the next one asks again.',
  'Yes, for 15 minutes: It goes on, and all like it for 15 minutes.',
  'Yes, for 1 hour: It goes on, and all like it for 1 hour.',
  'Requests like it have the same rule, agent, account and header fields.',
  'Without an answer it is refused at 2023-11-14T22:16:20.000Z.',
].join('\n');
const announcement = (url: string | null = link) => ({
  message: questionMessage({ ...asked, operation: 'delete a repository' }, url),
  summary: 'ci-bot asks to delete a repository (DELETE api.github.com/repos/acme/x) with the grant github.',
  exchange: 'exchange-1',
});

/** Sends a question by a template; returns the request. */
async function sent(notice: ApprovalNotice, value: string, url: string | null = link) {
  const requests: {
    readonly url: string;
    readonly headers: Record<string, string>;
    readonly body: string;
  }[] = [];
  const fetch = ((to: string, init: { headers: Record<string, string>; body: string }) => {
    requests.push({ url: to, headers: init.headers, body: init.body });
    return Promise.resolve(new Response('ok'));
  }) as unknown as typeof globalThis.fetch;
  const parts = { readSecret: async () => value, fetch, now: () => 0, env: {} };
  const [receiver] = receiversOf({ webhook: null, notify: [notice] }, parts);
  await receiver!.send(announcement(url), new AbortController().signal);
  const [request] = requests;
  return { ...request!, json: JSON.parse(request!.body) as Record<string, unknown> };
}

describe('the message for Slack', () => {
  test('has the words of the agent as plain text, and only the approval link', async () => {
    const hook = 'https://hooks.slack.test/services/T/B/SECRET';
    const { url, json } = await sent({ template: 'slack', url: secret }, hook);
    expect(url).toBe(hook);
    const { text, blocks } = json as { text: string; blocks: { text: { type: string; text: string } }[] };
    expect(text).toBe(announcement().summary);
    const types = blocks.map((block) => block.text.type);
    expect(types).toEqual(['plain_text', 'plain_text', 'plain_text', 'plain_text', 'mrkdwn']);
    expect(blocks[2]?.text.text).toBe(
      'Reason, as the agent says: see <https://evil.example|here> <!channel> @dana & [x](https://evil.example) <b>',
    );
    expect(blocks[3]?.text.text).toBe(answers);
    expect(blocks[4]?.text.text).toBe(`<${link}|Answer>`);
  });

  test('names the command when there is no link', async () => {
    const { json } = await sent({ template: 'slack', url: secret }, 'https://hooks.slack.test/x', null);
    expect(JSON.stringify(json)).toContain('`sidekey approve k7w2m9qd`');
  });

  test('is not sent in the clear', async () => {
    await expect(sent({ template: 'slack', url: secret }, 'http://hooks.slack.test/x')).rejects.toThrow(
      'the address of the webhook is not https, and not on this machine',
    );
  });
});

test('the message for Telegram has the words of the agent preformatted, and goes to the configured chat', async () => {
  const notice = {
    template: 'telegram',
    token: secret,
    chat: '-100123',
    url: 'https://api.telegram.test',
  } as const;
  const { url, json } = await sent(notice, '123:TOKEN');
  expect(url).toBe('https://api.telegram.test/bot123:TOKEN/sendMessage');
  expect(json).toMatchObject({
    chat_id: '-100123',
    parse_mode: 'HTML',
    link_preview_options: { is_disabled: true },
  });
  const text = String(json['text']);
  expect(text).toContain(`<a href="${link}">Answer</a>`);
  expect(text).toContain(
    '<pre>Reason, as the agent says: see &lt;https://evil.example|here&gt; &lt;!channel&gt;',
  );
  expect(text).toContain(`<pre>${answers}</pre>`);
  expect(text.replaceAll(/<pre>[^<]*<\/pre>|<a href="[^"]*">Answer<\/a>|\n/g, '')).toBe('');
});

test('the message for ntfy has the link as click action, the token, and no words of the agent', async () => {
  const notice = { template: 'ntfy', url: 'https://ntfy.test/acme-topic', token: secret } as const;
  const { url, headers, json } = await sent(notice, 'tk_secret');
  expect(url).toBe('https://ntfy.test/');
  expect(headers).toMatchObject({ authorization: 'Bearer tk_secret', 'idempotency-key': '"exchange-1"' });
  const message = `${announcement().summary}\n${answers}`;
  expect(json).toMatchObject({ topic: 'acme-topic', click: link, message });
  expect(JSON.stringify(json)).not.toContain('evil');
});

async function mailer(script: string) {
  const folder = await tempFolder();
  const program = join(folder, 'sendmail');
  await writeFile(program, `#!/bin/sh\n${script.replaceAll('FOLDER', folder)}\n`, { mode: 0o755 });
  const notice = { template: 'mail', to: 'dana@acme.test', from: 'sidekey@acme.test' } as const;
  const parts = {
    readSecret: async () => '',
    fetch,
    now: () => 0,
    env: { PATH: `${folder}:${process.env['PATH']}` },
  };
  const [receiver] = receiversOf({ webhook: null, notify: [notice] }, parts);
  return { folder, send: () => receiver!.send(announcement(), new AbortController().signal) };
}

describe.skipIf(process.platform === 'win32')('an e-mail (skipped on Windows: it has no sendmail)', () => {
  test('is passed to sendmail, with the link and no words of the agent', async () => {
    const { folder, send } = await mailer('echo "$@" > FOLDER/args; cat > FOLDER/mail');
    await send();
    expect(await readFile(join(folder, 'args'), 'utf8')).toBe('-i -t\n');
    const mail = await readFile(join(folder, 'mail'), 'utf8');
    expect(mail).toMatch(/^From: sidekey@acme\.test\nTo: dana@acme\.test\nSubject: /);
    expect(mail).toContain(`${answers}\n\nAnswer: ${link}\n`);
    expect(mail).not.toContain('evil');
  });

  test('that sendmail refuses is reported as a failure with the first line of its output', async () => {
    const { send } = await mailer('echo "no such host" >&2; echo more >&2; exit 75');
    await expect(send()).rejects.toThrow(/sendmail ended with 75: no such host$/);
  });
});
