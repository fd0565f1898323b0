import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { SidekeyError } from '../errors.ts';
import type { Authority } from '../policy/authority.ts';
import { decideConnect } from '../policy/decide.ts';
import { readPresented } from './agent.ts';
import { intercept } from './intercept.ts';
import type { Client, InterceptedTunnel } from './message.ts';
import { headOf } from './node-http.ts';
import { beginRecord } from './record.ts';
import { refusalOf } from './refusal.ts';
import type { Rooms } from './rooms.ts';
import { refuseOn } from './socket-reply.ts';
import { connectTargetOf } from './target.ts';
import { relay, type OpenTunnels } from './tunnel.ts';

/** Serves the requests that come out of an intercepted tunnel. */
export type ServeInside = (stream: Duplex, tunnel: InterceptedTunnel) => void;

const established = 'HTTP/1.1 200 Connection Established\r\n\r\n';

/**
 * CONNECT: refused, passed through blind, or intercepted. Policy is asked here only which of the three; what comes
 * through an intercepted tunnel is decided request by request.
 */
export async function connect(
  request: IncomingMessage,
  socket: Duplex,
  early: Buffer,
  client: Client,
  rooms: Rooms,
  open: OpenTunnels,
  serveInside: ServeInside,
): Promise<void> {
  const head = headOf(request);
  const record = beginRecord({ head, body: null, client }, rooms.now);
  if (early.length > 0) socket.unshift(early);
  try {
    const settings = rooms.settings();
    const target = connectTargetOf(head);
    if (target instanceof SidekeyError) throw target;
    record.target({ authority: target, path: '' });

    const presented = readPresented(head.fields);
    const identity = await rooms.agents.identify(presented, {
      loopback: client.loopback,
      mode: settings.agents,
    });
    if (identity instanceof SidekeyError) throw identity;
    record.identity(identity);

    const decision = decideConnect(settings.policy, target);
    switch (decision.outcome) {
      case 'deny':
        throw new SidekeyError(decision.code, `${decision.reason}.`, { hint: decision.hint });
      case 'tunnel': {
        await rooms.audit.append(record.access());
        // Before the dial: a change of the config meanwhile cuts it as it cuts the open ones.
        open.add(target, socket);
        const upstream = await settings.dialer.connectBlind(target);
        socket.write(established);
        const { bytesIn, bytesOut } = await relay(socket, upstream, settings.limits.tunnel_idle);
        rooms.audit.note({
          ...record.outcome({ status: 200, bytesIn, bytesOut, fate: 'complete' }),
          event: 'tunnel',
        });
        return;
      }
      case 'inject': {
        // Before the 200: where there can be no certificate, the refusal can still be read.
        const leaf = rooms.leafFor(target.host);
        socket.write(established);
        const inside = await intercept(socket, target, () => leaf, settings.limits.client_handshake);
        if (inside === null) {
          const facts = { host: target.host, client: client.address };
          rooms.log.info(facts, 'a client broke off its TLS handshake; it may not trust the CA of Sidekey');
          return;
        }
        const authority: Authority = { ...target, scheme: inside.scheme };
        serveInside(inside.stream, { authority, serverName: inside.serverName, presented });
      }
    }
  } catch (error) {
    if (!(error instanceof SidekeyError)) rooms.log.error({ err: error }, 'a CONNECT failed');
    rooms.audit.note(record.refused(error, refusalOf(error).status));
    refuseOn(socket, error);
  }
}
