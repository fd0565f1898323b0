/** The authorization code flow (RFC 6749 §4.1) with PKCE (RFC 7636), state, and the issuer check of RFC 9207. */
import * as oauth from 'oauth4webapi';
import { SidekeyError } from '../errors.ts';
import type { OAuth2Credential } from '../grants/credential.ts';
import type { Provider } from '../grants/provider.ts';
import { describe, errorCode } from './description.ts';
import { askTokenEndpoint, type TokenIo } from './token-endpoint.ts';

/** What is asked of the user, and where the answer goes. */
export interface AuthorizationRequest {
  readonly provider: Provider;
  readonly redirectUri: string;
  /** Empty: none is named, and the provider chooses. */
  readonly scopes: readonly string[];
}

/** What a flow keeps to itself until the callback comes. */
export interface Authorization {
  /** Where the user's browser goes. */
  readonly url: string;
  /** Random; secret from everybody but the user's browser. */
  readonly state: string;
  /** Random; secret. */
  readonly codeVerifier: string;
}

/**
 * Begins a flow.
 * @throws SidekeyError `config_invalid` where the provider has no authorization endpoint or no client id.
 */
export async function authorizationUrl(request: AuthorizationRequest): Promise<Authorization> {
  const { provider, redirectUri, scopes } = request;
  const url = URL.parse(needed(provider, 'authorization_endpoint', provider.authorizationEndpoint));
  if (url?.protocol !== 'https:') {
    throw new SidekeyError(
      'config_invalid',
      `The authorization endpoint of the provider "${provider.name}" is not an https URL.`,
      { hint: `set providers.${provider.name}.authorization_endpoint to an https URL` },
    );
  }
  const state = oauth.generateRandomState();
  const codeVerifier = oauth.generateRandomCodeVerifier();
  const parameters = {
    response_type: 'code',
    client_id: needed(provider, 'client_id', provider.clientId),
    redirect_uri: redirectUri,
    ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(codeVerifier),
    code_challenge_method: 'S256',
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return { url: url.href, state, codeVerifier };
}

/** A callback, and what its flow kept to itself. */
export interface CodeExchange extends TokenIo {
  readonly provider: Provider;
  /** The whole URL that the user's browser came back to. */
  readonly callbackUrl: string;
  readonly state: string;
  readonly codeVerifier: string;
  readonly redirectUri: string;
  /** The scopes that were asked for: those granted, where the provider does not say (RFC 6749 §5.1). */
  readonly scopes?: readonly string[];
}

/**
 * Ends a flow: checks the callback and exchanges its code.
 * @throws SidekeyError `bad_request`: the callback does not belong to this flow or to this provider;
 * `provider_refused`: the user or the provider said no, or the token endpoint failed; `config_invalid`;
 * `secret_missing`.
 */
export async function exchangeCode(
  exchange: CodeExchange,
): Promise<{ readonly credential: OAuth2Credential; readonly scopes: readonly string[] }> {
  const { provider } = exchange;
  const clientId = needed(provider, 'client_id', provider.clientId);
  const parameters = checkedCallback(exchange, clientId);
  const answer = await askTokenEndpoint(
    {
      endpoint: needed(provider, 'token_endpoint', provider.tokenEndpoint),
      client: {
        clientId,
        clientSecret: (await provider.clientSecret?.()) ?? null,
        auth: provider.clientAuth,
      },
      secrets: [parameters.get('code') ?? '', exchange.codeVerifier],
      send: (as, client, auth, options) =>
        oauth.authorizationCodeGrantRequest(
          as,
          client,
          auth,
          parameters,
          exchange.redirectUri,
          exchange.codeVerifier,
          options,
        ),
      process: (as, client, response) => oauth.processAuthorizationCodeResponse(as, client, response),
    },
    exchange,
  );
  switch (answer.kind) {
    case 'tokens':
      return {
        credential: {
          type: 'oauth2',
          accessToken: answer.accessToken,
          refreshToken: answer.refreshToken,
          expiresAt: answer.expiresAt,
          obtainedAt: answer.obtainedAt,
          scope: answer.scope,
          clientId: null,
          clientSecret: null,
          tokenEndpoint: null,
        },
        scopes: answer.scope?.split(' ').filter(Boolean) ?? exchange.scopes ?? [],
      };
    case 'error':
      throw refused(provider, answer.error, answer.description);
    case 'transient':
      throw refused(provider, 'no answer', answer.reason);
  }
}

/** State against forged callbacks (RFC 6749 §10.12), issuer against mix-up (RFC 9207 §2.4). */
function checkedCallback(exchange: CodeExchange, clientId: string): URLSearchParams {
  const url = URL.parse(exchange.callbackUrl);
  const parameters = url?.searchParams ?? new URLSearchParams();
  const issuer = exchange.provider.issuer ?? parameters.get('iss') ?? 'unknown';
  try {
    return oauth.validateAuthResponse({ issuer }, { client_id: clientId }, parameters, exchange.state);
  } catch (error) {
    if (error instanceof oauth.AuthorizationResponseError) {
      const secrets = [exchange.state, exchange.codeVerifier];
      throw refused(
        exchange.provider,
        errorCode(error.error, secrets),
        describe(error.error_description ?? '', secrets),
      );
    }
    throw new SidekeyError(
      'bad_request',
      `The callback does not belong to this flow: its state or its issuer is not that of the provider "${exchange.provider.name}".`,
      { hint: 'begin again, and finish in the same browser' },
    );
  }
}

function needed(provider: Provider, key: string, value: string | null): string {
  if (value !== null) return value;
  throw new SidekeyError('config_invalid', `The provider "${provider.name}" has no ${key}.`, {
    hint: `set providers.${provider.name}.${key}`,
  });
}

function refused(provider: Provider, error: string, description: string): SidekeyError {
  const detail = description === '' ? error : `${error}: ${description}`;
  return new SidekeyError('provider_refused', `The provider "${provider.name}" gave no token (${detail}).`, {
    hint: `check the client of the provider "${provider.name}", then begin again`,
  });
}
