import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type BodyFraming, requestFraming } from './http/framing.ts';
import type { RequestHead, RequestHeadBytes } from './http/head.ts';
import type { Client, EarlyFrames, InterceptedTunnel, Meter, UpgradeSide } from './http/message.ts';
import { refuse, refuseOn, socketReply } from './http/problem.ts';
import { answerUnmet, ClientConnection, type Service } from './http/server/h1-connection.ts';
import { ClientSession, type SessionService } from './http/server/h2-session.ts';
import { type RequestStream, streamSide } from './http/server/h2-stream.ts';
import { type ConnectionPlaces, endsOf } from '../lib/connection-places.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintText } from '../lib/hint.ts';
import { asTyped } from '../lib/command-name.ts';
import { type PeerOwner, peerOwner } from '../lib/os.ts';
import type { Timers } from '../lib/timers.ts';
import type { Policy } from './policy/decide.ts';
import type { Sending } from './attempt.ts';
import { fromBaseUrl, hasBaseUrl } from './base-url.ts';
import { openingByName } from './transparent.ts';
import { connectOpening, type Opening, openTunnel } from './connect.ts';
import { Exchange, exchange, type Forwarder } from './exchange.ts';
import { forward } from './forward.ts';
import type { Inside } from './intercept.ts';
import type { OpenWork } from './open-work.ts';
import type { OwnAnswers } from './own-answers.ts';
import { policyNow } from './proposed.ts';
import { type Cuttable, type OpenConnections, requestRefusal } from './revalidate.ts';
import type { ProxyServices } from './services.ts';
import { readSocks } from './socks.ts';
import { earlyBytes, isWebSocket, listenTo, upgrade, upgradedSocket } from './websocket.ts';

interface ClientServiceParts {
  readonly open: OpenConnections;
  readonly work: OpenWork;
  readonly own: OwnAnswers;
}

type Exchanged = Parameters<Service['exchange']>;

/** Serves client connections: their requests, tunnels, SOCKS and upgrades. */
export class ClientService implements Service {
  readonly timers: Timers;
  readonly now = (): number => performance.now();
  readonly limits = () => this.#services.lastConfig().limits;
  readonly isClosing = (): boolean => this.#parts.work.isClosing;
  readonly failed: Service['failed'];
  readonly #services: ProxyServices;
  readonly #parts: ClientServiceParts;
  readonly #streams: SessionService;
  /** Forwarders of HTTP/1.1, by client connection. */
  readonly #forwarders = new WeakMap<Duplex, Forwarder>();

  constructor(services: ProxyServices, parts: ClientServiceParts) {
    this.timers = services.timers;
    this.failed = parts.work.failed;
    this.#services = services;
    this.#parts = parts;
    this.#streams = this.#streamService();
  }

  /** Serves the requests of a connection of HTTP/1.1. */
  serve(socket: Duplex, client: Client): void {
    // One that has gone already does not say so again.
    if (socket.destroyed) return;
    this.#parts.work.connections.add(new ClientConnection(socket, client, this));
  }

