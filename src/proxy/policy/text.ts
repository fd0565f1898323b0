import type { Json, JsonObject } from '../../lib/json.ts';
/** Grammar of field lines, for credentials from a provider, in the store, in the config, and at injection. */

const value = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/** RFC 9110 §5.1: a field name is a token (§5.6.2). */
export function isFieldName(text: string): boolean {
  return text !== '' && (commonKinds(text) & inToken) !== 0;
}

const inToken = 1;
/** A letter, a digit or a hyphen. */
const inPlainName = 2;
/** Like `inPlainName`, without capitals. */
const inLowerName = 4;

const kindsOf = Uint8Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code);
  return (
    (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character) ? inToken : 0) |
    (/[A-Za-z0-9-]/.test(character) ? inPlainName : 0) |
    (/[a-z0-9-]/.test(character) ? inLowerName : 0)
  );
});

/** Returns the kinds that all characters of a text share. A loop, because it tests all names of a request. */
function commonKinds(text: string): number {
  let kinds = inToken | inPlainName | inLowerName;
  for (let i = 0; i < text.length && kinds !== 0; i += 1) {
    const code = text.charCodeAt(i);
    kinds &= code < 128 ? kindsOf[code]! : 0;
  }
  return kinds;
}

/**
 * RFC 9110 §5.5, as strict as for senders: visible ASCII, with inner spaces. No control bytes (CR, LF and
 * NUL could split the message), no tab, no obs-text, which recipients interpret differently.
 */
export function isFieldValue(text: string): boolean {
  return value.test(text);
}

/**
 * Fields for routing, framing or a single hop (RFC 9110 §7.6.1), and those of Sidekey. A credential in one
 * of these could smuggle a request.
 */
const reserved = new Set([
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'upgrade',
  'expect',
  'http2-settings',
]);

/**
 * Normalizes a field name like servers behind CGI or WSGI: `_` equals `-` (RFC 3875 §4.1.18). In lighttpd
 * and Apache before 2.4, so does any character except letters and digits. Keeps the length.
 */
export function fieldNameAsRead(text: string): string {
  const kinds = commonKinds(text);
  if ((kinds & inLowerName) !== 0) return text;
  return ((kinds & inPlainName) === 0 ? text.replaceAll(/[^A-Za-z0-9]/g, '-') : text).toLowerCase();
}

/** A set of field names. Tests all fields of a request, and rules out most names without creating strings. */
export class FieldNames {
  readonly #names: ReadonlySet<string>;
  /** For each length up to `longest`, the first characters of the names: bits of their lower five bits. */
  readonly #firsts = new Uint32Array(longest + 1);

  constructor(names: Iterable<string>) {
    this.#names = new Set(Array.from(names, fieldNameAsRead));
    for (const name of this.#names) {
      const first = name.charCodeAt(0);
      // A hyphen may be written as any other mark.
      this.#firsts[Math.min(name.length, longest)]! |= first === hyphen ? -1 : 1 << (first & 31);
    }
  }

  /** Reports whether some server reads a field name as one of these. */
  has(text: string): boolean {
    const firsts = this.#firsts[Math.min(text.length, longest)]!;
    if (((firsts >>> (text.charCodeAt(0) & 31)) & 1) === 0) return false;
    return this.#names.has(fieldNameAsRead(text));
  }
}

const longest = 32;
const hyphen = 0x2d;

const bareNames = new Map([...reserved].map((known) => [known.replaceAll('-', ''), known]));

/** Returns the reserved field that some server may read instead, due to other separators, or null. */
export function disguisedField(text: string): string | null {
  if ((commonKinds(text) & inPlainName) !== 0) return null;
  const read = fieldNameAsRead(text);
  const [prefix] = /^-*(?:proxy|sidekey)-(?=.*[a-z0-9])/.exec(read) ?? [];
  if (prefix !== undefined) return `${prefix.replace(/^-+/, '')}*`;
  return bareNames.get(read.replaceAll('-', '')) ?? null;
}

