import type { Duplex } from 'node:stream';
import { SidekeyError } from '../../lib/errors.ts';
import { Deadline, type Timers } from '../../lib/timers.ts';
import { WriteBuffer } from '../../lib/write-buffer.ts';
import type { Limits } from '../../policy/limits.ts';
import type { BodyPlan } from '../framing.ts';
import type { RequestHeadBytes } from '../head.ts';
import type { InboundRequest, Client, Reply } from '../message.ts';
import { type Incoming, type IntakeOwner, left, RequestIntake, silent, type Stop } from './h1-request.ts';
import { ClientReply, keptLines, lastLines, type ReplyLine } from './h1-response.ts';
import { canBeReset } from './raw-reply.ts';

/** Whether a request has an expectation that nobody here can meet (RFC 9110 §10.1.1): then it is answered so. */
export function answerUnmet(head: RequestHeadBytes, reply: Reply): boolean {
  if (head.version === '1.0' || !head.has('expect') || head.lists('expect', '100-continue')) return false;
  refuseExpectation(reply);
  return true;
}

/** Answers a request whose expectation is not met. */
export function refuseExpectation(reply: Reply): void {
  reply.head(417, 'Expectation Failed', ['Content-Length', '0']);
  reply.end([]);
}

/** Bytes that are read ahead of whoever wants them; beyond that the client is not read from. */
const aheadBytes = 65_536;
/** How long a client may go on sending what nobody wants, or keep its side open, before its connection is cut. */
const lingerMs = 5_000;
/** So much later than it was told a client is hung up on, so that a request that is on its way still finds somebody. */
const graceMs = 1_000;

/**
 * One connection of a client that speaks HTTP/1.1: has its requests answered one after the other, and ends it when it is
 * time. Pipelined requests may depend on each other, and one that is not safe must not overtake another
 * (RFC 9112 §9.3.2).
 */
export class ClientConnection implements ReplyLine, IntakeOwner {
  readonly socket: Duplex;
  readonly client: Client;
  readonly outbox: WriteBuffer;
  readonly #service: Service;
  readonly #intake: RequestIntake;
  readonly #deadline: ConnectionDeadline;
  /** What is being answered. */
  #reply: ClientReply | null = null;
  #answered: Incoming | null = null;
  #waiting: Incoming[] = [];
  /** Whatever comes is thrown away: it had its last word, or is another's. */
  #isOver = false;
  hasEnded = false;
  #isPaused = false;
  #waitsForDrain = false;

