import { SidekeyError } from '../../errors.ts';
import { isCovered } from '../../policy/echo-guard.ts';
import { isRefusal } from '../consent-hint.ts';
import { notFromUpstream, responseFields, valuesOf, type RawFields } from '../fields.ts';
import { hasResponseBody } from '../framing.ts';
import { NameSet } from '../h1/name-set.ts';
import type { ResponseHeadBytes } from '../h1/response-head.ts';
import { guarded, guardedFields, type GuardedExchange, type ReplySink } from './guarded-reply.ts';
import { endToEndFields } from './response-facts.ts';
import type { Try } from './try.ts';

const notFromAny = new NameSet(notFromUpstream(false));
const nothing: RawFields = [];
const notFromGrants = new NameSet(notFromUpstream(true));

/** Who has a response passed on. */
export interface PassingOwner {
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
export class Passing {
  /** Whether the client is waited for. */
  isDraining = false;
  readonly #try: Try;
  readonly #owner: PassingOwner;
  #into: ReplySink;

  constructor(it: Try, owner: PassingOwner) {
    this.#try = it;
    this.#into = it.reply;
    this.#owner = owner;
  }

  interim(status: number, fields: RawFields): void {
    if (this.#owner.isOver) return;
    const kept = this.#passedOn(fields);
    const shown = this.#isGuarded(status) ? guardedFields(this.#guardedExchange(), status, kept) : kept;
    this.#try.reply.informational(status, shown);
  }

  /** A head that is good until this returns. */
  beginWith(head: ResponseHeadBytes): void {
    const { departure, request, reply } = this.#try;
    const hint = isRefusal(head.status) ? this.#hintOn(head.raw()) : nothing;
    const isAsItWas =
      departure.maxResponse === null && request.conceal === undefined && !this.#isGuarded(head.status);
    const drop = departure.carriesGrant ? notFromGrants : notFromAny;
    if (isAsItWas && reply.pass?.(head, drop, hint) === true) return;
    this.#begin(head.status, head.reason, endToEndFields(head), hint);
  }

  begin(status: number, reason: string, fields: RawFields): void {
    this.#begin(status, reason, fields, isRefusal(status) ? this.#hintOn(fields) : nothing);
  }

  #begin(status: number, reason: string, fields: RawFields, hint: RawFields): void {
    const { maxResponse, method } = this.#try.departure;
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
    const { departure, meter } = this.#try;
    const { maxResponse } = departure;
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
    const { echo } = this.#try.departure;
    return echo !== null && echo !== undefined && isCovered(echo, status);
  }

  #guardedExchange(): GuardedExchange {
    const { departure, request, reply, meter } = this.#try;
    const { maxResponse, echo: plan } = departure;
    const overBound = (bytes: number) =>
      maxResponse !== null && bytes > maxResponse ? responseTooLarge(maxResponse) : null;
    return { reply, plan, secrets: request.secrets, meter, overBound };
  }

  /** False: a budget has ended it. */
  #count({ length }: Buffer): boolean {
    this.#try.meter.sent(length);
    return !this.#owner.isOver;
  }

  /** What a refusal of the upstream gets besides, of ours. */
  #hintOn(fields: RawFields): RawFields {
    const { departure, request } = this.#try;
    return departure.consentHint?.(request.conceal?.(fields) ?? fields) ?? nothing;
  }

  #passedOn(fields: RawFields): RawFields {
    const { departure, request } = this.#try;
    const kept = responseFields(fields, departure.carriesGrant);
    return request.conceal?.(kept) ?? kept;
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
