import type { FailureCode, SidekeyError } from '../../errors.ts';
import type { Injected } from '../../inject/inject.ts';
import type { ConnectionUser, UpstreamConnection } from '../../upstream/connection.ts';
import type { RawFields } from '../fields.ts';
import type { ResponseHeadBytes } from '../h1/response-head.ts';
import type { Carried } from '../message.ts';
import { ConnectionEnded, isConnectionLoss, timedOut, upstreamFailure } from '../upstream-failure.ts';
import { HeldAnswer } from './held-answer.ts';
import { Passing, type PassingOwner } from './passing.ts';
import { requestHead } from './request-head.ts';
import { endToEndFields, keptFor } from './response-facts.ts';
import { ResponseReading, type ResponseSink } from './response-reading.ts';
import { isSafe, type AttemptEnd, type Try } from './try.ts';
import { Upload } from './upload.ts';

/**
 * One request over one connection, and the response into the reply. Its methods are called from the event loop, one at a
 * time; whatever comes after the end concerns nobody.
 */
export class Attempt implements ConnectionUser, ResponseSink, PassingOwner {
  readonly #try: Try;
  readonly #end = Promise.withResolvers<AttemptEnd>();
  readonly #reading: ResponseReading;
  readonly #passing: Passing;
  #head: Buffer | null = null;
  #connection: UpstreamConnection | null = null;
  #upload: Upload | null = null;
  #status = 0;
  /** For how long the upstream keeps the connection, as it says. */
  #idleMs: number | null = null;
  /** While a 401 is looked into, what comes of it is held. */
  #held: HeldAnswer | null = null;
  #over = false;

  constructor(it: Try) {
    this.#try = it;
    this.#reading = new ResponseReading(it.departure.method, it.limits, this);
    this.#passing = new Passing(it, this);
  }

