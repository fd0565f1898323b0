import type { FailureCode, SidekeyError } from '../../errors.ts';
import type { Injected } from '../../inject/inject.ts';
import { peerOf } from '../../policy/peer.ts';
import { valuesOf, type RawFields } from '../fields.ts';
import type { Carried } from '../message.ts';
import type { ProofAnswer } from '../proofs.ts';
import { isConnectionLoss, upstreamFailure } from '../upstream-failure.ts';
import type { ResponseHeadBytes } from '../h1/response-head.ts';
import { HeldAnswer } from './held-answer.ts';
import { Passing, type PassingOwner } from './passing.ts';
import { endToEndFields } from './response-facts.ts';
import { isSafe, type AttemptEnd, type Try } from './try.ts';

/** What a request and its response travel on. */
export interface Carriage {
  /** Reads no more for now. */
  pause(): void;
  /** Reads on, with the time that the upstream has for the next piece beginning anew. */
  resume(): void;
  /** Sends no more of the request's body. */
  stopSending(): void;
  /** Is let go of, or leaves the queue for it. */
  drop(): void;
}

/**
 * What comes of one request, into the reply. Its methods are called from the event loop, one at a time; whatever comes
 * after the end concerns nobody.
 */
export class Answer implements PassingOwner {
  readonly #try: Try;
  readonly #carriage: Carriage;
  readonly #passing: Passing;
  readonly #end = Promise.withResolvers<AttemptEnd>();
  #status = 0;
  /** While a 401 is looked into, what comes of it is held. */
  #held: HeldAnswer | null = null;
  /** While it is only waited for the end of a 401 that wants another proof: what is sent then. */
  #again: { readonly copy: Buffer | null } | null = null;
  #over = false;

  constructor(it: Try, carriage: Carriage) {
    this.#try = it;
    this.#carriage = carriage;
    this.#passing = new Passing(it, this);
  }

  /** Rejects with a SidekeyError where the upstream fails before its head. */
  get end(): Promise<AttemptEnd> {
    return this.#end.promise;
  }

