import { timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Duplex } from 'node:stream';
import { valuesOf } from './http/fields.ts';
import type { BodyFraming } from './http/framing.ts';
import type { RequestHead, RequestHeadBytes } from './http/head.ts';
import type { Client, InterceptedTunnel, Meter, Reply, UpgradeSide } from './http/message.ts';
import { refuse, refuseOn, socketReply } from './http/problem.ts';
import { answerUnmet, ClientConnection, type Service } from './http/server/h1-connection.ts';
import { ClientSession, type SessionService } from './http/server/h2-session.ts';
import { type RequestStream, streamSide } from './http/server/h2-stream.ts';
import { ConnectionPlaces, endsOf } from '../lib/connection-places.ts';
import { listenFailure, SidekeyError } from '../lib/errors.ts';
import { markup, type PageAnswer, renderPage, wantsPage } from '../lib/html.ts';
import { asTyped } from '../lib/log.ts';
import { type PeerOwner, peerOwner } from '../lib/os.ts';
import { pause, within } from '../lib/timers.ts';
import { parseAuthority } from './policy/authority.ts';
import type { Policy } from './policy/decide.ts';
import type { Sending } from './attempt.ts';
import { fromBaseUrl, hasBaseUrl } from './base-url.ts';
import { openingByName, type Redirection } from './by-address.ts';
import { connectHead, connectOpening, type Opening, openTunnel } from './connect.ts';
import type { Entry } from './entry.ts';
import { Exchange, exchange, type Forwarder } from './exchange.ts';
import { forward } from './forward.ts';
import type { Inside } from './intercept.ts';
import { policyNow } from './proposed.ts';
import { readSocks } from './socks.ts';
import { createOpenConnections, type Cuttable, requestRefusal } from './revalidate.ts';
import type { ProxyServices } from './services.ts';
import { isWebSocket, listenTo, upgrade, upgradedSocket } from './websocket.ts';

/** The proxy's front: it owns the listening socket and every client connection. */
export interface Listener {
  /**
   * Begins to listen; answers the address and the port that it has.
   * Rejects with SidekeyError `port_in_use`, `listen_failed` or `redirect_loop`.
   * @param socket takes its connections from this one, which has the port already and others may share
   */
  listen(host: string, port: number, socket?: object): Promise<AddressInfo>;
  /**
   * Cuts the tunnels and upgraded connections that the current config would not allow to begin. Call it after
   * a change of the config.
   */
  recheck(): void;
  /** Reports whether new connections are accepted. */
  accepts(): boolean;
  /** Resolves when the exchanges that are under way now have ended. */
  underWay(): Promise<void>;
  /**
   * Accepts no more connections, waits at most `drainMs` for the exchanges in progress, then cuts the others.
   * Idempotent.
   */
  close(drainMs: number): Promise<void>;
}

/** Connections that wait to be taken; the system may allow fewer. */
const backlog = 4_096;

/** Time for a session to end after its last exchange, in milliseconds. */
const lastWordMs = 500;

const ready = Buffer.from('{"status":"ready"}\n');

/** Milliseconds without a request or a byte, after which a stopping proxy closes a connection or a tunnel. */
const quietMs = 1_000;
/** Milliseconds between two looks for what is left. */
const lookMs = 20;

/** Parts of the listener besides the services of its exchanges. */
interface ListenerParts {
  /** Tells this Sidekey from others, in the answer to a health check. */
  readonly instance: string;
  /** The text that the health check of a command adds, and the target that only commands know. */
  readonly report: { readonly target: string; readonly read: () => Promise<string> };
  /** Returns why requests cannot be served, for `GET /readyz`; null: they can. */
  readonly readiness: () => Promise<SidekeyError | null>;
  /** Null: connections begin with their first request. */
  readonly entry: Entry | null;
  /** Null: no connections are redirected to the proxy. */
  readonly redirection: Redirection | null;
}

