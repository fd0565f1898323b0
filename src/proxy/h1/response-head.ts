import { FieldTable } from './field-table.ts';
import { reasonAt, type StatusLine } from './status-line.ts';

/** The head of a response as it stands in the bytes that were read; see `FieldTable` for whose they are. */
export class ResponseHeadBytes extends FieldTable {
  readonly version: '1.0' | '1.1';
  /** 100 to 999. */
  readonly status: number;
  readonly lineStart = 0;
  /** Where the status line ends, its CR LF included, from `base`. */
  readonly lineEnd: number;
  readonly #reasonEnd: number;

  constructor(bytes: Buffer, base: number, size: number, line: StatusLine, offsets: readonly number[]) {
    super(bytes, base, size, offsets);
    this.version = line.minor === 1 ? '1.1' : '1.0';
    this.status = line.status;
    this.lineEnd = line.at;
    this.#reasonEnd = line.reasonEnd;
  }

  /** As it stood in the status line; empty where there was none. */
  get reason(): string {
    return this.text.slice(reasonAt, this.#reasonEnd);
  }
}
