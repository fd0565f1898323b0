import { z } from 'zod';
import type { CertificateFiles } from '../lib/certificate-files.ts';
import { text } from '../lib/text.ts';
import {
  duration,
  isLoopbackListen,
  listenAddress,
  type ListenAddress,
  plainText,
  readReceiver,
  pathText,
  receiver,
  secretReference,
} from './scalar.ts';
import { type OidcConfig, oidcSchema, toOidcConfig } from './oidc.ts';

/**
 * The `approvals` and `admin` parts of the config file: notification of approvers, and the pages for their
 * answers.
 */

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
  max_pending: z
    .int()
    .min(1)
    .max(1_000)
    .prefault(20)
    .meta({ description: 'Requests of one agent that may wait at once.' }),
  webhook: z
    .strictObject({
      url: receiver('Where each question is POSTed, as JSON.'),
      secret: secretReference('The secret that signs each POST.').optional(),
    })
    .optional()
    .meta({ description: 'Tells people about questions. Default: only sidekey approve does.' }),
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

/** Public URL of the pages: prefix of links, without a trailing slash. */
const reach = text<string>(
  {
    description:
      'How people reach the pages, where a proxy with TLS is before them. Default: http://HOST:PORT.',
    examples: ['https://sidekey.example.com'],
  },
  (value) => {
    const checked = readReceiver(value);
    if (typeof checked !== 'string') return checked;
    return value.includes('?') ? { problem: 'has a query' } : value.replace(/\/+$/, '');
  },
);

/** The keys of `admin`. */
const adminKeys = z
  .strictObject({
    listen: listenAddress(
      'Where the pages for people listen: ADDRESS:PORT. Default: nothing listens.',
    ).optional(),
    url: reach.optional(),
    tls: z
      .strictObject({
        cert: pathText('A PEM file with the certificate, and its chain behind it.'),
        key: pathText('A PEM file with its private key, without a passphrase.'),
      })
      .optional()
      .meta({ description: 'The certificate of the listener. Default: plain http.' }),
    metrics: z.enum(['key', 'open']).prefault('key').meta({
      description:
        'Who may read GET /metrics: key (callers with the scope status:read), or open (also programs of this machine without a key).',
    }),
    oidc: oidcSchema.optional(),
    return_urls: z
      .array(
        text<string>(
          {
            description: 'An address with a path; it covers the paths below it too.',
            examples: ['https://app.example.com/connected'],
          },
          (value) => (value.includes('?') ? { problem: 'has a query' } : readReceiver(value)),
        ),
      )
      .prefault([])
      .meta({ description: 'Where connect sessions may send the browser of a person. Default: nowhere.' }),
  })
  .superRefine(({ listen, url, tls }, context) => {
    if (listen === undefined) {
      if (url !== undefined || tls !== undefined) {
        context.addIssue({
          code: 'custom',
          path: [url === undefined ? 'tls' : 'url'],
          message: 'leads nowhere: admin.listen is not set',
        });
      }
      return;
    }
    if (tls !== undefined && url?.startsWith('http:') === true)
      context.addIssue({ code: 'custom', path: ['url'], message: 'is plain http, but admin.tls is set' });
    if (isLoopbackListen(listen) || url?.startsWith('https:') === true) return;
    const message = `other machines can reach ${listen.host}, and a link is a right to answer, which must not travel in the clear; set admin.url to the https address that people use, or listen on 127.0.0.1`;
    context.addIssue({ code: 'custom', path: ['listen'], message });
  });

/** `admin`. */
export const adminSchema = z
  .union([z.literal('off'), adminKeys], {
    error: (issue) =>
      issue.code === 'invalid_union' ? 'must be off or { listen: ADDRESS:PORT }' : undefined,
  })
  .meta({ description: 'The listener of the pages for people and of the API; off: none.' });

/** A chat or mailbox that receives approval questions. The URL of Telegram has no trailing slash. */
export type ApprovalNotice = z.output<typeof approvalsSchema>['notify'][number];

/** Receiver of notifications about questions. Requests without a secret are not signed. */
export type ApprovalWebhook = NonNullable<z.output<typeof approvalsSchema>['webhook']>;

/** Settings of the approval pages. */
export interface AdminConfig {
  /** Null: no listener. */
  readonly listen: ListenAddress | null;
  /** Prefix of links, without a trailing slash; null: `http://HOST:PORT` of the listener. */
  readonly url: string | null;
  /** Absolute paths of PEM files; null: no TLS. */
  readonly tls: CertificateFiles | null;
  /** `open`: callers on this machine may read the metrics without a key. */
  readonly metrics: 'key' | 'open';
  /** Addresses to which connect sessions may send a browser, without a query. */
  readonly returnUrls: readonly string[];
  /** Null: people sign in only with links and passkeys. */
  readonly oidc: OidcConfig | null;
}

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

export type ApprovalsConfig = ReturnType<typeof toApprovalsConfig>;

/** Converts validated values to settings. */
export function toAdminConfig(
  values: z.output<typeof adminSchema>,
  absolute: (path: string) => string,
): AdminConfig {
  if (values === 'off')
    return { listen: null, url: null, tls: null, metrics: 'key', returnUrls: [], oidc: null };
  const { listen = null, url = null, tls, metrics, return_urls: returnUrls, oidc } = values;
  return {
    listen,
    url,
    tls:
      tls === undefined
        ? null
        : { setting: 'admin.tls', cert: absolute(tls.cert), key: absolute(tls.key), clientCa: null },
    metrics,
    returnUrls,
    oidc: oidc === undefined ? null : toOidcConfig(oidc),
  };
}
