import type { Duplex } from 'node:stream';
import { SidekeyError } from '../../../lib/errors.ts';
import { Deadline, type Timers } from '../../../lib/timers.ts';
import { WriteBuffer } from '../../../lib/write-buffer.ts';
import type { Limits } from '../../policy/limits.ts';
import type { BodyFraming } from '../framing.ts';
import type { RequestHeadBytes } from '../head.ts';
import type { InboundRequest, Client, Reply } from '../message.ts';
import { type Incoming, type IntakeOwner, left, RequestIntake, silent, type Stop } from './h1-request.ts';
import { ClientReply, keptLines, lastLines, type ReplyLine } from './h1-response.ts';
import { canBeReset } from '../problem.ts';

/** First byte of a SOCKS5 client (RFC 1928 §3). No HTTP request begins with it. */
export const socksVersion = 5;

/** Sends a 417 if a request has an unknown expectation (RFC 9110 §10.1.1). Returns whether it did. */
export function answerUnmet(head: RequestHeadBytes, reply: Reply): boolean {
  if (head.version === '1.0' || !head.has('expect') || head.lists('expect', '100-continue')) return false;
  refuseExpectation(reply);
  return true;
}

export function refuseExpectation(reply: Reply): void {
  reply.head(417, 'Expectation Failed', ['Content-Length', '0']);
  reply.end([]);
}

/** Maximum number of unread bytes. Beyond it, the socket is paused. */
const maxUnreadBytes = 65_536;
/** Milliseconds until a client that keeps sending, or does not close, is cut off. */
const lingerMs = 5_000;
/** Milliseconds added to the announced idle time, so that a request in transit is still answered. */
const graceMs = 1_000;

/**
 * An HTTP/1.1 client connection. Requests are answered in order, because pipelined requests may depend on
 * each other (RFC 9112 §9.3.2).
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
  /** True if input is discarded, or belongs to another owner. */
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
   * Closes the connection if no request is pending, as soon as the client has been silent for `quietMs`. A
   * client that has just connected or been answered may be sending a request, which would be lost.
   */
  closeIfIdle(quietMs: number): void {
    if (this.#isBusy || this.#intake.inHead || this.#intake.body !== null) return;
    const left = quietMs - this.#deadline.waitedMs;
    if (left > 0) this.#deadline.set('next', left);
    else this.socket.destroy();
  }

  /** Reports whether a request is in progress or waiting. */
  get #isBusy(): boolean {
    return this.#reply !== null || this.#waiting.length > 0;
  }

  readonly #onData = (piece: Buffer): void => {
    if (this.#isOver) return;
    if (this.#isNew) {
      this.#isNew = false;
      // Inside a tunnel, and only there, all bytes are HTTP.
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
      // The exchange that reads this body receives the error, and reports it.
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

  /** Refuses the input. Sends no refusal while earlier responses are pending. */
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
    // The body stays incomplete. Clients do not half-close TLS (RFC 5246 §7.2.1): the client has left.
    const isSecure = this.client.tunnel?.authority.scheme === 'https';
    if (this.#intake.body !== null || (this.#isBusy && isSecure)) this.socket.destroy();
    else if (this.#intake.inHead && !this.#intake.isBlank) {
      this.#refuse(
        new SidekeyError('bad_request', 'The head of the request is incomplete.', {
          hint: 'send the whole request again',
        }),
      );
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

  /** Starts the next request, and adjusts reading and the deadline. */
  #goOn(): void {
    if (this.#isOver) return;
    while (this.#reply === null && this.#waiting.length > 0 && this.#begin());
    this.#hold();
    this.#watch();
  }

  /** Returns false if the request has to wait. */
  #begin(): boolean {
    const { socket, outbox } = this;
    // A client that sends requests and reads no responses is not served.
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

  /** Resolves when the current request is answered; null if there is none. */
  get whenAnswered(): Promise<void> | null {
    if (this.#reply === null) return null;
    return (this.#whenAnswered ??= Promise.withResolvers()).promise;
  }

  /** Ends the current request. @param error of an exchange that failed without an answer, or null */
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
    // Otherwise the loop that started the request continues.
    if (!this.#isBeginning) this.#goOn();
  };

  bodyAwaited(isAwaited: boolean): void {
    if (isAwaited) this.#deadline.set('body', this.#service.limits().client_body_idle);
    else if (this.#deadline.what === 'body') this.#deadline.clear();
  }

  bodyTaken(): void {
    if (this.#isPaused) this.#hold();
  }

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
    // A plain end would complete a response that ends with its connection: reset the socket instead.
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

  /** Discards input for a limited time. Closing at once would reset the connection, and lose the response. */
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
    else
      this.#refuse(
        new SidekeyError('bad_request', 'The head of the request did not come in time.', {
          hint: 'send it again without a pause, or raise limits.head_timeout',
        }),
      );
  }
}

function ignore(): void {}

/** The event that a client connection waits for. */
export type Awaited = 'first' | 'head' | 'body' | 'next' | 'close';

/** The only deadline of a connection, for its next event. An immediate answer sets no timer. */
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

  /** The awaited event, or null. */
  get what(): Awaited | null {
    return this.#what;
  }

  /** Waits `ms` milliseconds for an event, and for no other. */
  set(what: Awaited, ms: number): void {
    this.#what = what;
    this.#ms = ms;
    this.#deadline.set(ms);
  }

  /** Milliseconds since `set`. */
  get waitedMs(): number {
    return this.#ms - this.#deadline.leftMs;
  }

  /** Cancels the deadline. The timer may remain. */
  clear(): void {
    this.#what = null;
    this.#deadline.clear();
  }

  /** Cancels the deadline, and removes the timer. */
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
  /** Reports whether the proxy is stopping. If so, each response is the last of its connection. */
  readonly isClosing: () => boolean;
  /** Handles a request, then calls `from.answered`, possibly before this returns. The next one waits. */
  exchange(inbound: H1InboundRequest, reply: ClientReply, from: ClientConnection): void;
  /** Reports whether a request takes over the connection: a CONNECT or a WebSocket handshake. */
  takesOver(head: RequestHeadBytes, framing: BodyFraming): boolean;
  /** Takes over the connection, with the bytes after the head. The socket is paused. */
  takeOver(head: RequestHeadBytes, from: ClientConnection, early: Buffer): void;
  /** Takes over the connection of a SOCKS client. The socket is paused, and its first bytes are unread. */
  socks(from: ClientConnection): void;
  /**
   * Refuses the input and everything after it. `answerable`: no response is in progress, so the refusal can
   * be sent on the socket. Otherwise the caller must cut the connection.
   */
  refuse(why: SidekeyError, from: ClientConnection, answerable: boolean): void;
  /** Called if the exchange of a request failed, and its client has no answer. */
  failed(error: unknown): void;
  /** Called if the connection was taken over or closed. A request may still be in progress. */
  left(from: ClientConnection): void;
}
