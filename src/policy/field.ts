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

/** Whether a credential must never be carried in a field of this name. */
export function isReservedFieldName(text: string): boolean {
  const lower = text.toLowerCase();
  return (
    reserved.has(lower) ||
    lower.startsWith('proxy-') ||
    lower.startsWith('sidekey-') ||
    disguisedField(text) !== null
  );
}
