import type { SidekeyError } from '../lib/errors.ts';
import type { FailureCode } from '../lib/failures.ts';
import { shellWord, withoutStop } from '../lib/text.ts';
import {
  clockOf,
  type Credential,
  isRefreshable,
  type SealedCredential,
  secretText,
} from '../domain/credential.ts';
import { defaultUser, type Grant } from '../domain/grant.ts';
import type { Flow, Provider } from '../domain/provider.ts';
import type { OpenedGrant } from './registry.ts';

/** The result of a request for a grant's token. */

/** A token to be used now. */
export interface ReadyToken {
  readonly kind: 'ready';
  readonly grant: Grant;
  readonly sealed: SealedCredential;
}

/** There is no usable token. */
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
  /** The command or config line that helps. */
  readonly hint: string;
  /** Null: there is no such grant. */
  readonly grant: Grant | null;
  /** Milliseconds until the next attempt in the background. */
  readonly retryAfterMs?: number;
}

/** A token, or why there is none. */
export type TokenResult = ReadyToken | RefusedToken;

/** After an upstream's 401: no other token is to be had now, so that the 401 stands. */
export interface UnchangedToken {
  readonly kind: 'unchanged';
}

type Standing =
  | { readonly kind: 'usable'; readonly opened: OpenedGrant; readonly due: boolean }
  /** A refresh is needed first. */
  | { readonly kind: 'needed'; readonly opened: OpenedGrant }
  /** Its token has ended, and nothing can renew it. */
  | { readonly kind: 'ended'; readonly opened: OpenedGrant }
  | UnchangedToken
  | RefusedToken;

/**
 * Judges a grant. `unwanted` is a token that an upstream refused. The state `expired` says no more than the clock does,
 * so the clock is asked again: a wrong clock, once corrected, does not leave a good token unused. `providers` say how a
 * person can mend it.
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
      hint: 'sidekey grant list',
      grant: null,
    };
  }
  const { grant, sealed } = opened;
  const { credential } = sealed;
  const over = stateRefusal(grant, providers(grant.provider), credential);
  if (over !== null) return over;
  const refreshable = isRefreshable(credential);
  if (clock.unwanted !== null && secretText(credential) === clock.unwanted) {
    return refreshable ? { kind: 'needed', opened } : { kind: 'unchanged' };
  }
  const state = clockOf(credential, clock.now, clock.skewMs);
  if (state === 'fresh' || state === 'due') return { kind: 'usable', opened, due: state === 'due' };
  return { kind: refreshable ? 'needed' : 'ended', opened };
}

/**
 * Returns why a grant gives no token, independent of its expiry; null: it may give one.
 *
 * @param provider its definition, which says how a person can mend it
 * @param credential what it holds, where that is known
 */
export function stateRefusal(
  grant: Grant,
  provider?: Provider,
  credential?: Credential,
): RefusedToken | null {
  const again = () => replaceCommand(grant, [], provider, credential);
  if (grant.state === 'revoked') {
    return refused(grant, 'grant_revoked', `The grant "${grant.name}" was revoked.`, again());
  }
  if (grant.state === 'reauth_required') {
    const why = grant.stateReason === null ? '' : `: ${withoutStop(grant.stateReason)}`;
    return refused(grant, 'reauth_required', `The grant "${grant.name}" needs a new consent${why}.`, again());
  }
  return null;
}

/** Returns the reason why a grant's credential has ended permanently, as the end of a sentence. */
export function endWords({ type }: Pick<Grant, 'type'>): string {
  return type === 'client_certificate'
    ? 'its certificate has ended'
    : 'its token has ended, and there is no refresh token';
}

/** The grant's token has ended permanently. `provider`: its definition, which says how a person can mend it. */
export function expiredToken(grant: Grant, provider?: Provider): RefusedToken {
  return refused(
    grant,
    'grant_expired',
    grant.type === 'client_certificate'
      ? `The grant "${grant.name}" has expired: ${endWords(grant)}.`
      : `The grant "${grant.name}" has expired, and there is no refresh token to renew it with.`,
    replaceCommand(grant, [], provider),
  );
}

