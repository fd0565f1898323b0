import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Secrets that are marked: each is random, so that whatever holds a piece of one has it from where the test put it.
 */
export interface Marks {
  /** A new secret, called so in what is found. Letters and digits alone: it passes wherever a name or a token may stand. */
  readonly mark: (name: string) => string;
  /** A new secret with what tokens may have besides (RFC 6750 §2.1), so that forms and URLs write it otherwise. */
  readonly token: (name: string) => string;
  /** A new secret with quotes, backslashes, blanks and letters beyond ASCII, which JSON and URLs write otherwise. */
  readonly password: (name: string) => string;
  /** How many there are. */
  readonly size: () => number;
  /** The names of the marks of which these bytes hold a piece, in any of the forms below, with the form. */
  readonly findIn: (bytes: Buffer) => string[];
}

/** Letters of a piece: half as many in a row are no secret any more, and each 16 of one hold a whole piece. */
const pieceLength = 8;
const pieces = 4;

/** Makes a set of marks. */
export function createMarks(): Marks {
  const patterns: { readonly name: string; readonly form: string; readonly bytes: Buffer }[] = [];
  let size = 0;
  function add(name: string, between: string): string {
    size += 1;
    const parts = Array.from({ length: pieces }, () => randomLetters(pieceLength));
    for (const piece of parts) {
      for (const [form, text] of formsOf(piece)) patterns.push({ name, form, bytes: Buffer.from(text) });
    }
    return parts.join(between);
  }
  return {
    mark: (name) => add(name, ''),
    token: (name) => add(name, '+/~'),
    password: (name) => add(name, ' "\\é'),
    size: () => size,
    findIn: (bytes) => [
      ...new Set(
        patterns
          .filter((pattern) => bytes.includes(pattern.bytes))
          .map(({ name, form }) => `${name} (${form})`),
      ),
    ],
  };
}

const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** With a digit, so that nobody can take it for a word. */
function randomLetters(length: number): string {
  const [digit = 0, ...rest] = randomBytes(length);
  return `${Array.from(rest, (byte) => letters[byte % letters.length]).join('')}${digit % 10}`;
}

/** The forms in which a piece may have been written. */
function formsOf(piece: string): readonly (readonly [form: string, text: string])[] {
  const hex = Buffer.from(piece).toString('hex');
  const each = (prefix: string, width: number) =>
    Array.from(piece, (letter) => prefix + letter.charCodeAt(0).toString(16).padStart(width, '0')).join('');
  const percent = each('%', 2);
  return [
    ['as it is', piece],
    ['reversed', Array.from(piece).toReversed().join('')],
    ...[0, 1, 2].flatMap((offset) => {
      const text = base64At(piece, offset);
      return [
        [`base64, byte ${offset}`, text],
        [`base64url, byte ${offset}`, text.replaceAll('+', '-').replaceAll('/', '_')],
      ] as const;
    }),
    ['hex', hex],
    ['HEX', hex.toUpperCase()],
    ['percent', percent],
    ['PERCENT', percent.toUpperCase()],
    ['JSON escapes', each('\\u', 4)],
    ['UTF-16', piece.split('').join('\0')],
  ];
}

/** What base64 makes of a piece that begins so many bytes into a group of three, without what its neighbours share in. */
function base64At(piece: string, offset: number): string {
  const text = Buffer.from(`${'\0'.repeat(offset)}${piece}`)
    .toString('base64')
    .replace(/=+$/, '');
  const whole = Math.floor(((offset + piece.length) * 8) / 6);
  return text.slice(Math.ceil((offset * 8) / 6), whole);
}

/** Everything that was written below a folder, by its path there: what is in the files, and what they are called. */
export async function everythingBelow(folder: string): Promise<ReadonlyMap<string, Buffer>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const found = new Map<string, Buffer>();
  for (const file of files) {
    found.set(file.slice(folder.length + 1), Buffer.concat([Buffer.from(`${file}\0`), await readFile(file)]));
  }
  return found;
}
