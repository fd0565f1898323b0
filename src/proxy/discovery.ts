import { valuesOf } from '../http/fields.ts';
import type { ExchangeResult, Reply } from '../http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import { ownHost } from '../policy/authority.ts';
import { authenticate, type ReceivedRequest } from './authorize.ts';
import type { ProxyServices, ConfigSnapshot } from './services.ts';
import { reachJson, reachOf, reachText } from './reach.ts';
import type { ExchangeRecord } from './record.ts';

/**
 * Answers a request for the proxy itself (`isOwn`): what its caller may call, with which grants, and under which rules.
 * The caller shows who it is as for any other request. Nothing is looked up and nothing leaves.
 */
export async function discover(
  { inbound, target }: ReceivedRequest,
  reply: Reply,
  config: ConfigSnapshot,
  services: ProxyServices,
  record: ExchangeRecord,
): Promise<ExchangeResult> {
  record.discovers();
  const caller = await authenticate(inbound, config, services, record);
  const { method, fields } = inbound.head;
  const [path = ''] = target.path.split('?', 1);
  if (path !== '/' && path !== '/index.json') {
    throw new SidekeyError('not_found', `${ownHost} has no such page.`, { hint: `GET http://${ownHost}/` });
  }
  record.path(path);
  if (method !== 'GET' && method !== 'HEAD') {
    throw new SidekeyError('method_not_allowed', `${ownHost} says what you may call, and takes nothing.`, {
      hint: `GET http://${ownHost}/`,
    });
  }
  const reach = await reachOf({ inbound, target, caller }, config, services);
  const isJson = path === '/index.json' || prefersJson(valuesOf(fields, 'accept').join(','));
  const body = Buffer.from(isJson ? `${JSON.stringify(reachJson(reach))}\n` : reachText(reach));
  const type = isJson ? 'application/json' : 'text/plain; charset=utf-8';
  const about = ['Content-Type', type, 'Content-Length', String(body.length), 'Vary', 'Accept'];
  reply.head(200, 'OK', [...about, 'Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff']);
  if (method === 'GET') reply.write(body);
  reply.end([]);
  return { status: 200, bytesIn: 0, bytesOut: method === 'GET' ? body.length : 0, outcome: 'complete' };
}

/**
 * Whether a client would rather have JSON than text (RFC 9110 §12.5.1). Ranges with a star say nothing about it: who takes
 * anything gets the text, which is for reading.
 */
export function prefersJson(accept: string): boolean {
  const weights = new Map(accept.split(',').map(weighed));
  const json = weights.get('application/json') ?? 0;
  return json > 0 && json >= (weights.get('text/plain') ?? 0);
}

function weighed(part: string): [type: string, weight: number] {
  const [type = '', ...parameters] = part.split(';').map((piece) => piece.trim().toLowerCase());
  const [, weight] =
    parameters.map((parameter) => /^q=([01](?:\.\d{0,3})?)$/.exec(parameter)).find(Boolean) ?? [];
  return [type, weight === undefined ? 1 : Number(weight)];
}