/** Does not listen yet. */
export function createListener(
  services: ProxyServices,
  { instance, report, readiness, entry, redirection }: ListenerParts,
): Listener {
  const open = createOpenConnections(services, services.timers);
  const health = (sealed?: string) => Buffer.from(`${JSON.stringify({ status: 'ok', instance, sealed })}\n`);
  const healthy = health();
  const reportTarget = Buffer.from(report.target);
  /** Exchanges of HTTP/2, which end by themselves, as opposed to tunnels and upgraded connections. */
  const exchanges = new Set<Promise<void>>();
  const takenOver = new Set<Promise<void>>();
  const places = new ConnectionPlaces(() => services.lastConfig().limits.client_connections);
  /** Connections beyond the limit, on their way out: they do not count against the limit. */
  const tooMany = new Set<Socket>();
  const connections = new Set<ClientConnection>();
  const sessions = new Set<ClientSession>();
  let closing: Promise<void> | undefined;

  const failed = (error: unknown) => services.log.error({ err: error }, 'a connection failed');

  function track(works: Set<Promise<void>>, work: Promise<void>): Promise<void> {
    const end = () => void works.delete(done);
    const done = work.then(end, (error: unknown) => {
      end();
      failed(error);
    });
    works.add(done);
    return done;
  }

  /**
   * Returns a forwarder whose exchanges are cut when their permission ends.
   *
   * @param isJudgedAnew whether an exchange is also cut when current policy would refuse its request
   */
  function watching(
    send: Forwarder['send'],
    cuttable: (meter: Meter) => Cuttable,
    isJudgedAnew = false,
  ): Forwarder {
    return {
      send,
      watch({ permission }, meter) {
        const refusal = isJudgedAnew
          ? async (policy: Policy, now: number) => {
              const { accepted = null, facts } = permission;
              const inForce = await policyNow(policy, accepted, facts.authority, services.proposals);
              return requestRefusal(inForce, permission, now, services.approvals);
            }
          : null;
        return open.begin({ client: cuttable(meter), permission, refusal, meter });
      },
    };
  }

  const forwarders = new WeakMap<Duplex, Forwarder>();

  /** Returns the forwarder of a client connection of HTTP/1.1. */
  function forwarderOf(socket: Duplex): Forwarder {
    return forwarders.get(socket) ?? newForwarder(socket);
  }

  function newForwarder(socket: Duplex): Forwarder {
    const forwarder = watching(forward, () => socket);
    forwarders.set(socket, forwarder);
    return forwarder;
  }

  /** Returns all exchanges that are under way. */
  function underWay(): readonly Promise<void>[] {
    const answered = Array.from(connections, (connection) => connection.whenAnswered);
    return [...exchanges, ...answered.filter((each) => each !== null)];
  }

  /** Resolves when no exchange is under way, also none that begins meanwhile. */
  async function settled(): Promise<void> {
    for (let all = underWay(); all.length > 0; all = underWay()) await Promise.allSettled(all);
  }

  function isLeft(): boolean {
    return connections.size + takenOver.size > 0;
  }

  /** Resolves when all that is left is quiet, because a client may hold a connection or a tunnel for ever. */
  async function quiet(): Promise<void> {
    for (;;) {
      await settled();
      const before = open.bytes();
      for (let waited = 0; isLeft() && waited < quietMs; waited += lookMs)
        await pause(services.timers, lookMs);
      if (underWay().length === 0 && (!isLeft() || open.bytes() === before)) return;
    }
  }

  const service: Service = {
    timers: services.timers,
    now: () => performance.now(),
    limits: () => services.lastConfig().limits,
    isClosing: () => closing !== undefined,
    exchange(inbound, reply, from) {
      const { head, client } = inbound;
      if (client.tunnel === null && isSame(reportTarget, head.target)) {
        // The proxy serves, also where its store is away.
        const body = report.read().then(health, () => healthy);
        void body
          .then((it) => answerHealth(head.method, reply, it))
          .then(() => from.answered(null), from.answered);
        return;
      }
      if (client.tunnel === null && head.target === '/readyz' && isRead(head.method)) {
        void readiness()
          .then((why) => {
            if (why === null) answerHealth(head.method, reply, ready);
            else refuse(reply, why, head.method);
          })
          .then(() => from.answered(null), from.answered);
        return;
      }
      if (answerUnmet(head, reply) || (client.tunnel === null && answerSelf(head, reply, healthy))) {
        from.answered(null);
        return;
      }
      const asked = inProxyForm(head, client);
      if (asked instanceof SidekeyError) {
        refuse(reply, asked, head.method);
        from.answered(null);
        return;
      }
      const request = asked === head ? inbound : { ...inbound, head: asked };
      const forwarder = forwarderOf(from.socket);
      new Exchange({ inbound: request, reply, services, forwarder }, from.answered).run();
    },
    takesOver: (head, framing) => head.method === 'CONNECT' || asksForWebSocket(head, framing),
    takeOver(head, { socket, client }, early) {
      if (head.method !== 'CONNECT') serveUpgrade(head, socket, client, early);
      else if (client.tunnel === null) {
        if (early.length > 0) socket.unshift(early);
        void track(takenOver, tunnel(connectOpening(head, socket, client)));
      } else {
        const refusal = new SidekeyError('bad_request', 'A CONNECT inside a CONNECT is not supported.');
        denied(client, refusal);
        refuseOn(socket, refusal);
      }
    },
    socks: ({ socket, client }) => void track(takenOver, serveSocks(socket, client)),
    refuse(why, { socket, client }, answerable) {
      denied(client, why);
      if (answerable) refuseOn(socket, why);
      else socket.destroy();
    },
    failed,
    left(connection) {
      connections.delete(connection);
      const { whenAnswered } = connection;
      if (whenAnswered !== null) void track(exchanges, whenAnswered);
    },
  };

  /** Returns the head as a proxy gets it, also of a program that knows only a base address. */
  function inProxyForm(head: RequestHead, client: Client): RequestHead | SidekeyError {
    if (client.tunnel !== null || !hasBaseUrl(head)) return head;
    const read = fromBaseUrl(head, services.lastConfig().agents);
    if (read instanceof SidekeyError) denied(client, read);
    return read;
  }

  const tunnel = (opening: Opening) => openTunnel(opening, services, open, serveInside);

  async function serveSocks(socket: Duplex, client: Client): Promise<void> {
    const late = services.timers.after(services.lastConfig().limits.head_timeout, () => socket.destroy());
    const opening = await readSocks(socket, client).finally(late);
    if (opening instanceof SidekeyError) denied(client, opening);
    else if (opening !== null) await tunnelByName(opening);
  }

  async function tunnelByName(opening: Opening): Promise<void> {
    const named = await openingByName(opening, services);
    if (named !== null) await tunnel(named);
  }

  async function serveRedirected(socket: Socket, destination: string, from: Redirection): Promise<void> {
    // Rules of the kernel, which only root can load, say whose connections are redirected.
    const client = {
      ...clientOf(socket, places, services),
      loopback: isOfThisMachine(socket),
      owner: () => 'own' as const,
    };
    const refused = () => void socket.destroy();
    const opening = { head: connectHead(destination, null), socket, client, established() {}, refused };
    const named = await openingByName(opening, services);
    if (named === null) return;
    try {
      await from.checkOnce();
      const token = await from.token();
      await tunnel({ ...named, head: connectHead(named.head.target, token && `Bearer ${token}`) });
    } catch (error) {
      // Not one of the tunnel, which refuses by itself.
      if (error instanceof SidekeyError) denied(client, error);
      else failed(error);
      named.refused(error);
    }
  }

  async function serveEntering(socket: Socket, direct: Client, by: Entry): Promise<void> {
    const late = services.timers.after(services.lastConfig().limits.client_handshake, () => socket.destroy());
    try {
      const entered = await by.enter(socket, direct);
      if (entered === null) socket.destroy();
      else serve(entered.stream, entered.client);
    } catch (error) {
      if (error instanceof SidekeyError) denied(direct, error);
      else failed(error);
      refuseOn(socket, error);
    } finally {
      late();
    }
  }

  function serveUpgrade(asked: RequestHeadBytes, socket: Duplex, client: Client, early: Buffer): void {
    const head = inProxyForm(asked, client);
    if (head instanceof SidekeyError) {
      refuseOn(socket, head);
      return;
    }
    const frames = listenTo(socket, early);
    const send = (sending: Sending) => sendUpgrade(sending, upgradedSocket(socket, frames));
    const forwarder = watching(send, () => socket, true);
    const inbound = { head, body: null, client, upgrades: true } as const;
    void track(takenOver, exchange({ inbound, reply: socketReply(socket), services, forwarder }));
  }

  function serve(socket: Duplex, client: Client): void {
    // One that has gone already does not say so again.
    if (socket.destroyed) return;
    connections.add(new ClientConnection(socket, client, service));
  }

  const streams: SessionService = {
    ...service,
    exchange(inbound, stream) {
      const forwarder = watching(forward, (meter) => oneStream(stream, meter));
      return track(exchanges, exchange({ inbound, reply: stream.reply, services, forwarder }));
    },
    webSocket(inbound, request) {
      const send = (sending: Sending) => {
        // Frames of the tunnel explain the bytes that the client sends: see `isFlood`.
        sending.meter.onBytes(request.passed);
        sendUpgrade(sending, streamSide(request));
      };
      const forwarder = watching(send, (meter) => oneStream(request, meter), true);
      return track(takenOver, exchange({ inbound, reply: request.reply, services, forwarder }));
    },
    denied,
    left: (session) => void sessions.delete(session),
  };

  function serveInside(inside: Inside, outer: Client, tunnel: InterceptedTunnel): void {
    const client = { ...outer, tunnel };
    if (inside.scheme === 'http' || inside.protocol === 'http/1.1') serve(inside.stream, client);
    else if (!inside.stream.destroyed) {
      const session = new ClientSession(inside.stream, client, streams, inside.extendedConnect);
      sessions.add(session);
      if (closing !== undefined) session.drain();
    }
  }

  /** Records the refusal of bytes that are no request. The host is that of the tunnel, if there is one. */
  function denied({ address, tunnel }: Client, { code, status, message, hint }: SidekeyError): void {
    const { scheme, host, port } = tunnel?.authority ?? {};
    const facts = { client: address, scheme, host, port, code };
    services.log.info({ ...facts, hint }, `a client was refused: ${message}`);
    services.audit.note({ ...facts, event: 'denied', outcome: 'deny', status, reason: message });
  }

  // A client may end its side when it has asked, and still wants its answer.
  const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) => {
    if (places.admit(socket)) {
      const destination = redirection?.destinationOf(socket) ?? null;
      if (redirection === null || destination === null) {
        const client = clientOf(socket, places, services);
        if (entry === null) serve(socket, client);
        else void track(takenOver, serveEntering(socket, client, entry));
      } else if (!redirection.answersProbe(socket, destination))
        void track(takenOver, serveRedirected(socket, destination, redirection));
      return;
    }
    const most = services.lastConfig().limits.client_connections;
    if (tooMany.size >= most) {
      socket.destroy();
      return;
    }
    tooMany.add(socket);
    socket.once('close', () => tooMany.delete(socket));
    const sentence = `The proxy has ${most} connections already.`;
    refuseOn(socket, new SidekeyError('overloaded', sentence, { hint: 'raise limits.client_connections' }));
  });

  async function drain(drainMs: number): Promise<void> {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const connection of connections) connection.closeIfIdle(quietMs);
    for (const session of sessions) session.drain();
    await within(services.timers, quiet(), drainMs);
    // The end of an exchange belongs to its stream; that of a session may still be on its way.
    const drained = Promise.all(Array.from(sessions, (session) => session.drained));
    await within(services.timers, drained, lastWordMs);
    for (const socket of [...places, ...tooMany]) socket.destroy();
    // Each still writes its last audit event.
    await Promise.allSettled([...underWay(), ...takenOver]);
    open.close();
    await closed;
  }

  return {
    async listen(host, port, socket) {
      if (socket === undefined) server.listen({ host, port, backlog });
      else server.listen(socket, backlog);
      await once(server, 'listening').catch((cause: NodeJS.ErrnoException) => {
        throw listenFailure(cause, { host, port, setting: 'proxy.listen' });
      });
      redirection?.listens(server);
      await redirection?.check();
      return server.address() as AddressInfo;
    },
    recheck: () => void open.recheck(),
    accepts: () => server.listening && closing === undefined,
    async underWay() {
      await Promise.allSettled(underWay());
    },
    close: (drainMs) => (closing ??= drain(drainMs)),
  };
}

