import { randomUUID } from 'node:crypto';
import * as oauth from 'oauth4webapi';
import type { ClientAuth, Dialect } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { createNonces, nonceIn, proofKey, signProof, targetUri } from '../../proxy/schemes/dpop-proof.ts';
import { readTokenAnswer, type TokenAnswer } from './answer.ts';
import { describe } from './description.ts';
import {
  askEndpoint,
  type EndpointAnswer,
  type EndpointFailure,
  type EndpointRequest,
  jsonObject,
  type TokenIo,
} from './http.ts';
import { readSigningKey, signJwt } from './signing-key.ts';

/** Requests to a token endpoint (RFC 6749 §3.2) in the provider's dialect. */

/** A token request of a flow. */
export interface TokenQuestion {
  /** An https URL. */
  readonly endpoint: string;
  /** Null: no client is named. */
  readonly client: TokenClient | null;
  readonly dialect: Dialect;
  /** RFC 6749 §4.5. */
  readonly grantType: string;
  /** Parameters besides `grant_type` and the client authentication. They override those of the dialect. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Texts that no description may contain. The client secret is added. */
  readonly secrets: readonly string[];
}

/** Sends a token request. Never rejects because of a provider, the network or a key. */
export async function askTokenEndpoint(question: TokenQuestion, io: TokenIo): Promise<TokenAnswer> {
  const obtainedAt = io.now();
  const prove = provingAt(question.endpoint, io);
  for (let isSecond = false; ; isSecond = true) {
    let request: TokenRequest;
    try {
      // Rebuilt for the retry: client assertions and DPoP proofs are valid for one request only.
      request = await tokenRequest(question, io.now);
      if (prove !== null) request = proven(request, prove);
    } catch (error) {
      return error instanceof SidekeyError
        ? { kind: 'error', error: error.code, description: error.message, hint: error.hint }
        : { kind: 'error', error: 'request_invalid', description: 'the token request cannot be written' };
    }
    const answer = await askEndpoint(request, io);
    const secrets = [...question.secrets, question.client?.clientSecret ?? '', request.assertion];
    if (answer.kind !== 'answer') return withoutSecrets(answer, secrets);
    if (prove?.wantsAnother(answer) === true && !isSecond) continue;
    const { dialect } = question;
    return readTokenAnswer(answer, { dialect, obtainedAt, isProven: prove !== null, secrets });
  }
}

/** Returns the request with the proof of its URL. */
function proven(request: TokenRequest, { proof }: Proving): TokenRequest {
  const headersAt = (url: string) => ({ ...request.headers, dpop: proof(url) });
  return { ...request, headersAt, headers: headersAt(request.url) };
}

/** A redirect may quote the request in its path. Such an address is of no use in a definition. */
export function withoutSecrets(failure: EndpointFailure, secrets: readonly string[]): EndpointFailure {
  if (failure.kind !== 'error' || failure.error !== 'endpoint_moved') return failure;
  const { movedTo = '', ...rest } = failure;
  const description = describe(rest.description, secrets);
  return description.endsWith(movedTo) && movedTo !== ''
    ? { ...failure, description }
    : { ...rest, description };
}

interface TokenRequest extends EndpointRequest {
  /** Assertion of the client; empty: another authentication. */
  readonly assertion: string;
}

/** Builds the request with the library, then applies the provider's dialect. */
async function tokenRequest(
  { endpoint, client, dialect, grantType, parameters }: TokenQuestion,
  now: () => number,
): Promise<TokenRequest> {
  const url = URL.parse(endpoint);
  const written: { headers: Record<string, string>; form: URLSearchParams } = {
    headers: {},
    form: new URLSearchParams(),
  };
  if (url?.protocol === 'https:') {
    // The endpoint is already known, and the library reads no `id_token`, so no issuer is checked here.
    await oauth.genericTokenEndpointRequest(
      { issuer: url.origin, token_endpoint: url.href },
      // The library requires an ID. Only the authentication sends it.
      { client_id: client?.clientId ?? 'none' },
      authenticate(client, { audience: endpoint, now, clientIdParameter: dialect.clientIdParameter }),
      grantType,
      { ...dialect.tokenParameters, ...parameters },
      {
        headers: { ...dialect.tokenHeaders },
        [oauth.customFetch]: async (_href, { headers, body }) => {
          written.headers = headers;
          written.form = body;
          return new Response();
        },
      },
    );
  }
  const { form } = written;
  // Decompression takes turns of the event loop while the only valid refresh token is in memory only.
  const headers = { 'accept-encoding': 'identity', ...written.headers };
  const isJson = dialect.tokenBody === 'json';
  return {
    name: 'the token endpoint',
    url: endpoint,
    method: 'POST',
    headers: isJson ? { ...headers, 'content-type': 'application/json' } : headers,
    body: isJson ? JSON.stringify(Object.fromEntries(form)) : form.toString(),
    assertion: form.get('client_assertion') ?? '',
  };
}

