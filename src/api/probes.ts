import type { HttpBindings } from '@hono/node-server';
import type { Context, Hono } from 'hono';
import { SidekeyError } from '../lib/errors.ts';
import type { Caller } from './caller.ts';
import type { ServiceParts } from './parts.ts';

/** `GET /healthz`, `/readyz` and `/metrics`, for monitoring programs. */

type Bindings = { Bindings: HttpBindings };

/** Paths that are served under any name of this machine. */
export const probePaths: readonly string[] = ['/healthz', '/readyz', '/metrics'];

export function addProbes(
  app: Hono<Bindings>,
  { config, readiness, readMetrics }: Pick<ServiceParts, 'config' | 'readiness' | 'readMetrics'>,
  callerOf: (context: Context<Bindings>) => Promise<Caller>,
): void {
  app.get('/healthz', (context) => context.json({ status: 'ok' }));
  app.get('/readyz', async (context) => {
    const why = await readiness();
    if (why !== null) throw why;
    return context.json({ status: 'ready' });
  });
  app.get('/metrics', async (context) => {
    const { admin } = await config();
    // At another address, a reverse proxy may forward requests without a trace of their origin.
    if (admin.metrics === 'key' || admin.url !== null || !isFromHere(context)) {
      const { name, scopes, user, role } = await callerOf(context);
      if (!scopes.has('status:read') || user !== null || role === 'user')
        throw new SidekeyError('scope_missing', `${name} does not have the scope status:read for all users.`);
    }
    const { type, text } = await readMetrics();
    return new Response(text, { headers: { 'content-type': type } });
  });
}

/**
 * Reports whether a program of this machine sent the request directly. Requests through a reverse proxy come
 * from this machine too, but may originate anywhere.
 */
function isFromHere({ req, env }: Context<Bindings>): boolean {
  const { remoteAddress = '' } = env.incoming.socket;
  const address = remoteAddress.replace(/^::ffff:/, '');
  const isForwarded = ['forwarded', 'x-forwarded-for', 'via'].some((name) => req.header(name) !== undefined);
  const isLocalName = /^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?$/i.test(req.header('host') ?? '');
  return (address === '::1' || address.startsWith('127.')) && isLocalName && !isForwarded;
}