  /** Has the request sent, unless its client has left. */
  begin(send: () => void): void {
    const { reply, meter } = this.#try;
    if (reply.gone.already) {
      this.#finish('gone');
      return;
    }
    reply.gone.listen(this.#onGone);
    meter.onOverdrawn((why) => this.stop(why));
    try {
      send();
    } catch (error) {
      this.#settle(() => this.#end.reject(error));
    }
  }

  // What the response turns out to be.

  interim(status: number, fields: RawFields): void {
    this.#passing.interim(status, fields);
  }

  head(status: number, reason: string, fields: RawFields): void {
    if (this.#over) return;
    const said = this.#try.departure.proofs?.heard(status, (name) => valuesOf(fields, name));
    if (!this.#isHeld(status, said, () => new HeldAnswer(fields, reason)))
      this.#passing.begin(status, reason, fields);
  }

  /** As `head`, with one that is good until this returns. */
  headRead(head: ResponseHeadBytes): void {
    if (this.#over) return;
    const said = this.#try.departure.proofs?.heard(head.status, (name) => head.values(name));
    if (!this.#isHeld(head.status, said, () => new HeldAnswer(endToEndFields(head), head.reason)))
      this.#passing.beginWith(head);
  }

  /** Whether the answer is not passed on for now, since a newer token or another proof may get another. */
  #isHeld(status: number, said: ProofAnswer | undefined, hold: () => HeldAnswer): boolean {
    const { body, renew, mayProve, reply } = this.#try;
    this.#status = status;
    if (status !== 401) return false;
    // Nothing is wrong with the token. Where it cannot be sent again, the next request has the nonce.
    if (said === 'again' && mayProve) return this.#isProvedAgain(hold);
    if (said === 'again' || said === 'in vain') return false;
    if (renew === undefined) return false;
    // Of a client that still waits for a 100, nothing has been sent that would have to be sent again.
    const whole = body.whole();
    const again = whole ?? (reply.waits ? body.again() : null);
    if (again === null) {
      // The next request shall have a better token, even if this one cannot be sent again.
      renew(false).catch(() => {});
      return false;
    }
    this.#held = hold();
    if (whole === null) this.#carriage.stopSending();
    this.#recover(again.copy, renew(true)).catch((error: Error) => {
      this.#carriage.drop();
      this.#settle(() => this.#end.reject(error));
    });
    return true;
  }

  /** Whether the request is sent once more with another proof. */
  #isProvedAgain(hold: () => HeldAnswer): boolean {
    const { body } = this.#try;
    const whole = body.whole();
    if (whole !== null) {
      this.#again = whole;
      this.#held = hold();
      return true;
    }
    // The upstream did not wait for the body. What it came over is good for nothing else, and the body still comes.
    const rest = body.again();
    if (rest === null) return false;
    this.#carriage.drop();
    this.#settle(() => this.#end.resolve({ kind: 'proved', sent: rest.copy }));
    return true;
  }

  /** As `payload`, with bytes that are good until this returns. */
  payloadLent(piece: Buffer): void {
    const isCopied = this.#held === null && this.#try.reply.copies === true;
    this.payload(isCopied ? piece : Buffer.from(piece));
  }

  payload(piece: Buffer): void {
    if (this.#held === null) this.#passing.pass(piece);
    else if (!this.#held.add(piece)) {
      if (this.#again === null) this.#carriage.pause();
      else this.#proveAgain();
    }
  }

  whole(trailers: RawFields): void {
    if (this.#held === null) this.#passing.complete(trailers);
    else {
      this.#held.whole(trailers);
      this.#proveAgain();
    }
  }

  /** Whether it is the client, or the token endpoint, that takes its time. */
  get isWaitedFor(): boolean {
    return this.#passing.isDraining || (this.#held !== null && this.#again === null);
  }

  /** It ended in good order, and too early: what came is good to be passed on. */
  cut(error: Error): void {
    this.#carriage.drop();
    if (this.#held === null) this.fail(error, true);
    else {
      this.#held.cut(error);
      this.#proveAgain();
    }
  }

  /**
   * What it travels on is good for nothing any more.
   *
   * @param hasBegun whether anything of an answer has come
   * @param isUnprocessed whether the upstream says that it has done nothing with the request
   */
  broke(error: Error, hasBegun: boolean, isUnprocessed = false): void {
    this.#carriage.drop();
    if (this.#held === null) this.fail(error, hasBegun, isUnprocessed);
    else {
      this.#held.broke(error);
      this.#proveAgain();
    }
  }

  /** As `broke`, where nothing is to be let go of. */
  fail(error: Error, hasBegun: boolean, isUnprocessed = false): void {
    if (this.#over) return;
    const { departure, request, reply, body } = this.#try;
    if (reply.started) {
      this.#finish('broken');
      reply.abort();
      return;
    }
    const failure = upstreamFailure(error, peerOf(departure.authority, request.identity), hasBegun);
    const maySend = !hasBegun && isSafe(departure.method) && isConnectionLoss(error);
    const again = isUnprocessed ? body.again() : maySend ? body.whole() : null;
    this.#settle(() => {
      if (again === null) this.#end.reject(failure);
      else this.#end.resolve({ kind: 'lost', error: failure, sent: again.copy });
    });
  }

  /** The upstream takes no such request, and has done nothing with it. */
  downgrade(error?: Error): void {
    if (this.#over) return;
    const again = error === undefined ? { copy: this.#try.sent } : this.#try.body.again();
    if (again === null) this.broke(error!, false);
    else {
      this.#carriage.drop();
      this.#settle(() => this.#end.resolve({ kind: 'downgraded', sent: again.copy }));
    }
  }

  // What the reply tells.

  get isOver(): boolean {
    return this.#over;
  }

  pauseReading(): void {
    this.#carriage.pause();
  }

  resumeReading(): void {
    this.#carriage.resume();
  }

  /** Refuses what has not begun, and cuts what has, so that it cannot be taken for a whole answer. */
  stop(why: SidekeyError): void {
    if (this.#over) return;
    if (this.#try.reply.started) {
      this.#finish('broken', why.code);
      this.#try.reply.abort();
    } else this.#settle(() => this.#end.reject(why));
    this.#carriage.drop();
  }

  delivered(): void {
    this.#finish('complete');
  }

  // What becomes of it.

  /**
   * Has the request sent anew with another proof, where one is wanted: once the 401 is at its end, or as much of it as is
   * read, so that what it came over is good for another request.
   */
  #proveAgain(): void {
    const again = this.#again;
    if (again === null || this.#over) return;
    this.#carriage.drop();
    this.#settle(() => this.#end.resolve({ kind: 'proved', sent: again.copy }));
  }

  /** Has the request sent anew with a newer token, or lets the 401 through where there is none. */
  async #recover(copy: Try['sent'], renewal: Promise<Injected | null>): Promise<void> {
    const request = await renewal;
    const held = this.#held;
    this.#held = null;
    if (this.#over || held === null) return;
    if (request !== null) {
      this.#carriage.drop();
      this.#settle(() => this.#end.resolve({ kind: 'renewed', request, sent: copy }));
      return;
    }
    const end = held.passOn(this.#status, this.#passing);
    if (end instanceof Error) this.fail(end, true);
    else if (end === 'more' && !this.#passing.isDraining) this.#carriage.resume();
  }

  readonly #onGone = (): void => {
    this.#finish('gone');
    this.#carriage.drop();
  };

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
}
