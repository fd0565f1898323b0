import { SidekeyError } from '../../errors.ts';
import { ownHost } from '../../policy/own-host.ts';
import { callerOf } from '../caller.ts';
import { valuesOf } from '../fields.ts';
import type { Arrival, Carried, Reply } from '../message.ts';
import type { ExchangeRecord } from '../record.ts';
import type { Rooms, Settings } from '../rooms.ts';
import type { Target } from '../target.ts';
import { prefersJson } from './prefers-json.ts';
import { reachJson } from './reach-json.ts';
import { reachOf } from './reach.ts';
import { reachText } from './reach-text.ts';

/**
 * Answers a request for the proxy itself (`isOwn`): what its caller may call, with which grants, and under which rules.
 * The caller shows who it is as for any other request. Nothing is looked up and nothing leaves.
 */
export async function discovery(
  arrival: Arrival,
  target: Target,
  reply: Reply,
  settings: Settings,
  rooms: Rooms,
  record: ExchangeRecord,
): Promise<Carried | SidekeyError> {
  record.discovers();
  const caller = await callerOf(arrival, settings, rooms, record);
  if (caller instanceof SidekeyError) return caller;
  const { method, fields } = arrival.head;
  const [path = ''] = target.path.split('?', 1);
  if (path !== '/' && path !== '/index.json') {
    return new SidekeyError('not_found', `${ownHost} has no such page.`, { hint: `GET http://${ownHost}/` });
  }
  record.path(path);
  if (method !== 'GET' && method !== 'HEAD') {
    return new SidekeyError('method_not_allowed', `${ownHost} says what you may call, and takes nothing.`, {
      hint: `GET http://${ownHost}/`,
    });
  }
  const reach = await reachOf({ arrival, target, caller }, settings, rooms);
  const isJson = path === '/index.json' || prefersJson(valuesOf(fields, 'accept').join(','));
  const body = Buffer.from(isJson ? `${JSON.stringify(reachJson(reach))}\n` : reachText(reach));
  const type = isJson ? 'application/json' : 'text/plain; charset=utf-8';
  const about = ['Content-Type', type, 'Content-Length', String(body.length), 'Vary', 'Accept'];
  reply.head(200, 'OK', [...about, 'Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff']);
  if (method === 'GET') reply.write(body);
  reply.end([]);
  return { status: 200, bytesIn: 0, bytesOut: method === 'GET' ? body.length : 0, fate: 'complete' };
}
