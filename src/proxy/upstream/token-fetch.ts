import { Agent, fetch as undiciFetch } from 'undici';
import { SidekeyError } from '../../lib/errors.ts';
import { parseAbsoluteTarget } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import type { Dialer } from './dialer.ts';

/** A `fetch` with separate connections. */
export interface OwnFetch {
  readonly fetch: typeof fetch;
  /** Waits for the requests in flight, then closes the connections. */
  close(): Promise<void>;
}

/** Creates a `fetch` for token endpoints: over HTTP/1.1 connections of the dialer, without redirects. */
export function createTokenFetch(dialer: Dialer, limits: Limits): OwnFetch {
  const dispatcher = new Agent({
    allowH2: false,
    pipelining: 1,
    connections: limits.upstream_connections,
    headersTimeout: limits.upstream_head,
    bodyTimeout: limits.upstream_idle,
    maxHeaderSize: limits.head_bytes,
    connect: ({ protocol, hostname, port }, callback) => {
      const scheme = protocol === 'https:' ? 'https' : 'http';
      // undici has removed the brackets of an IPv6 address.
      const host = hostname.includes(':') ? `[${hostname}]` : hostname;
      const target = parseAbsoluteTarget(`${scheme}://${host}${port === '' ? '' : `:${port}`}/`);
      if (target === null) {
        callback(new SidekeyError('bad_request', 'The upstream has no valid name.'), null);
        return;
      }
      dialer.connect(target.authority).then(
        (socket) => callback(null, socket),
        (error: Error) => callback(error, null),
      );
    },
  });
  const guarded: unknown = (input: string | URL, init: Parameters<typeof undiciFetch>[1] = {}) =>
    undiciFetch(input, { ...init, dispatcher, redirect: 'manual' });
  return { fetch: guarded as typeof fetch, close: () => dispatcher.close() };
}
