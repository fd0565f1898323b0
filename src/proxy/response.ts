import { notFromUpstream, type RawFields, responseFields, valuesOf } from '../http/fields.ts';
import { hasResponseBody } from '../http/framing.ts';
import { NameSet, type ResponseHeadBytes } from '../http/head.ts';
import type { ExchangeResult } from '../http/message.ts';
import { guarded, type GuardedExchange, guardedFields, type ReplySink } from '../leak-guard/response.ts';
import { type FailureCode } from '../lib/failures.ts';
import { SidekeyError } from '../lib/errors.ts';
import { isCovered } from '../policy/leak-guard.ts';
import { peerOf } from '../policy/peer.ts';
import type { AppliedRequest } from '../schemes/scheme.ts';
import {
  type AttemptEnd,
  endToEndFields,
  isRefusal,
  isSafe,
  type ProofAnswer,
  type AttemptContext,
} from './attempt.ts';
import { isConnectionLoss, upstreamFailure } from './upstream-failure.ts';

const notFromAny = new NameSet(notFromUpstream(false));
const nothing: RawFields = [];
const notFromGrants = new NameSet(notFromUpstream(true));

/** Who has a response passed on. */
interface PassingOwner {
  /** Whether nothing more is to be said. */
  readonly isOver: boolean;
  /** The client reads no more for now, and again. */
  pauseReading(): void;
  resumeReading(): void;
  /** It may not go on. */
  stop(why: SidekeyError): void;
  /** The client has all of it. */
  delivered(): void;
}

/** Passes a response on into the reply: what may go on of it, as much as may, and no faster than the client reads. */
class ResponseForwarder {
  /** Whether the client is waited for. */
  isDraining = false;
  readonly #context: AttemptContext;
  readonly #owner: PassingOwner;
  #into: ReplySink;

  constructor(it: AttemptContext, owner: PassingOwner) {
    this.#context = it;
    this.#into = it.reply;
    this.#owner = owner;
  }

  interim(status: number, fields: RawFields): void {
    if (this.#owner.isOver) return;
    const kept = this.#passedOn(fields);
    const shown = this.#isGuarded(status) ? guardedFields(this.#guardedExchange(), status, kept) : kept;
    this.#context.reply.informational(status, shown);
  }

  /** A head that is good until this returns. */
  beginWith(head: ResponseHeadBytes): void {
    const { request, injected, reply } = this.#context;
    const hint = isRefusal(head.status) ? this.#hintOn(head.raw()) : nothing;
    const isAsItWas =
      request.maxResponse === null && injected.conceal === undefined && !this.#isGuarded(head.status);
    const drop = request.carriesGrant ? notFromGrants : notFromAny;
    if (isAsItWas && reply.pass?.(head, drop, hint) === true) return;
    this.#begin(head.status, head.reason, endToEndFields(head), hint);
  }

  begin(status: number, reason: string, fields: RawFields): void {
    this.#begin(status, reason, fields, isRefusal(status) ? this.#hintOn(fields) : nothing);
  }

  #begin(status: number, reason: string, fields: RawFields, hint: RawFields): void {
    const { maxResponse, method } = this.#context.request;
    const announced = Number(valuesOf(fields, 'content-length')[0] ?? 0);
    if (maxResponse === null || !hasResponseBody(method, status) || announced <= maxResponse) {
      if (this.#isGuarded(status)) this.#into = guarded(this.#guardedExchange(), status, this.#owner);
      const passed = this.#passedOn(fields);
      this.#into.head(status, reason, hint.length === 0 ? passed : [...passed, ...hint]);
    } else this.#owner.stop(responseTooLarge(maxResponse));
  }

  pass(piece: Buffer): void {
    const owner = this.#owner;
    if (owner.isOver) return;
    const { request, meter } = this.#context;
    const { maxResponse } = request;
    const into = this.#into;
    if (maxResponse !== null && meter.bytesOut + piece.length > maxResponse) {
      owner.stop(responseTooLarge(maxResponse));
      return;
    }
    if (!this.#count(piece) || into.write(piece) || this.isDraining) return;
    this.isDraining = true;
    owner.pauseReading();
    into.onDrain(() => {
      this.isDraining = false;
      owner.resumeReading();
    });
  }

  complete(trailers: RawFields): void {
    const owner = this.#owner;
    if (!owner.isOver) this.#into.end(this.#passedOn(trailers), () => owner.delivered());
  }

  /** Whether the credential is looked for in what comes back. */
  #isGuarded(status: number): boolean {
    const { echo } = this.#context.request;
    return echo !== null && echo !== undefined && isCovered(echo, status);
  }

  #guardedExchange(): GuardedExchange {
    const { request, injected, reply, meter } = this.#context;
    const { maxResponse, echo: plan } = request;
    const overBound = (bytes: number) =>
      maxResponse !== null && bytes > maxResponse ? responseTooLarge(maxResponse) : null;
    return { reply, plan, secrets: injected.secrets, meter, overBound };
  }

