import { type RefreshParameter, refreshParameters } from '../../domain/credential.ts';
import type { Dialect } from '../../domain/provider.ts';
import type { TokenAnswer } from './answer.ts';
import { type EndpointDelay, type EndpointError, later, type TokenIo } from './http.ts';
import { missingParameter } from './refresh-parameters.ts';
import { joinScopes, withOfflineAccess } from './scopes.ts';
import { askTokenEndpoint, type TokenClient } from './token-endpoint.ts';

/** A refresh request (RFC 6749 §6). */
export interface RefreshRequest {
  /** An https URL. */
  readonly endpoint: string;
  /** Null: no client is named. */
  readonly client: TokenClient | null;
  readonly dialect: Dialect;
  readonly refreshToken: string;
  /** Granted scopes, sent only if the provider requires it. Otherwise they persist (RFC 6749 §6). */
  readonly scopes: readonly string[];
  /** API of the tokens (RFC 8707), sent only if the provider requires it; absent: unknown. */
  readonly resource?: string | undefined;
  /** Parameters that the provider required before; absent: none. */
  readonly needs?: readonly RefreshParameter[] | undefined;
}

/** Outcome of a refresh. Descriptions are truncated, printable, and contain no piece of a secret. */
export type RefreshOutcome =
  | {
      readonly kind: 'renewed';
      readonly accessToken: string;
      /** New refresh token, if the provider rotates them; null: the old one stays valid. */
      readonly refreshToken: string | null;
      /** Milliseconds since the epoch; null: not stated by the provider. */
      readonly expiresAt: number | null;
      /** Time of the request, in milliseconds since the epoch. */
      readonly obtainedAt: number;
      /** Scopes of the token; null: unchanged. */
      readonly scope: string | null;
      /** True if the access token is bound to the DPoP key. */
      readonly isBound?: true;
      /** Parameters that the provider required; absent: none. */
      readonly needs?: readonly RefreshParameter[];
    }
  /** A person must consent again: to the grant, or to the login that it depends on. */
  | { readonly kind: 'refused'; readonly ends: 'grant' | 'login'; readonly description: string }
  /** Permanent until the configuration changes. */
  | (Omit<EndpointError, 'kind'> & {
      readonly kind: 'refused';
      readonly ends?: undefined;
      /** Parameters that the provider required for these tokens; absent: none. */
      readonly needs?: readonly RefreshParameter[];
    })
  | EndpointDelay;

/**
 * Codes that mean `invalid_grant` (RFC 6749 §5.2): those of GitHub and HubSpot, of Slack, and of OpenID
 * Connect Core §3.1.2.6, which some token endpoints send if the user must consent again.
 */
const consentGone = new Set([
  'invalid_grant',
  'bad_refresh_token',
  'invalid_refresh_token',
  'interaction_required',
  'login_required',
  'consent_required',
]);

/**
 * Refreshes a token (RFC 6749 §6). If the provider refuses the request for a missing parameter, sends it
 * once more with that parameter. Never rejects because of a provider or the network.
 */
export async function refreshToken(request: RefreshRequest, io: TokenIo): Promise<RefreshOutcome> {
  const { endpoint, client, dialect, refreshToken: token, scopes, resource } = request;
  const optional: Readonly<Record<string, string>> = {
    ...(scopes.length > 0 ? { scope: joinScopes(scopes, dialect) } : {}),
    ...(resource === undefined || 'resource' in dialect.tokenParameters ? {} : { resource }),
  };
  const needs = new Set(request.needs);
  for (;;) {
    const sent = new Set([...needs, ...(dialect.sendScopeOnRefresh ? ['scope'] : [])]);
    const parameters: Record<string, string> = { refresh_token: token };
    for (const [name, value] of Object.entries(optional))
      if (sent.has(name)) parameters[name === 'scope' ? dialect.scopeParameter : name] = value;
    const question = { endpoint, client, dialect, grantType: 'refresh_token', parameters, secrets: [token] };
    const answer = await askTokenEndpoint(question, io);
    const outcome = refreshOutcome(answer);
    const learned = needs.size > 0 ? { needs: [...needs] } : {};
    if (outcome.kind === 'refused' && outcome.ends === undefined) {
      const absent = refreshParameters.filter((name) => name in optional && !sent.has(name));
      const missing = missingParameter(outcome, absent);
      if (missing === undefined) return outcome.unusable === undefined ? outcome : { ...outcome, ...learned };
      needs.add(missing);
      continue;
    }
    if (outcome.kind !== 'renewed' || answer.kind !== 'tokens') return outcome;
    const granted = answer.scopes === null ? null : withOfflineAccess(answer.scopes, scopes).join(' ');
    return { ...outcome, scope: granted, ...learned };
  }
}

/** Returns the outcome of a renewal of any kind. */
export function refreshOutcome(answer: TokenAnswer): RefreshOutcome {
  switch (answer.kind) {
    case 'tokens': {
      const { accessToken, refreshToken: next, expiresAt, obtainedAt, scope, isBound } = answer;
      const bound = isBound === undefined ? {} : { isBound };
      return { kind: 'renewed', accessToken, refreshToken: next, expiresAt, obtainedAt, scope, ...bound };
    }
    case 'error': {
      const { error, description } = answer;
      if (consentGone.has(error.toLowerCase())) return { kind: 'refused', ends: 'grant', description };
      // RFC 8628 defines `slow_down` for device codes; some servers send it for any rate limit.
      if (error === 'slow_down') return later('the token endpoint answered slow_down');
      return { ...answer, kind: 'refused' };
    }
    case 'later':
      return answer;
  }
}
