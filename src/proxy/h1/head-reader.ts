import { Malformed, type HeadLimits, type Whose } from './faults.ts';
import { FieldScanner } from './field-scanner.ts';
import { RequestHeadBytes } from './request-head.ts';
import { RequestLine } from './request-line.ts';
import { ResponseHeadBytes } from './response-head.ts';
import { StatusLine } from './status-line.ts';

/** Reads the heads of one connection's messages, one after the other. */
export interface HeadReader<Head> {
  /**
   * Reads a head. `incomplete`: ask again when more has come, with all bytes from the first byte of the head on; they
   * may have moved, and what was looked at is not looked at again. Any other answer ends this head, and the next call
   * begins the next one; behind a refusal there is none, and it is answered again.
   *
   * A head's bytes stay the caller's: see `FieldTable`. The body begins at `start + head.size`.
   */
  read(bytes: Buffer, start: number, end: number): Head | 'incomplete' | Malformed;
  /** Whether a head has begun and not ended: the connection must not be taken for an idle one. */
  readonly begun: boolean;
}

/** A first line, read in pieces. */
interface FirstLine {
  readonly at: number;
  begin(): void;
  scan: FieldScanner['scan'];
}

type HeadClass<Line, Head> = new (
  bytes: Buffer,
  base: number,
  size: number,
  line: Line,
  offsets: readonly number[],
) => Head;

class TwoPartReader<Line extends FirstLine, Head> implements HeadReader<Head> {
  begun = false;
  readonly #whose: Whose;
  readonly #line: Line;
  readonly #make: HeadClass<Line, Head>;
  readonly #limits: HeadLimits;
  readonly #fields: FieldScanner;
  #inFields = false;
  #refusal: Malformed | null = null;

  constructor(whose: Whose, line: Line, make: HeadClass<Line, Head>, limits: HeadLimits) {
    this.#whose = whose;
    this.#line = line;
    this.#make = make;
    this.#limits = limits;
    this.#fields = new FieldScanner(limits.head_fields);
  }

  read(bytes: Buffer, start: number, end: number): Head | 'incomplete' | Malformed {
    if (this.#refusal !== null) return this.#refusal;
    if (start === end) return 'incomplete';
    this.begun = true;
    const stop = Math.min(end, start + this.#limits.head_bytes);
    const line = this.#line;
    const fields = this.#fields;
    let outcome: ReturnType<FieldScanner['scan']> = 'done';
    if (!this.#inFields) {
      outcome = line.scan(bytes, start, stop);
      if (outcome === 'done') {
        this.#inFields = true;
        fields.begin(line.at);
      }
    }
    if (outcome === 'done') outcome = fields.scan(bytes, start, stop);
    if (outcome === 'more') {
      if (end - start < this.#limits.head_bytes) return 'incomplete';
      outcome = 'head_too_large';
    }
    if (outcome !== 'done') return (this.#refusal = new Malformed(this.#whose, outcome, this.#limits));
    const head = new this.#make(bytes, start, fields.at, line, fields.offsets);
    line.begin();
    this.#inFields = false;
    this.begun = false;
    return head;
  }
}

/** Reads requests. Their framing is another question: `framing.ts`. */
export function createRequestReader(limits: HeadLimits): HeadReader<RequestHeadBytes> {
  return new TwoPartReader('request', new RequestLine(), RequestHeadBytes, limits);
}

/** Reads responses, interim ones (1xx) too. */
export function createResponseReader(limits: HeadLimits): HeadReader<ResponseHeadBytes> {
  return new TwoPartReader('response', new StatusLine(), ResponseHeadBytes, limits);
}
