import type { ClientConnection } from './http/server/h1-connection.ts';
import type { ClientSession } from './http/server/h2-session.ts';
import { pause } from '../lib/timers.ts';
import type { OpenConnections } from './revalidate.ts';
import type { ProxyServices } from './services.ts';

/** Milliseconds without a request or a byte, after which a stopping proxy closes a connection or a tunnel. */
const quietMs = 1_000;
/** Milliseconds between two checks for remaining connections. */
const lookMs = 20;

/** The client connections of a listener, and the exchanges and tunnels on them that have not ended. */
export class OpenWork {
  readonly connections = new Set<ClientConnection>();
  readonly sessions = new Set<ClientSession>();
  isClosing = false;
  /** Exchanges of HTTP/2, which end by themselves, as opposed to tunnels and upgraded connections. */
  readonly #exchanges = new Set<Promise<void>>();
  readonly #takenOver = new Set<Promise<void>>();
  readonly #open: OpenConnections;
  readonly #services: Pick<ProxyServices, 'log' | 'timers'>;

  constructor(open: OpenConnections, services: Pick<ProxyServices, 'log' | 'timers'>) {
    this.#open = open;
    this.#services = services;
  }

  /** Adds an exchange. Returns a promise of its end, which never rejects. */
  exchange(work: Promise<void>): Promise<void> {
    return this.#track(this.#exchanges, work);
  }

  /** Adds a tunnel or an upgraded connection. Returns a promise of its end, which never rejects. */
  takeOver(work: Promise<void>): Promise<void> {
    return this.#track(this.#takenOver, work);
  }

  readonly failed = (error: unknown): void => {
    this.#services.log.error({ err: error }, 'a connection failed');
  };

  #track(works: Set<Promise<void>>, work: Promise<void>): Promise<void> {
    const end = () => void works.delete(done);
    const done = work.then(end, (error: unknown) => {
      end();
      this.failed(error);
    });
    works.add(done);
    return done;
  }

  /** Returns all exchanges that are under way. */
  underWay(): readonly Promise<void>[] {
    const answered = Array.from(this.connections, (connection) => connection.whenAnswered);
    return [...this.#exchanges, ...answered.filter((each) => each !== null)];
  }

  /** Resolves when all exchanges, tunnels and upgraded connections of now have ended. */
  async ended(): Promise<void> {
    await Promise.allSettled([...this.underWay(), ...this.#takenOver]);
  }

  /** Accepts no more requests of idle clients. */
  closeIdle(): void {
    this.isClosing = true;
    for (const connection of this.connections) connection.closeIfIdle(quietMs);
    for (const session of this.sessions) session.drain();
  }

  /** Resolves when the remaining connections are idle. A client may hold a tunnel open forever. */
  async quiet(): Promise<void> {
    for (;;) {
      // Also the exchanges that begin meanwhile.
      for (let all = this.underWay(); all.length > 0; all = this.underWay()) await Promise.allSettled(all);
      const before = this.#open.bytes();
      for (let waited = 0; this.#isLeft && waited < quietMs; waited += lookMs)
        await pause(this.#services.timers, lookMs);
      if (this.underWay().length === 0 && (!this.#isLeft || this.#open.bytes() === before)) return;
    }
  }

  get #isLeft(): boolean {
    return this.connections.size + this.#takenOver.size > 0;
  }
}
