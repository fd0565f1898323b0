import * as oauth from 'oauth4webapi';
import type { DpopKey } from '../../domain/credential.ts';
import type { Provider } from '../../domain/provider.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import { newDpopKey, proofKey } from '../../proxy/schemes/dpop-proof.ts';
import { consented, type Consented } from './answer.ts';
import { describe, errorCode, withDescription } from './description.ts';
import { delayHint, failureHint, isAboutClient, lookUpHint } from './failure-hint.ts';
import type { EndpointError, TokenIo } from './http.ts';
import { plainDetail } from './identity.ts';
import { joinScopes } from './scopes.ts';
import { askTokenEndpoint } from './token-endpoint.ts';

/** The authorization code flow (RFC 6749 §4.1) with PKCE (RFC 7636). */

interface AuthorizationRequest {
  readonly provider: Provider;
  readonly redirectUri: string;
  /** Empty: omitted, and the provider chooses. */
  readonly scopes: readonly string[];
  /** Parameters besides those of RFC 6749 and of the provider's dialect: `prompt`, `login_hint` … */
  readonly parameters?: Readonly<Record<string, string>>;
  /** State of the flow; absent: a random one. */
  readonly state?: string | undefined;
}

/** State of a flow until its callback. */
export interface Authorization {
  /** URL that the user's browser opens. */
  readonly url: string;
  /** Random; secret except for the user's browser. */
  readonly state: string;
  /** Random; secret. Null: the provider refuses PKCE. */
  readonly codeVerifier: string | null;
  /** Secret key of this consent that the code is bound to (RFC 9449 §10). Null: tokens are not bound. */
  readonly proofKey: DpopKey | null;
}

/**
 * Starts a flow.
 * @throws SidekeyError `config_invalid`: the provider has no authorization endpoint or no client ID
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
  const state = request.state ?? oauth.generateRandomState();
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
  // RFC 6749 §3.1: the endpoint's own query is kept.
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  // Not every server reads `+` as a space, but all read `%20`. A plus sign is already `%2B`.
  url.search = url.search.replaceAll('+', '%20');
  return { url: url.href, state, codeVerifier, proofKey: key };
}

/** A callback with the secrets of its flow. */
export interface CodeExchange extends TokenIo, CallbackExpectation {
  /** Result of `parseCallback`. */
  readonly callback: Callback;
  readonly redirectUri: string;
  /** Requested scopes, granted unless the provider states others (RFC 6749 §5.1). */
  readonly scopes?: readonly string[];
}

/**
 * Completes a flow: checks the callback and exchanges its code.
 * @throws SidekeyError `bad_request`: not of this flow or provider; `provider_refused`: the user or the
 * provider refused, or the token endpoint failed; `config_invalid`; `secret_missing`
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
      // The callback may name the account, too.
      return { ...result, details: { ...result.details, ...details } };
    }
    case 'error':
      throw refused(provider, answer);
    case 'later':
      throw refused(provider, {
        error: 'no answer',
        description: answer.reason,
        hint: delayHint(provider.name, answer),
      });
  }
}

function needed(provider: Provider, key: string, value: string | null): string {
  if (value !== null) return value;
  throw new SidekeyError('config_invalid', `The provider "${provider.name}" has no ${key}.`, {
    hint: `set providers.${provider.name}.${key}`,
  });
}

function refused(provider: Provider, failure: Omit<EndpointError, 'kind'>): SidekeyError {
  const { error, description } = failure;
  const hint =
    newClientHint(provider, error) ?? failureHint(provider.name, failure) ?? codeHint(provider, failure);
  return new SidekeyError(
    'provider_refused',
    `The provider "${provider.name}" gave no token (${withDescription(error, description)}).`,
    { hint: hintOf`${hint}; then begin again` },
  );
}

/** Returns the next step for a code that was refused (RFC 6749 §5.2); of GitHub and Slack, too. */
function codeHint({ name }: Provider, failure: Omit<EndpointError, 'kind'>): string {
  if (/grant|code/.test(failure.error)) return 'a code is good once, and for some minutes only';
  return isAboutClient(failure)
    ? `check client_id, client_secret and client_auth of the provider "${name}"`
    : lookUpHint(name, failure);
}

/** Errors for a client that the server does not know, or does not accept any more. */
export const clientErrors: ReadonlySet<string> = new Set(['invalid_client', 'unauthorized_client']);

function newClientHint({ name, registered }: Provider, error: string): Hint | null {
  if (registered === undefined || !clientErrors.has(error)) return null;
  return hintOf`register a new client: ${remedy('connect', { provider: name, register: true })}`;
}

/** The response of the authorization endpoint (RFC 6749 §4.1.2): parsed, and checked against its flow. */

/** A callback as received or pasted. Unchecked. */
export type Callback =
  | { readonly kind: 'parameters'; readonly parameters: URLSearchParams }
  /** Only the code, because some people copy nothing else, or the provider shows nothing else. */
  | { readonly kind: 'code'; readonly code: string };

/** Flow that a callback is checked against. */
export interface CallbackExpectation {
  readonly provider: Provider;
  readonly state: string;
  /** Null: the flow has no PKCE. */
  readonly codeVerifier: string | null;
  /**
   * True if a bare code is accepted. Without `state`, only PKCE binds it to this flow: a code of another
   * person's consent has another challenge, so the provider refuses it (RFC 9700 §2.1). Set this only if the
   * person who pastes began this flow in the same session, so that no link of another person led here.
   */
  readonly acceptBareCode?: boolean | undefined;
}

