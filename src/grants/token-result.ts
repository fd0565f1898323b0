import type { SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf, remedy, type RemedyInput, withInput } from '../lib/hint.ts';
import type { FailureCode } from '../lib/failures.ts';
import { withoutStop } from '../lib/text.ts';
import {
  clockOf,
  type Credential,
  isRefreshable,
  type SealedCredential,
  secretText,
  type OpenedGrant,
} from '../domain/credential.ts';
import { defaultUser, type Grant } from '../domain/grant.ts';
import type { Flow, Provider } from '../domain/provider.ts';

/** The result of a request for a grant's token. */

/** A usable token. */
export interface ReadyToken {
  readonly kind: 'ready';
  readonly grant: Grant;
  readonly sealed: SealedCredential;
}

/** No usable token. */
export interface RefusedToken {
  readonly kind: 'refused';
  readonly code: Extract<
    FailureCode,
    | 'grant_missing'
    | 'grant_expired'
    | 'grant_revoked'
    | 'reauth_required'
    | 'refresh_failed'
    | 'source_failed'
    | 'store_unavailable'
  >;
  /** One sentence without a secret. */
  readonly message: string;
  /** Command or config line that helps. */
  readonly hint: Hint;
  /** Null: the grant does not exist. */
  readonly grant: Grant | null;
  /** Milliseconds until the next attempt in the background. */
  readonly retryAfterMs?: number;
}

/** A token, or the reason for its absence. */
export type TokenResult = ReadyToken | RefusedToken;

/** No other token is available after an upstream's 401, so the 401 is passed on. */
export interface UnchangedToken {
  readonly kind: 'unchanged';
}

type Standing =
  | { readonly kind: 'usable'; readonly opened: OpenedGrant; readonly due: boolean }
  /** A refresh is needed first. */
  | { readonly kind: 'needed'; readonly opened: OpenedGrant }
  /** The token has expired and cannot be renewed. */
  | { readonly kind: 'ended'; readonly opened: OpenedGrant }
  | UnchangedToken
  | RefusedToken;

/**
 * Returns the standing of a grant. `unwanted`: a token that an upstream refused. `providers`: for hints. An
 * `expired` state is checked against the clock: a good token is used again once a wrong clock is corrected.
 */
export function standingOf(
  opened: OpenedGrant | null,
  grantId: string,
  clock: { readonly now: number; readonly skewMs: number; readonly unwanted: string | null },
  providers: (name: string) => Provider | undefined = () => undefined,
): Standing {
  if (opened === null) {
    return {
      kind: 'refused',
      code: 'grant_missing',
      message: `There is no grant ${grantId}.`,
      hint: remedy('grant.list'),
      grant: null,
    };
  }
  const { grant, sealed } = opened;
  const { credential } = sealed;
  const over = stateRefusal(grant, providers(grant.provider), credential);
  if (over !== null) return over;
  const refreshable = isRefreshable(credential);
  if (clock.unwanted !== null && secretText(credential) === clock.unwanted)
    return refreshable ? { kind: 'needed', opened } : { kind: 'unchanged' };
  const state = clockOf(credential, clock.now, clock.skewMs);
  if (state === 'fresh' || state === 'due') return { kind: 'usable', opened, due: state === 'due' };
  return { kind: refreshable ? 'needed' : 'ended', opened };
}

/**
 * Returns why a grant has no usable token, regardless of its expiry; null: it may have one.
 *
 * @param provider definition, for the hint
 * @param credential content of the grant, if known
 */
export function stateRefusal(
  grant: Grant,
  provider?: Provider,
  credential?: Credential,
): RefusedToken | null {
  const again = () => replaceRemedy(grant, [], provider, credential);
  if (grant.state === 'revoked')
    return refused(grant, 'grant_revoked', `The grant "${grant.name}" was revoked.`, again());
  if (grant.state === 'reauth_required') {
    const why = grant.stateReason === null ? '' : `: ${withoutStop(grant.stateReason)}`;
    return refused(grant, 'reauth_required', `The grant "${grant.name}" needs a new consent${why}.`, again());
  }
  return null;
}

/** Returns why a grant's credential has permanently expired, as the end of a sentence. */
export function endWords({ type }: Pick<Grant, 'type'>): string {
  return type === 'client_certificate'
    ? 'its certificate has ended'
    : 'its token has ended, and there is no refresh token';
}

/** Returns the error for a permanently expired token. `provider`: definition, for the hint. */
export function expiredToken(grant: Grant, provider?: Provider): RefusedToken {
  return refused(
    grant,
    'grant_expired',
    grant.type === 'client_certificate'
      ? `The grant "${grant.name}" has expired: ${endWords(grant)}.`
      : `The grant "${grant.name}" has expired, and there is no refresh token to renew it with.`,
    replaceRemedy(grant, [], provider),
  );
}

