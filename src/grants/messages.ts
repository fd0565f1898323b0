import { shellWord } from '../lib/text.ts';
import { clientErrors } from './oauth/authorization-code.ts';
import { withDescription } from './oauth/description.ts';
import { failureHint, isAboutClient, lookUpHint, movedHint } from './oauth/failure-hint.ts';
import { idJagHint } from './oauth/id-jag.ts';
import type { RefreshOutcome } from './oauth/refresh.ts';
import type { RenewalRequest } from './oauth/renewal.ts';
import { scopeRefusal, scopesToAskFor } from './oauth/scopes.ts';
import type { Credential } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import { type ReadyToken, replaceRemedy } from './token-result.ts';
import { withInput, type Hint, hintOf } from '../lib/hint.ts';

/** Turns an API's refusal into a hint for people. Pure; texts never contain a part of a token. */

/** A consent that would grant the missing scopes. */
interface MissingConsent {
  /** Scopes to request; empty: not named by the API; null: no scopes reported as missing. */
  readonly scopes: readonly string[] | null;
  /** Scopes that the API named, for the audit log. */
  readonly reason: string;
  /** Action that requests the consent, then details. Visible ASCII. */
  readonly hint: Hint;
}

/**
 * Parses the head of a 401 or 403 to a request with the credential. Null: it names neither scopes nor the
 * API's metadata.
 *
 * @param values returns the values of a field by its lower-case name
 * @param provider definition; undefined: unknown
 */
export function missingConsent(
  values: (name: string) => readonly string[],
  { grant, sealed: { credential } }: Pick<ReadyToken, 'grant' | 'sealed'>,
  provider: Provider | undefined,
): MissingConsent | null {
  const { missing, resourceMetadata } = scopeRefusal(values, {
    dialect: provider?.dialect.insufficientScope ?? plain,
    held: grant.scopes,
    secrets: secretsIn(credential),
  });
  if (missing === null && resourceMetadata === null) return null;
  const scopes = missing === null ? null : scopesToAskFor(missing, provider?.knownScopes ?? []);
  const unnamed = scopes?.length === 0 ? ' (the API does not name the scope)' : '';
  const described = resourceMetadata === null ? '' : ` (described at ${resourceMetadata})`;
  return {
    scopes,
    reason: reasonOf(missing),
    hint: hintOf`${consentRemedy(grant, scopes ?? [], provider, credential)}${unnamed}${described}`,
  };
}

const plain = {
  challenge: 'all',
  grantedScopesHeader: null,
  acceptedScopesHeader: null,
  unlessHeaders: {},
} as const;

function reasonOf(missing: ReturnType<typeof scopeRefusal>['missing']): string {
  if (missing === null || missing.scopes.length === 0)
    return 'the grant lacks a scope that the API does not name';
  const which = missing.anyOne ? 'lacks one of' : 'lacks';
  return `the grant ${which}: ${missing.scopes.join(' ')}`;
}

/**
 * Returns the action that requests these scopes besides those of the grant, as `connect` names both. If the
 * credential is created by hand, the scopes follow the action.
 */
export function consentRemedy(
  grant: Pick<Grant, 'name' | 'user' | 'provider' | 'type'>,
  scopes: readonly string[],
  provider: Provider | undefined,
  credential: Credential,
): Hint {
  const replacement = replaceRemedy(grant, [], provider, credential);
  if (scopes.length === 0) return replacement;
  return takesScopes(provider, credential)
    ? withInput(replacement, { scopes })
    : hintOf`${replacement} (the new one needs: ${scopes.map(shellWord).join(' ')})`;
}

/** Reports whether `connect` requests scopes. Pasted tokens and installations get theirs at the provider. */
function takesScopes(provider: Provider | undefined, credential: Credential): boolean {
  if (provider === undefined || credential.type !== 'oauth2') return false;
  const way = credential.renewal?.kind ?? provider.flows[0];
  return way !== undefined && way !== 'github_installation' && way !== 'aws_role';
}

/** Minimum length of a secret. Shorter ones occur in ordinary words. */
const shortest = 8;

/** Returns the secrets that were sent upstream, in the forms that a response may repeat. */
function secretsIn(credential: Credential): readonly string[] {
  return sent(credential)
    .flatMap((secret) => [secret, encodeURIComponent(secret), Buffer.from(secret).toString('base64')])
    .filter((secret) => secret.length >= shortest);
}

function sent(credential: Credential): readonly string[] {
  switch (credential.type) {
    case 'oauth2':
      // Temporary AWS keys are stored as one text (`keysText`).
      return [credential.accessToken ?? '', ...(credential.accessToken ?? '').split(':')];
    case 'api_key':
    case 'jwt':
      return [credential.value];
    case 'basic':
      return [credential.password, `${credential.username}:${credential.password}`];
    case 'headers':
      return credential.headers.flatMap(([, value]) => value.split(/\s+/));
    case 'aws':
      return [credential.secretAccessKey, credential.sessionToken ?? ''];
    case 'client_certificate':
    case 'source':
      return [];
  }
}

