import { BACKSLASH, CR, EQUALS, inToken, inValue, kindOf, QUOTE, SEMICOLON } from './bytes.ts';

const nameBegins = 0;
const inName = 1;
const valueBegins = 2;
const inTokenValue = 3;
const inQuotes = 4;
const quotedPair = 5;
const behindQuotes = 6;

/**
 * The extensions behind a chunk's size (RFC 9112 §7.1.1), byte by byte: `;name`, `;name=token` or `;name="text"`, without
 * blanks between. Nothing of them is used; that they are well-formed is what keeps every reader's line end the same.
 */
export class ChunkExtension {
  #state = nameBegins;

  /** Begins anew, behind a `;`. */
  begin(): void {
    this.#state = nameBegins;
  }

  /** Takes the next byte. `end`: it was the CR of the line's end. `wrong`: it cannot stand there. */
  take(byte: number): 'inside' | 'end' | 'wrong' {
    switch (this.#state) {
      case nameBegins:
      case inName:
        if ((kindOf[byte]! & inToken) !== 0) {
          this.#state = inName;
          return 'inside';
        }
        if (this.#state === nameBegins) return 'wrong';
        if (byte === EQUALS) {
          this.#state = valueBegins;
          return 'inside';
        }
        return this.#behind(byte);
      case valueBegins:
        if (byte === QUOTE) this.#state = inQuotes;
        else if ((kindOf[byte]! & inToken) !== 0) this.#state = inTokenValue;
        else return 'wrong';
        return 'inside';
      case inTokenValue:
        return (kindOf[byte]! & inToken) !== 0 ? 'inside' : this.#behind(byte);
      case inQuotes:
        if (byte === QUOTE) this.#state = behindQuotes;
        else if (byte === BACKSLASH) this.#state = quotedPair;
        else if ((kindOf[byte]! & inValue) === 0) return 'wrong';
        return 'inside';
      case quotedPair:
        this.#state = inQuotes;
        return (kindOf[byte]! & inValue) !== 0 ? 'inside' : 'wrong';
      default:
        return this.#behind(byte);
    }
  }

  #behind(byte: number): 'inside' | 'end' | 'wrong' {
    if (byte === SEMICOLON) {
      this.#state = nameBegins;
      return 'inside';
    }
    return byte === CR ? 'end' : 'wrong';
  }
}
