import { notFromUpstream, type RawFields, responseFields, valuesOf, withoutFields } from './http/fields.ts';
import { announcesInVain, hasResponseBody } from './http/framing.ts';
import { Malformed } from './http/h1/scan.ts';
import { NameSet, type ResponseHeadBytes } from './http/head.ts';
import type { ExchangeResult } from './http/message.ts';
import { guardReply, type GuardedExchange, guardFields, type ReplySink } from './leak-guard/response.ts';
import { SidekeyError } from '../lib/errors.ts';
import { isCovered } from './policy/domain-map.ts';
import { safeMethods } from './policy/rule.ts';
import {
  type AttemptContext,
  type AttemptEnd,
  BufferedResponse,
  isConnectionLoss,
  upstreamFailure,
} from './attempt.ts';
import {
  type AnsweredHead,
  type ExpiredBody,
  isExpiredBody,
  maxExpiredBytes,
  maxExpiredMs,
  mayBeJson,
  readExpiredHead,
} from './expired.ts';
import { MintReply } from './mint-reply.ts';
import { ToolListReply } from './tool-list.ts';
import type { UpstreamRequest } from './request.ts';

/** Reports whether a status says that the credential was not enough (RFC 6750 §3.1). */
export function isRefusal(status: number): boolean {
  return status === 401 || status === 403;
}

const idempotent: ReadonlySet<string> = new Set(['PUT', 'DELETE', 'PROPFIND', 'REPORT', 'QUERY']);

/**
 * Reports whether a request has the same effect if it is processed twice: by its method (RFC 9110 §9.2.2), or
 * because its only key makes a server skip the second one. An empty key may not do that, nor one of several.
 */
