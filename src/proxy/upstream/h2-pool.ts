import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { SidekeyError } from '../../lib/errors.ts';
import { type Clock, systemClock } from '../../lib/timers.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import { clientCertificateHint, clientCertificateRefused, type Peer } from '../policy/peer.ts';
import { asError, type Connections, PeerPool, type PoolContext, PoolsByPeer } from './h1-pool.ts';
import {
  http1,
  type KnownProtocols,
  maxStreams,
  type NegotiatedProtocol,
  Session,
  type SessionOptions,
  type SessionOwner,
} from './h2-session.ts';
import type { StreamUser } from './h2-stream.ts';

/** Streams on shared HTTP/2 sessions with upstreams. The dialer makes the connections of all sessions. */
export type Streams = ReturnType<typeof createStreams>;

interface SessionPoolContext extends PoolContext {
  readonly limits: SessionOptions['limits'] & Pick<Limits, 'upstream_connections' | 'upstream_wait'>;
  readonly known: KnownProtocols;
  /** Takes over connections that negotiated HTTP/1.1. */
  readonly connections: Pick<Connections, 'adopt'>;
}

interface StreamsOptions extends Omit<SessionPoolContext, 'clock' | 'pools'> {
  /** Default: the clock of the process. */
  readonly clock?: Clock;
}

/** Creates the pools, without connections. */
export function createStreams({ clock = systemClock, ...options }: StreamsOptions) {
  const pools: PoolsByPeer<SessionPool> = new PoolsByPeer(
    (peer) => new SessionPool(peer, { ...options, clock, pools }),
  );
  return {
    /**
     * Opens a stream to this peer for the user, perhaps before this returns, otherwise on the next session
     * that has room or is made. Calls `opened` or `unopened`.
     *
     * @param fresh true: no idle session, because another one was just found dead
     */
    request(peer: Peer, user: StreamUser, fresh = false): void {
      if (options.known.get(peer)?.protocol === 'http/1.1') user.unopened('http/1.1');
      else pools.at(peer).request(user, fresh);
    },
    /** Removes a user that no longer waits. */
    leave: (peer: Peer, user: StreamUser) => pools.find(peer)?.leave(user),
    /** Makes a connection to learn its protocol, and keeps it. Rejects if no connection can be made. */
    negotiate: (peer: Peer) => pools.at(peer).negotiate(),
    usage: () => pools.usage(),
    /** Keeps no further session. Resolves when the last stream has ended. */
    close: () => pools.close(),
  };
}

/** The HTTP/2 sessions with one peer. */
class SessionPool extends PeerPool<StreamUser, SessionPoolContext> implements SessionOwner {
  /** Sessions that have been ready, oldest first. */
  readonly #sessions = new Set<Session>();
  /** Number of streams that a new session probably allows: as many as the last one. */
  #expectedStreams = maxStreams;
  /** Waiting callers of `negotiate`. */
  #negotiating: PromiseWithResolvers<NegotiatedProtocol>[] = [];