  /** Rejects with a SidekeyError where the upstream fails before its head. */
  run(): Promise<AttemptEnd> {
    const { departure, request, reply, meter, connections, fresh } = this.#try;
    if (reply.gone.already) {
      this.#finish('gone');
      return this.#end.promise;
    }
    try {
      this.#head = requestHead(departure.method, request);
    } catch (error) {
      this.#end.reject(error);
      return this.#end.promise;
    }
    reply.gone.listen(this.#onGone);
    meter.onOverdrawn((why) => this.stop(why));
    connections.request(departure.authority, this, fresh);
    return this.#end.promise;
  }

  // What the connection tells.

  connected(connection: UpstreamConnection): void {
    const { departure, sent, reply, limits } = this.#try;
    this.#connection = connection;
    connection.deadline(limits.upstream_head);
    connection.write(this.#head!);
    this.#head = null;
    const { framing: plan, trailers } = departure;
    if (plan.kind === 'none') return;
    reply.continue();
    this.#upload = new Upload(connection);
    const pieces = sent === null ? [] : Buffer.isBuffer(sent) ? [sent] : sent;
    this.#upload
      .send({ plan, pieces, trailers }, () => this.#rearm())
      .catch((error: Error) => {
        if (this.#connection !== null) this.#broke(error);
      });
  }

  unconnected(error: Error): void {
    this.#fail(error);
  }

  received(bytes: Buffer, end: number): void {
    const wrong = this.#reading.read(bytes, end);
    if (wrong !== null) this.#broke(wrong);
    else if (this.#reading.hasHead) this.#rearm();
  }

  drained(): void {
    this.#upload?.drained();
  }

  expired(): void {
    const { authority } = this.#try.departure;
    if (this.#reading.hasHead) {
      // It is the client, or the token endpoint, that takes its time.
      if (this.#passing.isDraining || this.#held !== null) this.#rearm();
      else this.#broke(timedOut(authority, 'stopped sending'));
    } else if (this.#upload?.waitsForPiece === true) this.#rearm();
    else this.#broke(timedOut(authority, 'did not answer in time'));
  }

  ended(): void {
    if (this.#reading.end()) return;
    const error = new ConnectionEnded();
    this.#drop();
    if (this.#held === null) this.#fail(error);
    else this.#held.cut(error);
  }

  lost(error: Error): void {
    this.#broke(error);
  }

  // What the response turns out to be.

  interim(head: ResponseHeadBytes): void {
    this.#passing.interim(head);
  }

  head(head: ResponseHeadBytes): void {
    if (this.#over) return;
    const { body, renew } = this.#try;
    const { status } = head;
    this.#status = status;
    this.#idleMs = keptFor(head);
    if (status !== 401 || renew === undefined) {
      this.#passing.beginWith(head);
      return;
    }
    const whole = body.whole();
    if (whole === null) {
      this.#passing.beginWith(head);
      // The next request shall have a better token, even if this one cannot be sent again.
      renew(false).catch(() => {});
      return;
    }
    this.#held = new HeldAnswer(endToEndFields(head), head.reason);
    this.#recover(whole.copy, renew(true)).catch((error: Error) => {
      this.#drop();
      this.#settle(() => this.#end.reject(error));
    });
  }

  payload(piece: Buffer): void {
    if (this.#held === null) this.#passing.pass(piece);
    else if (!this.#held.add(piece)) this.#connection?.pause();
  }

  whole(trailers: RawFields): void {
    const connection = this.#connection;
    this.#connection = null;
    this.#upload?.stop();
    // An upstream that answers early may never read the rest, and the next request would stand behind it.
    const isSent = this.#upload?.isSent ?? true;
    if (isSent && this.#reading.isReusable && connection?.isFull === false) connection.release(this.#idleMs);
    else connection?.destroy();
    if (this.#held === null) this.#passing.complete(trailers);
    else this.#held.whole(trailers);
  }

  // What the reply tells.

  get isOver(): boolean {
    return this.#over;
  }

  pauseReading(): void {
    this.#connection?.pause();
  }

  resumeReading(): void {
    this.#connection?.resume();
    this.#rearm();
  }

  /** Refuses what has not begun, and cuts what has, so that it cannot be taken for a whole answer. */
  stop(why: SidekeyError): void {
    if (this.#over) return;
    if (this.#try.reply.started) {
      this.#finish('broken', why.code);
      this.#try.reply.abort();
    } else this.#settle(() => this.#end.reject(why));
    this.#drop();
  }

  delivered(): void {
    this.#finish('complete');
  }

  // What becomes of it.

  /** Has the request sent anew with a newer token, or lets the 401 through where there is none. */
  async #recover(copy: Buffer | null, renewal: Promise<Injected | null>): Promise<void> {
    const request = await renewal;
    const held = this.#held;
    this.#held = null;
    if (this.#over || held === null) return;
    if (request !== null) {
      this.#drop();
      this.#settle(() => this.#end.resolve({ kind: 'renewed', request, sent: copy }));
      return;
    }
    const end = held.passOn(this.#status, this.#passing);
    if (end instanceof Error) this.#fail(end);
    else if (end === 'more' && !this.#passing.isDraining) this.#connection?.resume();
  }

  #rearm(): void {
    const { upstream_idle: idle, upstream_head: head } = this.#try.limits;
    this.#connection?.deadline(this.#reading.hasHead ? idle : head);
  }

  readonly #onGone = (): void => {
    this.#finish('gone');
    this.#drop();
  };

  /** The connection is good for nothing any more. */
  #broke(error: Error): void {
    this.#drop();
    if (this.#held === null) this.#fail(error);
    else this.#held.broke(error);
  }

  #fail(error: Error): void {
    if (this.#over) return;
    const { departure, reply } = this.#try;
    if (reply.started) {
      this.#finish('broken');
      reply.abort();
      return;
    }
    const { hasBegun } = this.#reading;
    const failure = upstreamFailure(error, departure.authority, hasBegun);
    const mayRetry = isSafe(departure.method) && !hasBegun && isConnectionLoss(error);
    const again = mayRetry ? this.#try.body.whole() : null;
    this.#settle(() => {
      if (again === null) this.#end.reject(failure);
      else this.#end.resolve({ kind: 'lost', error: failure, sent: again.copy });
    });
  }

  #finish(fate: Carried['fate'], code?: FailureCode): void {
    const { bytesIn, bytesOut } = this.#try.meter;
    const carried = {
      status: this.#status,
      bytesIn,
      bytesOut,
      fate,
      ...(code === undefined ? {} : { code }),
    };
    this.#settle(() => this.#end.resolve({ kind: 'done', carried }));
  }

  /** The first end counts. */
  #settle(then: () => void): void {
    if (this.#over) return;
    this.#over = true;
    this.#try.reply.gone.forget(this.#onGone);
    then();
  }

  /** Lets go of the connection, or of the place in the queue for one. */
  #drop(): void {
    const { connections, departure } = this.#try;
    this.#upload?.stop();
    if (this.#head !== null) connections.leave(departure.authority, this);
    this.#head = null;
    this.#connection?.destroy();
    this.#connection = null;
  }
}
