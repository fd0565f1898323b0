import type { Budget, FoundCode, PlaceholderCodes } from './codes.ts';
import { alphabets, codeLength } from './form.ts';

/** Look-alikes of one body that are tried. */
const mostTried = 1_000;
const marks = alphabets.map(({ mark }) => Buffer.from(mark));
/** Bytes that a mark and its code have at most. */
const longest = Math.max(...alphabets.map((alphabet) => alphabet.mark.length + codeLength(alphabet)));

/** Finds placeholders in bytes that come in pieces. It holds none back: what it finds, nobody can use. */
export class PlaceholderScanner {
  readonly #codes: Pick<PlaceholderCodes, 'find'>;
  readonly #budget: Budget = { left: mostTried };
  /** The end of what has come, which may be the beginning of one. */
  #before: Buffer = Buffer.alloc(0);

  constructor(codes: Pick<PlaceholderCodes, 'find'>) {
    this.#codes = codes;
  }

  /** Those that end in this piece; one of the last piece may be told once more. */
  push(piece: Buffer): readonly FoundCode[] {
    const edge = Buffer.concat([this.#before, piece.subarray(0, longest - 1)]);
    const found = [
      ...findIn(edge, this.#codes, this.#budget),
      ...(piece.length < longest ? [] : findIn(piece, this.#codes, this.#budget)),
    ];
    const all = piece.length < longest ? Buffer.concat([this.#before, piece]) : piece;
    this.#before = Buffer.from(all.subarray(Math.max(0, all.length - (longest - 1))));
    return found;
  }
}

/** Those in bytes that are all there. */
export function findIn(
  bytes: Buffer,
  codes: Pick<PlaceholderCodes, 'find'>,
  budget?: Budget,
): readonly FoundCode[] {
  // Most hold no mark, and are not made a text.
  return marks.some((mark) => bytes.includes(mark)) ? codes.find(bytes.toString('latin1'), budget) : [];
}
