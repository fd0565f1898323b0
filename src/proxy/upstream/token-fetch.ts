import { Agent, fetch as undiciFetch, Headers } from 'undici';
import { SidekeyError } from '../../lib/errors.ts';
import { ownUserAgent } from '../../lib/package-files.ts';
import { parseAbsoluteTarget } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import type { Dialer } from './dialer.ts';

/** A `fetch` with separate connections. */
export interface OwnFetch {
  readonly fetch: typeof fetch;
  /** Waits for the requests in flight, then closes the connections. */
  close(): Promise<void>;
}

/**
 * Creates a `fetch` for the requests that Sidekey itself makes: over HTTP/1.1 connections of the dialer,
 * without redirects. Unless the headers have a `User-Agent`, it is `sidekey/VERSION`.
 */
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
  const userAgent = ownUserAgent();
  const guarded: unknown = async (input: string | URL, init: Parameters<typeof undiciFetch>[1] = {}) => {
    const headers = new Headers(init.headers);
    // oauth4webapi sets its own name, which firewalls of some providers refuse.
    if (/^(oauth4webapi\/|$)/.test(headers.get('user-agent') ?? '')) headers.set('user-agent', userAgent);
    return undiciFetch(input, { ...init, headers, dispatcher, redirect: 'manual' });
  };
  return { fetch: guarded as typeof fetch, close: () => dispatcher.close() };
}
