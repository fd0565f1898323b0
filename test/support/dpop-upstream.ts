import { oauth2Credential } from './oauth2-credential.ts';
import { hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose';
import { newDpopKey, proofKey } from '../../src/proxy/schemes/dpop-proof.ts';
import type { OAuth2Credential } from '../../src/domain/credential.ts';
import { grantedTo, type Granted } from './granted.ts';
import { ask, openSession } from './h2-client.ts';
import { openTunnel } from './raw-client.ts';
import { requestBody } from './request-body.ts';
import { bearerToken, type SidekeyOptions } from './sidekey.ts';
import { startH2Upstream, startUpstream, type Upstream } from './upstream.ts';

/** The result of one request. */
export interface Verdict {
  readonly method: string;
  readonly path: string;
  readonly body: string;
  /** `ok`, `nonce`, `token`, or the problem of the proof. */
  readonly says: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** The present requirements of the API. */
export interface Wanted {
  token: string;
  /** The required nonce; null: none. */
  nonce: string | null;
  /** A nonce sent with each response that is not required yet; null: none. */
  next: string | null;
  /** True when each request gets a challenge for a nonce. */
  isNever: boolean;
}

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

/**
 * An API that verifies proofs with other libraries, and answers 401 as in RFC 9449 §9. Its tokens are bound
 * to one key.
 */
export interface DpopApi {
  readonly wants: Wanted;
  readonly seen: readonly Verdict[];
  /** Forms of the requests to its token endpoint, `/token`. */
  readonly refreshes: readonly Readonly<Record<string, string>>[];
  readonly serve: (request: Request, response: Response) => void;
  /** Verifies one request. */
  readonly judge: (request: Request, body: string) => Promise<Verdict>;
}

/** A key, and a token bound to it. */
export const boundKey = newDpopKey('ES256');
export const bound: OAuth2Credential = oauth2Credential({
  accessToken: bearerToken,
  refreshToken: 'refresh-1',
  obtainedAt: 0,
  dpop: { key: boundKey, isBound: true },
});

export function createDpopApi(): DpopApi {
  const wants: Wanted = { token: bearerToken, nonce: null, next: null, isNever: false };
  const seen: Verdict[] = [];
  const refreshes: Record<string, string>[] = [];
  const proofs = new Set<unknown>();

  async function judge(request: Request, body: string): Promise<Verdict> {
    const { method = '', url = '', headers } = request;
    const [scheme, token = ''] = (headers.authorization ?? '').split(' ');
    const authority = String(headers[':authority'] ?? headers.host);
    let claims: Readonly<Record<string, unknown>> = {};
    let says = 'ok';
    try {
      const { payload, protectedHeader } = await jwtVerify(String(headers['dpop']), EmbeddedJWK, {
        typ: 'dpop+jwt',
        algorithms: ['ES256'],
      });
      claims = payload;
      const thumbprint = await calculateJwkThumbprint(protectedHeader.jwk!);
      const problems = [
        scheme !== 'DPoP' && 'scheme',
        thumbprint !== proofKey(boundKey).thumbprint && 'key',
        payload['htm'] !== method && 'htm',
        payload['htu'] !== `https://${authority}${url.split('?')[0]}` && 'htu',
        payload['ath'] !== hash('sha256', token, 'base64url') && 'ath',
        Math.abs(Date.now() / 1000 - (payload.iat ?? 0)) > 60 && 'iat',
        (typeof payload.jti !== 'string' || proofs.has(payload.jti)) && 'jti',
      ];
      proofs.add(payload.jti);
      says = problems.find((problem) => problem !== false) || 'ok';
      if (says === 'ok' && (wants.isNever || (payload['nonce'] ?? null) !== wants.nonce)) says = 'nonce';
      if (says === 'ok' && token !== wants.token) says = 'token';
    } catch (error) {
      says = String(error);
    }
    const verdict = { method, path: url, body, says, claims, fields: headers };
    seen.push(verdict);
    return verdict;
  }

  async function answer(request: Request, response: Response): Promise<void> {
    const body = await requestBody(request);
    if (request.url === '/token') {
      const form = Object.fromEntries(new URLSearchParams(body));
      refreshes.push(form);
      wants.token = `access-${refreshes.length}`;
      response.setHeader('content-type', 'application/json');
      const tokens = { access_token: wants.token, token_type: 'DPoP', expires_in: 3600 };
      response.end(JSON.stringify(tokens));
      return;
    }
    const { says } = await judge(request, body);
    const given = says === 'nonce' ? wants.nonce : wants.next;
    if (given !== null) response.setHeader('dpop-nonce', given);
    if (wants.next !== null) wants.nonce = wants.next;
    const error = { ok: '', nonce: 'use_dpop_nonce', token: 'invalid_token' }[says] ?? 'invalid_dpop_proof';
    if (says !== 'ok') response.setHeader('www-authenticate', `DPoP error="${error}", algs="ES256"`);
    response.statusCode = says === 'ok' ? 200 : 401;
    response.end(says);
  }
  return { wants, seen, refreshes, judge, serve: (request, response) => void answer(request, response) };
}

/** A request of the client. */
export interface Question {
  readonly method?: string;
  readonly path?: string;
  readonly fields?: Readonly<Record<string, string>>;
  readonly body?: string;
}
export type Ask = (question?: Question) => Promise<{
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, unknown>>;
}>;

/** The API behind a proxy with a grant for it, over one protocol on both sides. */
export interface DpopProxy extends Granted, DpopApi {
  readonly ask: Ask;
}

export async function startDpopProxy(
  protocol: 'HTTP/1.1' | 'HTTP/2',
  options: SidekeyOptions = {},
  credential = bound,
): Promise<DpopProxy> {
  const api = createDpopApi();
  const upstream: Upstream =
    protocol === 'HTTP/2' ? await startH2Upstream(api.serve) : await startUpstream(api.serve);
  const { sidekey } = await boundTo(upstream, options, credential);
  const { authority } = upstream;
  if (protocol === 'HTTP/2') {
    const session = await openSession(sidekey, authority);
    const asked: Ask = ({ method = 'GET', path = '/', fields = {}, body } = {}) =>
      ask(session, { ':method': method, ':path': path, ...fields }, body);
    return { ...api, upstream, sidekey, ask: asked };
  }
  const client = await openTunnel(sidekey, authority);
  const asked: Ask = ({ method = 'GET', path = '/', fields = {}, body } = {}) => {
    const length = body === undefined ? {} : { 'Content-Length': String(body.length) };
    const lines = Object.entries({ Host: authority, ...fields, ...length });
    client.send(
      `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`,
      body ?? '',
    );
    return client.response(method);
  };
  return { ...api, upstream, sidekey, ask: asked };
}

/** A proxy with a grant for an upstream, whose token is bound to a key. */
export async function boundTo(
  upstream: Upstream,
  { config, ...options }: SidekeyOptions = {},
  credential = bound,
): Promise<Granted> {
  const providers = {
    acme: {
      token_endpoint: `${upstream.url}/token`,
      client_id: 'desk',
      audience: [upstream.authority],
      dpop: true,
    },
  };
  return grantedTo(upstream, { ...options, config: { providers, ...config } }, credential);
}
