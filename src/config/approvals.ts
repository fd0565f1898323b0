import { z } from 'zod';
import { optional, prefault, text } from '../lib/text.ts';
import { duration, plainText, receiver, secretReference } from './scalar.ts';

/** The `approvals` part of the config file: how long requests wait, and who is notified. */

const mailAddress = (description: string) =>
  text<string>({ description, examples: ['dana@example.com'] }, (value) =>
    /^[^\s@<>,;]+@[^\s@<>,;]+$/.test(value) ? value : { problem: 'is not an e-mail address' },
  );

/** The keys of `approvals`. */
export const approvalsSchema = z.strictObject({
  timeout: duration(
    'How long a request waits for a person; then it is refused. At most 1h.',
    1_000,
    3_600_000,
  ).prefault('3m'),
  max_pending: prefault(z.int().min(1).max(1_000), 20, 'Requests of one agent that may wait at once.'),
  webhook: optional(
    z.strictObject({
      url: receiver('Where each question is POSTed, as JSON.'),
      secret: secretReference('The secret that signs each POST.').optional(),
    }),
    'Tells people about questions. Default: only sidekey approve does.',
  ),
  notify: z
    .array(
      z.discriminatedUnion('template', [
        z.strictObject({
          template: z.literal('slack'),
          url: secretReference('Where the address of the incoming webhook is; it is a secret.'),
        }),
        z.strictObject({
          template: z.literal('telegram'),
          token: secretReference('Where the token of the bot is.'),
          chat: plainText('The chat: its number, or @NAME of a channel.'),
          url: receiver('The server of the Bot API.').prefault('https://api.telegram.org'),
        }),
        z.strictObject({
          template: z.literal('ntfy'),
          url: receiver('The topic: https://ntfy.sh/TOPIC.'),
          token: secretReference('Where the access token is.').optional(),
        }),
        z.strictObject({
          template: z.literal('mail'),
          to: mailAddress('Who gets the message.'),
          from: mailAddress('Its sender.'),
        }),
      ]),
    )
    .prefault([])
    .meta({ description: 'Tells people about questions in chats and by e-mail.' }),
});

/** A chat or mailbox that receives approval questions. The URL of Telegram has no trailing slash. */
export type ApprovalNotice = z.output<typeof approvalsSchema>['notify'][number];

/** `approvals`: `timeoutMs` is the time that a request waits, `maxPending` the maximum of an agent. */
export type ApprovalsConfig = ReturnType<typeof toApprovalsConfig>;

/** Converts validated values to settings. */
export function toApprovalsConfig({
  timeout,
  max_pending: maxPending,
  webhook,
  notify,
}: z.output<typeof approvalsSchema>) {
  return {
    timeoutMs: timeout,
    maxPending,
    webhook: webhook ?? null,
    notify: notify.map((each) =>
      each.template === 'telegram' ? { ...each, url: each.url.replace(/\/+$/, '') } : each,
    ),
  };
}
