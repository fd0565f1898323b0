import { Agent, fetch as undiciFetch, type Dispatcher } from 'undici';
import { SidekeyError } from '../errors.ts';
import { parseAbsoluteTarget } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import type { Dialer } from './dial.ts';

/** Keep-alive connections to token endpoints, every one of them made by the dialer. HTTP/1.1 alone. */
export function createPool(dialer: Dialer, limits: Limits): Dispatcher {
  return new Agent({
    allowH2: false,
    pipelining: 1,
    connections: limits.upstream_connections,
    headersTimeout: limits.upstream_head,
    bodyTimeout: limits.upstream_idle,
    maxHeaderSize: limits.head_bytes,
    connect: ({ protocol, hostname, port }, callback) => {
      const scheme = protocol === 'https:' ? 'https' : 'http';
      // undici has taken the brackets off an IPv6 address.
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
}

/** `fetch` over the same dialer, for token endpoints. It follows no redirect. */
export function createFetch(dispatcher: Dispatcher): typeof fetch {
  const guarded: unknown = (input: string | URL, init: Parameters<typeof undiciFetch>[1] = {}) =>
    undiciFetch(input, { ...init, dispatcher, redirect: 'manual' });
  return guarded as typeof fetch;
}