export function isIdempotent({ method, fields }: Pick<UpstreamRequest, 'method' | 'fields'>): boolean {
  if (safeMethods.has(method) || idempotent.has(method)) return true;
  const keys = ['idempotency-key', 'x-idempotency-key'].flatMap((name) => valuesOf(fields, name));
  return keys.length === 1 && /[^\s"]/.test(keys[0]!);
}

const notFromAny = new NameSet(notFromUpstream(false));
const notFromGrants = new NameSet(notFromUpstream(true));
const nothing: RawFields = [];

type ResultReasons = Pick<ExchangeResult, 'code' | 'problem'>;

/** The connection or stream that a request and its response use. An attempt implements it. */
export interface Transport {
  /** True if the connection had another request before. It may have ended while it was idle. */
  readonly isReused: boolean;
  /** Pauses reading. */
  pause(): void;
  /** Resumes reading, and restarts the upstream's time limit for the next piece. */
  resume(): void;
  /** Sends no more of the request body. */
  stopSending(): void;
  /** Releases the connection, or leaves the queue for one. */
  drop(): void;
}

/**
 * Handles the response to one attempt: forwards it into the reply, no faster than the client reads, or
 * buffers it while another token or proof may get another response. The attempt calls one method at a time
 * from the event loop. Calls after the end have no effect.
 */
export class ResponseHandler {
  readonly #context: AttemptContext;
  readonly #transport: Transport;
  /** The reply, or the leak guard before it. */
  #into: ReplySink;
  #status = 0;
  /** A response that is not forwarded yet. */
  #buffered: BufferedResponse | null = null;
  /** The body that is buffered because it may report an ended token; null: none. */
  #inspected: ExpiredBody | null = null;
  #inspectionEnd: NodeJS.Timeout | undefined;
  /** Body to send again with another proof after the end of the buffered 401. */
  #again: { readonly copy: Buffer | null } | null = null;
  #isDraining = false;
  #isOver = false;

  constructor(context: AttemptContext, transport: Transport) {
    this.#context = context;
    this.#transport = transport;
    this.#into = context.reply;
  }

  /** True if nothing more is forwarded. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** True if the client or the token endpoint is slow instead of the upstream. */
  get isWaitedFor(): boolean {
    const isRenewing = this.#buffered !== null && this.#again === null && this.#inspected === null;
    return this.#isDraining || isRenewing;
  }

  /** Returns whether the request should be sent: its client may have disconnected. */
  begin(): boolean {
    const { reply, meter } = this.#context;
    if (reply.gone.already) {
      this.#finish('gone');
      return false;
    }
    reply.gone.listen(this.#onGone);
    meter.stops(this);
    return true;
  }

  /** The request cannot be sent. */
  refuse(error: Error): void {
    if (this.#settle()) this.#context.failed(error);
  }

  // The attempt reads the response.

  interim(status: number, fields: RawFields): void {
    const { reply, request } = this.#context;
    if (this.#isOver || request.mints !== undefined) return;
    const forwarded = this.#forwardable(fields);
    reply.informational(
      status,
      this.#isGuarded(status) ? guardFields(this.#guardedExchange(), status, forwarded) : forwarded,
    );
  }

  head(status: number, reason: string, fields: RawFields): void {
    if (this.#isOver) return;
    const values = (name: string) => valuesOf(fields, name);
    if (!this.#isBuffered(status, values, () => new BufferedResponse(fields, reason)))
      this.#forwardHead(status, reason, fields);
  }

  /** Like `head`, with bytes that are valid until this returns. */
  headRead(head: ResponseHeadBytes): void {
    if (this.#isOver) return;
    const { request, reply, expiredSigns } = this.#context;
    const { status } = head;
    this.#status = status;
    const isProved = request.credential !== null && request.credential.nonceOrigin !== null;
    if (isProved || status >= 400 || expiredSigns.length > 0) {
      const values = (name: string) => head.values(name);
      const buffer = () => new BufferedResponse(endToEndFields(head), head.reason);
      if (this.#isBuffered(status, values, buffer)) return;
    }
    const hint = isRefusal(status) ? this.#hintOn(head.raw()) : nothing;
    const isUnchanged =
      request.maxResponse === null &&
      request.conceal === undefined &&
      request.isListed === undefined &&
      request.mints === undefined &&
      !this.#isGuarded(status);
    const drop = request.carriesGrant ? notFromGrants : notFromAny;
    if (isUnchanged && reply.forwardHead?.(head, drop, hint) === true) return;
    this.#forwardHead(status, head.reason, endToEndFields(head), hint);
  }

  payload(piece: Buffer): void {
    if (this.#buffered === null) this.#forwardPiece(piece);
    else if (this.#inspected !== null) this.#inspect(this.#inspected, this.#buffered, piece);
    else if (!this.#buffered.add(piece)) {
      if (this.#again === null) this.#transport.pause();
      else this.#sendWithProof();
    }
  }

  /** Like `payload`, with a part of a buffer that is valid until this returns. */
  payloadLent(bytes: Buffer, start: number, end: number): void {
    const { reply } = this.#context;
    if (this.#buffered === null && this.#into === reply && reply.writePart !== undefined) {
      if (this.#mayForward(end - start) && !reply.writePart(bytes, start, end)) this.#waitForDrain();
      return;
    }
    const piece = bytes.subarray(start, end);
    const isCopied = this.#buffered === null && reply.copies === true;
    this.payload(isCopied ? piece : Buffer.from(piece));
  }

  whole(trailers: RawFields): void {
    if (this.#buffered === null) this.#forwardEnd(trailers);
    else {
      this.#buffered.trailers = trailers;
      this.#bufferedEnded();
    }
  }

  /** The response ended too early, though in good order: the part that came may be forwarded. */
  cut(error: Error): void {
    this.#transport.drop();
    if (this.#buffered === null) this.fail(error, true);
    else {
      this.#buffered.shortened = error;
      this.#bufferedEnded();
    }
  }

  /**
   * The connection or stream broke.
   *
   * @param hasBegun whether a byte of a response has come
   * @param isUnprocessed whether the upstream says that it has not processed the request
   */
  broke(error: Error, hasBegun: boolean, isUnprocessed = false): void {
    this.#transport.drop();
    if (this.#buffered === null) this.fail(error, hasBegun, isUnprocessed);
    else {
      // The connection may break behind a response that is whole.
      if (this.#buffered.trailers === null) this.#buffered.broken = error;
      this.#bufferedEnded();
    }
  }

  /** Like `broke`, without a connection to close. */
  fail(error: Error, hasBegun: boolean, isUnprocessed = false): void {
    if (this.#isOver) return;
    const { request, reply, body } = this.#context;
    if (reply.started) {
      this.#break(error instanceof Malformed ? { problem: error.message } : {});
      return;
    }
    const failure = upstreamFailure(error, request.peer, hasBegun);
    const isLost = !hasBegun && isConnectionLoss(error);
    const maySend = isLost && safeMethods.has(request.method);
    const mayRepeat = isLost && this.#transport.isReused && isIdempotent(request);
    const again = isUnprocessed || mayRepeat ? body.again() : maySend ? body.whole() : null;
    if (again === null) this.refuse(failure);
    else if (this.#settle()) this.#context.ended({ kind: 'lost', error: failure, sent: again.copy });
  }

  /** The upstream accepts the request only over HTTP/1.1, and has not processed it. */
  downgrade(error?: Error): void {
    if (this.#isOver) return;
    const again = error === undefined ? { copy: this.#context.sent } : this.#context.body.again();
    if (again === null) this.broke(error!, false);
    else this.#sendAgain({ kind: 'downgraded', sent: again.copy });
  }

  /** Refuses a response before its start, and cuts a later one, so that it does not look complete. */
  stop(why: SidekeyError): void {
    if (this.#isOver) return;
    if (this.#context.reply.started) {
      this.#break({ code: why.code });
    } else this.refuse(why);
    this.#transport.drop();
  }

  // Forwarding.

  #forwardHead(
    status: number,
    reason: string,
    fields: RawFields,
    hint = isRefusal(status) ? this.#hintOn(fields) : nothing,
  ): void {
    const { maxResponse, method } = this.#context.request;
    const announced = Number(valuesOf(fields, 'content-length')[0] ?? 0);
    if (maxResponse !== null && hasResponseBody(method, status) && announced > maxResponse) {
      this.stop(responseTooLarge(maxResponse));
      return;
    }
    const { reply, request } = this.#context;
    const { isListed, mints } = request;
    const into =
      mints !== undefined
        ? new MintReply(reply, this, method, mints)
        : isListed !== undefined
          ? new ToolListReply(reply, this, method === 'GET', isListed)
          : reply;
    this.#into = this.#isGuarded(status) ? guardReply(this.#guardedExchange(into), status, this) : into;
    const forwarded = this.#forwardable(fields);
    this.#into.head(status, reason, hint.length === 0 ? forwarded : [...forwarded, ...hint]);
  }

  #forwardPiece(piece: Buffer): void {
    if (this.#mayForward(piece.length) && !this.#into.write(piece)) this.#waitForDrain();
  }

  /** Counts the bytes of a piece. Returns whether it may be forwarded. */
  #mayForward(bytes: number): boolean {
    if (this.#isOver) return false;
    const { request, meter } = this.#context;
    const { maxResponse } = request;
    if (maxResponse !== null && meter.bytesOut + bytes > maxResponse) {
      this.stop(responseTooLarge(maxResponse));
      return false;
    }
    meter.sent(bytes);
    // The meter may have stopped it.
    return !this.isOver;
  }

  #waitForDrain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#transport.pause();
    this.#into.onDrain(() => {
      this.#isDraining = false;
      this.#transport.resume();
    });
  }

  #forwardEnd(trailers: RawFields): void {
    if (this.#isOver) return;
    const forwarded = trailers.length === 0 ? trailers : this.#forwardable(trailers);
    this.#into.end(forwarded, () => this.#finish('complete'));
  }

  /** Reports whether the response is searched for the credential. */
  #isGuarded(status: number): boolean {
    const { leakGuard } = this.#context.request;
    return leakGuard !== null && isCovered(leakGuard, status);
  }

  #guardedExchange(reply: GuardedExchange['reply'] = this.#context.reply): GuardedExchange {
    const { request, meter } = this.#context;
    const { maxResponse, leakGuard: search, secrets } = request;
    const overBound = (bytes: number) =>
      maxResponse !== null && bytes > maxResponse ? responseTooLarge(maxResponse) : null;
    return { reply, search, secrets, meter, overBound };
  }

  #hintOn(fields: RawFields): RawFields {
    const { request, credentials } = this.#context;
    return credentials.consentHint(request, request.conceal?.(fields) ?? fields);
  }

  #forwardable(fields: RawFields): RawFields {
    const { request } = this.#context;
    if (fields.length === 0) return fields;
    const forwarded = responseFields(fields, request.carriesGrant);
    return request.conceal?.(forwarded) ?? forwarded;
  }

  // A 401, or another response that reports an ended token.

  /** Reports whether the response is buffered, because a newer token or another proof may get another one. */
  #isBuffered(status: number, values: AnsweredHead['values'], buffer: () => BufferedResponse): boolean {
    const { request, credentials, mayRenew, mayProve, expiredSigns } = this.#context;
    this.#status = status;
    const proof = credentials.readProof(request, status, values);
    // The token is good. If the request cannot be sent again, the next one uses the nonce.
    if (proof === 'again' && mayProve) return this.#isProvedAgain(buffer);
    if (proof !== 'nothing' || !mayRenew) return false;
    const ended = readExpiredHead({ method: request.method, status, values }, expiredSigns);
    if (ended === 'ended') return this.#isRenewed(buffer);
    if (ended === null) return false;
    this.#buffered = buffer();
    this.#inspected = ended;
    this.#inspectionEnd = setTimeout(() => this.#release(), maxExpiredMs).unref();
    return true;
  }

  /** Keeps a piece of a body that may report an ended token, or forwards what cannot. */
  #inspect(body: ExpiredBody, buffered: BufferedResponse, piece: Buffer): void {
    const isFirst = buffered.pieces.length === 0;
    const isShort = buffered.add(piece, maxExpiredBytes);
    if (!isShort || (isFirst && !mayBeJson(piece, body))) this.#release();
  }

  /** The buffered response has ended, or its connection has. */
  #bufferedEnded(): void {
    const [body, buffered] = [this.#inspected, this.#buffered];
    this.#endInspection();
    if (body === null || buffered === null) this.#sendWithProof();
    else {
      const isExpired = buffered.trailers !== null && isExpiredBody(Buffer.concat(buffered.pieces), body);
      if (!isExpired || !this.#isRenewed(() => buffered)) this.#release();
    }
  }

  #endInspection(): void {
    clearTimeout(this.#inspectionEnd);
    this.#inspected = null;
  }

  /** Reports whether the response is buffered while the token is renewed. */
  #isRenewed(buffer: () => BufferedResponse): boolean {
    const { body, reply } = this.#context;
    // A client that still waits for a 100 has sent nothing that would have to be sent again.
    const whole = body.whole();
    const again = whole ?? (reply.expectsContinue ? body.again() : null);
    if (again === null) {
      // The next request has a newer token, though this one cannot be sent again.
      this.#renewal(false).catch(() => {});
      return false;
    }
    this.#buffered = buffer();
    if (whole === null) this.#transport.stopSending();
    this.#recover(again.copy, this.#renewal(true)).catch((error: Error) => {
      this.#transport.drop();
      this.refuse(error);
    });
    return true;
  }

  #renewal(isReplayable: boolean): Promise<UpstreamRequest | null> {
    const { credentials, request } = this.#context;
    return credentials.renew(request, isReplayable);
  }

  /** Reports whether the request is sent again with another proof. */
  #isProvedAgain(buffer: () => BufferedResponse): boolean {
    const { body } = this.#context;
    const whole = body.whole();
    if (whole !== null) {
      this.#again = whole;
      this.#buffered = buffer();
      return true;
    }
    // The body still comes, and the connection cannot be used again.
    const rest = body.again();
    if (rest === null) return false;
    this.#sendAgain({ kind: 'proved', sent: rest.copy });
    return true;
  }

  /** Repeats the request with another proof at the end of the 401, so that its connection stays usable. */
  #sendWithProof(): void {
    if (this.#again !== null) this.#sendAgain({ kind: 'proved', sent: this.#again.copy });
  }

  /** Sends the request again with a newer token, or forwards the response where there is none. */
  async #recover(copy: AttemptContext['sent'], renewal: Promise<UpstreamRequest | null>): Promise<void> {
    const request = await renewal;
    if (request === null) this.#release();
    else this.#sendAgain({ kind: 'renewed', request, sent: copy });
  }

  /** Forwards the buffered response, and what follows. */
  #release(): void {
    this.#endInspection();
    const buffered = this.#buffered;
    this.#buffered = null;
    if (this.#isOver || buffered === null) return;
    // The client has seen nothing of a response that broke while it was buffered: it can be told why.
    if (buffered.broken !== null) {
      this.fail(buffered.broken, true);
      return;
    }
    this.#forwardHead(this.#status, buffered.reason, buffered.fields);
    for (const piece of buffered.pieces) this.#forwardPiece(piece);
    if (buffered.trailers !== null) this.#forwardEnd(buffered.trailers);
    else if (buffered.shortened !== null) this.fail(buffered.shortened, true);
    else if (!this.#isDraining) this.#transport.resume();
  }

  #sendAgain(end: AttemptEnd): void {
    if (this.#isOver) return;
    this.#transport.drop();
    if (this.#settle()) this.#context.ended(end);
  }

  // The end.

  readonly #onGone = (): void => {
    this.#finish('gone');
    this.#transport.drop();
  };

  #finish(outcome: ExchangeResult['outcome']): void {
    if (this.#settle()) this.#report(outcome);
  }

  /** Cuts the connection of the client, whose response has begun. */
  #break(why: ResultReasons): void {
    if (!this.#settle()) return;
    // In this order, because an aborted reply counts as a client that left, and the end closes an open reply.
    this.#context.reply.abort();
    this.#report('broken', why);
  }

  #report(outcome: ExchangeResult['outcome'], why?: ResultReasons): void {
    const { bytesIn, bytesOut } = this.#context.meter;
    const carried: ExchangeResult = { status: this.#status, bytesIn, bytesOut, outcome };
    this.#context.ended({ kind: 'done', carried: why === undefined ? carried : { ...carried, ...why } });
  }

  /** Returns true on the first call: only the first end of the attempt counts. */
  #settle(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    if (this.#inspected !== null) this.#endInspection();
    this.#context.reply.gone.forget(this.#onGone);
    return true;
  }
}

/** The fields of a final head. Removes the length that a 204 must not have. */
function endToEndFields(head: ResponseHeadBytes): RawFields {
  const fields = head.raw();
  if (head.status !== 204 || !announcesInVain(head)) return fields;
  return withoutFields(fields, (name) => name === 'content-length');
}

function responseTooLarge(bytes: number): SidekeyError {
  const sentence = `The response is larger than the ${bytes} bytes that a rule allows.`;
  const hint = 'ask for less, or raise max_response of the rule';
  return new SidekeyError('rule_denied', sentence, { hint });
}
