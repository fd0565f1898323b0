import { z } from 'zod';
import type { CertificateFiles } from '../lib/certificate-files.ts';
import { optional, prefault, text } from '../lib/text.ts';
import { marks } from './marks.ts';
import { scope } from './provider.ts';
import {
  duration,
  isLoopbackListen,
  issuer,
  listenAddress,
  type ListenAddress,
  pathText,
  plainText,
  readReceiver,
  secretReference,
} from './scalar.ts';
import type { SecretReference } from './secret-reference.ts';

/** The `admin` part of the config file: the listener of the API and the pages, and the sign-in of people. */

const claimName = plainText('The name of a claim, or a path: realm_access.roles.');

const holders = (role: string) =>
  optional(
    z.record(claimName, z.array(plainText('A value of the claim.')).min(1)),
    `Who is ${role}: values by claim. One of them is enough.`,
  );

/** The keys of `admin.oidc`. */
const oidcSchema = z
  .strictObject({
    issuer: issuer(
      'The issuer, such as https://accounts.google.com. Its metadata names its endpoints.',
    ).register(marks, { mark: 'destination' }),
    client_id: plainText('The client that the issuer has for Sidekey.'),
    client_secret: secretReference('The secret of the client. Default: a public client.').optional(),
    scopes: prefault(z.array(scope), ['openid', 'profile', 'email'], 'The scopes to ask for, with openid.'),
    name: claimName.prefault('sub').meta({
      description:
        'The claim that names a new person. Take none that people can set themselves: a user owns the grants of that name.',
    }),
    keep_sign_in: duration(
      'How long a sign-in gets tokens of services of the same identity provider (id_jag of a provider). Default: no assertion of the issuer is kept.',
      60_000,
    ).optional(),
    roles: z
      .strictObject({
        operator: holders('operator'),
        approver: holders('approver'),
        auditor: holders('auditor'),
        user: holders('user'),
      })
      .refine((of) => Object.values(of).some((each) => each !== undefined), {
        error: 'gives nobody a role, so nobody could sign in',
      })
      .meta({ description: 'Who has which role; of several, the first in the order of this list.' }),
  })
  .refine(({ scopes }) => scopes.includes('openid'), { path: ['scopes'], error: 'must contain openid' })
  .meta({ description: 'Sign-in at an OpenID provider. Default: links and passkeys alone.' });

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
    tls: optional(
      z.strictObject({
        cert: pathText('A PEM file with the certificate, and its chain behind it.'),
        key: pathText('A PEM file with its private key, without a passphrase.'),
      }),
      'The certificate of the listener. Default: plain http.',
    ),
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

/** Settings of the sign-in at an OpenID provider. */
export interface OidcConfig {
  readonly issuer: string;
  readonly clientId: string;
  /** Null: a public client. */
  readonly clientSecret: SecretReference | null;
  readonly scopes: readonly string[];
  /** Claim with the name of a new person. */
  readonly name: string;
  /** Milliseconds for which a sign-in gets tokens of services; null: it gets none. */
  readonly keepSignInMs: number | null;
  /** Roles with their holders, in order of precedence. */
  readonly roles: readonly (readonly [
    role: 'operator' | 'approver' | 'auditor' | 'user',
    holders: Readonly<Record<string, readonly string[]>>,
  ])[];
}

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

/** Converts validated values to settings. */
function toOidcConfig(values: z.output<typeof oidcSchema>): OidcConfig {
  const { client_id: clientId, client_secret: clientSecret = null, roles, ...rest } = values;
  const { keep_sign_in: keepSignInMs = null, ...named } = rest;
  const order = ['operator', 'approver', 'auditor', 'user'] as const;
  return {
    ...named,
    clientId,
    clientSecret,
    keepSignInMs,
    roles: order.map((role) => [role, roles[role] ?? {}]),
  };
}
