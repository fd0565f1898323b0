/** Bytes by name, and what bytes may stand where. */

export const HT = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const QUOTE = 0x22;
export const COMMA = 0x2c;
export const ZERO = 0x30;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const EQUALS = 0x3d;
export const BACKSLASH = 0x5c;
const DEL = 0x7f;

/** Of a token (RFC 9110 §5.6.2): methods, field names, names of chunk extensions. */
export const inToken = 1;
/** Of a field value (RFC 9110 §5.5), its blanks included; also of a reason phrase and of quoted text. */
export const inValue = 2;
/** Of a request target: visible ASCII, and no `#`, for a target has no fragment (RFC 9112 §3.2). */
export const inTarget = 4;
/** A token's, but no lower-case letter. */
export const inMethod = 8;

/** What a byte may stand in: the flags above. */
export const kindOf: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  const text = String.fromCharCode(byte);
  let kinds = 0;
  if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(text)) kinds |= inToken;
  if (/[!#$%&'*+\-.^_`|~0-9A-Z]/.test(text)) kinds |= inMethod;
  if (/[\t\x20-\x7e\x80-\xff]/.test(text)) kinds |= inValue;
  if (/[\x21\x22\x24-\x7e]/.test(text)) kinds |= inTarget;
  return kinds;
});

/** ASCII letters in lower case, all other bytes as they are. */
export const lowerOf: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte,
);

/** The value of a hex digit; 16 for what is none. */
export const hexOf: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  const text = String.fromCharCode(byte);
  return /[0-9A-Fa-f]/.test(text) ? Number.parseInt(text, 16) : 16;
});

/** Whether bytes spell a word, without regard to case. `word` in lower case. */
export function spells(bytes: Buffer, start: number, end: number, word: string): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i += 1) {
    if (lowerOf[bytes[start + i]!] !== word.charCodeAt(i)) return false;
  }
  return true;
}

/** Where a run of bytes of one kind ends, from `at` on. */
export function endOfRun(bytes: Buffer, at: number, stop: number, kind: number): number {
  while (at < stop && (kindOf[bytes[at]!]! & kind) !== 0) at += 1;
  return at;
}

/** As `endOfRun` for `inValue`. Most of a head is values, and to compare is faster than to look up. */
export function endOfValue(bytes: Buffer, at: number, stop: number): number {
  for (; at < stop; at += 1) {
    const byte = bytes[at]!;
    if ((byte < SP && byte !== HT) || byte === DEL) break;
  }
  return at;
}