  constructor(socket: Duplex, client: Client, service: Service) {
    const limits = service.limits();
    this.socket = socket;
    this.client = client;
    this.outbox = new WriteBuffer(socket);
    this.#service = service;
    this.#intake = new RequestIntake(this, limits);
    this.#deadline = new ConnectionDeadline(service.timers, service.now, (what) => this.#late(what));
    this.#deadline.set('first', limits.head_timeout);
    socket.on('error', ignore).on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onClose);
    socket.resume();
  }

  /** Cuts the connection where nothing was asked that is not answered. */
  closeIfIdle(): void {
    if (!this.#isBusy && !this.#intake.inHead && this.#intake.body === null) this.socket.destroy();
  }

  /** Whether a request is being answered, or waits. */
  get #isBusy(): boolean {
    return this.#reply !== null || this.#waiting.length > 0;
  }

  // What comes.

  readonly #onData = (piece: Buffer): void => {
    if (this.#isOver) return;
    const stop = this.#intake.read(piece);
    if (stop !== null) this.#stop(stop);
    this.#goOn();
  };

  takesOver(head: RequestHeadBytes, plan: BodyPlan): boolean {
    return this.#service.takesOver(head, plan);
  }

  requested(request: Incoming): boolean {
    this.#waiting.push(request);
    const most = this.#service.limits().pipelined_requests;
    if (this.#waiting.length + (this.#reply === null ? 0 : 1) <= most) return true;
    const sentence = `A connection may have ${most} requests that are not answered yet.`;
    this.#refuse(new SidekeyError('overloaded', sentence, { hint: 'raise limits.pipelined_requests' }));
    return false;
  }

  #stop(stop: Stop): void {
    if (stop.kind === 'malformed') {
      const due = this.#answered ?? this.#waiting[0];
      // Whoever answers its request meets the failure of its body, and says so where that can still be said.
      if (stop.body === null) this.#refuse(stop.why);
      else if (stop.body !== due?.body || this.#reply?.started === true) this.#refuse(stop.why, false);
    } else if (this.#isBusy) {
      const sentence = 'A request that takes the connection over stands behind one that is not answered yet.';
      this.#refuse(new SidekeyError('bad_request', sentence));
    } else {
      this.#detach();
      this.#service.takeOver(stop.head, this, stop.early);
    }
  }

  /** The answers that are due come first: where there are any, there is no place for one that says why. */
  #refuse(why: SidekeyError, answerable = !this.#isBusy): void {
    this.#waiting = [];
    this.#isOver = true;
    if (answerable) this.#detach();
    this.#service.refuse(why, this, answerable);
  }

  /** Has nothing more to do with the socket. */
  #detach(): void {
    this.#isOver = true;
    this.#deadline.close();
    this.socket.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose).pause();
    this.#service.left(this);
  }

  readonly #onEnd = (): void => {
    this.hasEnded = true;
    if (this.#isOver) return;
    // A body is not whole, and nothing will make it so. And TLS has no half-close that clients use (RFC 5246 §7.2.1):
    // one that ends while it waits has left.
    const isSecure = this.client.tunnel?.authority.scheme === 'https';
    if (this.#intake.body !== null || (this.#isBusy && isSecure)) this.socket.destroy();
    else if (this.#intake.inHead && !this.#intake.isBlank) {
      this.#refuse(new SidekeyError('bad_request', 'The head of the request did not come whole.'));
    } else if (!this.#isBusy) this.socket.end();
    else if (this.#reply?.isHeld === true && !this.#reply.ended) this.#reply.gone.tell();
  };

  readonly #onClose = (): void => {
    this.#deadline.close();
    this.#reply?.gone.tell();
    this.#answered?.body?.fail(left());
    this.#intake.body?.fail(left());
    this.#service.left(this);
  };

  // One request after the other.

  /** Answers what is due, and waits for what may come. */
  #goOn(): void {
    if (this.#isOver) return;
    if (this.#reply === null && this.#waiting.length > 0) this.#begin();
    this.#hold();
    this.#watch();
  }

  #begin(): void {
    const { socket, outbox } = this;
    // Who asks on and on, and takes no answer, is not answered.
    if (outbox.isFull && !socket.destroyed) {
      if (!this.#waitsForDrain) outbox.onDrain(this.#onDrained);
      this.#waitsForDrain = true;
      return;
    }
    const request = this.#waiting.shift()!;
    const { head, body } = request;
    const waits = body !== null && head.version === '1.1' && head.lists('expect', '100-continue');
    const reply = new ClientReply(this, head, waits);
    if (socket.destroyed) reply.gone.tell();
    this.#reply = reply;
    this.#answered = request;
    const inbound = {
      head,
      body,
      client: this.client,
      ...(body !== null && { trailers: () => body.trailers }),
    };
    void this.#service.exchange(inbound, reply, this).then(this.#onAnswered);
  }

  readonly #onDrained = (): void => {
    this.#waitsForDrain = false;
    this.#goOn();
  };

  readonly #onAnswered = (): void => {
    if (this.#reply?.ended === false) this.socket.destroy();
    void this.#answered?.body?.return();
    this.#reply = null;
    this.#answered = null;
    if (this.#isOver) return;
    if (this.#intake.isClosed) this.hangUp();
    else if (this.hasEnded && this.#waiting.length === 0) this.socket.end();
    this.#goOn();
  };

  // For the body.

  bodyAwaited(isAwaited: boolean): void {
    if (isAwaited) this.#deadline.set('body', this.#service.limits().client_body_idle);
    else if (this.#deadline.what === 'body') this.#deadline.clear();
  }

  bodyTaken(): void {
    if (this.#isPaused) this.#hold();
  }

  /** Reads as far ahead as may be. */
  #hold(): void {
    let held = this.#answered?.body?.held ?? 0;
    for (const { head, body } of this.#waiting) held += head.size + (body?.held ?? 0);
    const isPaused = held >= aheadBytes && !this.#isOver;
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    if (isPaused) this.socket.pause();
    else this.socket.resume();
  }

  // For the reply.

  get endsAnyway(): boolean {
    if (this.#service.isClosing()) return true;
    const { saidLast, isClosed } = this.#intake;
    return (saidLast || isClosed || this.hasEnded) && this.#waiting.length === 0;
  }

  get isFull(): boolean {
    return this.outbox.isFull;
  }

  connectionLines(isLast: boolean): string {
    return isLast ? lastLines : keptLines(this.#service.limits().client_idle);
  }

  takeNoMore(): void {
    this.#intake.isClosed = true;
  }

  hangUp(): void {
    this.#waiting = [];
    this.#isOver = true;
    this.#hold();
    this.socket.end();
    this.#linger();
  }

  onDrain(listener: () => void): void {
    this.outbox.onDrain(listener);
  }

  cut(isPlainEnd: boolean): void {
    this.outbox.flush();
    // A mere end may stand for the end of a response: then it is reset, where TLS does not tell them apart.
    const { socket } = this;
    if (isPlainEnd && canBeReset(socket)) {
      socket.resetAndDestroy();
      return;
    }
    // What was said before still arrives, and what is missing shows; TLS is not told of an end.
    this.outbox.whenTaken(() => socket.destroy());
    this.#linger();
  }

  // Time.

  /** Sets the deadline for what comes next. */
  #watch(): void {
    if (this.#isOver || this.socket.destroyed) return;
    const deadline = this.#deadline;
    const limits = this.#service.limits();
    if (this.#intake.inHead) {
      if (deadline.what !== 'head') deadline.set('head', limits.head_timeout);
    } else if (this.#isBusy) {
      if (deadline.what !== 'body') deadline.clear();
    } else if (this.#intake.body !== null) this.#linger();
    else deadline.set('next', limits.client_idle + graceMs);
  }

  /** Reads what still comes, so that closing does not reset the connection under the last word; but not for ever. */
  #linger(): void {
    if (this.#deadline.what !== 'close' && !this.socket.destroyed) this.#deadline.set('close', lingerMs);
  }

  #late(what: Awaited): void {
    const limits = this.#service.limits();
    if (what === 'body') this.#answered?.body?.fail(silent(limits.client_body_idle));
    else if (what !== 'head') this.socket.destroy();
    // It is not the client's fault that nobody reads.
    else if (this.#isPaused) this.#deadline.set('head', limits.head_timeout);
    else if (this.#intake.isBlank) this.socket.destroy();
    else this.#refuse(new SidekeyError('bad_request', 'The head of the request did not come in time.'));
  }
}

function ignore(): void {}

/** The event that a client connection waits for. */
export type Awaited = 'first' | 'head' | 'body' | 'next' | 'close';

/** The one deadline of a connection, for the event that it waits for. An exchange that is answered at once sets no timer. */
export class ConnectionDeadline {
  #what: Awaited | null = null;
  readonly #deadline: Deadline;

  /** @param now a monotonic clock, in milliseconds */
  constructor(timers: Timers, now: () => number, onPassed: (what: Awaited) => void) {
    this.#deadline = new Deadline({ now, after: (ms, run) => timers.after(ms, run) }, () => {
      const what = this.#what;
      this.#what = null;
      if (what !== null) onPassed(what);
    });
  }

  /** The awaited event; null: none. */
  get what(): Awaited | null {
    return this.#what;
  }

  /** Waits for an event for `ms` milliseconds, and for no other. */
  set(what: Awaited, ms: number): void {
    this.#what = what;
    this.#deadline.set(ms);
  }

  /** Waits for nothing. The timer may remain. */
  clear(): void {
    this.#what = null;
    this.#deadline.clear();
  }

  /** Waits for nothing, and removes the timer. */
  close(): void {
    this.#what = null;
    this.#deadline.stop();
  }
}

/** A request with its head as it stood in the bytes. */
type H1InboundRequest = InboundRequest & { readonly head: RequestHeadBytes };

/** What a connection hands its requests to. */
export interface Service {
  readonly timers: Timers;
  /** A clock that goes forward alone, in milliseconds. */
  readonly now: () => number;
  readonly limits: () => Limits;
  /** Whether the proxy stops: each response is the last of its connection. */
  readonly isClosing: () => boolean;
  /** Answers a request; the next one waits until that has ended. Never rejects. */
  exchange(inbound: H1InboundRequest, reply: ClientReply, from: ClientConnection): Promise<void>;
  /** Whether a request takes the whole connection over: a CONNECT, a WebSocket handshake. */
  takesOver(head: RequestHeadBytes, plan: BodyPlan): boolean;
  /** Takes it over, with the bytes that came behind the head. The socket is paused. */
  takeOver(head: RequestHeadBytes, from: ClientConnection, early: Buffer): void;
  /**
   * What came is not served, and nothing behind it. `answerable`: nothing is under way, so that the client can still be
   * told, on the socket; else the connection is cut.
   */
  refuse(why: SidekeyError, from: ClientConnection, answerable: boolean): void;
  /** The connection is another's, or gone. */
  left(from: ClientConnection): void;
}
