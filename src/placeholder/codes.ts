import { LRUCache } from 'lru-cache';
import { alphabets, codeLength, withCode, type Alphabet, type PlaceholderForm } from './form.ts';

/** A placeholder that was made here, found in a text. */
export interface FoundCode {
  readonly alphabet: Alphabet;
  readonly code: string;
}

/** Whose a placeholder is. */
export type Holder = `lease ${string}` | `agent ${string}` | 'anyone';

/** Of whoever comes under this lease (its UUID). */
export const leaseHolder = (id: string): Holder => `lease ${id}`;
/** Of an agent, with a token of its own or under any of its leases. */
export const agentHolder = (name: string): Holder => `agent ${name}`;
/** Of callers without a token. */
export const anyone: Holder = 'anyone';

/** Makes placeholders and knows them again; nothing is kept for that. */
export interface PlaceholderCodes {
  /** The placeholder of this form that stands for a grant in the hands of a holder: always the same. */
  make(form: PlaceholderForm, holder: Holder, grant: string): string;
  /** Those in a text, each a character a byte. What only looks like one is none. */
  find(text: string, budget?: Budget): readonly FoundCode[];
  /** Whether it was made for this holder and this grant. */
  isOf(found: FoundCode, holder: Holder, grant: string): boolean;
}

const nothing: readonly FoundCode[] = [];
/** Texts of one search that may turn out to be none: each costs a hash, and whoever writes the text has no end of them. */
export interface Budget {
  left: number;
}

/** For a text that is all there. */
const mostTried = 100;
/** Hashes that are kept, of some 200 bytes each. */
const mostKept = 1_000;

/**
 * A code is a keyed hash of its holder and grant, and a second one of the first, by which every process with the same key
 * knows it for one: also one of another lease, or of a grant that is gone.
 *
 * @param mac a keyed hash; hex digits
 */
export function createPlaceholderCodes(mac: (text: string) => string): PlaceholderCodes {
  // A program sends its placeholder with every request.
  const hashes = new LRUCache<string, string>({ max: mostKept });
  const hashOf = (text: string): string => {
    let hash = hashes.get(text);
    if (hash === undefined) hashes.set(text, (hash = mac(text)));
    return hash;
  };
  const codeOf = (alphabet: Alphabet, holder: Holder, grant: string) => {
    const name = digitsOf(hashOf(`${alphabet.mark}\n${holder}\n${grant}`), alphabet, alphabet.nameLength);
    return name + checkOf(alphabet, name);
  };
  const checkOf = (alphabet: Alphabet, name: string) =>
    digitsOf(hashOf(`${alphabet.mark}\n${name}`), alphabet, alphabet.checkLength);
  return {
    make: (form, holder, grant) => withCode(form, codeOf(form.alphabet, holder, grant)),
    find(text, budget = { left: mostTried }) {
      let found: FoundCode[] | null = null;
      for (const alphabet of alphabets) {
        const { mark, nameLength } = alphabet;
        for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) {
          const start = at + mark.length;
          const code = text.slice(start, start + codeLength(alphabet));
          if (code.length < codeLength(alphabet) || !isWritten(alphabet, code)) continue;
          if ((budget.left -= 1) < 0) break;
          if (checkOf(alphabet, code.slice(0, nameLength)) === code.slice(nameLength))
            (found ??= []).push({ alphabet, code });
        }
      }
      return found ?? nothing;
    },
    isOf: ({ alphabet, code }, holder, grant) => codeOf(alphabet, holder, grant) === code,
  };
}

function isWritten({ digits }: Alphabet, code: string): boolean {
  for (const character of code) if (!digits.includes(character)) return false;
  return true;
}

function digitsOf(hex: string, { digits }: Alphabet, length: number): string {
  return Array.from(Buffer.from(hex, 'hex').subarray(0, length), (byte) => digits[byte % digits.length]).join(
    '',
  );
}
