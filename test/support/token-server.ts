import type { IncomingMessage, ServerResponse } from 'node:http';
import { requestBody } from './request-body.ts';
import { startUpstream, type Upstream } from './upstream.ts';

/** A request for new tokens. */
export interface TokenRequest {
  /** The last segment of the path: each proxy of a test has its own token endpoint. */
  readonly asker: string;
  readonly family: string;
  readonly refreshToken: string;
}

/** The tokens of one consent, as the provider stores them. */
export interface Family {
  /** The valid refresh token. */
  readonly current: string;
  /** The proxy that received it; null: the person who consented. */
  readonly holder: string | null;
  readonly revoked: boolean;
}

/**
 * A provider with rotating refresh tokens (RFC 9700 §4.14.2): a second use counts as theft, and revokes all
 * tokens of that consent. Every path except `/token/ASKER` is its API.
 */
export interface TokenServer extends Upstream {
  readonly requests: readonly TokenRequest[];
  /** Requests with a used refresh token. */
  readonly reuses: readonly TokenRequest[];
  /** Number of API requests that were refused for an invalid or expired token. */
  readonly refusals: () => number;
  /**
   * Gives consent as a person: returns the first tokens. `end`: the expiry of the access token; default:
   * never.
   */
  readonly consent: (
    family: string,
    end?: TokenEnd,
  ) => { readonly accessToken: string; readonly refreshToken: string };
  readonly family: (name: string) => Family;
}

/** The API refuses a token from this time on, or after this number of uses, whichever comes first. */
export interface TokenEnd {
  readonly at?: number;
  readonly uses?: number;
}

export interface TokenServerOptions {
  /** Lifetime of access tokens in seconds, as in the responses. */
  readonly expiresIn: number;
  /** Awaited before the refresh token is used up. */
  readonly onRequest?: (request: TokenRequest) => Promise<void> | void;
  /** Awaited after the refresh token was used up, before the response. */
  readonly onRotated?: (request: TokenRequest) => Promise<void> | void;
  /** Called after the response was given to the operating system. */
  readonly onAnswered?: (request: TokenRequest) => void;
}

/** Starts the server; closed when the test ends. */
export async function startTokenServer(options: TokenServerOptions): Promise<TokenServer> {
  const families = new Map<string, { issued: number; holder: string | null; revoked: boolean }>();
  const ends = new Map<string, { readonly at: number; usesLeft: number }>();
  const requests: TokenRequest[] = [];
  const reuses: TokenRequest[] = [];
  let refusals = 0;

  function known(name: string): { issued: number; holder: string | null; revoked: boolean } {
    const family = families.get(name);
    if (family === undefined) throw new Error(`Nobody has consented to ${name}.`);
    return family;
  }

  async function tokens(incoming: IncomingMessage, response: ServerResponse, asker: string): Promise<void> {
    const refreshToken = new URLSearchParams(await requestBody(incoming)).get('refresh_token') ?? '';
    const name = refreshToken.split('.')[1] ?? '';
    const request: TokenRequest = { asker, family: name, refreshToken };
    requests.push(request);
    await options.onRequest?.(request);
    const family = known(name);
    response.setHeader('content-type', 'application/json');
    if (refreshToken !== refreshTokenOf(name, family.issued)) {
      reuses.push(request);
      family.revoked = true;
    }
    if (family.revoked) {
      response.statusCode = 400;
      response.end(
        JSON.stringify({ error: 'invalid_grant', error_description: 'the refresh token was used before' }),
      );
      return;
    }
    family.issued += 1;
    family.holder = asker;
    const { issued } = family;
    await options.onRotated?.(request);
    response.end(
      JSON.stringify({
        access_token: `access.${name}.${issued}`,
        token_type: 'Bearer',
        expires_in: options.expiresIn,
        refresh_token: refreshTokenOf(name, issued),
      }),
      () => options.onAnswered?.(request),
    );
  }

  function api(incoming: IncomingMessage, response: ServerResponse): void {
    const [, family = '', issued = ''] =
      /^Bearer access\.([^.]+)\.(\d+)$/.exec(incoming.headers.authorization ?? '') ?? [];
    const isToken = Number(issued) <= (families.get(family)?.issued ?? -1);
    const end = ends.get(`${family}.${issued}`);
    if (end !== undefined) end.usesLeft -= 1;
    const ok = isToken && (end === undefined || (Date.now() < end.at && end.usesLeft >= 0));
    if (!ok) refusals += 1;
    response.statusCode = ok ? 200 : 401;
    response.end(ok ? `${family}.${issued}` : 'no');
  }

  const upstream = await startUpstream((incoming, response) => {
    const asker = /^\/token\/([^/?]+)$/.exec(incoming.url ?? '')?.[1];
    if (asker === undefined) api(incoming, response);
    else void tokens(incoming, response, asker);
  });
  return {
    ...upstream,
    requests,
    reuses,
    refusals: () => refusals,
    consent(name, { at = Infinity, uses = Infinity } = {}) {
      const issued = (families.get(name)?.issued ?? -1) + 1;
      families.set(name, { issued, holder: null, revoked: false });
      ends.set(`${name}.${issued}`, { at, usesLeft: uses });
      return { accessToken: `access.${name}.${issued}`, refreshToken: refreshTokenOf(name, issued) };
    },
    family(name) {
      const { issued, holder, revoked } = known(name);
      return { current: refreshTokenOf(name, issued), holder, revoked };
    },
  };
}

function refreshTokenOf(family: string, issued: number): string {
  return `refresh.${family}.${issued}`;
}