  /** False: a budget has ended it. */
  #count({ length }: Buffer): boolean {
    this.#context.meter.sent(length);
    return !this.#owner.isOver;
  }

  /** What a refusal of the upstream gets besides, of ours. */
  #hintOn(fields: RawFields): RawFields {
    const { request, injected } = this.#context;
    return request.consentHint?.(injected.conceal?.(fields) ?? fields) ?? nothing;
  }

  #passedOn(fields: RawFields): RawFields {
    const { request, injected } = this.#context;
    const kept = responseFields(fields, request.carriesGrant);
    return injected.conceal?.(kept) ?? kept;
  }
}

function responseTooLarge(bytes: number): SidekeyError {
  return new SidekeyError(
    'rule_denied',
    `A rule lets ${bytes} bytes of a response through here, and this one has more.`,
    {
      hint: 'ask for less, or raise max_response of the rule',
    },
  );
}

/** What a request and its response travel on. */
export interface Transport {
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
export class ResponseHandler implements PassingOwner {
  readonly #context: AttemptContext;
  readonly #transport: Transport;
  readonly #forwarder: ResponseForwarder;
  readonly #end = Promise.withResolvers<AttemptEnd>();
  #status = 0;
  /** While a 401 is looked into, what comes of it is held. */
  #held: BufferedResponse | null = null;
  /** While it is only waited for the end of a 401 that wants another proof: what is sent then. */
  #again: { readonly copy: Buffer | null } | null = null;
  #over = false;

  constructor(it: AttemptContext, carriage: Transport) {
    this.#context = it;
    this.#transport = carriage;
    this.#forwarder = new ResponseForwarder(it, this);
  }

  /** Rejects with a SidekeyError where the upstream fails before its head. */
  get end(): Promise<AttemptEnd> {
    return this.#end.promise;
  }

  /** Has the request sent, unless its client has left. */
  begin(send: () => void): void {
    const { reply, meter } = this.#context;
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
    this.#forwarder.interim(status, fields);
  }

  head(status: number, reason: string, fields: RawFields): void {
    if (this.#over) return;
    const said = this.#context.request.proofs?.heard(status, (name) => valuesOf(fields, name));
    if (!this.#isHeld(status, said, () => new BufferedResponse(fields, reason)))
      this.#forwarder.begin(status, reason, fields);
  }

  /** As `head`, with one that is good until this returns. */
  headRead(head: ResponseHeadBytes): void {
    if (this.#over) return;
    const said = this.#context.request.proofs?.heard(head.status, (name) => head.values(name));
    if (!this.#isHeld(head.status, said, () => new BufferedResponse(endToEndFields(head), head.reason)))
      this.#forwarder.beginWith(head);
  }

  /** Whether the answer is not passed on for now, since a newer token or another proof may get another. */
  #isHeld(status: number, said: ProofAnswer | undefined, hold: () => BufferedResponse): boolean {
    const { body, renew, mayProve, reply } = this.#context;
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
    if (whole === null) this.#transport.stopSending();
    this.#recover(again.copy, renew(true)).catch((error: Error) => {
      this.#transport.drop();
      this.#settle(() => this.#end.reject(error));
    });
    return true;
  }

  /** Whether the request is sent once more with another proof. */
  #isProvedAgain(hold: () => BufferedResponse): boolean {
    const { body } = this.#context;
    const whole = body.whole();
    if (whole !== null) {
      this.#again = whole;
      this.#held = hold();
      return true;
    }
    // The upstream did not wait for the body. What it came over is good for nothing else, and the body still comes.
    const rest = body.again();
    if (rest === null) return false;
    this.#transport.drop();
    this.#settle(() => this.#end.resolve({ kind: 'proved', sent: rest.copy }));
    return true;
  }

  /** As `payload`, with bytes that are good until this returns. */
  payloadLent(piece: Buffer): void {
    const isCopied = this.#held === null && this.#context.reply.copies === true;
    this.payload(isCopied ? piece : Buffer.from(piece));
  }

