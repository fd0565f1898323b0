import { SidekeyError } from '../errors.ts';
import { parseAuthority } from '../policy/authority.ts';
import { valuesOf } from './fields.ts';
import type { Reply, RequestHead } from './message.ts';
import { refuse } from './refusal.ts';

const healthy = Buffer.from('{"status":"ok"}\n');

/**
 * Answers what was asked of the proxy itself and not through it: an origin-form target outside a tunnel. Says whether
 * it was such a request. `GET /healthz` is for health checks; it tells nothing but that the proxy serves.
 */
export function answerSelf({ method, target, fields: own }: RequestHead, reply: Reply): boolean {
  if (!target.startsWith('/')) return false;
  if (target === '/healthz' && (method === 'GET' || method === 'HEAD')) {
    const fields = ['Content-Type', 'application/json', 'Content-Length', String(healthy.length)];
    reply.head(200, 'OK', [...fields, 'Cache-Control', 'no-store']);
    if (method !== 'HEAD') reply.write(healthy);
    reply.end([]);
    return true;
  }
  const [host = ''] = valuesOf(own, 'host');
  const name = parseAuthority(host, 'http') === null ? 'a web server' : `the server of ${host}`;
  const why = new SidekeyError('bad_request', `This is a proxy, and not ${name}.`, {
    hint: 'set HTTPS_PROXY to this address, or use curl -x',
  });
  refuse(reply, why, method);
  return true;
}
