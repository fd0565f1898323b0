/**
 * The form of a placeholder: that of the credential that it stands for, with a place for the code that says whose it is.
 * Forms come from the definitions of providers, where they are written as one placeholder that means nothing
 * (`ghp_sidekeyPlaceholder000000000000000000`).
 */
export interface PlaceholderForm {
  readonly before: string;
  readonly alphabet: Alphabet;
  /** Zeros behind the code, so that the length stays. */
  readonly padding: string;
  readonly after: string;
}

/** How a code is written. `mark` begins it: what is searched for. */
export interface Alphabet {
  readonly mark: string;
  readonly digits: string;
  /** Characters of the code that name its holder and grant. */
  readonly nameLength: number;
  /** Characters behind them that prove that it was made here. */
  readonly checkLength: number;
}

/** What most credentials may hold. */
export const word: Alphabet = {
  mark: 'sidekey',
  digits: '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz',
  nameLength: 8,
  checkLength: 4,
};

/** For credentials of hexadecimal digits alone. */
export const hexadecimal: Alphabet = {
  mark: '51dec0de',
  digits: '0123456789abcdef',
  nameLength: 10,
  checkLength: 6,
};

/** All of them. */
export const alphabets: readonly Alphabet[] = [word, hexadecimal];

/** For a credential whose form is not known, or does not matter. */
export const plainForm: PlaceholderForm = { before: '', alphabet: word, padding: '0', after: '' };

/**
 * Has the shape of a JSON Web Token (RFC 7519) without an algorithm that lasts until 2100, for clients that look into
 * theirs.
 */
export const jwtForm: PlaceholderForm = {
  before: `${segment({ alg: 'none', typ: 'JWT' })}.${segment({ iss: 'sidekey', sub: 'placeholder', exp: 4_102_444_800 })}.`,
  alphabet: word,
  padding: '0'.repeat(24),
  after: '',
};

/** Null: a code has no room in it, so that it stays as it is, for everybody. */
export function readForm(template: string): PlaceholderForm | null {
  const [, before = '', room, after = ''] = /^(.*?)sidekey(Placeholder0*)(.*)$/.exec(template) ?? [];
  if (room !== undefined) return formOf({ before, after }, word, room.length);
  const [, first = '', zeros, last = ''] = /^(.*?)(0{24,})(.*)$/.exec(template) ?? [];
  if (zeros === undefined) return null;
  return formOf({ before: first, after: last }, hexadecimal, zeros.length - hexadecimal.mark.length);
}

/** Characters of a code. */
export function codeLength({ nameLength, checkLength }: Alphabet): number {
  return nameLength + checkLength;
}

/** @param code as long as its alphabet has it */
export function withCode({ before, alphabet, padding, after }: PlaceholderForm, code: string): string {
  return `${before}${alphabet.mark}${code}${padding}${after}`;
}

function formOf(
  around: Pick<PlaceholderForm, 'before' | 'after'>,
  alphabet: Alphabet,
  room: number,
): PlaceholderForm | null {
  const left = room - codeLength(alphabet);
  return left < 0 ? null : { ...around, alphabet, padding: '0'.repeat(left) };
}

function segment(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
