import { endOfQuoted, nextOf } from '../../policy/scan.ts';

/** A member of an object of JSON, by where it stands in the text. */
export interface Member {
  readonly key: string;
  readonly keyAt: number;
  readonly keyEnd: number;
  readonly valueAt: number;
  readonly valueEnd: number;
}

const notBlank = /[^ \t\n\r]/g;
const bracket = /["{}[\]]/g;
const endOfPlain = /[,}\] \t\n\r]/g;

/**
 * The members of the object that begins at `start`.
 *
 * @param text known to be JSON
 */
export function membersAt(text: string, start: number): readonly Member[] {
  const members: Member[] = [];
  let at = nextOf(notBlank, text, start + 1);
  while (text[at] === '"') {
    const keyEnd = endOfQuoted(text, at);
    const colon = nextOf(notBlank, text, keyEnd);
    const valueAt = nextOf(notBlank, text, colon + 1);
    const valueEnd = endOfValue(text, valueAt);
    const written = text.slice(at, keyEnd);
    const key = written.includes('\\') ? (JSON.parse(written) as string) : written.slice(1, -1);
    members.push({ key, keyAt: at, keyEnd, valueAt, valueEnd });
    const comma = nextOf(notBlank, text, valueEnd);
    if (text[comma] !== ',') break;
    at = nextOf(notBlank, text, comma + 1);
  }
  return members;
}

/** Where the object begins that is all of a text; the length of the text where that is all there is. */
export function startOfValue(text: string): number {
  return nextOf(notBlank, text, 0);
}

function endOfValue(text: string, start: number): number {
  const first = text[start]!;
  if (first === '"') return endOfQuoted(text, start);
  if (first !== '{' && first !== '[') return nextOf(endOfPlain, text, start);
  let depth = 0;
  let at = start;
  for (;;) {
    const found = text[at]!;
    if (found === '"') at = endOfQuoted(text, at);
    else {
      depth += found === '{' || found === '[' ? 1 : -1;
      at += 1;
      if (depth === 0) return at;
    }
    at = nextOf(bracket, text, at);
  }
}