  payload(piece: Buffer): void {
    if (this.#held === null) this.#forwarder.pass(piece);
    else if (!this.#held.add(piece)) {
      if (this.#again === null) this.#transport.pause();
      else this.#proveAgain();
    }
  }

  whole(trailers: RawFields): void {
    if (this.#held === null) this.#forwarder.complete(trailers);
    else {
      this.#held.whole(trailers);
      this.#proveAgain();
    }
  }

  /** Whether it is the client, or the token endpoint, that takes its time. */
  get isWaitedFor(): boolean {
    return this.#forwarder.isDraining || (this.#held !== null && this.#again === null);
  }

  /** It ended in good order, and too early: what came is good to be passed on. */
  cut(error: Error): void {
    this.#transport.drop();
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
    this.#transport.drop();
    if (this.#held === null) this.fail(error, hasBegun, isUnprocessed);
    else {
      this.#held.broke(error);
      this.#proveAgain();
    }
  }

  /** As `broke`, where nothing is to be let go of. */
  fail(error: Error, hasBegun: boolean, isUnprocessed = false): void {
    if (this.#over) return;
    const { request, injected, reply, body } = this.#context;
    if (reply.started) {
      this.#finish('broken');
      reply.abort();
      return;
    }
    const failure = upstreamFailure(error, peerOf(request.authority, injected.identity), hasBegun);
    const maySend = !hasBegun && isSafe(request.method) && isConnectionLoss(error);
    const again = isUnprocessed ? body.again() : maySend ? body.whole() : null;
    this.#settle(() => {
      if (again === null) this.#end.reject(failure);
      else this.#end.resolve({ kind: 'lost', error: failure, sent: again.copy });
    });
  }

  /** The upstream takes no such request, and has done nothing with it. */
  downgrade(error?: Error): void {
    if (this.#over) return;
    const again = error === undefined ? { copy: this.#context.sent } : this.#context.body.again();
    if (again === null) this.broke(error!, false);
    else {
      this.#transport.drop();
      this.#settle(() => this.#end.resolve({ kind: 'downgraded', sent: again.copy }));
    }
  }

  // What the reply tells.

  get isOver(): boolean {
    return this.#over;
  }

  pauseReading(): void {
    this.#transport.pause();
  }

  resumeReading(): void {
    this.#transport.resume();
  }

  /** Refuses what has not begun, and cuts what has, so that it cannot be taken for a whole answer. */
  stop(why: SidekeyError): void {
    if (this.#over) return;
    if (this.#context.reply.started) {
      this.#finish('broken', why.code);
      this.#context.reply.abort();
    } else this.#settle(() => this.#end.reject(why));
    this.#transport.drop();
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
    this.#transport.drop();
    this.#settle(() => this.#end.resolve({ kind: 'proved', sent: again.copy }));
  }

  /** Has the request sent anew with a newer token, or lets the 401 through where there is none. */
  async #recover(copy: AttemptContext['sent'], renewal: Promise<AppliedRequest | null>): Promise<void> {
    const request = await renewal;
    const held = this.#held;
    this.#held = null;
    if (this.#over || held === null) return;
    if (request !== null) {
      this.#transport.drop();
      this.#settle(() => this.#end.resolve({ kind: 'renewed', request, sent: copy }));
      return;
    }
    const end = held.passOn(this.#status, this.#forwarder);
    if (end instanceof Error) this.fail(end, true);
    else if (end === 'more' && !this.#forwarder.isDraining) this.#transport.resume();
  }

  readonly #onGone = (): void => {
    this.#finish('gone');
    this.#transport.drop();
  };

  #finish(outcome: ExchangeResult['outcome'], code?: FailureCode): void {
    const { bytesIn, bytesOut } = this.#context.meter;
    const result = {
      status: this.#status,
      bytesIn,
      bytesOut,
      outcome,
      ...(code === undefined ? {} : { code }),
    };
    this.#settle(() => this.#end.resolve({ kind: 'done', result }));
  }

  /** The first end counts. */
  #settle(then: () => void): void {
    if (this.#over) return;
    this.#over = true;
    this.#context.reply.gone.forget(this.#onGone);
    then();
  }
}

/** Bytes of an answer that are held before its connection is paused. */
const most = 65_536;

/** An answer that is not passed on yet: it is not known whether it is the one. */
class BufferedResponse {
  readonly #fields: RawFields;
  readonly #reason: string;
  readonly #pieces: Buffer[] = [];
  #bytes = 0;
  /** Not null: it is whole. */
  #trailers: RawFields | null = null;
  /** Not null: it ended before it was whole, and what came is good to be passed on. */
  #shortened: Error | null = null;
  /** Not null: it is good for nothing. */
  #broken: Error | null = null;

  constructor(fields: RawFields, reason: string) {
    this.#fields = fields;
    this.#reason = reason;
  }

  /** False: no more of it is to be read for now. */
  add(piece: Buffer): boolean {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    return this.#bytes < most;
  }

  whole(trailers: RawFields): void {
    this.#trailers = trailers;
  }

  cut(error: Error): void {
    this.#shortened = error;
  }

  /** Of one that was whole, the connection's end says nothing. */
  broke(error: Error): void {
    if (this.#trailers === null) this.#broken = error;
  }

  /** Passes on what has come of it. Answers whether more is to come, or what ended it too early. */
  passOn(status: number, passing: ResponseForwarder): 'more' | 'whole' | Error {
    // One that broke while it was held has not begun for the client: it can still be told why.
    if (this.#broken !== null) return this.#broken;
    passing.begin(status, this.#reason, this.#fields);
    for (const piece of this.#pieces) passing.pass(piece);
    if (this.#trailers === null) return this.#shortened ?? 'more';
    passing.complete(this.#trailers);
    return 'whole';
  }
}
