import { responseFraming, type ResponseFraming } from '../framing.ts';
import type { ResponseHeadBytes } from '../head.ts';
import { createMendingReader, isRepairable } from './mend.ts';
import { giveBackResponseReader, type HeadReader, takeResponseReader } from './read-head.ts';
import { type HeadLimits, Malformed } from './scan.ts';

/**
 * Reads the heads of the responses to one request: interim ones, and the final one. If the strict reader
 * refuses a head, repairs it and those behind it (decision 136).
 */
export class ResponseHeads {
  /** Framing of the last head. */
  framing!: ResponseFraming;
  /** True if heads are repaired. Then the connection must not be used again. */
  isMended = false;
  readonly #method: string;
  readonly #limits: HeadLimits;
  #reader: HeadReader<ResponseHeadBytes>;

  /** @param method of the request */
  constructor(method: string, limits: HeadLimits) {
    this.#method = method;
    this.#limits = limits;
    this.#reader = takeResponseReader(limits);
  }

  /** See `HeadReader.read`. A head is valid until the next call, or until `release`. */
  read(bytes: Buffer, start: number, end: number): ReturnType<HeadReader<ResponseHeadBytes>['read']> {
    const head = this.#reader.read(bytes, start, end);
    if (head === 'incomplete') return head;
    const framing = head instanceof Malformed ? head : responseFraming(head, this.#method);
    if (!(framing instanceof Malformed)) {
      this.framing = framing;
      return head;
    }
    if (this.isMended || !isRepairable(framing.fault)) return framing;
    this.isMended = true;
    this.#reader = createMendingReader(this.#method, this.#limits);
    return this.read(bytes, start, end);
  }

  /** Gives the reader back after a complete head. Nothing may be read after that. */
  release(): void {
    if (!this.isMended) giveBackResponseReader(this.#reader, this.#limits);
  }
}
