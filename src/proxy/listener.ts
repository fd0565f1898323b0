import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { AuditEvent } from '../audit/event.ts';
import { SidekeyError } from '../errors.ts';
import { decide, decideConnect } from '../policy/decide.ts';
import type { Limits } from '../policy/limits.ts';
import { connect } from './connect.ts';
import { exchange, type Carrier } from './exchange.ts';
import { forward } from './forward.ts';
import { applyLimits, createHttpServer, listenFailure, malformed } from './http-server.ts';
import type { Client, InterceptedTunnel } from './message.ts';
import { arrivalOf, replyTo } from './node-http.ts';
import { createPipeline } from './pipeline.ts';
import type { Rooms } from './rooms.ts';
import { answerSelf } from './self.ts';
import { refuseOn, socketReply } from './socket-reply.ts';
import { createOpenTunnels } from './tunnel.ts';
import { asksForWebSocket, upgrade } from './upgrade.ts';

/** The proxy's front: it owns the listening socket and every client connection. */
export interface Listener {
  /**
   * Begins to listen; answers the address and the port that it has.
   * Rejects with SidekeyError `port_in_use` or `listen_failed`.
   */
  listen(host: string, port: number): Promise<AddressInfo>;
  /**
   * For after a change of the config: takes over its limits, and cuts the tunnels and upgraded connections that the
   * policy, as it is now, would not let begin.
   */
  recheck(): void;
  /** Resolves when the exchanges that are under way now have ended. */
  underWay(): Promise<void>;
  /** Takes no more, waits at most `drainMs` for the exchanges under way, then cuts what is left. Idempotent. */
  close(drainMs: number): Promise<void>;
}

const throughPool: Carrier = (departure, reply, settings) =>
  forward(departure, reply, settings.pool, settings.limits);

