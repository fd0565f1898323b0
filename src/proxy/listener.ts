import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Client } from './http/message.ts';
import { refuseOn } from './http/problem.ts';
import { ConnectionPlaces } from '../lib/connection-places.ts';
import { listenFailure, SidekeyError } from '../lib/errors.ts';
import { within } from '../lib/timers.ts';
import { openingByName, type Redirection } from './transparent.ts';
import { ClientService, clientOf } from './client-service.ts';
import { connectHead } from './connect.ts';
import type { Entry } from './entry.ts';
import { OpenWork } from './open-work.ts';
import { type OwnAnswerParts, OwnAnswers } from './own-answers.ts';
import { createOpenConnections, type OpenConnections } from './revalidate.ts';
import type { ProxyServices } from './services.ts';

/** Owns the listening socket of the proxy and every client connection. */
export interface Listener {
  /**
   * Starts to listen; resolves with the bound address. Rejects with SidekeyError `port_in_use`,
   * `listen_failed` or `redirect_loop`.
   * @param socket socket that is already bound to the port, and may be shared with other processes
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

/** Maximum number of connections that wait to be accepted; the system may allow fewer. */
const backlog = 4_096;

/** Time for a session to end after its last exchange, in milliseconds. */
const lastWordMs = 500;

/** Parts of the listener besides the services of its exchanges. */
interface ListenerParts extends OwnAnswerParts {
  /** Null: connections begin with their first request. */
  readonly entry: Entry | null;
  /** Null: no connections are redirected to the proxy. */
  readonly redirection: Redirection | null;
}

/** The listener of a process that serves by itself. Constructing it has no side effects. */
export class ProxyListener implements Listener {
  readonly #services: ProxyServices;
  readonly #entry: Entry | null;
  readonly #redirection: Redirection | null;
  readonly #open: OpenConnections;
  readonly #work: OpenWork;
  readonly #clients: ClientService;
  readonly #places: ConnectionPlaces;
  /** Connections beyond the limit that are being closed. They do not count towards the limit. */
  readonly #tooMany = new Set<Socket>();
  readonly #server: Server;
  #closing: Promise<void> | undefined;

  constructor(services: ProxyServices, parts: ListenerParts) {
    this.#services = services;
    this.#entry = parts.entry;
    this.#redirection = parts.redirection;
    this.#open = createOpenConnections(services, services.timers);
    this.#work = new OpenWork(this.#open, services);
    const ownAnswers = new OwnAnswers(parts);
    this.#clients = new ClientService(services, { open: this.#open, work: this.#work, own: ownAnswers });
    this.#places = new ConnectionPlaces(() => services.lastConfig().limits.client_connections);
    // A client may end its side when it has asked, and still wants its answer.
    const options = { allowHalfOpen: true, noDelay: true, keepAlive: true };
    this.#server = createServer(options, (socket) => {
      if (this.#places.admit(socket)) this.#serve(socket);
      else this.#refuse(socket);
    });
  }

  async listen(host: string, port: number, socket?: object): Promise<AddressInfo> {
    const server = this.#server;
    if (socket === undefined) server.listen({ host, port, backlog });
    else server.listen(socket, backlog);
    await once(server, 'listening').catch((cause: NodeJS.ErrnoException) => {
      throw listenFailure(cause, { host, port, setting: 'proxy.listen' });
    });
    // A connection that the system could not accept must not end the process.
    server.on('error', (error) => this.#work.failed(error));
    this.#redirection?.listens(server);
    await this.#redirection?.check();
    return server.address() as AddressInfo;
  }

  recheck(): void {
    void this.#open.recheck();
  }

  accepts(): boolean {
    return this.#server.listening && this.#closing === undefined;
  }

  async underWay(): Promise<void> {
    await Promise.allSettled(this.#work.underWay());
  }

  close(drainMs: number): Promise<void> {
    return (this.#closing ??= this.#drain(drainMs));
  }

  async #drain(drainMs: number): Promise<void> {
    const { timers } = this.#services;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#work.closeIdle();
    await within(timers, this.#work.quiet(), drainMs);
    // The end of an exchange belongs to its stream; that of a session may still be on its way.
    const drained = Promise.all(Array.from(this.#work.sessions, (session) => session.drained));
    await within(timers, drained, lastWordMs);
    for (const socket of [...this.#places, ...this.#tooMany]) socket.destroy();
    // Each still writes its last audit event.
    await this.#work.ended();
    this.#open.close();
    await closed;
  }

  #serve(socket: Socket): void {
    const redirection = this.#redirection;
    const destination = redirection?.destinationOf(socket) ?? null;
    if (redirection === null || destination === null) {
      const client = clientOf(socket, this.#places, this.#services);
      if (this.#entry === null) this.#clients.serve(socket, client);
      else void this.#work.takeOver(this.#enter(socket, client, this.#entry));
    } else if (!redirection.answersProbe(socket, destination))
      void this.#work.takeOver(this.#serveRedirected(socket, destination, redirection));
  }

  /** Refuses a connection for which there is no place. */
  #refuse(socket: Socket): void {
    const most = this.#services.lastConfig().limits.client_connections;
    if (this.#tooMany.size >= most) {
      socket.destroy();
      return;
    }
    this.#tooMany.add(socket);
    socket.once('close', () => this.#tooMany.delete(socket));
    const sentence = `The proxy has ${most} connections already.`;
    refuseOn(socket, new SidekeyError('overloaded', sentence, { hint: 'raise limits.client_connections' }));
  }

  async #enter(socket: Socket, direct: Client, by: Entry): Promise<void> {
    const { timers, lastConfig } = this.#services;
    const late = timers.after(lastConfig().limits.client_handshake, () => socket.destroy());
    try {
      const entered = await by.enter(socket, direct);
      if (entered === null) socket.destroy();
      else this.#clients.serve(entered.stream, entered.client);
    } catch (error) {
      this.#report(direct, error);
      refuseOn(socket, error);
    } finally {
      late();
    }
  }

  async #serveRedirected(socket: Socket, destination: string, from: Redirection): Promise<void> {
    // Rules of the kernel, which only root can load, say whose connections are redirected.
    const client = {
      ...clientOf(socket, this.#places, this.#services),
      loopback: isOfThisMachine(socket),
      owner: () => 'own' as const,
    };
    const refused = () => void socket.destroy();
    const opening = { head: connectHead(destination, null), socket, client, established() {}, refused };
    const named = await openingByName(opening, this.#services);
    if (named === null) return;
    try {
      await from.checkOnce();
      const token = await from.token();
      const head = connectHead(named.head.target, token && `Bearer ${token}`);
      await this.#clients.tunnel({ ...named, head });
    } catch (error) {
      // Not one of the tunnel, which refuses by itself.
      this.#report(client, error);
      named.refused(error);
    }
  }

  #report(client: Client, error: unknown): void {
    if (error instanceof SidekeyError) this.#clients.denied(client, error);
    else this.#work.failed(error);
  }
}

/** Reports whether a redirected connection comes from this machine: its address is that of an interface. */
function isOfThisMachine({ remoteAddress = '' }: Socket): boolean {
  const address = remoteAddress.replace(/^::ffff:/, '');
  return Object.values(networkInterfaces()).some((all) => all?.some((each) => each.address === address));
}