  exchange(inbound: Exchanged[0], reply: Exchanged[1], from: ClientConnection): void {
    const { head, client } = inbound;
    const answered = client.tunnel === null ? this.#parts.own.answerByStore(head, reply) : null;
    if (answered !== null) {
      void answered.then(() => from.answered(null), from.answered);
      return;
    }
    if (answerUnmet(head, reply) || (client.tunnel === null && this.#parts.own.answer(head, reply))) {
      from.answered(null);
      return;
    }
    const asked = this.#inProxyForm(head, client);
    if (asked instanceof SidekeyError) {
      refuse(reply, asked, head.method);
      from.answered(null);
      return;
    }
    const request = asked === head ? inbound : { ...inbound, head: asked };
    const forwarder = this.#forwarders.get(from.socket) ?? this.#newForwarder(from.socket);
    new Exchange({ inbound: request, reply, services: this.#services, forwarder }, from.answered).run();
  }

  #newForwarder(socket: Duplex): Forwarder {
    const forwarder = this.#watching(forward, () => socket);
    this.#forwarders.set(socket, forwarder);
    return forwarder;
  }

  /**
   * Returns a forwarder whose exchanges are cut when their permission ends.
   *
   * @param isJudgedAnew whether an exchange is also cut when current policy would refuse its request
   */
  #watching(send: Forwarder['send'], cuttable: (meter: Meter) => Cuttable, isJudgedAnew = false): Forwarder {
    const { proposals, approvals } = this.#services;
    const open = this.#parts.open;
    return {
      send,
      watch({ permission }, meter) {
        const refusal = isJudgedAnew
          ? async (policy: Policy, now: number) => {
              const { accepted = null, facts } = permission;
              const inForce = await policyNow(policy, accepted, facts.authority, proposals);
              return requestRefusal(inForce, permission, now, approvals);
            }
          : null;
        return open.begin({ client: cuttable(meter), permission, refusal, meter });
      },
    };
  }

  /** Returns the head in the form for a proxy, also for a program that uses a base address. */
  #inProxyForm(head: RequestHead, client: Client): RequestHead | SidekeyError {
    if (client.tunnel !== null || !hasBaseUrl(head)) return head;
    const read = fromBaseUrl(head, this.#services.lastConfig().agents);
    if (read instanceof SidekeyError) this.denied(client, read);
    return read;
  }

  takesOver(head: RequestHeadBytes, framing: BodyFraming): boolean {
    if (head.method === 'CONNECT') return true;
    if (head.version !== '1.1' || !head.lists('connection', 'upgrade')) return false;
    return asksForWebSocket(head, framing) || askedProtocols(head) !== undefined;
  }

  takeOver(head: RequestHeadBytes, { socket, client }: ClientConnection, early: Buffer): void {
    if (head.method !== 'CONNECT') this.#upgrade(head, socket, client, early);
    else if (client.tunnel === null) {
      if (early.length > 0) socket.unshift(early);
      void this.#parts.work.takeOver(this.tunnel(connectOpening(head, socket, client)));
    } else {
      const refusal = new SidekeyError('bad_request', 'A CONNECT inside a CONNECT is not supported.');
      this.denied(client, refusal);
      refuseOn(socket, refusal);
    }
  }

  /** Opens a tunnel, and serves the requests in it. */
  tunnel(opening: Opening): Promise<void> {
    return openTunnel(opening, this.#services, this.#parts.open, this.#serveInside);
  }

  readonly #serveInside = (inside: Inside, outer: Client, tunnel: InterceptedTunnel): void => {
    const client = { ...outer, tunnel };
    if (inside.scheme === 'http' || inside.protocol === 'http/1.1') this.serve(inside.stream, client);
    else if (!inside.stream.destroyed) {
      const session = new ClientSession(inside.stream, client, this.#streams, inside.extendedConnect);
      this.#parts.work.sessions.add(session);
      if (this.#parts.work.isClosing) session.drain();
    }
  };

  socks({ socket, client }: ClientConnection): void {
    void this.#parts.work.takeOver(this.#socks(socket, client));
  }

  async #socks(socket: Duplex, client: Client): Promise<void> {
    const late = this.timers.after(this.limits().head_timeout, () => socket.destroy());
    const opening = await readSocks(socket, client).finally(late);
    if (opening instanceof SidekeyError) this.denied(client, opening);
    else if (opening !== null) {
      const named = await openingByName(opening, this.#services);
      if (named !== null) await this.tunnel(named);
    }
  }

  #upgrade(asked: RequestHeadBytes, socket: Duplex, client: Client, early: Buffer): void {
    const head = this.#inProxyForm(asked, client);
    if (head instanceof SidekeyError) {
      refuseOn(socket, head);
      return;
    }
    const protocols = askedProtocols(asked);
    const frames = listenTo(socket, early);
    const send = (sending: Sending) => sendUpgrade(sending, upgradedSocket(socket, frames, protocols));
    const forwarder = this.#watching(send, () => socket, true);
    // `requestFraming` cannot fail: the reader of the head has called it.
    const framing = requestFraming(asked) as BodyFraming;
    const body = framing.kind === 'none' ? null : this.#bodyOf(framing, frames, socket);
    const inbound = { head, body, client, upgrades: true, ...(protocols && { protocols }) } as const;
    const reply = socketReply(socket);
    void this.#parts.work.takeOver(exchange({ inbound, reply, services: this.#services, forwarder }));
  }

  /** Returns the body of a handshake. Cuts a client that does not send it in time. */
  async *#bodyOf(
    framing: BodyFraming,
    frames: EarlyFrames,
    socket: Duplex,
  ): AsyncGenerator<Buffer, undefined> {
    if (framing.kind !== 'length' || framing.bytes > earlyBytes) {
      const sentence = `A request with Upgrade has a body of at most ${earlyBytes} bytes, with Content-Length.`;
      throw new SidekeyError('bad_request', sentence);
    }
    const late = this.timers.after(this.limits().client_body_idle, () => socket.destroy());
    yield await frames.take(framing.bytes).finally(late);
  }

  refuse(why: SidekeyError, { socket, client }: ClientConnection, answerable: boolean): void {
    this.denied(client, why);
    if (answerable) refuseOn(socket, why);
    else socket.destroy();
  }

  /** Records the refusal of bytes that are not a request. If there is a tunnel, the record has its host. */
  denied({ address, tunnel }: Client, { code, status, message, hint }: SidekeyError): void {
    const { scheme, host, port } = tunnel?.authority ?? {};
    const facts = { client: address, scheme, host, port, code };
    this.#services.log.info({ ...facts, hint: asTyped(hintText(hint)) }, `a client was refused: ${message}`);
    this.#services.audit.note({ ...facts, event: 'denied', outcome: 'deny', status, reason: message });
  }

  left(connection: ClientConnection): void {
    this.#parts.work.connections.delete(connection);
    const { whenAnswered } = connection;
    if (whenAnswered !== null) void this.#parts.work.exchange(whenAnswered);
  }

  /** Returns the functions that a session of HTTP/2 calls. */
  #streamService(): SessionService {
    const { timers, now, limits } = this;
    const services = this.#services;
    const work = this.#parts.work;
    return {
      timers,
      now,
      limits,
      exchange: (inbound, stream) => {
        const forwarder = this.#watching(forward, (meter) => oneStream(stream, meter));
        return work.exchange(exchange({ inbound, reply: stream.reply, services, forwarder }));
      },
      webSocket: (inbound, request) => {
        const send = (sending: Sending) => {
          // Frames of the tunnel explain the bytes that the client sends: see `isFlood`.
          sending.meter.onBytes(request.passed);
          sendUpgrade(sending, streamSide(request));
        };
        const forwarder = this.#watching(send, (meter) => oneStream(request, meter), true);
        return work.takeOver(exchange({ inbound, reply: request.reply, services, forwarder }));
      },
      denied: (client, why) => this.denied(client, why),
      left: (session) => void work.sessions.delete(session),
    };
  }
}

