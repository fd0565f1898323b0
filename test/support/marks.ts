import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { searchAll } from './search-all.ts';

/**
 * Marked secrets: each is random, so that any part of one that is found comes from the place where the test
 * put it.
 */
export interface Marks {
  /**
   * Creates a secret with this name for reports, of letters and digits: valid wherever a name or a token
   * may be.
   */
  readonly mark: (name: string) => string;
  /** Creates a secret with all characters of tokens (RFC 6750 §2.1), which forms and URLs encode. */
  readonly token: (name: string) => string;
  /**
   * Creates a secret with quotes, backslashes, spaces and characters beyond ASCII, which JSON and URLs
   * encode.
   */
  readonly password: (name: string) => string;
  /** The number of marks. */
  readonly size: () => number;
  /** The names of the marks of which these bytes contain a part, with the form of the part. */
  readonly findIn: (bytes: Buffer) => string[];
}

/**
 * Length of a part: half as many characters in a row reveal no secret, and each 16 characters of a mark
 * contain a whole part.
 */
const pieceLength = 8;
const pieces = 4;

/** Makes a set of marks. */
export function createMarks(): Marks {
  const patterns: { readonly name: string; readonly form: string; readonly bytes: Buffer }[] = [];
  let search: ReturnType<typeof searchAll> | null = null;
  let size = 0;
  function add(name: string, between: string): string {
    size += 1;
    search = null;
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
    findIn(bytes) {
      search ??= searchAll(patterns.map((pattern) => pattern.bytes));
      const found = search(bytes);
      const names = patterns.filter((_pattern, index) => found.has(index));
      return [...new Set(names.map(({ name, form }) => `${name} (${form})`))];
    },
  };
}

const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** Contains a digit, so that it is no word. */
function randomLetters(length: number): string {
  const [digit = 0, ...rest] = randomBytes(length);
  return `${Array.from(rest, (byte) => letters[byte % letters.length]).join('')}${digit % 10}`;
}

/** The forms in which a part may be written. */
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

/**
 * The base64 of a part at this offset within a group of three bytes, without the characters that it shares
 * with its neighbours.
 */
function base64At(piece: string, offset: number): string {
  const text = Buffer.from(`${'\0'.repeat(offset)}${piece}`)
    .toString('base64')
    .replace(/=+$/, '');
  const whole = Math.floor(((offset + piece.length) * 8) / 6);
  return text.slice(Math.ceil((offset * 8) / 6), whole);
}

/** All contents and names of the files in a folder, by their path. */
export async function filesBelow(folder: string): Promise<ReadonlyMap<string, Buffer>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const found = new Map<string, Buffer>();
  for (const file of files) {
    found.set(file.slice(folder.length + 1), Buffer.concat([Buffer.from(`${file}\0`), await readFile(file)]));
  }
  return found;
}
