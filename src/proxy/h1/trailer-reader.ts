import type { Fault, HeadLimits } from './faults.ts';
import { FieldScanner } from './field-scanner.ts';
import { FieldTable } from './field-table.ts';
import { NameSet } from './name-set.ts';

/** Who takes trailers for fields of the head would frame the message by these, or end its connection. */
const framing = new NameSet([
  'content-length',
  'transfer-encoding',
  'connection',
  'proxy-connection',
  'upgrade',
]);

/**
 * Reads the trailers of a chunked body (RFC 9112 §7.1.2), as strictly as the fields of a head and within the same
 * limits. They are copied as they come: they are few, and are not to go on before all of them are known to be right.
 */
export class TrailerReader {
  /** Whether all of them have come. */
  ended = false;
  readonly #limits: HeadLimits;
  readonly #fields: FieldScanner;
  #copy = Buffer.allocUnsafe(256);
  #size = 0;

  constructor(limits: HeadLimits) {
    this.#limits = limits;
    this.#fields = new FieldScanner(limits.head_fields);
  }

  /** How many bytes of the region belong to them. When they have ended, `table` answers them. */
  read(bytes: Buffer, start: number, end: number): number | Fault {
    const before = this.#size;
    const room = this.#limits.head_bytes - before;
    this.#append(bytes, start, Math.min(end, start + room));
    const outcome = this.#fields.scan(this.#copy, 0, this.#size);
    if (outcome === 'done') {
      this.#size = this.#fields.at;
      const table = this.table();
      for (let index = 0; index < table.count; index += 1) {
        if (framing.has(table, index)) return 'framing_in_trailers';
      }
      this.ended = true;
      return this.#size - before;
    }
    if (outcome !== 'more') return outcome === 'too_many_fields' ? 'too_many_trailers' : outcome;
    return this.#size < this.#limits.head_bytes ? end - start : 'trailers_too_large';
  }

  /** The trailers, with bytes of their own. */
  table(): FieldTable {
    return new FieldTable(this.#copy, 0, this.#size, this.#fields.offsets);
  }

  #append(bytes: Buffer, start: number, end: number): void {
    const size = this.#size + end - start;
    if (size > this.#copy.length) {
      const larger = Buffer.allocUnsafe(Math.max(size, 2 * this.#copy.length));
      this.#copy.copy(larger, 0, 0, this.#size);
      this.#copy = larger;
    }
    bytes.copy(this.#copy, this.#size, start, end);
    this.#size = size;
  }
}
