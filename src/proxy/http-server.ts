import { createServer, type IncomingMessage, type Server } from 'node:http';
import { SidekeyError } from '../errors.ts';
import type { Limits } from '../policy/limits.ts';

/** Node's HTTP/1.1 server, as strict as it can be: its parser refuses what RFC 9112 calls ambiguous. */
export function createHttpServer(limits: Limits, mayUpgrade: (request: IncomingMessage) => boolean): Server {
  const server = createServer({
    insecureHTTPParser: false,
    // Host is checked against the one authority, with an answer of our own.
    requireHostHeader: false,
    requestTimeout: 0,
    connectionsCheckingInterval: Math.min(limits.head_timeout, 1_000),
    noDelay: true,
    keepAlive: true,
    highWaterMark: 65_536,
    rejectNonStandardBodyWrites: true,
    shouldUpgradeCallback: mayUpgrade,
  });
  // Node would drop the fields beyond its count in silence; the count is checked, and refused, by us.
  server.maxHeadersCount = 0;
  // A client may end its side when it has asked, and still wants its answer.
  Object.assign(server, { httpAllowHalfOpen: true });
  applyLimits(server, limits);
  return server;
}

/** Puts limits in force, from the next connection on. */
export function applyLimits(server: Server, limits: Limits): void {
  server.headersTimeout = limits.head_timeout;
  server.keepAliveTimeout = limits.client_idle;
  // Node reads it for each connection, though its types know it as an option alone.
  Object.assign(server, { maxHeaderSize: limits.head_bytes });
}

/** What a client is told whose bytes are no request. */
export function malformed(error: Error & { code?: string }): SidekeyError {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new SidekeyError('bad_request', 'The head of the request is too large.', {
        hint: 'raise limits.head_bytes',
      });
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new SidekeyError('bad_request', 'The head of the request did not come in time.');
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new SidekeyError('bad_request', 'The chunk extensions of the request are too large.');
    default:
      return new SidekeyError('bad_request', 'The request is not well-formed HTTP/1.1.');
  }
}

/** Why the server could not listen, as a failure with its way out. */
export function listenFailure(cause: Error & { code?: string }, host: string, port: number): SidekeyError {
  if (cause.code === 'EADDRINUSE') {
    return new SidekeyError('port_in_use', `${host}:${port} is in use by another program.`, {
      hint: 'stop it, or set proxy.listen to another port',
      cause,
    });
  }
  return new SidekeyError(
    'listen_failed',
    `The proxy cannot listen on ${host}:${port} (${cause.code ?? cause.message}).`,
    {
      hint: 'set proxy.listen to an address of this machine and a port that you may use',
      cause,
    },
  );
}
