import { IncomingMessage, type ServerResponse } from 'node:http';
import { maxBodyBytes, readBody } from './body.ts';
import { bodyTooLarge, replyJson } from './reply.ts';

/** A request at the token endpoint, before it is handled. */
export interface TokenRequest {
  /** '' where the request names none. */
  readonly grantType: string;
  /** How many requests of this grant type came so far, this one included. */
  readonly count: number;
}

/**
 * How the token endpoint fails: an answer of its own; `reset`, the connection breaks before anything is done;
 * `lose`, all is done (tokens rotate) and then the connection breaks; `hang`, nothing ever comes.
 */
export type TokenFailure =
  | { readonly status: number; readonly body: unknown; readonly headers?: Readonly<Record<string, string>> }
  | 'reset'
  | 'lose'
  | 'hang';

/** Decides on each token request: a failure, or null to let it pass. May take its time: the client waits. */
export type TokenFailureHook = (next: TokenRequest) => TokenFailure | null | Promise<TokenFailure | null>;

/** The token endpoint's observer and saboteur, for tests and the demo. */
export interface TokenEndpoint {
  /** Requests so far, of one grant type or of all. */
  count(grantType?: string): number;
  /** From now on; null ends it. */
  failWith(hook: TokenFailureHook | null): void;
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
}

/**
 * Stands before the provider's token endpoint. `breakConnection` must cut a request's connection with a
 * reset.
 */
export function tokenEndpoint(
  provider: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
  breakConnection: (request: IncomingMessage) => void,
): TokenEndpoint {
  const counts = new Map<string, number>();
  let hook: TokenFailureHook | null = null;

  return {
    count(grantType) {
      if (grantType !== undefined) return counts.get(grantType) ?? 0;
      return [...counts.values()].reduce((sum, count) => sum + count, 0);
    },
    failWith(next) {
      hook = next;
    },
    async handle(request, response) {
      const body = await readBody(request);
      if (body === null) throw bodyTooLarge(maxBodyBytes);
      const grantType = new URLSearchParams(body.toString('utf8')).get('grant_type') ?? '';
      const count = (counts.get(grantType) ?? 0) + 1;
      counts.set(grantType, count);

      const failure = (await hook?.({ grantType, count })) ?? null;
      if (failure === null) {
        await provider(replay(request, body), response);
      } else if (failure === 'reset') {
        breakConnection(request);
      } else if (failure === 'lose') {
        response.end = () => {
          breakConnection(request);
          return response;
        };
        await provider(replay(request, body), response);
      } else if (failure !== 'hang') {
        answer(response, failure);
      }
    },
  };
}

function answer(response: ServerResponse, failure: Exclude<TokenFailure, string>): void {
  if (typeof failure.body === 'string') {
    response.writeHead(failure.status, { 'content-type': 'text/plain; charset=utf-8', ...failure.headers });
    response.end(failure.body);
  } else {
    replyJson(response, failure.status, failure.body, failure.headers);
  }
}

/** The same request once more, for the provider, which wants to read the body itself. */
function replay(request: IncomingMessage, body: Buffer): IncomingMessage {
  const copy = new IncomingMessage(request.socket);
  copy.httpVersion = request.httpVersion;
  copy.httpVersionMajor = request.httpVersionMajor;
  copy.httpVersionMinor = request.httpVersionMinor;
  copy.method = request.method;
  copy.url = request.url;
  copy.headers = request.headers;
  copy.rawHeaders = request.rawHeaders;
  copy.push(body);
  copy.push(null);
  copy.complete = true;
  return copy;
}
