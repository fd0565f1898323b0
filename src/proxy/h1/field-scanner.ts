import { COLON, CR, endOfRun, endOfValue, HT, inToken, kindOf, LF, SP } from './bytes.ts';
import type { Fault } from './faults.ts';
import { numberOf } from './known-names.ts';

const atLine = 0;
const inName = 1;
const beforeValue = 2;
const withinValue = 3;
const atLineFeed = 4;
const atLastLineFeed = 5;

/**
 * Reads field lines up to the empty line behind them, each byte once, however many pieces they come in
 * (RFC 9112 §5): no folding, no blank before a colon, no line that ends in anything but CR LF.
 */
export class FieldScanner {
  /** As `FieldTable` has them; taken over by whoever makes one. */
  offsets: number[] = [];
  /** How far it has read, from `base`. */
  at = 0;
  readonly #most: number;
  #count = 0;
  #state = atLine;
  #nameStart = 0;
  #nameEnd = 0;
  #valueStart = 0;

  /** @param most fields that there may be */
  constructor(most: number) {
    this.#most = most;
  }

  /** Begins anew. @param at where the first line begins, from `base` */
  begin(at: number): void {
    this.offsets = [];
    this.at = at;
    this.#count = 0;
    this.#state = atLine;
  }

  /**
   * Reads on where it stopped. The bytes before may have moved, together with `base`.
   *
   * @param stop where the bytes end that there are, or that there may be
   */
  scan(bytes: Buffer, base: number, stop: number): 'done' | 'more' | Fault {
    let at = base + this.at;
    let state = this.#state;
    while (at < stop) {
      if (state === atLine) {
        const byte = bytes[at]!;
        if (byte === CR) {
          state = atLastLineFeed;
          at += 1;
          continue;
        }
        if ((kindOf[byte]! & inToken) === 0) return faultAtLine(byte);
        if (this.#count === this.#most) return 'too_many_fields';
        this.#nameStart = at - base;
        state = inName;
      }
      if (state === inName) {
        at = endOfRun(bytes, at, stop, inToken);
        if (at === stop) break;
        if (bytes[at] !== COLON) return faultInName(bytes[at]!);
        this.#nameEnd = at - base;
        at += 1;
        state = beforeValue;
      }
      if (state === beforeValue) {
        while (at < stop && (bytes[at] === SP || bytes[at] === HT)) at += 1;
        if (at === stop) break;
        this.#valueStart = at - base;
        state = withinValue;
      }
      if (state === withinValue) {
        at = endOfValue(bytes, at, stop);
        if (at === stop) break;
        const byte = bytes[at]!;
        if (byte !== CR) return byte === LF ? 'bare_lf' : 'control_byte';
        at += 1;
        state = atLineFeed;
        if (at === stop) break;
      }
      if (bytes[at] !== LF) return 'bare_cr';
      if (state === atLastLineFeed) {
        this.at = at + 1 - base;
        return 'done';
      }
      this.#add(bytes, base, at - 1);
      at += 1;
      state = atLine;
    }
    this.at = at - base;
    this.#state = state;
    return 'more';
  }

  /** @param lineEnd where the line's CR stands, in `bytes` */
  #add(bytes: Buffer, base: number, lineEnd: number): void {
    let valueEnd = lineEnd;
    const valueStart = base + this.#valueStart;
    while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HT)) valueEnd -= 1;
    this.#count += 1;
    this.offsets.push(
      numberOf(bytes, base + this.#nameStart, base + this.#nameEnd),
      this.#nameStart,
      this.#nameEnd,
      this.#valueStart,
      valueEnd - base,
    );
  }
}

function faultAtLine(byte: number): Fault {
  if (byte === LF) return 'bare_lf';
  if (byte === SP || byte === HT) return 'folded_field';
  if (byte === COLON) return 'empty_name';
  return 'bad_name';
}

function faultInName(byte: number): Fault {
  if (byte === SP || byte === HT) return 'space_before_colon';
  if (byte === CR || byte === LF) return 'no_colon';
  return 'bad_name';
}