/** The token could not be refreshed now. */
export function failedToken(grant: Grant, reason: string, hint?: string): RefusedToken {
  return refused(
    grant,
    'refresh_failed',
    `The token of the grant "${grant.name}" could not be refreshed: ${withoutStop(reason)}.`,
    hint ?? 'try again later; sidekey audit tail shows every attempt',
  );
}

/** The source of the grant gave no credential. `retryAfterMs`: from then on it is asked again. */
export function sourceFailed(grant: Grant, failure: SidekeyError, retryAfterMs: number): RefusedToken {
  const message = `The source of the grant "${grant.name}" failed: ${withoutStop(failure.message)}.`;
  return { ...refused(grant, 'source_failed', message, failure.hint), retryAfterMs };
}

function refused(grant: Grant, code: RefusedToken['code'], message: string, hint: string): RefusedToken {
  return { kind: 'refused', code, message, hint, grant };
}

/**
 * The command that puts a new credential in the place of a grant's: `sidekey connect` where the provider has a way to
 * it, else `sidekey grant import --replace` with a credential from elsewhere.
 *
 * @param audience the hosts that it may be sent to; none: those of the provider. With hosts it is always `grant import`
 * @param provider its definition; undefined: it is not known
 * @param credential what it holds, where that is known: it says by which way it came
 */
export function replaceCommand(
  {
    name,
    user,
    provider: providerName,
    type,
  }: Pick<Grant, 'name' | 'user' | 'provider'> & { readonly type?: Grant['type'] },
  audience: readonly string[] = [],
  provider?: Provider,
  credential?: Credential,
): string {
  const owner = user === defaultUser ? '' : ` --user ${user}`;
  const way = provider === undefined || audience.length > 0 ? null : wayOf(provider, type, credential);
  if (way !== null) {
    const named = name === providerName ? '' : ` --name ${name}`;
    return `sidekey connect ${providerName}${named}${owner}${way}`;
  }
  const file = type === 'client_certificate' ? 'client.pem' : 'token.json';
  const hosts = audience.length === 0 ? '' : ` --audience ${audience.map(shellWord).join(' ')}`;
  return `sidekey grant import ${name}${owner} --provider ${providerName} --replace${hosts} < ${file}`;
}

const withoutPeople: ReadonlySet<Flow> = new Set([
  'client_credentials',
  'jwt_bearer',
  'token_exchange',
  'github_installation',
  'aws_role',
]);

/** Returns the further options of `connect`; null: it cannot get a credential of that type. */
function wayOf(
  { flows, token }: Provider,
  type: Grant['type'] | undefined,
  credential: Credential | undefined,
): string | null {
  const oauth2 = credential?.type === 'oauth2' ? credential : undefined;
  const renewal = oauth2?.renewal;
  switch (renewal?.kind) {
    case 'client_credentials':
      return ' --client-credentials';
    case 'jwt_bearer':
      return ' --jwt-bearer --key FILE';
    case 'token_exchange':
      return ' --token-exchange';
    case 'auth0_connection':
      return ` --via ${renewal.via}`;
    case 'github_installation':
      return ` --app-id ${renewal.appId} --installation-id ${renewal.installationId} --key FILE`;
    case 'aws_role':
      return ` --assume-role ${shellWord(renewal.roleArn)}`;
    case undefined:
      break;
  }
  if (type === 'source') {
    const from = credential?.type === 'source' ? credential.from : '';
    return ` --from ${from === '' ? 'SOURCE' : shellWord(from)}`;
  }
  // No prompt takes a file of several lines.
  if (type === 'client_certificate') return null;
  if (type === undefined || type === 'oauth2') {
    // A refresh token came by a person's consent: what the client gets for itself is no such thing.
    const isFromConsent = typeof oauth2?.refreshToken === 'string';
    const fitting = isFromConsent ? flows.filter((flow) => !withoutPeople.has(flow)) : flows;
    return fitting.length > 0 || token !== null ? '' : null;
  }
  if (token === null) return null;
  return flows.length > 0 ? ' --token' : '';
}