/** Messages about refused renewals. Pure; without secrets. */

const reauthReasons: Readonly<Record<RenewalRequest['kind'], string>> = {
  refresh_token: 'the provider refused the refresh token',
  token_exchange: 'the provider refused the token that was to be exchanged',
  auth0_connection: 'the account is not connected any more',
  github_installation: 'the app is not installed there any more',
  aws_role: 'AWS does not know the keys any more',
  // `renew` never returns `invalid_grant` for these.
  client_credentials: 'the provider refused the credential',
  id_jag: 'the provider refused the credential',
  jwt_bearer: 'the provider refused the credential',
};

/** Returns why the grant needs a person. The provider's description follows. */
export function reauthReason({ kind }: RenewalRequest): string {
  return reauthReasons[kind];
}

/** Returns why a refresh failed, from the provider's error code. */
function refusalOf(error: string): string {
  return `the provider refused the refresh with ${error}`;
}

/** Reports whether a reason is the refusal of the client. */
export function isClientRefusal(reason: string): boolean {
  return [...clientErrors].some((error) => reason.startsWith(refusalOf(error)));
}

/** Returns the action that registers a new client; null: the client is not the cause, or is not Sidekey's. */
export function newClientRemedy(
  grant: Pick<Grant, 'name' | 'user' | 'provider' | 'type'>,
  credential: Credential,
  provider: Provider | undefined,
  { reason, now }: { readonly reason: string; readonly now: number },
): Hint | null {
  const registered = credential.type === 'oauth2' ? credential.registered : undefined;
  if (registered === undefined) return null;
  const hasEnded = registered.secretExpiresAt !== null && registered.secretExpiresAt <= now;
  if (!hasEnded && !isClientRefusal(reason)) return null;
  return withInput(replaceRemedy(grant, [], provider, credential), { replace: true });
}

/** Returns why a renewal was refused for good. The descriptions of assertions name the party that refused. */
export function refusalReason(
  { kind }: RenewalRequest,
  { error, description }: { readonly error: string; readonly description: string },
): string {
  return kind === 'id_jag' ? description : withDescription(refusalOf(error), description);
}

/** Returns the hint for a renewal whose endpoint redirects to an address. */
export function movedRemedy(
  { grant, sealed: { credential } }: Pick<ReadyToken, 'grant' | 'sealed'>,
  provider: Provider | undefined,
  address: string | undefined,
): Hint {
  const own = credential.type === 'oauth2' ? credential : null;
  if (own?.tokenEndpoint != null) {
    const again = replaceRemedy(grant, [], provider, credential);
    return hintOf`add the grant again, with token_endpoint ${address ?? 'of the provider'}: ${again}`;
  }
  const refreshes = own?.renewal === undefined && provider?.dialect.refreshEndpoint != null;
  return movedHint(grant.provider, address, refreshes ? 'dialect.refresh_endpoint' : 'token_endpoint');
}

/** Returns the hint for a permanent refusal. */
export function whatToCheck(
  { kind }: RenewalRequest,
  provider: string,
  refusal: Extract<RefreshOutcome, { readonly kind: 'refused' }>,
): Hint {
  const failure = refusal.ends === undefined ? refusal : { error: '' };
  const hint = failureHint(provider, failure);
  // Google refuses a client that may not act for the subject, or may not have the scopes.
  const isOfSubject = kind === 'jwt_bearer' && failure.error === 'unauthorized_client';
  if (hint !== null && !isOfSubject) return hint;
  const client = `client_id, client_secret and token_endpoint of the provider "${provider}"`;
  const isKnown = refusal.ends !== undefined || isAboutClient(failure);
  switch (kind) {
    case 'refresh_token':
      if (refusal.ends !== undefined)
        return 'the refresh token has ended, was used, or is of another client: get a new one';
      return isKnown ? `check ${client}` : lookUpHint(provider, failure);
    case 'auth0_connection':
      return isKnown ? `check ${client}` : lookUpHint(provider, failure);
    case 'client_credentials':
      return isKnown
        ? `check ${client}, and that the scopes are allowed for the client`
        : lookUpHint(provider, failure);
    case 'jwt_bearer':
      return 'check that the clock of this machine is right, that the key is still registered at the provider, and that issuer, subject and scopes are allowed';
    case 'token_exchange':
      return isAboutClient(failure)
        ? `check ${client}`
        : 'check the token that is exchanged, its type, and who may exchange it';
    case 'id_jag':
      return idJagHint(failure.error, provider);
    case 'github_installation':
      return 'check that the clock of this machine is right, that the key is one of the app, and that the installation is not suspended';
    case 'aws_role':
      return 'check that the keys may assume the role (sts:AssumeRole), that the role trusts them, and its external id';
  }
}
