import type { Duplex } from 'node:stream';
import { SidekeyError } from '../../lib/errors.ts';
import { Deadline, type Timers } from '../../lib/timers.ts';
import { WriteBuffer } from '../../lib/write-buffer.ts';
import type { Limits } from '../../policy/limits.ts';
import type { BodyFraming } from '../framing.ts';
import type { RequestHeadBytes } from '../head.ts';
import type { InboundRequest, Client, Reply } from '../message.ts';
import { type Incoming, type IntakeOwner, left, RequestIntake, silent, type Stop } from './h1-request.ts';
import { ClientReply, keptLines, lastLines, type ReplyLine } from './h1-response.ts';
import { canBeReset } from '../problem.ts';

/** First byte of a SOCKS5 client (RFC 1928 §3). No request of HTTP begins with it. */
export const socksVersion = 5;

/** Answers a request with an unknown expectation by 417 (RFC 9110 §10.1.1). Returns whether it did. */
export function answerUnmet(head: RequestHeadBytes, reply: Reply): boolean {
  if (head.version === '1.0' || !head.has('expect') || head.lists('expect', '100-continue')) return false;
  refuseExpectation(reply);
  return true;
}

/** Sends a 417. */
export function refuseExpectation(reply: Reply): void {
  reply.head(417, 'Expectation Failed', ['Content-Length', '0']);
  reply.end([]);
}

/** Maximum number of unread bytes. Beyond it, the socket is paused. */
const maxUnreadBytes = 65_536;
/** Milliseconds until the connection of a client that keeps sending, or does not close, is cut. */
const lingerMs = 5_000;
/** Milliseconds added to the announced idle time, so that a request in transit is still answered. */
const graceMs = 1_000;

/**
 * A client connection of HTTP/1.1. Its requests are answered in their order: pipelined requests may depend on each other
 * (RFC 9112 §9.3.2).
 */
export class ClientConnection implements ReplyLine, IntakeOwner {
  readonly socket: Duplex;
  readonly client: Client;
  readonly outbox: WriteBuffer;
  readonly #service: Service;
  readonly #intake: RequestIntake;
  readonly #deadline: ConnectionDeadline;
  /** The current reply and its request. */
  #reply: ClientReply | null = null;
  #answered: Incoming | null = null;
  #whenAnswered: PromiseWithResolvers<void> | null = null;
  #waiting: Incoming[] = [];
  /** Input is discarded, or belongs to another owner. */
  #isOver = false;
  hasEnded = false;
  #isPaused = false;
  #isBeginning = false;
  #isNew = true;
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

  /**
   * Closes the connection if no request is pending: at once, or as soon as the client was quiet for `quietMs`. One that has
   * just connected or had an answer may be sending a request, which would be lost.
   */
  closeIfIdle(quietMs: number): void {
    if (this.#isBusy || this.#intake.inHead || this.#intake.body !== null) return;
    const left = quietMs - this.#deadline.waitedMs;
    if (left > 0) this.#deadline.set('next', left);
    else this.socket.destroy();
  }

  /** Reports whether a request is being answered, or waits. */
  get #isBusy(): boolean {
    return this.#reply !== null || this.#waiting.length > 0;
  }

  readonly #onData = (piece: Buffer): void => {
    if (this.#isOver) return;
    if (this.#isNew) {
      this.#isNew = false;
      // Inside a tunnel, and nowhere else, all bytes are HTTP.
      if (piece[0] === socksVersion && this.client.tunnel === null) {
        this.#detach();
        this.socket.unshift(piece);
        this.#service.socks(this);
        return;
      }
    }
    const stop = this.#intake.read(piece);
    if (stop !== null) this.#stop(stop);
    this.#goOn();
  };

  takesOver(head: RequestHeadBytes, framing: BodyFraming): boolean {
    return this.#service.takesOver(head, framing);
  }

  requested(request: Incoming): boolean {
    this.#waiting.push(request);
    const max = this.#service.limits().pipelined_requests;
    if (this.#waiting.length + (this.#reply === null ? 0 : 1) <= max) return true;
    const sentence = `A connection may have ${max} requests that are not answered yet.`;
    this.#refuse(new SidekeyError('overloaded', sentence, { hint: 'raise limits.pipelined_requests' }));
    return false;
  }

  #stop(stop: Stop): void {
    if (stop.kind === 'malformed') {
      const due = this.#answered ?? this.#waiting[0];
      // The exchange that reads this body gets the error, and reports it.
      if (stop.body === null) this.#refuse(stop.why);
      else if (stop.body !== due?.body || this.#reply?.started === true) this.#refuse(stop.why, false);
    } else if (this.#isBusy) {
      const sentence = 'A request that takes over the connection follows one that is not answered yet.';
      this.#refuse(new SidekeyError('bad_request', sentence));
    } else {
      this.#detach();
      this.#service.takeOver(stop.head, this, stop.early);
    }
  }

  /** Refuses the input. The client gets no refusal while earlier responses are due. */
  #refuse(why: SidekeyError, answerable = !this.#isBusy): void {
    this.#waiting = [];
    this.#isOver = true;
    if (answerable) this.#detach();
    this.#service.refuse(why, this, answerable);
  }

