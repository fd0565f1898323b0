import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { startUpstream, type Upstream } from './upstream.ts';

/** A request for new tokens. */
export interface TokenRequest {
  /** The last part of the path: each proxy of a test has a token endpoint of its own. */
  readonly asker: string;
  readonly family: string;
  readonly refreshToken: string;
}

/** What came of one consent, as the provider knows it. */
export interface Family {
  /** The refresh token that works. */
  readonly current: string;
  /** Who was given it; null: the person who consented. */
  readonly holder: string | null;
  readonly revoked: boolean;
}

/**
 * A provider whose refresh tokens work once (RFC 9700 §4.14.2): a second use is taken for theft, and ends everything
 * that came of that consent. Whatever is asked for beside `/token/ASKER` is its API.
 */
export interface TokenServer extends Upstream {
  readonly requests: readonly TokenRequest[];
  /** Requests with a refresh token that had been used. */
  readonly reuses: readonly TokenRequest[];
  /** How many requests to the API were refused because their token was no token, or had ended. */
  readonly refusals: () => number;
  /** A person consents: answers with the first tokens. `end`: of the access token; by default never. */
  readonly consent: (
    family: string,
    end?: TokenEnd,
  ) => { readonly accessToken: string; readonly refreshToken: string };
  readonly family: (name: string) => Family;
}

/** The API refuses a token from this time on, and after so many uses, whichever comes first. */
export interface TokenEnd {
  readonly at?: number;
  readonly uses?: number;
}

export interface TokenServerOptions {
  /** Seconds that access tokens live, as the answers say. */
  readonly expiresIn: number;
  /** Before the refresh token is used up; what it answers is waited for. */
  readonly onRequest?: (request: TokenRequest) => Promise<void> | void;
  /** After the refresh token was used up, before the answer; what it answers is waited for. */
  readonly onRotated?: (request: TokenRequest) => Promise<void> | void;
  /** When the answer has been handed to the system. */
  readonly onAnswered?: (request: TokenRequest) => void;
}

/** Closed when the test ends. */
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
    const refreshToken = new URLSearchParams(await text(incoming)).get('refresh_token') ?? '';
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
