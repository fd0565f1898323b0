import type { TLSSocket } from 'node:tls';
import { SidekeyError } from '../lib/errors.ts';
import { type Clock, systemClock } from '../lib/timers.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import type { Peer } from '../policy/peer.ts';
import type { Dialer } from './dialer.ts';
import { mostStreams, Session, type SessionOptions, type SessionOwner } from './h2-session.ts';
import type { StreamUser } from './h2-stream.ts';
import { ByAuthority, Queue } from './pool-map.ts';
import type { Connections } from './pool.ts';
import { http1, type KnownProtocols, type Spoken } from './protocol.ts';
import { clientCertificateRefused, clientCertificateHint } from './tls.ts';

/** Streams of HTTP/2 sessions with upstreams. The sessions are kept and shared, every one of them made by the dialer. */
export interface Streams {
  /**
   * Opens the user a stream on a session with this peer, perhaps before this returns; else on the next that has room
   * or is made. It is told by `opened` or `unopened`.
   *
   * @param fresh whether a session that rests is not good enough: one has just turned out to be dead
   */
  request(peer: Peer, user: StreamUser, fresh?: boolean): void;
  /** The user waits no longer. */
  leave(peer: Peer, user: StreamUser): void;
  /** Makes a connection to find out what is spoken, and keeps it if that is HTTP/2. Rejects where none can be made. */
  negotiate(peer: Peer): Promise<Spoken>;
  /** Keeps nothing any more; resolves when what is under way has ended. */
  close(): Promise<void>;
}

/** What sessions are made and kept by. */
interface StreamsOptions {
  readonly dialer: Dialer;
  readonly limits: SessionHouse['limits'];
  readonly known: KnownProtocols;
  /** For a connection that turned out to speak HTTP/1.1. */
  readonly connections: Pick<Connections, 'adopt'>;
  /** Default: that of the process. */
  readonly clock?: Clock;
}

/** Connects to nobody yet. */
export function createStreams(options: StreamsOptions): Streams {
  const { dialer, limits, known, connections, clock = systemClock } = options;
  const house: SessionHouse = {
    dialer,
    limits,
    known,
    clock,
    adopt: (peer, socket) => connections.adopt(peer, socket),
    isClosing: (peer) => shelves.isClosing(peer),
    emptied: (peer, shelf) => shelves.emptied(peer, shelf),
  };
  const shelves = new ByAuthority<SessionShelf>((peer) => new SessionShelf(peer, house));
  return {
    request(peer, user, fresh = false) {
      if (known.get(peer)?.protocol === 'http/1.1') user.unopened('http/1.1');
      else shelves.at(peer).request(user, fresh);
    },
    leave: (peer, user) => shelves.find(peer)?.leave(user),
    negotiate: (peer) => shelves.at(peer).negotiate(),
    close: () => shelves.close(),
  };
}

/** What the sessions with all peers have in common. */
interface SessionHouse {
  readonly dialer: Dialer;
  readonly limits: SessionOptions['limits'] & Pick<Limits, 'upstream_connections' | 'upstream_wait'>;
  readonly clock: Clock;
  readonly known: KnownProtocols;
  /** Takes a connection that turned out to speak HTTP/1.1. */
  readonly adopt: Connections['adopt'];
  /** Whether nothing is kept for this peer any more. */
  isClosing(peer: Peer): boolean;
  /** Nothing is left there. */
  emptied(peer: Peer, shelf: SessionShelf): void;
}

/** All sessions with one peer, and who waits for a stream on one of them. */
class SessionShelf implements SessionOwner {
  readonly #peer: Peer;
  readonly #house: SessionHouse;
  /** Those that have been ready, the oldest first. */
  readonly #sessions = new Set<Session>();
  readonly #waiting: Queue<StreamUser>;
  /** Connections that there are, and that are being made. */
  #count = 0;
  #dialing = 0;
  /** How many streams a session is expected to take: as many as the last one did. */
  #expected = mostStreams;
  /** Who wants to know no more than what is spoken. */
  #asking: PromiseWithResolvers<Spoken>[] = [];

