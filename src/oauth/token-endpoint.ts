/** One request to a token endpoint (RFC 6749 §3.2), as the provider's dialect writes it. */
import * as oauth from 'oauth4webapi';
import { SidekeyError } from '../errors.ts';
import type { Dialect } from '../grants/dialect.ts';
import { readTokenAnswer, type TokenAnswer } from './answer.ts';
import { authenticate, type TokenClient } from './client-authentication.ts';
import { askEndpoint, type EndpointRequest, type TokenIo } from './endpoint.ts';
import { provingAt } from './proving.ts';

export type { TokenAnswer } from './answer.ts';
export type { TokenClient } from './client-authentication.ts';
export type { TokenIo } from './endpoint.ts';

/** One request, as a flow puts it together. */
export interface TokenQuestion {
  /** An https URL. */
  readonly endpoint: string;
  /** Null: none is named. */
  readonly client: TokenClient | null;
  readonly dialect: Dialect;
  /** RFC 6749 §4.5. */
  readonly grantType: string;
  /** Besides `grant_type`, the client's authentication, and what the dialect adds, which these override. */
  readonly parameters: Readonly<Record<string, string>>;
  /** What must not come back in a description. The client secret is known already. */
  readonly secrets: readonly string[];
}

/** Asks, and never rejects for what a provider, a network or a key may do. */
export async function askTokenEndpoint(question: TokenQuestion, io: TokenIo): Promise<TokenAnswer> {
  const obtainedAt = io.now();
  const prove = provingAt(question.endpoint, io);
  for (let isSecond = false; ; isSecond = true) {
    let request: TokenRequest;
    try {
      // Written anew: an assertion of the client is good for one request, as a proof is.
      request = await tokenRequest(question, io.now);
      if (prove !== null) request = { ...request, headers: { ...request.headers, dpop: prove.proof() } };
    } catch (error) {
      return error instanceof SidekeyError
        ? { kind: 'error', error: error.code, description: error.message }
        : { kind: 'error', error: 'request_invalid', description: 'the token request cannot be written' };
    }
    const answer = await askEndpoint(request, io);
    if (answer.kind !== 'answer') return answer;
    if (prove?.wantsAnother(answer) === true && !isSecond) continue;
    return readTokenAnswer(answer, {
      dialect: question.dialect,
      obtainedAt,
      isProven: prove !== null,
      secrets: [...question.secrets, question.client?.clientSecret ?? '', request.assertion],
    });
  }
}

interface TokenRequest extends EndpointRequest {
  /** What a client proves itself with; empty: it does so in another way. */
  readonly assertion: string;
}

/** What RFC 6749 says is the library's; what the provider does otherwise is put over it before it leaves. */
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
    // Answers are not tied to an issuer here: the endpoint is known beforehand, and `id_token`s are not used.
    await oauth.genericTokenEndpointRequest(
      { issuer: url.origin, token_endpoint: url.href },
      // The library wants some id; it goes out only where the authentication puts it there.
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
  // Unpacking takes turns of the event loop, in which the only refresh token that works is nowhere but in memory.
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
