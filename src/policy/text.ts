import type { Json, JsonObject } from '../lib/json.ts';
/**
 * What may stand in a field line: the grammar that a credential is held against when it comes from a provider, when it is
 * stored, when the config says how it is carried, and when it is injected.
 */

const name = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const value = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/** RFC 9110 §5.1: a field name is a token (§5.6.2). */
export function isFieldName(text: string): boolean {
  return name.test(text);
}

/**
 * RFC 9110 §5.5, as narrow as a sender should keep it: visible ASCII, with spaces inside. No control byte (CR, LF
 * and NUL would start another field or request), no tab, no obs-text, which every hop reads in its own way.
 */
export function isFieldValue(text: string): boolean {
  return value.test(text);
}

/**
 * Fields that say where a request goes, how it is framed, or what belongs to one hop (RFC 9110 §7.6.1), and
 * Sidekey's own. A credential that set one of these would be a way to smuggle a request.
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
 * A field name in lower case, as servers behind CGI or WSGI read it: for them `_` is what `-` is (RFC 3875 §4.1.18), and for
 * lighttpd and Apache before 2.4 so is whatever is no letter and no digit.
 */
export function fieldNameAsRead(text: string): string {
  const lower = text.toLowerCase();
  return plainName.test(text) ? lower : lower.replaceAll(/[^a-z0-9]/g, '-');
}

const plainName = /^[A-Za-z0-9-]+$/;
const bareNames = new Map([...reserved].map((known) => [known.replaceAll('-', ''), known]));

/**
 * The reserved field that a server may read this name as, and we do not: the letters and digits are its own, and between
 * them stands something else than hyphens. Null: there is none.
 */
export function disguisedField(text: string): string | null {
  if (plainName.test(text)) return null;
  const read = fieldNameAsRead(text);
  const [prefix] = /^-*(?:proxy|sidekey)-(?=.*[a-z0-9])/.exec(read) ?? [];
  if (prefix !== undefined) return `${prefix.replace(/^-+/, '')}*`;
  return bareNames.get(read.replaceAll('-', '')) ?? null;
}

/** Reports whether a credential must never be carried in a field of this name. */
export function isReservedFieldName(text: string): boolean {
  const lower = text.toLowerCase();
  return (
    reserved.has(lower) ||
    lower.startsWith('proxy-') ||
    lower.startsWith('sidekey-') ||
    disguisedField(text) !== null
  );
}

