import { post, type Post, signature } from '../../audit/export/http.ts';
import { SinkFailure } from '../../audit/export/sink.ts';
import type { ApprovalNotice, ApprovalsConfig } from '../../config/approvals.ts';
import { readReceiver } from '../../config/scalar.ts';
import type { SecretReference } from '../../config/secret-reference.ts';
import { findProgram, runBounded } from '../../lib/programs.ts';
import type { Announcement, ApprovalReceiver } from './announce.ts';

interface ReceiverParts {
  readonly readSecret: (reference: SecretReference) => Promise<string>;
  readonly fetch: typeof globalThis.fetch;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly env: NodeJS.ProcessEnv;
}

export function receiversOf(
  { webhook, notify }: Pick<ApprovalsConfig, 'webhook' | 'notify'>,
  parts: ReceiverParts,
): readonly ApprovalReceiver[] {
  const chats = notify.map((notice) => ({
    name: notice.template,
    send: (asked: Announcement, signal: AbortSignal) => sendNotice(notice, asked, { ...parts, signal }),
  }));
  if (webhook === null) return chats;
  const send: ApprovalReceiver['send'] = (asked, signal) =>
    sendToWebhook(webhook, asked, { ...parts, signal });
  return [{ name: 'webhook', send }, ...chats];
}

interface Sending extends ReceiverParts {
  readonly signal: AbortSignal;
}

/** Signs as the HTTP sinks of the audit log do. */
async function sendToWebhook(
  { url, secret }: NonNullable<ApprovalsConfig['webhook']>,
  asked: Announcement,
  sending: Sending,
): Promise<void> {
  const body = JSON.stringify(asked.message);
  const signed = secret === undefined ? {} : signature(body, await sending.readSecret(secret), sending.now());
  await sendJson({ url, body, headers: signed }, asked, sending);
}

async function sendNotice(notice: ApprovalNotice, asked: Announcement, sending: Sending): Promise<void> {
  const { readSecret } = sending;
  switch (notice.template) {
    case 'slack': {
      const url = readReceiver(await readSecret(notice.url));
      if (typeof url !== 'string') throw new SinkFailure(`the address of the webhook ${url.problem}`);
      return sendJson({ url, body: JSON.stringify(slackMessage(asked)), headers: {} }, asked, sending);
    }
    case 'telegram': {
      const url = `${notice.url}/bot${await readSecret(notice.token)}/sendMessage`;
      const body = JSON.stringify({ chat_id: notice.chat, ...telegramMessage(asked) });
      return sendJson({ url, body, headers: {} }, asked, sending);
    }
    case 'ntfy': {
      const { origin, pathname } = new URL(notice.url);
      const token = notice.token && (await readSecret(notice.token));
      const body = JSON.stringify({ topic: pathname.slice(1), ...ntfyMessage(asked) });
      const login = token === undefined ? {} : { authorization: `Bearer ${token}` };
      return sendJson({ url: `${origin}/`, body, headers: login }, asked, sending);
    }
    case 'mail':
      return sendMail(mailText(asked, notice), sending);
  }
}

/** Sends JSON. Errors contain no URL, because the URL of a chat is a secret. */
async function sendJson(
  { url, body, headers: more }: Post,
  { exchange }: Announcement,
  { fetch, now, signal }: Sending,
): Promise<void> {
  const headers = { 'content-type': 'application/json', 'idempotency-key': `"${exchange}"`, ...more };
  await post({ url, headers, body }, { fetch, signal, now: now() });
}

const answerWord = 'Answer';

const oneLine = (text: string) => text.replaceAll(/\p{C}+|\s+/gu, ' ').slice(0, 500);

const plain = (text: string) => ({ type: 'section', text: { type: 'plain_text', text, emoji: false } });

const escaped = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/**
 * Returns the message of an incoming webhook of Slack (docs.slack.dev, Block Kit). The words of the agent are
 * `plain_text`, which cannot contain links or mentions.
 */