  protected get idle(): number {
    return [...this.#sessions].filter(({ isIdle }) => isIdle).length;
  }

  protected servedByDialing(): number {
    return this.dialing * this.#expectedStreams;
  }

  protected refuse(user: StreamUser): void {
    user.unopened(noStreamFree(this.peer));
  }

  request(user: StreamUser, fresh: boolean): void {
    // If one idle session is dead, most others are too.
    if (fresh) for (const session of this.#sessions) if (session.isIdle) session.retire();
    const session = [...this.#sessions].find((it) => it.room > 0);
    if (session !== undefined) {
      session.open(user);
      return;
    }
    this.waiting.add(user);
    this.#dial();
    this.waiting.watch();
  }

  negotiate(): Promise<NegotiatedProtocol> {
    // Known protocols expire, but a session that accepts streams still has its protocol.
    const session = [...this.#sessions].find(({ room }) => room > 0 || this.isFull);
    if (session !== undefined) return Promise.resolve(session.negotiated);
    const caller = Promise.withResolvers<NegotiatedProtocol>();
    this.#negotiating.push(caller);
    if (this.dialing === 0) void this.#dialOne();
    return caller.promise;
  }

  closeIdle(): void {
    for (const session of this.#sessions) session.retire();
    this.checkEmpty();
  }

  ready(session: Session): void {
    this.dialing -= 1;
    this.#expectedStreams = Math.max(1, session.maxStreams);
    this.#sessions.add(session);
    this.context.known.learn(this.peer, session.negotiated);
    for (const caller of this.#negotiating.splice(0)) caller.resolve(session.negotiated);
    this.#serve();
    if (this.isClosing) session.retire();
    this.#dial();
  }

  changed(session: Session): void {
    this.#serve();
    if (session.room === 0) this.#dialSoon();
  }

  closed(session: Session, error: Error | null): void {
    this.count -= 1;
    this.#sessions.delete(session);
    if (error === null) this.#dialSoon();
    else {
      this.dialing -= 1;
      this.#failed(sessionError(error, this.peer));
    }
    this.checkEmpty();
  }

  /** Makes as many connections as users wait for and the limit allows. */
  #dial(): void {
    // While one session allows no stream, further sessions would most likely allow none either.
    if ([...this.#sessions].some((session) => session.maxStreams === 0)) return;
    while (this.servedByDialing() < this.waiting.size && !this.isFull) void this.#dialOne();
  }

  /** Dials in the next turn: users that are served together must not cause a connection each. */
  #dialSoon(): void {
    if (this.waiting.size > 0) setImmediate(() => this.#dial());
  }

  async #dialOne(): Promise<void> {
    this.count += 1;
    this.dialing += 1;
    const { dialer, clock, limits } = this.context;
    const made = await dialer.connect(this.peer, { protocols: ['h2', 'http/1.1'] }).catch(asError);
    if (!(made instanceof Error) && (made as TLSSocket).alpnProtocol === 'h2') {
      new Session(made, { authority: this.peer, owner: this, clock, limits }).begin();
      return;
    }
    this.count -= 1;
    this.dialing -= 1;
    if (made instanceof Error) this.#failed(made);
    else this.#useHttp1(made);
    this.checkEmpty();
  }

  #useHttp1(socket: Socket): void {
    this.context.known.learn(this.peer, http1);
    this.context.connections.adopt(this.peer, socket);
    for (const caller of this.#negotiating.splice(0)) caller.resolve(http1);
    this.#dismiss('http/1.1');
  }

  /** Handles a failed connection. Users continue to wait if there is another one. */
  #failed(error: Error): void {
    this.context.known.forget(this.peer);
    for (const caller of this.#negotiating.splice(0)) caller.reject(error);
    if (this.dialing === 0 && this.#sessions.size === 0) this.#dismiss(error);
    else this.waiting.watch();
  }

  /** Dismisses all users that wait now. One that requests again meanwhile waits for another connection. */
  #dismiss(why: Error | 'http/1.1'): void {
    for (let size = this.waiting.size; size > 0; size -= 1) this.waiting.next()?.unopened(why);
  }

  #serve(): void {
    for (const session of this.#sessions) {
      while (session.room > 0) {
        const user = this.waiting.next();
        if (user === undefined) return;
        session.open(user);
      }
    }
  }
}

/** Returns the error if all sessions stayed full while a request waited for a stream. */
function noStreamFree(authority: Authority): SidekeyError {
  const sentence = `All HTTP/2 connections to ${authorityText(authority)} have as many requests as they allow.`;
  return new SidekeyError('overloaded', sentence, {
    hint: 'try again, or raise limits.upstream_connections',
  });
}

function sessionError(cause: Error, peer: Peer): Error {
  if (cause instanceof SidekeyError) return cause;
  const sentence = `${authorityText(peer)} negotiated HTTP/2, and did not speak it.`;
  return (
    clientCertificateRefused(peer, cause) ??
    new SidekeyError('upstream_protocol', sentence, { hint: clientCertificateHint(peer), cause })
  );
}