/** Client authentication at a provider's endpoints (RFC 6749 §2.3, RFC 7523 §2.2). */

export interface TokenClient {
  readonly clientId: string;
  /** Null: a public client. For `private_key_jwt` the private key: PEM, or a JWK as JSON. */
  readonly clientSecret: string | null;
  readonly auth: ClientAuth;
}

interface Authentication {
  /** Requested endpoint. Assertions are bound to it and thus useless elsewhere. */
  readonly audience: string;
  readonly now: () => number;
  /** The provider's name for `client_id`. Default: `client_id`. */
  readonly clientIdParameter?: string;
}

const assertionLifeS = 60;

/**
 * Returns a function that adds the client authentication to a request: none if `client` is null, the ID only
 * if there is no secret, else as `auth` says. The function rejects with SidekeyError `secret_missing` or
 * `input_invalid` if there is no private key that can sign.
 */
export function authenticate(client: TokenClient | null, authentication: Authentication): oauth.ClientAuth {
  if (client === null) return () => undefined;
  const add = methodOf(client, authentication);
  const parameter = authentication.clientIdParameter ?? 'client_id';
  return async (as, metadata, body, headers) => {
    await add(as, metadata, body, headers);
    const id = body.get('client_id');
    if (id === null || parameter === 'client_id') return;
    body.delete('client_id');
    body.set(parameter, id);
  };
}

function methodOf({ clientSecret, auth }: TokenClient, authentication: Authentication): oauth.ClientAuth {
  if (auth === 'private_key_jwt') return privateKeyJwt(clientSecret, authentication);
  if (clientSecret === null || auth === 'none') return oauth.None();
  if (auth === 'post') return oauth.ClientSecretPost(clientSecret);
  return (_as, { client_id: id }, _body, headers) => {
    headers.set('authorization', basicAuthorization(id, clientSecret));
  };
}

/**
 * Formats RFC 6749 §2.3.1 with the form encoding of its appendix B: `-`, `.`, `_` and `*` are unchanged,
 * so that servers without decoding still recognize a UUID as client ID.
 */
export function basicAuthorization(clientId: string, clientSecret: string): string {
  const pair = [clientId, clientSecret]
    .map((text) => new URLSearchParams([['', text]]).toString().slice(1))
    .join(':');
  return `Basic ${Buffer.from(pair, 'utf8').toString('base64')}`;
}

function privateKeyJwt(privateKey: string | null, { audience, now }: Authentication): oauth.ClientAuth {
  return async (_as, { client_id: id }, body) => {
    if (privateKey === null) {
      throw new SidekeyError(
        'secret_missing',
        'The client signs its requests, and there is no private key.',
        { hint: 'let client_secret refer to the private key: PEM, or a JWK as JSON' },
      );
    }
    const issuedAt = Math.floor(now() / 1000);
    const assertion = await signJwt(readSigningKey(privateKey), {
      iss: id,
      sub: id,
      aud: audience,
      iat: issuedAt,
      exp: issuedAt + assertionLifeS,
      jti: randomUUID(),
    });
    body.set('client_id', id);
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
    body.set('client_assertion', assertion);
  };
}

/** DPoP proofs at token endpoints (RFC 9449 §5 and §8). */

/** DPoP state of a token request and its retry. */
interface Proving {
  /** Returns the proof for one request to a URL of the endpoint's origin. */
  readonly proof: (url: string) => string;
  /** Stores the nonce of a response. Returns true if the request must be retried with it. */
  wantsAnother(answer: EndpointAnswer): boolean;
}

/** Returns null if tokens shall not be bound. */
function provingAt(endpoint: string, io: TokenIo): Proving | null {
  const { proofKey: key, nonces = createNonces(), now } = io;
  const url = URL.parse(endpoint);
  // The caller rejects invalid URLs.
  if (key === undefined || key === null || url === null) return null;
  const { origin } = url;
  return {
    proof: (at) =>
      signProof(proofKey(key), {
        id: randomUUID(),
        method: 'POST',
        uri: targetUri(origin, new URL(at).pathname),
        now: now(),
        accessToken: null,
        nonce: nonces.of(origin),
      }),
    wantsAnother({ status, text, nonce: said }) {
      const nonce = nonceIn(said === undefined ? [] : [said]);
      if (nonce === null) return false;
      nonces.remember(origin, nonce);
      return (status === 400 || status === 401) && jsonObject(text)?.['error'] === 'use_dpop_nonce';
    },
  };
}
