import type { IncomingMessage, ServerResponse } from 'node:http';
import { SidekeyError } from '../errors.ts';
import { refusalOf } from './refusal.ts';

/**
 * Answers what was asked of the proxy itself and not through it: an origin-form target outside a tunnel. Says whether
 * it was such a request. `GET /healthz` is for health checks; it tells nothing but that the proxy serves.
 */
export function answerSelf(request: IncomingMessage, response: ServerResponse): boolean {
  if (request.url?.startsWith('/') !== true) return false;
  if (request.url === '/healthz' && (request.method === 'GET' || request.method === 'HEAD')) {
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end('{"status":"ok"}\n');
    return true;
  }
  const { status, reason, fields, body } = refusalOf(
    new SidekeyError('bad_request', 'This is a proxy, and no web server.', {
      hint: 'set HTTPS_PROXY to this address, or use curl -x',
    }),
  );
  response.writeHead(status, reason, [...fields]);
  response.end(request.method === 'HEAD' ? undefined : body);
  return true;
}