/** Characters that nobody sees. */
const unseen = /[\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;
/** Marks in a row: to put n of them in their order takes the square of n (UAX #15 §13: 30 are enough for any script). */
const manyMarks = /[\p{M}\uff9e\uff9f]{30}/gu;
/** COMBINING GRAPHEME JOINER, which no mark goes past; nobody sees it. */
const joiner = '\u034f';
// oxlint-disable-next-line no-control-regex -- all of ASCII
const ascii = /^[\0-\x7f]*$/;

/** A text as the most forgiving server compares it: in lower case, compatible characters as one, without those that nobody sees. */
export function fold(text: string): string {
  const plain = ascii.test(text)
    ? text
    : text.replace(manyMarks, `$&${joiner}`).normalize('NFKC').replace(unseen, '');
  return plain.toLowerCase();
}

/** Each `%XX`, and each `%uXXXX` of IIS, as the character of that number: decoding that never fails, to find what may be meant. */
export function percentDecoded(text: string): string {
  return text.replace(/%(?:u([0-9A-Fa-f]{4})|([0-9A-Fa-f]{2}))/gi, (_, wide: string, hex: string) =>
    String.fromCharCode(Number.parseInt(wide ?? hex, 16)),
  );
}

/** A text without the dots and blanks at its end, which some file systems do not keep. */
export function withoutTail(text: string): string {
  // By hand: a regular expression takes the square of the length for a long run that is not at the end.
  let end = text.length;
  while (end > 0 && /[\s.]/.test(text[end - 1] ?? '')) end -= 1;
  return text.slice(0, end);
}

/** A text in which `*` stands for any number of characters. Nothing else is special. */
export interface Glob {
  readonly text: string;
  /** What stands between the stars: one part means that there is no star. */
  readonly parts: readonly string[];
}

/** Reads a glob. Every text is one. */
export function parseGlob(text: string): Glob {
  return { text, parts: text.split('*') };
}

/**
 * Reports whether a glob covers the whole of a text. The time it takes grows with the length of the text and no faster, whatever
 * the glob: the first place where a part fits is always as good as a later one.
 */
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
 * Reports whether a glob covers a text, or what stands before one of its suffixes: `.json`, `::$DATA`, `()`, dots and blanks. It
 * takes no more time than `matchesGlob`, for any cut that comes after the parts between the stars is as good as another.
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

/** What begins a suffix: of Rails and Spring (`.`), of NTFS and Google (`:`), of OData (`(`); blanks before it are dropped. */
const suffix = /\s*(?:[.:(]|$)/y;

function endsStem(text: string, end: number): boolean {
  suffix.lastIndex = end;
  return suffix.test(text);
}

/** Reports whether one of them covers it. */
export function matchesAny(globs: readonly Glob[], text: string): boolean {
  // A loop without a function of its own: each rule asks this of all that a request names.
  for (const glob of globs) if (matchesGlob(glob, text)) return true;
  return false;
}

/** Reports whether every text that `inner` covers is covered by `outer`. May say no where it is so; never yes where it is not. */
export function globCovers(outer: Glob, inner: Glob): boolean {
  // A star is a character to a glob that has one there too, and one that no part of a glob can hold.
  return outer.text === inner.text || matchesGlob(outer, inner.text);
}

/** Media types of JSON (RFC 6839 §3.1). */
export const jsonType = /^application\/(?:[a-z0-9.+-]*\+)?json$/;

/** The media type of a `Content-Type`, in lower case. Null: there is none, or one whose text is not UTF-8. */
export function mediaTypeOf(contentType: string | null): string | null {
  const [, type, parameters = ''] = /^\s*([^\s;,]+)\s*((?:;[^,]*)?)$/.exec(contentType ?? '') ?? [];
  if (type === undefined) return null;
  const named = parameters.match(/charset/gi)?.length ?? 0;
  const isUtf8 = named === 0 || (named === 1 && /;\s*charset\s*=\s*"?utf-?8"?\s*(?:;|$)/i.test(parameters));
  return isUtf8 ? type.toLowerCase() : null;
}

/**
 * Reading a text from left to right by hand: a regular expression with a group that repeats runs out of stack on a long
 * text.
 */

/** Where a pattern is found next; the length of the text where it is not. The pattern is global (`/…/g`). */
export function nextOf(pattern: RegExp, text: string, from: number): number {
  pattern.lastIndex = from;
  return pattern.exec(text)?.index ?? text.length;
}

/** What means something within quotes: their end, an escape, and the end of the line, which has to come later. */
const notable = /["\\\n\r]/g;

/** Behind the quote that ends what the quote at `start` begins, in JSON and in GraphQL; -1 where nothing ends it. */
export function endOfQuoted(text: string, start: number): number {
  let at = nextOf(notable, text, start + 1);
  while (text[at] === '\\' && !isLineEnd(text[at + 1])) at = nextOf(notable, text, at + 2);
  return text[at] === '"' ? at + 1 : -1;
}

function isLineEnd(character: string | undefined): boolean {
  return character === '\n' || character === '\r';
}

/**
 * Returns the member of that name, undefined where there is none. Returns `ambiguous` where another key differs in case
 * alone, or in characters that fold to the same: some parsers (Go's is the best known) take the one for the other.
 */
export function memberOf(object: JsonObject, name: string): Json | undefined | typeof ambiguous {
  const alike = [...object.keys()].filter((key) => fold(key) === name.toLowerCase());
  if (alike.length === 0) return undefined;
  return alike.length === 1 && alike[0] === name ? object.get(name) : ambiguous;
}

/** See `memberOf`. */
export const ambiguous: unique symbol = Symbol('ambiguous');
