import { unescaped } from './unescape.ts';

/** Shorter secrets stand in ordinary text by chance: to look for them would spoil what is no echo. Characters. */
const shortestGuarded = 8;

/** Stands in no rendering: a search begins anew behind it. */
export const outside = 0;
/** Columns of bytes that are read over, and of CR and LF, which may stand within Base64. */
export const ignored = 255;
export const lineBreak = 254;
export const backslash = 0x5c;

/**
 * The characters that a credential may be made of, as columns of a table; letters of either case share one, and so do the
 * letters in which the alphabets of Base64 differ. It is chosen by what a credential is at most made of, so that it tells
 * nothing else of it.
 */
export interface Alphabet {
  readonly columns: Uint8Array;
  /** The same, but for bytes that are no matter of one look-up: theirs is the last column, `odd`. */
  readonly plain: Uint8Array;
  readonly odd: number;
  readonly width: number;
  /** Whether a credential may hold what escapes are made of. */
  readonly hasEscapes: boolean;
}

/** A credential as it is compared, character by character. */
type Rendering = readonly number[];

const token = alphabet(/[A-Za-z0-9+/_.~:-]/, false);
const printable = alphabet(/[ -~]/, true);
const any = alphabet(/[^\0]/, true);

function alphabet(characters: RegExp, hasEscapes: boolean): Alphabet {
  const columns = new Uint8Array(256);
  const known = new Map<string, number>();
  for (let byte = 1; byte < 256; byte += 1) {
    const letter = String.fromCharCode(byte);
    if (characters.test(letter)) {
      const key = keyOf(letter, byte);
      const column = known.get(key) ?? known.size + 1;
      known.set(key, column);
      columns[byte] = column;
    } else if (letter === '\r' || letter === '\n') columns[byte] = lineBreak;
  }
  columns[backslash] = ignored;
  // UTF-8 of U+0080 to U+00FF begins with one of these; what follows ends with the six bits that Latin-1 ends with.
  if (columns[0xc2] !== outside) columns.fill(ignored, 0xc2, 0xc4);
  const odd = known.size + 1;
  const plain = columns.map((column) => (column === ignored || column === lineBreak ? odd : column));
  for (const byte of [0, ...Buffer.from('%&\\')]) plain[byte] = odd;
  return { columns, plain, odd, width: odd + 1, hasEscapes };
}

function keyOf(letter: string, byte: number): string {
  if (byte >= 0x80) return `high ${byte & 0x3f}`;
  if (byte < 0x20 || byte === 0x7f) return 'control';
  // The first two are one in forms, and the last two in Base64 (RFC 4648 §5).
  if (' +-'.includes(letter)) return '-';
  return letter === '/' ? '_' : letter.toLowerCase();
}

/** The smallest alphabet that the texts are written in. */
export function alphabetOf(texts: readonly string[]): Alphabet {
  const all = texts.map(withoutPadding).join('');
  if (/^[A-Za-z0-9+/_.~:-]*$/.test(all)) return token;
  return /^[ -~]*$/.test(all) ? printable : any;
}

/** Whether an echo of it can be told from chance. */
export function isGuardable(secret: string): boolean {
  return symbolsOf(withoutPadding(secret), alphabetOf([secret])).length >= shortestGuarded;
}

/**
 * All that is looked for of a secret: itself, itself without what reads as an escape in it, in hex, and what Base64 makes
 * of it at each of the three offsets that it can have in a longer text.
 *
 * @param secret a character a byte, as in a header field
 */
export function renderingsOf(secret: string, of: Alphabet): readonly Rendering[] {
  const bytes = Buffer.from(secret, 'latin1');
  const plain = withoutPadding(secret);
  const texts = [
    plain,
    ...(of.hasEscapes ? [unescaped(Buffer.from(plain, 'latin1')).toString('latin1')] : []),
    bytes.toString('hex'),
    ...[0, 1, 2].map((offset) => base64Within(bytes, offset)),
  ];
  return texts.map((text) => symbolsOf(text, of)).filter(({ length }) => length >= shortestGuarded);
}

function symbolsOf(text: string, { columns }: Alphabet): Rendering {
  return Array.from(text, (letter) => columns[letter.charCodeAt(0)]!).filter(
    (column) => column !== ignored && column !== outside,
  );
}

/** Base64 goes with its padding and without. */
function withoutPadding(secret: string): string {
  const bare = secret.replace(/={1,2}$/, '');
  return bare.length >= shortestGuarded ? bare : secret;
}

/** The characters of Base64 that hold nothing but bits of these bytes, where so many bytes stand before them. */
function base64Within(bytes: Buffer, offset: number): string {
  const all = Buffer.concat([Buffer.alloc(offset), bytes]);
  return all.toString('base64').slice(Math.ceil((offset * 8) / 6), Math.floor((all.length * 8) / 6));
}
