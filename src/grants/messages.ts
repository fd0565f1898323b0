import { shellWord } from '../lib/text.ts';
import type { RenewalRequest } from '../oauth/renewal.ts';
import { scopeRefusal, scopesToAskFor } from '../oauth/scopes.ts';
import type { Credential } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import { type ReadyToken, replaceCommand } from './token-result.ts';

/** From an API's refusal to what a person can do about it. Pure; it never says a value of a token. */

/** A consent that would help. */
interface MissingConsent {
  /** Scopes to be asked for; none: the API did not name them. Null: it said nothing of scopes. */
  readonly scopes: readonly string[] | null;
  /** All that the API named, for the audit. */
  readonly reason: string;
  /** The command that asks for it, first, in visible ASCII. */
  readonly hint: string;
}

/**
 * Reads the head of a 401 or 403 to a request that had the credential. Null: it names neither scopes nor where the API
 * describes itself.
 *
 * @param values answers the values of a field, by its name in lower case
 * @param provider its definition; undefined: it is not known
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
    hint: `${consentCommand(grant, scopes ?? [], provider, credential)}${unnamed}${described}`,
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
 * The command that asks for these scopes besides those that the grant has: `connect` names both. If its credential is
 * created by hand, the scopes follow the command.
 */
export function consentCommand(
  grant: Pick<Grant, 'name' | 'user' | 'provider' | 'type'>,
  scopes: readonly string[],
  provider: Provider | undefined,
  credential: Credential,
): string {
  const command = replaceCommand(grant, [], provider, credential);
  if (scopes.length === 0) return command;
  return takesScopes(provider, credential)
    ? `${command} --scope ${shellWord(scopes.join(' '))}`
    : `${command} (the new one needs: ${scopes.map(shellWord).join(' ')})`;
}

/**
 * Returns whether `connect` requests scopes. The scopes of a pasted token and of an installation are set at the
 * provider.
 */
function takesScopes(provider: Provider | undefined, credential: Credential): boolean {
  if (provider === undefined || credential.type !== 'oauth2') return false;
  const way = credential.renewal?.kind ?? provider.flows[0];
  return way !== undefined && way !== 'github_installation' && way !== 'aws_role';
}

/** Shorter ones are in ordinary words. */
const shortest = 8;

/** Returns the parts of the credential that were sent upstream, in the forms that a response may repeat. */
function secretsIn(credential: Credential): readonly string[] {
  return sent(credential)
    .flatMap((secret) => [secret, encodeURIComponent(secret), Buffer.from(secret).toString('base64')])
    .filter((secret) => secret.length >= shortest);
}

function sent(credential: Credential): readonly string[] {
  switch (credential.type) {
    case 'oauth2':
      // Temporary keys of AWS are kept as one text (`keysText`).
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

/** The sentences about a renewal that was refused. Pure; none contains a secret. */

/** Returns why the grant needs a person, as the beginning of a sentence that the provider's own words end. */
export function reauthReason({ kind }: RenewalRequest): string {
  switch (kind) {
    case 'refresh_token':
      return 'the provider refused the refresh token';
    case 'token_exchange':
      return 'the provider refused the token that was to be exchanged';
    case 'auth0_connection':
      return 'the account is not connected any more';
    case 'github_installation':
      return 'the app is not installed there any more';
    case 'aws_role':
      return 'AWS does not know the keys any more';
    // Answered by none of these: see `renew`.
    case 'client_credentials':
    case 'jwt_bearer':
      return 'the provider refused the credential';
  }
}

/**
 * Returns the hint for a refusal that stays until something is changed.
 *
 * @param error the provider's word for it
 */
export function whatToCheck({ kind }: RenewalRequest, provider: string, error = ''): string {
  if (error === 'invalid_dpop_proof') return 'check that the clock of this machine is right';
  const client = `client_id, client_secret and token_endpoint of the provider "${provider}"`;
  switch (kind) {
    case 'refresh_token':
    case 'auth0_connection':
      return `check ${client}`;
    case 'client_credentials':
      return `check ${client}, and that the scopes are allowed for the client`;
    case 'jwt_bearer':
      return 'check that the clock of this machine is right, that the key is still registered at the provider, and that issuer, subject and scopes are allowed';
    case 'token_exchange':
      return `check the token that is exchanged, its type, and ${client}`;
    case 'github_installation':
      return 'check that the clock of this machine is right, that the key is one of the app, and that the installation is not suspended';
    case 'aws_role':
      return 'check that the keys may assume the role (sts:AssumeRole), that the role trusts them, and its external id';
  }
}
