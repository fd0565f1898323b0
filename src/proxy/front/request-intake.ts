import type { Limits } from '../../policy/limits.ts';
import { createBodyReader } from '../h1/body-reader.ts';
import { CR, LF } from '../h1/bytes.ts';
import { Malformed } from '../h1/faults.ts';
import { bytesBehindLast, requestPlan } from '../h1/framing.ts';
import { createRequestReader, type HeadReader } from '../h1/head-reader.ts';
import { persists } from '../h1/persistence.ts';
import type { RequestHeadBytes } from '../h1/request-head.ts';
import type { BodyPlan } from '../../inject/body-plan.ts';
import { IncomingBody, type BodySource } from './incoming-body.ts';
import { PendingBytes } from './pending-bytes.ts';

/** A request that has come, at least its head. */
export interface Incoming {
  readonly head: RequestHeadBytes;
  readonly body: IncomingBody | null;
}

/** Why no more is read. */
export type Stop =
  /** Something is malformed: the head of a request, or this body. */
  | { readonly kind: 'malformed'; readonly why: Malformed; readonly body: IncomingBody | null }
  /** A request takes the connection over, with the bytes behind it. */
  | { readonly kind: 'taken over'; readonly head: RequestHeadBytes; readonly early: Buffer };

/** What an intake tells the connection that it reads. */
export interface IntakeOwner extends BodySource {
  /** Whether a request takes the whole connection over. */
  takesOver(head: RequestHeadBytes, plan: BodyPlan): boolean;
  /** A request has come, in its turn; answers whether more is to be read. */
  requested(request: Incoming): boolean;
}

/** Reads the requests of one connection out of its bytes, each body before the next head. */
export class RequestIntake {
  /** No request is read any more; a body that has begun still is. */
  isClosed = false;
  /** The client said that its last request is the last of the connection. */
  saidLast = false;
  /** The body that is coming. */
  body: IncomingBody | null = null;
  readonly #owner: IntakeOwner;
  readonly #limits: Limits;
  readonly #heads: HeadReader<RequestHeadBytes>;
  readonly #pending = new PendingBytes();

  constructor(owner: IntakeOwner, limits: Limits) {
    this.#owner = owner;
    this.#limits = limits;
    this.#heads = createRequestReader(limits);
  }

  /** Whether a head, or an empty line before one, has begun and not ended. */
  get inHead(): boolean {
    return this.#heads.begun;
  }

  /** Whether no more has begun than an empty line, as some clients send it behind a body. */
  get isBlank(): boolean {
    return this.#pending.isBlank;
  }

  /** Reads what came; null: and waits for more. */
  read(piece: Buffer): Stop | null {
    const bytes = this.#pending.with(piece);
    const end = bytes.length;
    let at = 0;
    while (at < end) {
      if (this.body !== null) {
        const { body } = this;
        const next = body.take(bytes, at, end);
        if (typeof next !== 'number') {
          this.body = null;
          this.isClosed = true;
          return { kind: 'malformed', why: next, body };
        }
        at = next;
        if (body.over) this.body = null;
      } else if (this.isClosed) {
        at = end;
      } else if (this.saidLast) {
        // An empty line is forgiven (RFC 9112 §2.2), another request is not.
        if (bytes[at] !== CR && bytes[at] !== LF) return malformed(bytesBehindLast('request'));
        at += 1;
      } else {
        const head = this.#heads.read(bytes, at, end);
        if (head === 'incomplete') break;
        if (head instanceof Malformed) return malformed(head);
        at += head.size;
        const plan = requestPlan(head);
        if (plan instanceof Malformed) return malformed(plan);
        if (this.#owner.takesOver(head, plan)) {
          return { kind: 'taken over', head, early: bytes.subarray(at) };
        }
        this.saidLast = !persists(head);
        this.body = this.#bodyOf(plan);
        if (!this.#owner.requested({ head, body: this.body })) return null;
      }
    }
    this.#pending.keep(bytes, at);
    return null;
  }

  #bodyOf(plan: BodyPlan): IncomingBody | null {
    if (plan.kind === 'none') return null;
    const reader = createBodyReader(plan, { whose: 'request', limits: this.#limits, spans: true });
    return new IncomingBody(this.#owner, reader);
  }
}

function malformed(why: Malformed): Stop {
  return { kind: 'malformed', why, body: null };
}
