import type { Deviations } from '../../support/id-jag-servers.ts';

/** Answers of the two servers, and the outcomes of `sidekey connect desk --via oidc --user alice`. */
interface Case {
  readonly input: string;
  readonly deviations: Deviations;
  /** Default: `desk`. */
  readonly provider?: string;
  readonly exit: number;
  /** Pattern of the message; absent: connected. */
  readonly says?: RegExp;
  /** Next step in the message. */
  readonly next?: RegExp;
  /** True if the assertion was sent to the service. */
  readonly isSent: boolean;
}

const refused = 5;
const past = Math.floor(Date.now() / 1000) - 120;
const type = (name: string) => `urn:ietf:params:oauth:token-type:${name}`;
const unusable = /check client_id and id_jag of the provider "desk"/;
const trust = /let the service trust the identity provider/;
const allow = /let the administrator of the identity provider allow Sidekey/;

/** An assertion that is not for this service, or not for this client or person: it stays here. */
const notSent = (input: string, deviations: Deviations, says: RegExp): Case => ({
  input,
  deviations,
  exit: refused,
  says,
  next: unusable,
  isSent: false,
});

const taken = (input: string, deviations: Deviations, provider = 'desk'): Case => ({
  input,
  deviations,
  provider,
  exit: 0,
  isSent: true,
});

export const cases: readonly Case[] = [
  taken('an assertion as in the draft', {}),
  taken('a list of one audience', { claims: ({ aud }) => ({ aud: [aud] }) }),
  taken('the type with its prefix (RFC 7515 §4.1.9)', { header: { typ: 'application/oauth-id-jag+jwt' } }),
  taken('the token_type n_a', { answer: { token_type: 'n_a' } }),
  taken('the token_type Bearer', { answer: { token_type: 'Bearer' } }),
  taken('no token_type', { answer: { token_type: undefined } }),
  taken('another subject at the service', { claims: () => ({ sub: 'a-1-at-the-desk' }) }, 'pairwise'),
  taken('a clock that is a minute ahead', { claims: () => ({ exp: Math.floor(Date.now() / 1000) + 30 }) }),
  taken('a refresh token of the service', { serviceAnswer: { refresh_token: 'refresh-of-the-desk' } }),

  notSent('the type of other JWTs', { header: { typ: 'JWT' } }, /another type \(typ\)/),
  notSent('no type', { header: { typ: undefined } }, /another type \(typ\)/),
  notSent(
    'another issuer',
    { claims: () => ({ iss: 'https://evil.test' }) },
    /issuer \(iss\) "https:\/\/evil.test"/,
  ),
  notSent(
    'another audience',
    { claims: () => ({ aud: 'https://evil.test' }) },
    /audience \(aud\) "https:\/\/evil.test"/,
  ),
  notSent(
    'two audiences',
    { claims: ({ aud }) => ({ aud: [aud, 'https://evil.test'] }) },
    /audience \(aud\) \[/,
  ),
  notSent('no audience', { claims: () => ({ aud: undefined }) }, /audience \(aud\) null/),
  notSent('an empty list of audiences', { claims: () => ({ aud: [] }) }, /audience \(aud\) \[\]/),
  notSent(
    'another client',
    { claims: () => ({ client_id: 'wiki0-at-todo0' }) },
    /client_id "wiki0-at-todo0" instead/,
  ),
  notSent('no client', { claims: () => ({ client_id: undefined }) }, /client_id null instead/),
  notSent('another subject', { claims: () => ({ sub: 'a-2' }) }, /another subject \(sub\)/),
  notSent('no subject', { claims: () => ({ sub: undefined }) }, /names nobody \(sub\)/),
  notSent('a subject that is a number', { claims: () => ({ sub: 7 }) }, /names nobody \(sub\)/),
  notSent('an assertion that has ended', { claims: () => ({ exp: past }) }, /has ended \(exp\)/),
  notSent('no end', { claims: () => ({ exp: undefined }) }, /has ended \(exp\)/),
  notSent('an end as text', { claims: () => ({ exp: '9999999999' }) }, /has ended \(exp\)/),
  notSent(
    'another issued token',
    { answer: { issued_token_type: type('access_token') } },
    /another token type/,
  ),
  notSent('no issued token type', { answer: { issued_token_type: undefined } }, /another token type/),
  notSent('an opaque text', { assertion: 'opaque-0123456789' }, /is no JWT/),
  notSent('a JWT of broken JSON', { assertion: 'e30.bm90IGpzb24.c2ln' }, /is no JWT/),

  {
    input: 'an encrypted assertion, which only the service can read',
    deviations: { assertion: 'e30.a.b.c.d' },
    exit: refused,
    says: /refused the assertion of .* \(invalid_grant/,
    next: trust,
    isSent: true,
  },
  ...['access_denied', 'invalid_target', 'invalid_scope', 'unauthorized_client', 'invalid_grant'].map(
    (exchangeError): Case => ({
      input: `${exchangeError} of the identity provider`,
      deviations: { exchangeError },
      exit: refused,
      says: new RegExp(`refused an assertion for https://\\S+ \\(${exchangeError}: the company says no\\)`),
      next: allow,
      isSent: false,
    }),
  ),
  ...['insufficient_user_authentication', 'login_required', 'interaction_required'].map(
    (exchangeError): Case => ({
      input: `${exchangeError} of the identity provider`,
      deviations: { exchangeError },
      exit: 4,
      says: new RegExp(`requires another sign-in of alice \\(${exchangeError}`),
      next: /sign in at the pages of Sidekey/,
      isSent: false,
    }),
  ),
  {
    input: 'invalid_client of the identity provider',
    deviations: { exchangeError: 'invalid_client' },
    exit: refused,
    says: /refused the client of admin\.oidc \(invalid_client/,
    next: /check client_id and client_secret of admin\.oidc/,
    isSent: false,
  },
  {
    input: 'an identity provider that is down',
    deviations: { down: 'identity provider' },
    exit: refused,
    says: /at api\.acme\.test:\d+, the token endpoint answered with HTTP 503/,
    next: /try again later/,
    isSent: false,
  },
  ...['invalid_grant', 'invalid_client', 'unsupported_grant_type', 'invalid_scope'].map(
    (serviceError): Case => ({
      input: `${serviceError} of the service`,
      deviations: { serviceError },
      exit: refused,
      says: new RegExp(`refused the assertion of \\S+ \\(${serviceError}: the desk says no\\)`),
      next: trust,
      isSent: true,
    }),
  ),
  {
    input: 'a service that is down',
    deviations: { down: 'service' },
    exit: refused,
    says: /the token endpoint answered with HTTP 503/,
    next: /try again later/,
    isSent: false,
  },
];