/** Does not listen yet. `limits` are those of the config at the start; see `Listener.recheck`. */
export function createListener(rooms: Rooms, limits: Limits): Listener {
  const tunnels = createOpenTunnels();
  const upgraded = createOpenTunnels();
  const pipeline = createPipeline();
  const server = createHttpServer(limits, asksForWebSocket);
  /** Exchanges end by themselves; tunnels and upgraded connections may not. */
  const exchanges = new Set<Promise<void>>();
  const connections = new Set<Promise<void>>();
  const sockets = new Set<Duplex>();
  /** Intercepted tunnels, by the stream that their requests come from. */
  const inside = new WeakMap<object, InterceptedTunnel>();
  /** Connections that had their last word: what still comes on them is not served. */
  const refused = new WeakSet<object>();
  let closing: Promise<void> | undefined;

  function clientOf(socket: Duplex): Client {
    const { remoteAddress = '', remotePort = 0 } = socket as Socket;
    const address = remoteAddress.replace(/^::ffff:/, '');
    return {
      address: `${address.includes(':') ? `[${address}]` : address}:${remotePort}`,
      loopback: address === '::1' || address.startsWith('127.'),
      tunnel: inside.get(socket) ?? null,
    };
  }

  function track(works: Set<Promise<void>>, work: Promise<void>): void {
    works.add(work);
    const done = () => void works.delete(work);
    work.then(done, (error: unknown) => {
      done();
      rooms.log.error({ err: error }, 'a connection failed');
    });
  }

  function refuseConnection(socket: Duplex, error: SidekeyError): void {
    refused.add(socket);
    refuseOn(socket, error);
  }

  function serve(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    if (refused.has(request.socket)) return;
    const client = clientOf(request.socket);
    if (client.tunnel === null && answerSelf(request, response)) return;
    const most = rooms.settings().limits.pipelined_requests;
    if (pipeline.depth(request.socket) >= most) {
      // The answers that are due come first, so there is no place for one that says why.
      const sentence = `A connection may have ${most} requests that are not answered yet.`;
      const refusal = new SidekeyError('overloaded', sentence, { hint: 'raise limits.pipelined_requests' });
      rooms.audit.note(denied(request.socket, refusal));
      refused.add(request.socket);
      request.socket.destroy();
      return;
    }
    const reply = replyTo(request, response, {
      expectsContinue,
      isLast: () => closing !== undefined,
      onLast: () => refused.add(request.socket),
    });
    track(
      exchanges,
      pipeline.run(request.socket, async () => {
        // The request before it may have been the last, and the connection only waits to be closed.
        if (refused.has(request.socket)) return;
        await exchange(arrivalOf(request, client), reply, rooms, throughPool);
      }),
    );
  }

  function serveUpgrade(request: IncomingMessage, socket: Duplex, early: Buffer): void {
    socket.on('error', () => socket.destroy());
    if (!isFree(socket)) return;
    const carry: Carrier = (departure, reply, settings) => {
      upgraded.add(departure.authority, socket);
      return upgrade(departure, reply, settings, socket, early);
    };
    const arrival = { ...arrivalOf(request, clientOf(socket)), body: null };
    track(connections, exchange(arrival, socketReply(socket), rooms, carry));
  }

  function serveConnect(request: IncomingMessage, socket: Duplex, early: Buffer): void {
    socket.on('error', () => socket.destroy());
    if (!isFree(socket)) return;
    const client = clientOf(socket);
    if (client.tunnel === null) {
      track(connections, connect(request, socket, early, client, rooms, tunnels, serveInside));
      return;
    }
    const refusal = new SidekeyError('bad_request', 'A CONNECT inside a CONNECT is not carried.');
    rooms.audit.note(denied(socket, refusal));
    refuseConnection(socket, refusal);
  }

  /** Whether a connection can be taken over whole. Behind a request that is not answered yet it cannot. */
  function isFree(socket: Duplex): boolean {
    const free = !refused.has(socket) && !pipeline.isBusy(socket);
    if (!free) socket.destroy();
    return free;
  }

  function serveInside(stream: Duplex, tunnel: InterceptedTunnel): void {
    inside.set(stream, tunnel);
    // TLS has no half-close that clients use (RFC 5246 §7.2.1): one that ends while it waits has left.
    if (tunnel.authority.scheme === 'https') {
      stream.once('end', () => {
        if (pipeline.isBusy(stream)) stream.destroy();
      });
    }
    server.emit('connection', stream);
    // It was paused while its first bytes were looked at.
    stream.resume();
  }

  function denied(socket: Duplex, { code, status }: SidekeyError): AuditEvent {
    return { event: 'denied', client: clientOf(socket).address, outcome: 'deny', code, status };
  }

  server.on('connection', (socket: Duplex) => {
    // What comes out of an intercepted tunnel has its connection counted already.
    if (inside.has(socket)) return;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const most = rooms.settings().limits.connections;
    if (sockets.size <= most) return;
    const sentence = `The proxy has ${most} connections already.`;
    refuseConnection(socket, new SidekeyError('overloaded', sentence, { hint: 'raise limits.connections' }));
  });
  server.on('request', (request, response) => serve(request, response, false));
  server.on('checkContinue', (request, response) => serve(request, response, true));
  server.on('upgrade', serveUpgrade);
  server.on('connect', serveConnect);
  server.on('clientError', (error, socket) => {
    if (refused.has(socket)) return;
    // Where an answer is under way, a refusal would be taken for a part of it; where nothing was asked, for an answer.
    if (pipeline.isBusy(socket) || (socket as Socket).bytesRead === 0 || isReset(error)) {
      socket.destroy();
      return;
    }
    const refusal = malformed(error);
    rooms.audit.note(denied(socket, refusal));
    refuseConnection(socket, refusal);
  });

  async function drain(drainMs: number): Promise<void> {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeIdleConnections();
    await within(drainMs, settled(exchanges));
    for (const socket of sockets) socket.destroy();
    // Each still writes its last audit event.
    await Promise.allSettled([...exchanges, ...connections]);
    await closed;
  }

  return {
    async listen(host, port) {
      await new Promise<void>((resolve, reject) => {
        const failed = (cause: Error) => reject(listenFailure(cause, host, port));
        server.once('error', failed).listen({ host, port, backlog: 4_096 }, () => {
          server.off('error', failed);
          resolve();
        });
      });
      return server.address() as AddressInfo;
    },
    recheck() {
      const { policy, limits } = rooms.settings();
      applyLimits(server, limits);
      tunnels.recheck((target) => decideConnect(policy, target).outcome === 'tunnel');
      upgraded.recheck((target) => decide(policy, target).outcome !== 'deny');
    },
    async underWay() {
      await Promise.allSettled(exchanges);
    },
    close: (drainMs) => (closing ??= drain(drainMs)),
  };
}

function isReset(error: Error): boolean {
  return 'code' in error && error.code === 'ECONNRESET';
}

/** Resolves when nothing is left, of what was there and of what came meanwhile. */
async function settled(works: ReadonlySet<Promise<void>>): Promise<void> {
  while (works.size > 0) await Promise.allSettled(works);
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([work, promise]);
  clearTimeout(timer);
}