/** Reports whether a field of this name must never contain a credential. */
export function isReservedFieldName(text: string): boolean {
  const lower = text.toLowerCase();
  return (
    reserved.has(lower) ||
    lower.startsWith('proxy-') ||
    lower.startsWith('sidekey-') ||
    disguisedField(text) !== null
  );
}

/** Invisible characters. */
const unseen = /[\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;
/** Consecutive marks, whose normalization takes quadratic time (UAX #15 §13: 30 suffice for any script). */
const manyMarks = /[\p{M}\uff9e\uff9f]{30}/gu;
/** COMBINING GRAPHEME JOINER, an invisible character that stops the reordering of marks. */
const joiner = '\u034f';
// oxlint-disable-next-line no-control-regex -- all of ASCII
const ascii = /^[\0-\x7f]*$/;

/** Folds a text like the most lenient server: lower case, compatibility mappings, no invisible characters. */
export function fold(text: string): string {
  const plain = ascii.test(text)
    ? text
    : text.replace(manyMarks, `$&${joiner}`).normalize('NFKC').replace(unseen, '');
  return plain.toLowerCase();
}

/** Decodes each `%XX`, and each `%uXXXX` of IIS, as the character of that number. Never throws. */
export function percentDecoded(text: string): string {
  return text.replace(/%(?:u([0-9A-Fa-f]{4})|([0-9A-Fa-f]{2}))/gi, (_, wide: string, hex: string) =>
    String.fromCharCode(Number.parseInt(wide ?? hex, 16)),
  );
}

/** Maximum layers of percent-encoding; no server decodes more. */
export const mostRounds = 8;

/** Decodes one layer of percent-encoding, including that of IIS, and folds the text. */
export function decoded(text: string): string {
  return fold(inUtf8(percentDecoded(text)));
}

/** Decodes bytes, given as one character each, as UTF-8. */
export function inUtf8(text: string): string {
  // oxlint-disable-next-line no-control-regex -- all bytes
  return /^[\0-\xff]*$/.test(text) ? Buffer.from(text, 'latin1').toString('utf8') : text;
}

/** Removes trailing dots and blanks, which some file systems ignore. */
export function withoutTail(text: string): string {
  // A loop: a regular expression takes quadratic time for a long inner run.
  let end = text.length;
  while (end > 0 && /[\s.]/.test(text[end - 1] ?? '')) end -= 1;
  return text.slice(0, end);
}

/** A text in which `*` matches any number of characters. No other character is special. */
export interface Glob {
  readonly text: string;
  /** Text between the stars. A single part means no star. */
  readonly parts: readonly string[];
}

/** Parses a glob. Every text is valid. */
export function parseGlob(text: string): Glob {
  return { text, parts: text.split('*') };
}

/** Reports whether a glob matches a whole text. Linear time: the first match of a part always suffices. */
export function matchesGlob({ parts }: Glob, text: string): boolean {
  const first = parts[0] ?? '';
  if (parts.length === 1) return text === first;
  const last = parts.at(-1) ?? '';
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last))
    return false;
  const end = text.length - last.length;
  let at = first.length;
  for (let index = 1; index < parts.length - 1; index += 1) {
    const part = parts[index] ?? '';
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/**
 * Reports whether a glob matches a text, or its part before a suffix: `.json`, `::$DATA`, `()`, dots and
 * blanks. Takes linear time like `matchesGlob`: all cuts after the inner parts are equivalent.
 */
export function matchesStem({ parts }: Glob, text: string): boolean {
  const first = parts[0] ?? '';
  if (!text.startsWith(first)) return false;
  if (parts.length === 1) return endsStem(text, first.length);
  let at = first.length;
  for (let index = 1; index < parts.length - 1; index += 1) {
    const part = parts[index] ?? '';
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  const last = parts.at(-1) ?? '';
  if (last === '') return true;
  for (let found = text.indexOf(last, at); found >= 0; found = text.indexOf(last, found + 1)) {
    if (endsStem(text, found + last.length)) return true;
  }
  return false;
}

/** Start of a suffix, with blanks before it: Rails and Spring (`.`), NTFS and Google (`:`), OData (`(`). */
const suffix = /\s*(?:[.:(]|$)/y;

function endsStem(text: string, end: number): boolean {
  suffix.lastIndex = end;
  return suffix.test(text);
}

/** Reports whether one of the globs matches. */
export function matchesAny(globs: readonly Glob[], text: string): boolean {
  // A loop without a closure or an iterator, because each rule calls this for all parts of a request.
  for (let i = 0; i < globs.length; i += 1) if (matchesGlob(globs[i]!, text)) return true;
  return false;
}

/** Reports whether `outer` matches all texts of `inner`. May be falsely negative, never falsely positive. */
export function globCovers(outer: Glob, inner: Glob): boolean {
  // A star in `inner` is matched only by a star of `outer`, never by its parts.
  return outer.text === inner.text || matchesGlob(outer, inner.text);
}

/** Media types of JSON (RFC 6839 §3.1). */
export const jsonType = /^application\/(?:[a-z0-9.+-]*\+)?json$/;

/** Returns the media type of a `Content-Type` in lower case; null if absent, or if not in UTF-8. */
export function mediaTypeOf(contentType: string | null): string | null {
  const [, type, parameters = ''] = /^\s*([^\s;,]+)\s*((?:;[^,]*)?)$/.exec(contentType ?? '') ?? [];
  if (type === undefined) return null;
  const named = parameters.match(/charset/gi)?.length ?? 0;
  const isUtf8 = named === 0 || (named === 1 && /;\s*charset\s*=\s*"?utf-?8"?\s*(?:;|$)/i.test(parameters));
  return isUtf8 ? type.toLowerCase() : null;
}

/** Scanners for long texts, on which a regular expression with a repeated group overflows the stack. */

/** Returns the index of the next match of a global pattern (`/…/g`), or the length of the text. */
export function nextOf(pattern: RegExp, text: string, from: number): number {
  pattern.lastIndex = from;
  return pattern.exec(text)?.index ?? text.length;
}

/** Special characters in quotes: the end, an escape, and a line break, which is invalid. */
const notable = /["\\\n\r]/g;

/** Returns the index after the closing quote of a JSON or GraphQL string at `start`; -1 if there is none. */
export function endOfQuoted(text: string, start: number): number {
  let at = nextOf(notable, text, start + 1);
  while (text[at] === '\\' && !isLineEnd(text[at + 1])) at = nextOf(notable, text, at + 2);
  return text[at] === '"' ? at + 1 : -1;
}

function isLineEnd(character: string | undefined): boolean {
  return character === '\n' || character === '\r';
}

/**
 * Returns the member of this name, or undefined. Returns `ambiguous` if another key folds to the same text,
 * because some parsers (such as Go's) treat both as equal.
 */
export function memberOf(object: JsonObject, name: string): Json | undefined | typeof ambiguous {
  let keys = foldedKeys.get(object);
  if (keys === undefined) foldedKeys.set(object, (keys = foldKeys(object)));
  const key = keys.get(fold(name));
  return key === undefined || key === name ? object.get(name) : ambiguous;
}

/** The keys of an object by their folded text, cached for all rules. Null: several keys fold to it. */
const foldedKeys = new WeakMap<JsonObject, ReadonlyMap<string, string | null>>();

function foldKeys(object: JsonObject): ReadonlyMap<string, string | null> {
  const keys = new Map<string, string | null>();
  for (const key of object.keys()) {
    const folded = fold(key);
    keys.set(folded, keys.has(folded) ? null : key);
  }
  return keys;
}

/** See `memberOf`. */
export const ambiguous: unique symbol = Symbol('ambiguous');
