/** Revokes a grant at the provider: by RFC 7009, or the deviation of its dialect. */
import type { Dialect, RevocationDialect } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import {
  askEndpoint,
  type EndpointAnswer,
  type EndpointFailure,
  type EndpointRequest,
  jsonObject,
  memberAt,
  type TokenIo,
} from './http.ts';
import { describe, errorCode, withDescription } from './description.ts';
import { authenticate, basicAuthorization, type TokenClient } from './token-endpoint.ts';

export interface RevocationRequest {
  /** Revocation endpoint; null: none, or set by the dialect. */
  readonly endpoint: string | null;
  /** Null: no client is known. */
  readonly client: TokenClient | null;
  readonly dialect: Dialect;
  readonly accessToken: string | null;
  readonly refreshToken: string | null;
}

type RevocationOutcome =
  /** The provider confirms that the token is invalid, even if it never existed (RFC 7009 §2.2). */
  | { readonly kind: 'revoked' }
  /** The provider cannot revoke, or not this kind of token. */
  | { readonly kind: 'unsupported' }
  /** The grant may still be valid. The reason is plain and contains no secret. */
  | {
      readonly kind: 'failed';
      readonly reason: string;
      /** True if a retry may succeed without a change of the configuration. */
      readonly passing: boolean;
      /** Delay from `Retry-After`, in milliseconds; null: none. */
      readonly retryAfterMs: number | null;
    };

const endpointName = 'the revocation endpoint';
const contentTypes = {
  form: 'application/x-www-form-urlencoded;charset=UTF-8',
  json: 'application/json',
} as const;

/** Revokes a grant. Never rejects because of a provider, the network or a key. */
export async function revoke(request: RevocationRequest, io: TokenIo): Promise<RevocationOutcome> {
  const { dialect, client } = request;
  const { revocation } = dialect;
  const url = addressOf(request);
  if (url === null) return { kind: 'unsupported' };
  const token = tokenFor(request);
  if (token === null)
    return lasting(`there is no ${revocation.token.replace('_', ' ')} to revoke the grant with`);
  let written: EndpointRequest | string;
  try {
    written = await write(request, { url, token, now: io.now });
  } catch (error) {
    return lasting(error instanceof SidekeyError ? error.message : 'the request cannot be written');
  }
  if (typeof written === 'string') return lasting(written);
  const secrets = [request.accessToken, request.refreshToken, client?.clientSecret].map((text) => text ?? '');
  return outcomeOf(await askEndpoint(written, io), revocation, secrets);
}

/** Returns the URL; null: no URL, or the URL requires a client and none is known. */
function addressOf({ endpoint, client, dialect }: RevocationRequest): string | null {
  const template = dialect.revocation.url;
  if (template === null) return endpoint;
  if (!template.includes('{client_id}')) return template;
  return client === null
    ? null
    : template.replaceAll('{client_id}', () => encodeURIComponent(client.clientId));
}

/**
 * Returns the token to revoke. RFC 7009 §2.1 accepts either; a refresh token also ends its access tokens.
 * Tokens that do not expire have no refresh token, so the access token is revoked.
 */
function tokenFor({ dialect, accessToken, refreshToken }: RevocationRequest): string | null {
  return dialect.revocation.token === 'access_token' ? accessToken : (refreshToken ?? accessToken);
}

/** Builds the request. Returns a text if that is impossible: the reason. */
async function write(
  request: RevocationRequest,
  { url, token, now }: { readonly url: string; readonly token: string; readonly now: () => number },
): Promise<EndpointRequest | string> {
  const { tokenHeaders, revocation } = request.dialect;
  const { method, tokenParameter } = revocation;
  const body = method === 'GET' ? 'none' : revocation.body;
  const form = new URLSearchParams();
  const headers = new Headers({ ...tokenHeaders });
  headers.set('accept', 'application/json');
  const problem = await authorize(request, { url, now, form, headers, body });
  if (problem !== null) return problem;
  const address = URL.parse(url);
  if (method === 'GET') address?.searchParams.set(tokenParameter, token);
  if (body !== 'none') {
    form.set(tokenParameter, token);
    headers.set('content-type', contentTypes[body]);
  }
  return {
    name: endpointName,
    url: address?.href ?? url,
    method,
    headers: Object.fromEntries(headers),
    body:
      body === 'none' ? null : body === 'json' ? JSON.stringify(Object.fromEntries(form)) : form.toString(),
  };
}

interface Written {
  readonly url: string;
  readonly now: () => number;
  readonly form: URLSearchParams;
  readonly headers: Headers;
  readonly body: RevocationDialect['body'];
}

/** Adds the client authentication. Returns null, or the reason if that is impossible. */
async function authorize(
  { client, dialect, accessToken }: RevocationRequest,
  { url, now, form, headers, body }: Written,
): Promise<string | null> {
  const { clientIdParameter, revocation } = dialect;
  const secret = client?.clientSecret ?? null;
  // Without a body, only the header field is left: client credentials must not be in a URL.
  const auth = revocation.auth === 'client' && body === 'none' ? 'field' : revocation.auth;
  switch (auth) {
    case 'none':
      return null;
    case 'bearer':
      if (accessToken === null) return 'there is no access token to revoke the grant with';
      headers.set('authorization', `Bearer ${accessToken}`);
      return null;
    case 'client':
      await authenticate(client, { audience: url, now, clientIdParameter })(
        { issuer: url },
        { client_id: client?.clientId ?? 'none' },
        form,
        headers,
      );
      return null;
    case 'basic':
    case 'field':
      if (client === null || secret === null)
        return auth === 'basic' ? 'there is no client secret to revoke the grant with' : null;
      // The secret is then a private key, which is never sent.
      if (client.auth === 'private_key_jwt')
        return 'the revocation endpoint wants a client secret, not a key';
      headers.set('authorization', basicAuthorization(client.clientId, secret));
      return null;
  }
}

function outcomeOf(
  answer: EndpointAnswer | EndpointFailure,
  { okField, auth }: RevocationDialect,
  secrets: readonly string[],
): RevocationOutcome {
  if (answer.kind === 'error') return lasting(describe(answer.description, secrets));
  if (answer.kind === 'later')
    return { kind: 'failed', reason: answer.reason, passing: true, retryAfterMs: answer.retryAfterMs };
  const { status } = answer;
  const body = jsonObject(answer.text);
  const isGood = status >= 200 && status < 300;
  // The body is ignored, as RFC 7009 §2.2 has none, unless the provider reports success in it.
  if (isGood && (okField === null || (body !== null && memberAt(body, okField) === true)))
    return { kind: 'revoked' };
  const code = body === null ? undefined : memberAt(body, 'error');
  if (typeof code !== 'string') return lasting(`${endpointName} answered HTTP ${status}`);
  const error = errorCode(code, secrets);
  // RFC 7009 §2.2.1.
  if (error === 'unsupported_token_type') return { kind: 'unsupported' };
  // Slack has `token_revoked`. Google sends 400 `invalid_token` for a token that is gone; with `bearer`, it
  // may only mean that the access token has expired.
  if (error === 'token_revoked' || (error === 'invalid_token' && auth !== 'bearer'))
    return { kind: 'revoked' };
  const description = memberAt(body ?? {}, 'error_description');
  const more = typeof description === 'string' ? describe(description, secrets) : '';
  return lasting(`${endpointName} answered ${withDescription(error, more)}`);
}

function lasting(reason: string): RevocationOutcome {
  return { kind: 'failed', reason, passing: false, retryAfterMs: null };
}
