import { SidekeyError } from '../errors.ts';
import { boundBy, type DpopKey, type OAuth2Credential } from '../grants/credential.ts';
import type { Provider } from '../grants/provider.ts';
import type { Tokens } from './answer.ts';
import { withOfflineAccess } from './scopes.ts';

/** What a person's consent brought. */
export interface Consented {
  /** Without a client and an endpoint of its own: those of the provider's definition are meant. */
  readonly credential: OAuth2Credential;
  /** As they were granted; they may be fewer than were asked for, see `ungrantedScopes`. */
  readonly scopes: readonly string[];
  /** Which account it is, as the provider's dialect says. */
  readonly details: Readonly<Record<string, string>>;
}

/** What was proved, and to whom. */
export interface Proved {
  readonly provider: Pick<Provider, 'title'>;
  /** Absent or null: nothing. */
  readonly proofKey?: DpopKey | null | undefined;
}

/**
 * @param asked the scopes that were asked for: those granted, where the provider does not say (RFC 6749 §5.1)
 * @throws SidekeyError `provider_refused`: a key was proved, and the token is bound to none
 */
export function consented(tokens: Tokens, asked: readonly string[], proved: Proved | null = null): Consented {
  const { accessToken, refreshToken, expiresAt, obtainedAt, scope, details, isBound = false } = tokens;
  const granted = tokens.scopes ?? asked;
  const key = proved?.proofKey ?? null;
  if (proved !== null && key !== null && !isBound) throw unbound(proved.provider);
  const credential: OAuth2Credential = {
    type: 'oauth2',
    accessToken,
    refreshToken,
    expiresAt,
    obtainedAt,
    scope,
    clientId: null,
    clientSecret: null,
    tokenEndpoint: null,
  };
  return {
    credential: boundBy(credential, key, isBound),
    scopes: refreshToken === null ? granted : withOfflineAccess(granted, asked),
    details,
  };
}

/** A provider that takes a proof and binds nothing to it does not know of DPoP, and says so in no other way. */
export function unbound({ title }: Pick<Provider, 'title'>): SidekeyError {
  return new SidekeyError(
    'provider_refused',
    `${title} gave a token that is bound to no key (token_type is not DPoP); nothing was stored.`,
    {
      hint: 'let the provider bind the tokens of the client (DPoP, RFC 9449), or take dpop out of its definition',
    },
  );
}
