import type { RawFields } from '../fields.ts';
import type { RequestHead } from '../message.ts';
import { FieldTable } from './field-table.ts';
import type { RequestLine } from './request-line.ts';

/** The head of a request as it stands in the bytes that were read; see `FieldTable` for whose they are. */
export class RequestHeadBytes extends FieldTable implements RequestHead {
  readonly version: '1.0' | '1.1';
  /** Where the request line begins, from `base`: behind the empty line that was skipped, where there was one. */
  readonly lineStart: number;
  /** Where it ends, its CR LF included. */
  readonly lineEnd: number;
  readonly #methodEnd: number;
  readonly #targetEnd: number;
  #fields: RawFields | null = null;

  constructor(bytes: Buffer, base: number, size: number, line: RequestLine, offsets: readonly number[]) {
    super(bytes, base, size, offsets);
    this.version = line.minor === 1 ? '1.1' : '1.0';
    this.lineStart = line.start;
    this.lineEnd = line.at;
    this.#methodEnd = line.methodEnd;
    this.#targetEnd = line.targetEnd;
  }

  get method(): string {
    return this.text.slice(this.lineStart, this.#methodEnd);
  }

  /** As it stood in the request line. */
  get target(): string {
    return this.text.slice(this.#methodEnd + 1, this.#targetEnd);
  }

  /** All names and values in turn, made once. */
  get fields(): RawFields {
    return (this.#fields ??= this.raw());
  }
}
