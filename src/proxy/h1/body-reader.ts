import { ChunkedBody } from './chunked-body.ts';
import type { HeadLimits, Malformed, Whose } from './faults.ts';
import type { FieldTable } from './field-table.ts';
import type { ResponsePlan } from './framing.ts';

/** Reads one body: says where it ends, and changes nothing. */
export interface BodyReader {
  /**
   * Reads the next bytes of the connection. Answers where the bytes end that belong to this body: what stands behind is
   * the next message's. A refusal is final, and is answered again: nothing that comes after it has a meaning.
   */
  read(bytes: Buffer, start: number, end: number): number | Malformed;
  /** Whether the body has ended. */
  readonly over: boolean;
  /** Whether the body is whole if its connection ends now. */
  readonly isWhole: boolean;
  /** Bytes of the body that have come, what frames them left out. */
  readonly payload: number;
  /**
   * How far the bytes of the last call may be passed on as they are: all that belong to the body but for its trailers,
   * which are in `trailers` when it is over, to be judged first. Then `trailerSection` ends the body.
   */
  readonly relayEnd: number;
  /** Where the payload lies in the last region, start and end in turn. Kept only where it was asked for. */
  readonly spans: readonly number[];
  /** Null until the body is over, and where it has none. */
  readonly trailers: FieldTable | null;
}

export interface BodyReaderOptions {
  readonly whose: Whose;
  /** For trailers. */
  readonly limits: HeadLimits;
  /** Whether `spans` are kept; default: no. */
  readonly spans?: boolean;
}

/** A reader of the body that a head announces. */
export function createBodyReader(
  plan: ResponsePlan,
  { whose, limits, spans }: BodyReaderOptions,
): BodyReader {
  switch (plan.kind) {
    case 'none':
      return new CountedBody(0, false);
    case 'length':
      return new CountedBody(plan.bytes, spans === true);
    case 'chunked':
      return new ChunkedBody(whose, limits, spans === true);
    case 'until_close':
    case 'tunnel':
      return new CountedBody(Infinity, spans === true);
  }
}

/** A body of so many bytes; of Infinity where it ends with its connection. */
class CountedBody implements BodyReader {
  payload = 0;
  relayEnd = 0;
  spans: readonly number[] = [];
  readonly trailers = null;
  readonly #bytes: number;
  readonly #wantsSpans: boolean;

  constructor(bytes: number, wantsSpans: boolean) {
    this.#bytes = bytes;
    this.#wantsSpans = wantsSpans;
  }

  get over(): boolean {
    return this.payload === this.#bytes;
  }

  get isWhole(): boolean {
    return this.over || this.#bytes === Infinity;
  }

  read(_bytes: Buffer, start: number, end: number): number {
    const size = Math.min(end - start, this.#bytes - this.payload);
    this.payload += size;
    this.relayEnd = start + size;
    if (this.#wantsSpans) this.spans = [start, this.relayEnd];
    return this.relayEnd;
  }
}
