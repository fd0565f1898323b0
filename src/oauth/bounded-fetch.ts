/** Requests for documents other than tokens: bounded, without redirects, over the guarded way out. */
import type * as oauth from 'oauth4webapi';
import type { TokenFetch } from './endpoint.ts';
import { readBounded } from './read-bounded.ts';

/** What such a request is made with. */
export interface DocumentIo {
  /** Through the dial guard. */
  readonly fetch: TokenFetch;
  readonly signal?: AbortSignal | undefined;
}

const maxAnswer = 262_144;

/**
 * A `fetch` for oauth4webapi whose answers are read to their end here, so that a metadata document without end is an
 * error and not a memory that grows.
 */
export function boundedFetch({ fetch }: DocumentIo) {
  return async (url: string, init: oauth.CustomFetchOptions<string, unknown>): Promise<Response> => {
    const { headers: sent, body, signal } = init;
    const answer = await fetch(url, {
      method: init.method === 'POST' ? 'POST' : 'GET',
      headers: sent,
      redirect: 'manual',
      ...(typeof body === 'string' ? { body } : {}),
      ...(signal == null ? {} : { signal }),
    });
    const text = await readBounded(answer.body, maxAnswer);
    if (text === null) throw new RangeError('the answer is larger than 256 KiB');
    const status = answer.status >= 200 && answer.status <= 599 ? answer.status : 502;
    const isEmpty = status === 204 || status === 205 || status === 304;
    const headers: Record<string, string> = {};
    for (const name of ['content-type', 'www-authenticate']) {
      const value = answer.headers.get(name);
      if (value !== null) headers[name] = value;
    }
    return new Response(isEmpty ? null : text, { status, headers });
  };
}