/** Returns the client of a connection that has a place. */
export function clientOf(
  socket: Socket,
  places: ConnectionPlaces,
  { peerOwner: ownerOf = peerOwner }: Pick<ProxyServices, 'peerOwner'>,
): Client {
  const { remoteAddress = '', remotePort = 0 } = socket;
  const address = remoteAddress.replace(/^::ffff:/, '');
  const ends = endsOf(socket);
  let owner: PeerOwner | Promise<PeerOwner> | undefined;
  return {
    address: `${address.includes(':') ? `[${address}]` : address}:${remotePort}`,
    loopback: address === '::1' || address.startsWith('127.'),
    owner: () => (owner ??= ownerOf(socket).then((reported) => (owner = reported))),
    authenticated: () => places.authenticated(ends),
    tunnel: null,
  };
}

function sendUpgrade(sending: Sending, side: UpgradeSide): void {
  void upgrade(sending, side).then(
    (result) => sending.done(result),
    (error: unknown) => sending.failed(error),
  );
}

/** Wraps one stream of a shared connection, so that it can be closed separately and its bytes are counted. */
function oneStream(stream: RequestStream, meter: Meter): Cuttable {
  return {
    destroy: () => stream.destroy(),
    get bytesRead() {
      return meter.bytesIn;
    },
    get bytesWritten() {
      return meter.bytesOut;
    },
  };
}

/** Reports whether a request asks for a WebSocket (RFC 6455 §4.1). */
function asksForWebSocket(head: RequestHeadBytes, framing: BodyFraming): boolean {
  return framing.kind === 'none' && isWebSocket(head.values('upgrade')) && head.method === 'GET';
}

/** Upgrades that clients offer without need: a server that ignores them answers as usual. */
const offered = /^(?:websocket$|(?:http|tls)\/)/i;

/**
 * Returns the protocols that a request needs (RFC 9110 §7.8), or undefined. An offer of HTTP/2 or TLS is not
 * forwarded, because it would hide requests from policy. An h2c without settings (RFC 7540 §3.2.1) is no
 * offer: BuildKit needs it.
 */
function askedProtocols(head: RequestHeadBytes): readonly string[] | undefined {
  const isOffer = (name: string) =>
    offered.test(name) || (name.toLowerCase() === 'h2c' && head.has('http2-settings'));
  const names = head.values('upgrade').flatMap((value) => value.split(',').map((name) => name.trim()));
  const needed = names.filter((name) => name !== '' && !isOffer(name));
  return needed.length === 0 ? undefined : needed;
}
