import * as oauth from 'oauth4webapi';
import type { DpopKey } from '../grants/credential.ts';
import type { Provider } from '../grants/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { newDpopKey, proofKey } from '../schemes/dpop-proof.ts';
import { consented, type Consented } from './answer.ts';
import { type Callback, checkCallback } from './callback.ts';
import { withDescription } from './description.ts';
import type { TokenIo } from './http.ts';
import { joinScopes } from './scopes.ts';
import { askTokenEndpoint } from './token-endpoint.ts';

/** The authorization code flow (RFC 6749 §4.1) with PKCE (RFC 7636). */

/** Authorization request and its redirect URI. */
interface AuthorizationRequest {
  readonly provider: Provider;
  readonly redirectUri: string;
  /** Empty: none is named, and the provider chooses. */
  readonly scopes: readonly string[];
  /** Besides those of RFC 6749 and of the provider's dialect: `prompt`, `login_hint` … */
  readonly parameters?: Readonly<Record<string, string>>;
}

/** The state of a flow until its callback. */
export interface Authorization {
  /** The URL that the user's browser opens. */
  readonly url: string;
  /** Random; secret from everybody but the user's browser. */
  readonly state: string;
  /** Random; secret. Null: the provider refuses PKCE. */
  readonly codeVerifier: string | null;
  /** Made for this consent, and secret: the code is bound to it (RFC 9449 §10). Null: tokens are bound to none. */
  readonly proofKey: DpopKey | null;
}

/**
 * Begins a flow.
 * @throws SidekeyError `config_invalid` where the provider has no authorization endpoint or no client id.
 */
export async function authorizationUrl(request: AuthorizationRequest): Promise<Authorization> {
  const { provider, redirectUri, scopes } = request;
  const { dialect } = provider;
  const url = URL.parse(needed(provider, 'authorization_endpoint', provider.authorizationEndpoint));
  if (url?.protocol !== 'https:') {
    throw new SidekeyError(
      'config_invalid',
      `The authorization endpoint of the provider "${provider.name}" is not an https URL.`,
      { hint: `set providers.${provider.name}.authorization_endpoint to an https URL` },
    );
  }
  const state = oauth.generateRandomState();
  const codeVerifier = dialect.pkce ? oauth.generateRandomCodeVerifier() : null;
  const key = provider.dpop === null ? null : newDpopKey(provider.dpop);
  const parameters = {
    ...dialect.authorizationParameters,
    ...request.parameters,
    response_type: 'code',
    [dialect.clientIdParameter]: needed(provider, 'client_id', provider.clientId),
    redirect_uri: redirectUri,
    ...(scopes.length === 0 ? {} : { [dialect.scopeParameter]: joinScopes(scopes, dialect) }),
    state,
    ...(codeVerifier === null
      ? {}
      : {
          code_challenge: await oauth.calculatePKCECodeChallenge(codeVerifier),
          code_challenge_method: 'S256',
        }),
    ...(key === null ? {} : { dpop_jkt: proofKey(key).thumbprint }),
  };
  // RFC 6749 §3.1: the query that the endpoint has stays.
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  // A space as `+` is right in a form; as `%20` it is read alike by every server. A plus sign is `%2B` by now.
  url.search = url.search.replaceAll('+', '%20');
  return { url: url.href, state, codeVerifier, proofKey: key };
}

/** A callback, and what its flow kept to itself. */
export interface CodeExchange extends TokenIo {
  readonly provider: Provider;
  /** Read by `parseCallback`. */
  readonly callback: Callback;
  /** See `CallbackExpectation`. */
  readonly acceptBareCode?: boolean | undefined;
  readonly state: string;
  readonly codeVerifier: string | null;
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
export async function exchangeCode(exchange: CodeExchange): Promise<Consented> {
  const { provider, codeVerifier } = exchange;
  const clientId = needed(provider, 'client_id', provider.clientId);
  const { code, details } = checkCallback(exchange.callback, exchange);
  const answer = await askTokenEndpoint(
    {
      endpoint: needed(provider, 'token_endpoint', provider.tokenEndpoint),
      client: {
        clientId,
        clientSecret: (await provider.clientSecret?.()) ?? null,
        auth: provider.clientAuth,
      },
      dialect: provider.dialect,
      grantType: 'authorization_code',
      parameters: {
        code,
        redirect_uri: exchange.redirectUri,
        ...(codeVerifier === null ? {} : { code_verifier: codeVerifier }),
      },
      secrets: [code, codeVerifier ?? ''],
    },
    exchange,
  );
  switch (answer.kind) {
    case 'tokens': {
      const result = consented(answer, exchange.scopes ?? [], { provider, proofKey: exchange.proofKey });
      // The callback names the account too.
      return { ...result, details: { ...result.details, ...details } };
    }
    case 'error':
      throw refused(provider, answer.error, answer.description);
    case 'transient':
      throw refused(provider, 'no answer', answer.reason);
  }
}

function needed(provider: Provider, key: string, value: string | null): string {
  if (value !== null) return value;
  throw new SidekeyError('config_invalid', `The provider "${provider.name}" has no ${key}.`, {
    hint: `set providers.${provider.name}.${key}`,
  });
}

function refused(provider: Provider, error: string, description: string): SidekeyError {
  return new SidekeyError(
    'provider_refused',
    `The provider "${provider.name}" gave no token (${withDescription(error, description)}).`,
    {
      hint: `check the client of the provider "${provider.name}", then begin again`,
    },
  );
}