  /** Releases the socket. */
  #detach(): void {
    this.#isOver = true;
    this.#deadline.close();
    this.socket.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose).pause();
    this.#service.left(this);
  }

  readonly #onEnd = (): void => {
    this.hasEnded = true;
    if (this.#isOver) return;
    // The body stays incomplete. Clients do not half-close TLS (RFC 5246 §7.2.1): one that ends while it waits has left.
    const isSecure = this.client.tunnel?.authority.scheme === 'https';
    if (this.#intake.body !== null || (this.#isBusy && isSecure)) this.socket.destroy();
    else if (this.#intake.inHead && !this.#intake.isBlank) {
      this.#refuse(new SidekeyError('bad_request', 'The head of the request is incomplete.'));
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

  /** Answers the next request, and adjusts reading and the deadline. */
  #goOn(): void {
    if (this.#isOver) return;
    while (this.#reply === null && this.#waiting.length > 0 && this.#begin());
    this.#hold();
    this.#watch();
  }

  /** Returns false if the request has to wait. */
  #begin(): boolean {
    const { socket, outbox } = this;
    // A client that sends requests and reads no responses gets none.
    if (outbox.isFull && !socket.destroyed) {
      if (!this.#waitsForDrain) outbox.onDrain(this.#onDrained);
      this.#waitsForDrain = true;
      return false;
    }
    const request = this.#waiting.shift()!;
    const { head, body } = request;
    const waits = body !== null && head.version === '1.1' && head.lists('expect', '100-continue');
    const reply = new ClientReply(this, head, waits);
    if (socket.destroyed) reply.gone.tell();
    this.#reply = reply;
    this.#answered = request;
    const { client } = this;
    const inbound: H1InboundRequest =
      body === null ? { head, body, client } : { head, body, client, trailers: () => body.trailers };
    this.#isBeginning = true;
    this.#service.exchange(inbound, reply, this);
    this.#isBeginning = false;
    return true;
  }

  readonly #onDrained = (): void => {
    this.#waitsForDrain = false;
    this.#goOn();
  };

  /** Resolves when the current request is answered; null: none is being answered. */
  get whenAnswered(): Promise<void> | null {
    if (this.#reply === null) return null;
    return (this.#whenAnswered ??= Promise.withResolvers()).promise;
  }

  /** The current request is answered. @param error not null: its exchange has failed, and the client has no answer */
  readonly answered = (error: unknown): void => {
    if (error !== null) this.#service.failed(error);
    if (this.#reply?.ended === false) this.socket.destroy();
    void this.#answered?.body?.return();
    this.#reply = null;
    this.#answered = null;
    this.#whenAnswered?.resolve();
    this.#whenAnswered = null;
    if (this.#isOver) return;
    if (this.#intake.isClosed) this.hangUp();
    else if (this.hasEnded && this.#waiting.length === 0) this.socket.end();
    // Else the loop that has begun the request goes on.
    if (!this.#isBeginning) this.#goOn();
  };

  bodyAwaited(isAwaited: boolean): void {
    if (isAwaited) this.#deadline.set('body', this.#service.limits().client_body_idle);
    else if (this.#deadline.what === 'body') this.#deadline.clear();
  }

  bodyTaken(): void {
    if (this.#isPaused) this.#hold();
  }

  /** Pauses the socket while too many bytes are unread. */
  #hold(): void {
    let held = this.#answered?.body?.held ?? 0;
    for (const { head, body } of this.#waiting) held += head.size + (body?.held ?? 0);
    const isPaused = held >= maxUnreadBytes && !this.#isOver;
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    if (isPaused) this.socket.pause();
    else this.socket.resume();
  }

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
    // A plain end would complete a response that ends with its connection: the socket is reset instead.
    const { socket } = this;
    if (isPlainEnd && canBeReset(socket)) {
      socket.resetAndDestroy();
      return;
    }
    // The bytes before still arrive. TLS sends no close_notify.
    this.outbox.whenTaken(() => socket.destroy());
    this.#linger();
  }

  /** Sets the deadline for the next event. */
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

  /** Reads and discards input for a limited time, since closing at once would reset the connection and lose the response. */
  #linger(): void {
    if (this.#deadline.what !== 'close' && !this.socket.destroyed) this.#deadline.set('close', lingerMs);
  }

  #late(what: Awaited): void {
    const limits = this.#service.limits();
    if (what === 'body') this.#answered?.body?.fail(silent(limits.client_body_idle));
    else if (what !== 'head') this.socket.destroy();
    // The socket is paused: the client is not late.
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
  #ms = 0;
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
    this.#ms = ms;
    this.#deadline.set(ms);
  }

  /** Milliseconds for which the event has been awaited. */
  get waitedMs(): number {
    return this.#ms - this.#deadline.leftMs;
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

/** A request whose head refers to the received bytes. */
type H1InboundRequest = InboundRequest & { readonly head: RequestHeadBytes };

/** The functions that a connection calls. */
export interface Service {
  readonly timers: Timers;
  /** A monotonic clock, in milliseconds. */
  readonly now: () => number;
  readonly limits: () => Limits;
  /** Reports whether the proxy is stopping. Then each response is the last of its connection. */
  readonly isClosing: () => boolean;
  /** Answers a request, and calls `from.answered` when it is done, perhaps before this returns. The next one waits for that. */
  exchange(inbound: H1InboundRequest, reply: ClientReply, from: ClientConnection): void;
  /** Reports whether a request takes over the connection: a CONNECT or a WebSocket handshake. */
  takesOver(head: RequestHeadBytes, framing: BodyFraming): boolean;
  /** Takes over the connection, with the bytes behind the head. The socket is paused. */
  takeOver(head: RequestHeadBytes, from: ClientConnection, early: Buffer): void;
  /** Takes over the connection of a client that speaks SOCKS, with its first bytes in the stream. The socket is paused. */
  socks(from: ClientConnection): void;
  /**
   * Refuses the input and all that follows. `answerable`: no response is under way, so that the refusal can be sent on the
   * socket; else the connection is to be cut.
   */
  refuse(why: SidekeyError, from: ClientConnection, answerable: boolean): void;
  /** The exchange of a request failed, and its client has no answer. */
  failed(error: unknown): void;
  /** The connection was taken over or closed. A request of it may still be under way. */
  left(from: ClientConnection): void;
}