function slackMessage(asked: Announcement): object {
  const { link, command } = asked.message;
  const answer = link === null ? `\`${command}\`` : `<${link}|${answerWord}>`;
  return {
    text: asked.summary,
    blocks: [
      plain(asked.summary),
      ...[...wordsOf(asked), answersOf(asked)].map(plain),
      { type: 'section', text: { type: 'mrkdwn', text: answer, verbatim: true } },
    ],
    unfurl_links: false,
    unfurl_media: false,
  };
}

/**
 * Returns a message of a Telegram bot (core.telegram.org/bots/api#sendmessage). The words of the agent are
 * preformatted, so they cannot contain links or mentions.
 */
function telegramMessage(asked: Announcement): object {
  const lines = [asked.summary, ...wordsOf(asked), answersOf(asked)].map(
    (line) => `<pre>${escaped(line)}</pre>`,
  );
  const { link, command } = asked.message;
  const answer = link === null ? `<code>${command}</code>` : `<a href="${escaped(link)}">${answerWord}</a>`;
  return {
    text: [...lines, answer].join('\n'),
    parse_mode: 'HTML',
    link_preview_options: { is_disabled: true },
  };
}

/** Returns JSON for ntfy (docs.ntfy.sh/publish) without words of the agent: programs make any text a link. */
function ntfyMessage(asked: Announcement): object {
  const { link, command } = asked.message;
  const text = `${asked.summary}\n${answersOf(asked)}`;
  const how = link === null ? { message: `${text}\n${command}` } : { message: text, click: link };
  return { title: 'Sidekey: a request waits for you', ...how, priority: 4, tags: ['key'] };
}

/** Returns a message for sendmail (RFC 5322). For the same reason as ntfy it has no words of the agent. */
function mailText(asked: Announcement, { from, to }: { readonly from: string; readonly to: string }): string {
  const { id, link, command } = asked.message;
  return [
    `From: ${from}`,
    `To: ${to}`,
    `Subject: Sidekey: a request waits for you (${id})`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Auto-Submitted: auto-generated',
    '',
    asked.summary,
    '',
    answersOf(asked),
    '',
    `${answerWord}: ${link ?? command}`,
    '',
  ].join('\n');
}

/** Returns the unchecked texts of the agent, each on one line. */
function wordsOf({ message: { reason, purpose } }: Announcement): readonly string[] {
  return [
    ...(purpose === null ? [] : [`Purpose of the lease: ${oneLine(purpose)}`]),
    ...(reason === null ? [] : [`Reason, as the agent says: ${oneLine(reason)}`]),
  ];
}

/** Returns the possible answers and the time for them, in the words of the page. */
function answersOf({ message: { answers, expires_at: until } }: Announcement): string {
  return [...answers, `Without an answer it is refused at ${until}.`].join('\n');
}

/** Folders where sendmail is, which are not in the PATH of users. */
const mailFolders = '/usr/sbin:/usr/lib';

/**
 * Sends a message by the program named `sendmail`. The config cannot choose another program, because a caller
 * who may edit the config by the API may not run programs.
 *
 * @throws SinkFailure
 */
async function sendMail(text: string, { env, signal }: Sending): Promise<void> {
  const { PATH = '', HOME } = env;
  const program = await findProgram('sendmail', `${PATH}:${mailFolders}`);
  if (program === null)
    throw new SinkFailure('there is no program sendmail (Debian: msmtp-mta, dma, postfix)');
  const argv = [program, '-i', '-t'];
  const bounds = { timeoutMs: 30_000, maxBytes: 65_536 };
  const end = await runBounded({ argv, cwd: '/', env: { PATH, HOME }, input: text, signal, ...bounds });
  if (end.kind === 'ended' && end.code === 0) return;
  const why =
    end.kind === 'ended' ? `ended with ${end.code ?? end.signal}: ${end.error.split('\n', 1)[0]}` : end.kind;
  throw new SinkFailure(`${program} ${why}`);
}
