import type { Limits } from '../../policy/limits.ts';
import type { RawFields } from '../fields.ts';
import { createBodyReader, type BodyReader } from '../h1/body-reader.ts';
import { trailersToPass } from '../h1/chunk-writer.ts';
import { Malformed } from '../h1/faults.ts';
import { responsePlan } from '../h1/framing.ts';
import { createResponseReader, type HeadReader } from '../h1/head-reader.ts';
import { payloadTogether } from '../h1/payload.ts';
import type { ResponseHeadBytes } from '../h1/response-head.ts';
import { isReusable } from '../h1/reuse.ts';

/** What a response turns out to be, in its order. */
export interface ResponseSink {
  /** An interim response, good until this returns. */
  interim(head: ResponseHeadBytes): void;
  /** The final head, good until this returns. */
  head(head: ResponseHeadBytes): void;
  /** A piece of the body without what frames it, good until this returns. */
  payload(piece: Buffer): void;
  /** The response is whole. */
  whole(trailers: RawFields): void;
}

/**
 * Reads the response to one request. It keeps no byte that it is given but a head that is not complete yet, and moves those
 * of a chunked body together where they lie.
 */
export class ResponseReading {
  readonly #method: string;
  readonly #limits: Limits;
  readonly #sink: ResponseSink;
  readonly #heads: HeadReader<ResponseHeadBytes>;
  /** A head that came in pieces, as far as it came. */
  #partial: Buffer | null = null;
  #partialSize = 0;
  #body: BodyReader | null = null;
  #mayReuse = false;
  #over = false;
  /** Whether a byte of an answer has come. */
  hasBegun = false;

  constructor(method: string, limits: Limits, sink: ResponseSink) {
    this.#method = method;
    this.#limits = limits;
    this.#sink = sink;
    this.#heads = createResponseReader(limits);
  }

  /** Whether the final head has come. */
  get hasHead(): boolean {
    return this.#body !== null;
  }

  /** Whether the connection can be used again: to be asked when the response is whole. */
  get isReusable(): boolean {
    return this.#over && this.#mayReuse;
  }

  /** Reads what came next, up to `end`. Answers what is wrong with it; null: nothing. */
  read(bytes: Buffer, end: number): Error | null {
    this.hasBegun = true;
    if (this.#body !== null) return this.#readBody(this.#body, bytes, 0, end);
    if (this.#partial === null) return this.#readHeads(bytes, 0, end);
    const whole = this.#append(this.#partial, bytes, end);
    return this.#readHeads(whole, 0, this.#partialSize);
  }

  /** The connection has ended in good order. Answers whether the response is whole by that. */
  end(): boolean {
    if (this.#body === null || this.#over || !this.#body.isWhole) return false;
    this.#over = true;
    this.#sink.whole([]);
    return true;
  }

  #readHeads(bytes: Buffer, start: number, end: number): Error | null {
    let at = start;
    for (;;) {
      const head = this.#heads.read(bytes, at, end);
      if (head === 'incomplete') {
        this.#keep(bytes, at, end);
        return null;
      }
      if (head instanceof Malformed) return head;
      const plan = responsePlan(head, this.#method);
      if (plan instanceof Malformed) return plan;
      if (plan.kind === 'tunnel' || head.status === 101)
        return new Error('the upstream switched protocols, and was not asked to');
      at += head.size;
      if (head.status < 200) {
        this.#sink.interim(head);
        continue;
      }
      const body = createBodyReader(plan, { whose: 'response', limits: this.#limits, spans: true });
      this.#body = body;
      this.#mayReuse = isReusable(head, plan);
      this.#sink.head(head);
      return this.#readBody(body, bytes, at, end);
    }
  }

  #readBody(body: BodyReader, bytes: Buffer, start: number, end: number): Error | null {
    if (this.#over) {
      // Nobody asked for it.
      this.#mayReuse = false;
      return null;
    }
    const stop = body.read(bytes, start, end);
    if (typeof stop !== 'number') return stop;
    const piece = payloadTogether(bytes, body.spans);
    if (piece !== null) this.#sink.payload(piece);
    if (!body.over) return null;
    this.#over = true;
    if (stop < end) this.#mayReuse = false;
    this.#sink.whole(body.trailers === null ? [] : trailersToPass(body.trailers));
    return null;
  }

  #append(partial: Buffer, bytes: Buffer, end: number): Buffer {
    const size = this.#partialSize + end;
    let room = partial;
    if (size > partial.length) {
      room = Buffer.allocUnsafe(Math.max(size, 2 * partial.length));
      partial.copy(room, 0, 0, this.#partialSize);
    }
    bytes.copy(room, this.#partialSize, 0, end);
    this.#partial = room;
    this.#partialSize = size;
    return room;
  }

  #keep(bytes: Buffer, start: number, end: number): void {
    if (bytes === this.#partial) bytes.copyWithin(0, start, end);
    else {
      this.#partial ??= Buffer.allocUnsafe(Math.max(1_024, end - start));
      bytes.copy(this.#partial, 0, start, end);
    }
    this.#partialSize = end - start;
  }
}