function sendUpgrade(sending: Sending, side: UpgradeSide): void {
  const { ending } = sending;
  void upgrade(sending, side).then(
    (result) => ending.done(result),
    (error: unknown) => ending.failed(error),
  );
}

/** Wraps one stream of a shared connection, so that it can be closed alone and its bytes are counted. */
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

function clientOf(
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

/** Reports whether a redirected connection comes from this machine. It has an address of its interface. */
function isOfThisMachine({ remoteAddress = '' }: Socket): boolean {
  const address = remoteAddress.replace(/^::ffff:/, '');
  return Object.values(networkInterfaces()).some((all) => all?.some((each) => each.address === address));
}

function answerHealth(method: string, reply: Reply, healthy: Buffer): void {
  const fields = ['Content-Type', 'application/json', 'Content-Length', String(healthy.length)];
  reply.head(200, 'OK', [...fields, 'Cache-Control', 'no-store']);
  if (method !== 'HEAD') reply.write(healthy);
  reply.end([]);
}

function isRead(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}

/** Compares in constant time. */
function isSame(secret: Buffer, text: string): boolean {
  return text.length === secret.length && timingSafeEqual(Buffer.from(text, 'latin1'), secret);
}

/**
 * Answers a request to the proxy itself: an origin-form target outside a tunnel. Returns whether it was one.
 * `GET /healthz` is for health checks, and reports only that this Sidekey serves.
 */
function answerSelf({ method, target, fields: own }: RequestHead, reply: Reply, healthy: Buffer): boolean {
  if (!target.startsWith('/') || hasBaseUrl({ target })) return false;
  if (target === '/healthz' && isRead(method)) {
    answerHealth(method, reply, healthy);
    return true;
  }
  if (isRead(method) && wantsPage(valuesOf(own, 'accept')[0])) {
    const { status, headers, body } = selfPage(target === '/' ? 200 : 404);
    const fields = [...Object.entries(headers).flat(), 'Content-Length', String(Buffer.byteLength(body))];
    reply.head(status, status === 200 ? 'OK' : 'Not Found', fields);
    if (method !== 'HEAD') reply.write(Buffer.from(body));
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

/** The page for a person who opens the proxy in a browser. */
function selfPage(status: number): PageAnswer {
  const commands = ['sidekey run -- claude', 'eval "$(sidekey env)"', 'sidekey status'].map(
    (command) => markup`<p><code>${asTyped(command)}</code></p>`,
  );
  const body = markup`<p>This address is an HTTP proxy, not a web site. Programs use it to send requests with your credentials.</p>
    <p>Start a program behind the proxy, set up a shell, or show the state:</p>
    ${commands}`;
  return renderPage({ kind: 'done', from: 'Sidekey', title: 'The Sidekey proxy is running', body }, status);
}

/**
 * Reports whether a request asks for a WebSocket (RFC 6455 §4.1). Any other upgrade, such as h2c, would hide
 * requests from policy, so its request is forwarded without `Upgrade`.
 */
function asksForWebSocket(head: RequestHeadBytes, framing: BodyFraming): boolean {
  if (framing.kind !== 'none' || head.version !== '1.1' || !head.lists('connection', 'upgrade')) return false;
  return isWebSocket(head.values('upgrade')) && head.method === 'GET';
}