/** Returns the error for a failed refresh. */
export function failedToken(grant: Grant, reason: string, hint?: Hint): RefusedToken {
  return refused(
    grant,
    'refresh_failed',
    `The token of the grant "${grant.name}" could not be refreshed: ${withoutStop(reason)}.`,
    hint ?? hintOf`try again later; ${remedy('audit.tail')} shows every attempt`,
  );
}

/** Returns the error for a failed source. `retryAfterMs`: milliseconds until it is read again. */
export function sourceFailed(grant: Grant, failure: SidekeyError, retryAfterMs: number): RefusedToken {
  const message = `The source of the grant "${grant.name}" failed: ${withoutStop(failure.message)}.`;
  return { ...refused(grant, 'source_failed', message, failure.hint), retryAfterMs };
}

function refused(grant: Grant, code: RefusedToken['code'], message: string, hint: Hint): RefusedToken {
  return { kind: 'refused', code, message, hint, grant };
}

/**
 * Returns the action that replaces the credential of a grant: `connect` if the provider has a flow for it,
 * else the import of a file.
 *
 * @param audience hosts that may receive the credential, always with an import; empty: those of the provider
 * @param provider definition; undefined: unknown
 * @param credential content of the grant, if known: shows the flow that obtained it
 */
export function replaceRemedy(
  {
    name,
    user,
    provider: providerName,
    type,
  }: Pick<Grant, 'name' | 'user' | 'provider'> & { readonly type?: Grant['type'] },
  audience: readonly string[] = [],
  provider?: Provider,
  credential?: Credential,
): Hint {
  const owner = user === defaultUser ? undefined : user;
  const way = provider === undefined || audience.length > 0 ? null : wayOf(provider, type, credential);
  if (way !== null) {
    const named = name === providerName ? undefined : name;
    return remedy('connect', { provider: providerName, name: named, user: owner, ...way });
  }
  const file = type === 'client_certificate' ? 'client.pem' : 'token.json';
  const hosts = audience.length === 0 ? undefined : audience;
  const input = { name, user: owner, provider: providerName, replace: true, audience: hosts };
  return hintOf`${remedy('grant.import', input)} < ${file}`;
}

/** Returns the action after which the credential of a grant may also be sent to a host. */
export function audienceRemedy(
  grant: Grant,
  { audience, credential }: SealedCredential,
  host: string,
  provider?: Provider,
): Hint {
  return (
    widenRemedy(grant, host, provider, credential) ?? replaceRemedy(grant, [...audience, host], provider)
  );
}

/**
 * Returns the action that allows one more host for the credential of a grant, and adds the entry of that
 * host; null: the credential comes from a file (`replaceRemedy`).
 */
export function widenRemedy(
  grant: Parameters<typeof replaceRemedy>[0],
  host: string,
  provider: Provider | undefined,
  credential?: Credential,
): Hint | null {
  if (provider === undefined || wayOf(provider, grant.type, credential) === null) return null;
  const wider = { allowed_domains: [host], widen: true, replace: true };
  return withInput(replaceRemedy(grant, [], provider, credential), wider);
}

const withoutPeople: ReadonlySet<Flow> = new Set([
  'client_credentials',
  'jwt_bearer',
  'token_exchange',
  'id_jag',
  'github_installation',
  'aws_role',
]);

/** Returns further input of `connect`; null: it cannot obtain a credential of the type. */
function wayOf(
  { flows, token }: Provider,
  type: Grant['type'] | undefined,
  credential: Credential | undefined,
): RemedyInput | null {
  const oauth2 = credential?.type === 'oauth2' ? credential : undefined;
  const renewal = oauth2?.renewal;
  switch (renewal?.kind) {
    case 'client_credentials':
      return { client_credentials: true };
    case 'jwt_bearer':
      return { jwt_bearer: true, key: null };
    case 'token_exchange':
      return { token_exchange: true };
    case 'id_jag':
      return { via: 'oidc' };
    case 'auth0_connection':
      return { via: renewal.via };
    case 'github_installation':
      return { app_id: renewal.appId, installation_id: renewal.installationId, key: null };
    case 'aws_role':
      return { assume_role: renewal.roleArn };
    case undefined:
      break;
  }
  if (type === 'source') {
    const from = credential?.type === 'source' ? credential.from : '';
    return { from: from === '' ? null : from };
  }
  // Prompts cannot read a file of several lines.
  if (type === 'client_certificate') return null;
  if (type === undefined || type === 'oauth2') {
    // A refresh token requires a person's consent. Tokens of the client itself do not replace it.
    const isFromConsent = typeof oauth2?.refreshToken === 'string';
    const fitting = isFromConsent ? flows.filter((flow) => !withoutPeople.has(flow)) : flows;
    return fitting.length > 0 || token !== null ? {} : null;
  }
  // Without flows, `connect` asks for a key.
  if (flows.length === 0) return {};
  return token === null ? null : { token: true };
}