/** A code from a callback that belongs to the flow. */
interface CheckedCallback {
  readonly code: string;
  /** Parameters of the callback that the dialect names. */
  readonly details: Readonly<Record<string, string>>;
}

const maxText = 16_384;

/**
 * Parses what a browser returned with or a person pasted: a whole URL (with or without its scheme), its
 * query, or a bare code. Spaces and line breaks of a terminal are removed.
 * @throws SidekeyError `input_invalid`: none of these
 */
export function parseCallback(text: string): Callback {
  const plain = text.replace(/\s+/g, '').replace(/^(["'<])(.*)[>"']$/s, '$2');
  if (plain === '' || plain.length > maxText) throw unreadable();
  const mark = plain.indexOf('?');
  const query = (mark < 0 ? plain : plain.slice(mark + 1)).split('#', 1)[0] ?? '';
  const parameters = new URLSearchParams(query);
  if (parameters.has('code') || parameters.has('error')) return { kind: 'parameters', parameters };
  // RFC 6749 appendix A.11: VSCHAR. A URL without a response is not a code.
  if (mark >= 0 || /^[a-z][a-z0-9+.-]*:\/\//i.test(plain) || !/^[\x21-\x7e]+$/.test(plain))
    throw unreadable();
  return { kind: 'code', code: percentDecoded(plain) };
}

/**
 * Checks `state` against forged callbacks (RFC 6749 §10.12), and `iss` against mix-up (RFC 9207 §2.4),
 * before anything else in the callback is trusted.
 * @throws SidekeyError `bad_request`: not of this flow or provider; `provider_refused`: refused by either
 */
export function checkCallback(callback: Callback, expected: CallbackExpectation): CheckedCallback {
  const { provider } = expected;
  if (callback.kind === 'code') return bareCode(callback.code, expected);
  const parameters = validated(callback.parameters, expected);
  const [code = '', ...more] = parameters.getAll('code');
  if (code === '' || more.length > 0) throw foreign(provider, 'it has not exactly one code');
  return { code, details: detailsIn(parameters, expected, code) };
}

function validated(parameters: URLSearchParams, { provider, state, codeVerifier }: CallbackExpectation) {
  const issuer = provider.issuer ?? parameters.get('iss') ?? 'unknown';
  try {
    return oauth.validateAuthResponse(
      { issuer, authorization_response_iss_parameter_supported: provider.namesIssuer },
      { client_id: provider.clientId ?? 'none' },
      parameters,
      state,
    );
  } catch (error) {
    if (!(error instanceof oauth.AuthorizationResponseError))
      throw foreign(provider, 'its state or its issuer is another');
    const secrets = [state, codeVerifier ?? ''];
    const code = errorCode(error.error, secrets);
    throw saidNo(provider, code, describe(error.error_description ?? '', secrets));
  }
}

function bareCode(
  code: string,
  { provider, codeVerifier, acceptBareCode }: CallbackExpectation,
): CheckedCallback {
  if (acceptBareCode !== true || codeVerifier === null)
    throw foreign(provider, 'the code alone does not tell which flow it belongs to');
  if (provider.dialect.accountParameters.length > 0)
    throw foreign(provider, 'the code alone does not tell which account it is for');
  return { code, details: {} };
}

function detailsIn(
  parameters: URLSearchParams,
  { provider, state }: CallbackExpectation,
  code: string,
): Readonly<Record<string, string>> {
  const details: Record<string, string> = {};
  for (const name of provider.dialect.accountParameters) {
    const detail = plainDetail(parameters.get(name) ?? '', [code, state]);
    if (detail !== null) details[name] = detail;
  }
  return details;
}

/** Refusals by a person: `access_denied` (RFC 6749 §4.1.2.1), and two codes of LinkedIn. */
const denials = new Set(['access_denied', 'user_cancelled_login', 'user_cancelled_authorize']);

function saidNo(provider: Provider, error: string, description: string): SidekeyError {
  const detail = withDescription(error, description);
  return denials.has(error)
    ? new SidekeyError(
        'consent_declined',
        `You, or the provider "${provider.name}", said no to the consent (${detail}).`,
        { hint: 'begin again, and allow it; an administrator may have to allow it first' },
      )
    : new SidekeyError(
        'provider_refused',
        `The provider "${provider.name}" did not ask for consent (${detail}).`,
        {
          hint: newClientHint(provider, error) ?? hintOf`${consentHint(provider, error)}, then begin again`,
        },
      );
}

function consentHint({ name }: Provider, error: string): Hint {
  if (/^(server_error|temporarily_unavailable)$/.test(error)) return 'wait a little';
  return failureHint(name, { error }) ?? `check the client and the scopes of the provider "${name}"`;
}

function foreign(provider: Provider, reason: string): SidekeyError {
  return new SidekeyError(
    'bad_request',
    `The callback does not belong to this flow with the provider "${provider.name}": ${reason}.`,
    { hint: 'begin again, finish in the same browser, and paste the complete address' },
  );
}

function unreadable(): SidekeyError {
  return inputInvalid(
    'That is neither the address that the browser came back to nor a code.',
    'paste the complete address; it contains "code="',
  );
}

/** Decodes a code that was copied from an address bar. */
function percentDecoded(code: string): string {
  if (!/%[0-9a-f]{2}/i.test(code)) return code;
  try {
    const decoded = decodeURIComponent(code);
    return /^[\x21-\x7e]+$/.test(decoded) ? decoded : code;
  } catch {
    return code;
  }
}