  constructor(peer: Peer, house: SessionHouse) {
    this.#peer = peer;
    this.#house = house;
    this.#waiting = new Queue({
      clock: house.clock,
      waitMs: house.limits.upstream_wait,
      ahead: () => this.#dialing * this.#expected,
      refuse: (late) => this.#refuse(late),
    });
  }

  request(user: StreamUser, fresh: boolean): void {
    // Where one is dead, those that rest mostly are.
    if (fresh) for (const session of this.#sessions) if (session.isIdle) session.retire();
    const session = [...this.#sessions].find((it) => it.room > 0);
    if (session !== undefined) {
      session.open(user);
      return;
    }
    this.#waiting.add(user);
    this.#dial();
    this.#waiting.watch();
  }

  leave(user: StreamUser): void {
    this.#waiting.remove(user);
    this.#checkEmpty();
  }

  /** Makes a connection to find out what is spoken, and keeps it as a session. Rejects where that cannot be found out. */
  negotiate(): Promise<Spoken> {
    // What was chosen is forgotten after a time; a session that takes more says it still.
    const isFull = this.#count >= this.#house.limits.upstream_connections;
    const session = [...this.#sessions].find(({ room }) => room > 0 || isFull);
    if (session !== undefined) return Promise.resolve(session.spoken);
    const asked = Promise.withResolvers<Spoken>();
    this.#asking.push(asked);
    if (this.#dialing === 0) void this.#dialOne();
    return asked.promise;
  }

  clear(): void {
    for (const session of this.#sessions) session.retire();
    this.#checkEmpty();
  }

  ready(session: Session): void {
    this.#dialing -= 1;
    this.#expected = Math.max(1, session.most);
    this.#sessions.add(session);
    this.#house.known.learn(this.#peer, session.spoken);
    this.#answer((it) => it.resolve(session.spoken));
    this.#serve();
    if (this.#house.isClosing(this.#peer)) session.retire();
    this.#dial();
  }

  changed(session: Session): void {
    this.#serve();
    if (session.room === 0) this.#dialSoon();
  }

  closed(session: Session, error: Error | null): void {
    this.#count -= 1;
    this.#sessions.delete(session);
    if (error === null) this.#dialSoon();
    else {
      this.#dialing -= 1;
      this.#failed(asFailure(error, this.#peer));
    }
    this.#checkEmpty();
  }

  /** Makes as many connections as are waited for and may be made. */
  #dial(): void {
    // One that takes no stream for now would be the first of many.
    if ([...this.#sessions].some(({ most }) => most === 0)) return;
    while (
      this.#dialing * this.#expected < this.#waiting.size &&
      this.#count < this.#house.limits.upstream_connections
    )
      void this.#dialOne();
  }

  /** In the next turn: those who are told at the same time are not to have connections made for each other. */
  #dialSoon(): void {
    if (this.#waiting.size > 0) setImmediate(() => this.#dial());
  }

  async #dialOne(): Promise<void> {
    this.#count += 1;
    this.#dialing += 1;
    const { dialer, clock, limits, known, adopt } = this.#house;
    const made = await dialer.connect(this.#peer, { protocols: ['h2', 'http/1.1'] }).catch(asError);
    if (!(made instanceof Error) && (made as TLSSocket).alpnProtocol === 'h2') {
      new Session(made, { authority: this.#peer, owner: this, clock, limits }).begin();
      return;
    }
    this.#count -= 1;
    this.#dialing -= 1;
    if (made instanceof Error) this.#failed(made);
    else {
      known.learn(this.#peer, http1);
      adopt(this.#peer, made);
      this.#answer((it) => it.resolve(http1));
      this.#turnAway('http/1.1');
    }
    this.#checkEmpty();
  }

  /** No connection has come of it. Who waits waits on while there is another. */
  #failed(error: Error): void {
    this.#house.known.forget(this.#peer);
    this.#answer((it) => it.reject(error));
    if (this.#dialing === 0 && this.#sessions.size === 0) this.#turnAway(error);
    else this.#waiting.watch();
  }

  #answer(how: (asked: PromiseWithResolvers<Spoken>) => void): void {
    for (const asked of this.#asking.splice(0)) how(asked);
  }

  #turnAway(why: Error | 'http/1.1'): void {
    for (let size = this.#waiting.size; size > 0; size -= 1) this.#waiting.next()?.unopened(why);
  }

  #serve(): void {
    for (const session of this.#sessions) {
      while (session.room > 0) {
        const user = this.#waiting.next();
        if (user === undefined) return;
        session.open(user);
      }
    }
  }

  #refuse(late: readonly StreamUser[]): void {
    for (const user of late) user.unopened(noStreamFree(this.#peer));
    this.#checkEmpty();
  }

  #checkEmpty(): void {
    if (this.#waiting.size > 0) return;
    this.#waiting.rest();
    if (this.#count > 0) return;
    this.#waiting.stop();
    this.#house.emptied(this.#peer, this);
  }
}

/** Every session stayed full while a request waited for a stream. */
function noStreamFree(authority: Authority): SidekeyError {
  const sentence = `All HTTP/2 connections to ${authorityText(authority)} have as many requests as they take.`;
  return new SidekeyError('overloaded', sentence, {
    hint: 'try again, or raise limits.upstream_connections',
  });
}

function asFailure(error: Error, peer: Peer): Error {
  if (error instanceof SidekeyError) return error;
  const sentence = `${authorityText(peer)} chose HTTP/2, and did not speak it.`;
  const hint = clientCertificateHint(peer);
  return (
    clientCertificateRefused(peer, error) ??
    new SidekeyError('upstream_protocol', sentence, { hint, cause: error })
  );
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error('the dialer failed', { cause: error });
}
