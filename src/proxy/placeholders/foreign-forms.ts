import { looksLikeJwt } from '../../grants/token-expiry.ts';
import type { RawFields } from '../http/fields.ts';
import type { CredentialFinder } from '../schemes/forms.ts';
import { urlOfToken } from '../schemes/sigv4/eks.ts';
import { forgivingName } from '../schemes/parameters.ts';
import { basicPair, type PlaceholderCodes } from './codes.ts';

/** Credentials that a client sends itself: found by their form, named without their value, and removed. */

/** Part of a request after the detected credentials were removed. */
export interface Searched<Part> {
  /** Places and forms of the credentials, for people. One shared array if there are none. */
  readonly found: readonly string[];
  readonly kept: Part;
}

/** The forms to search for. Placeholders are not credentials. */
export interface KnownForms {
  readonly finder: CredentialFinder;
  readonly codes: Pick<PlaceholderCodes, 'find'>;
}

const nothing: readonly string[] = [];

/** Minimum characters of a credential. */
const least = 16;

/** A text that is long enough for a token. It ends at a character that no known form contains. */
const run = /[A-Za-z0-9][\w.-]{19,}/g;

/** Removes credentials of known form, and any other credential in fields that exist for credentials. */
export function foreignInFields(fields: RawFields, forms: KnownForms): Searched<RawFields> {
  const found: string[] = [];
  const kept: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    const isCookie = name.length === 6 && name.toLowerCase() === 'cookie';
    const parts = isCookie ? value.split(';') : [value];
    const left = parts.filter((part) => {
      if (part.length < least) return true;
      // A user name and a password are two texts.
      const texts = basicPair(part)?.split(':') ?? [urlOfToken(part) ?? part];
      const form = texts.map((text) => formOf(name, text, forms)).find((each) => each !== null);
      if (form !== undefined) found.push(`the header ${name} (${form})`);
      return form === undefined;
    });
    if (left.length > 0) kept.push(name, left.length === parts.length ? value : left.join(';').trim());
  }
  return found.length === 0 ? { found: nothing, kept: fields } : { found, kept };
}

/** Removes credentials of known form from the query of a target. */
export function foreignInQuery(target: string, forms: KnownForms): Searched<string> {
  const start = target.indexOf('?');
  const names: string[] = [];
  const left = target
    .slice(start + 1)
    .split('&')
    .filter((written) => {
      if (written.length < least) return true;
      const [name = '', ...value] = decoded(written).split('=');
      const form = formOf(forgivingName(name), value.join('='), forms);
      if (form !== null) names.push(`the query (${form})`);
      return form === null;
    });
  if (names.length === 0) return { found: nothing, kept: target };
  return { found: names, kept: `${target.slice(0, start)}${left.length === 0 ? '' : `?${left.join('&')}`}` };
}

/**
 * Finds credentials of known form in a body. Asterisks replace them, so the length stays. `kept` is null if
 * one is written with escapes, because it is not removed.
 */
export function foreignInBody(bytes: Buffer, forms: KnownForms): Searched<Buffer | null> {
  // An escape of JSON ends a token.
  const text = bytes.toString('latin1').replace(/\\+[nrtbf"'/]/g, (escape) => ' '.repeat(escape.length));
  const plain = tokensIn(text, forms);
  const read = decoded(text);
  const all = read === text ? plain : tokensIn(read, forms);
  if (all.length === 0 && plain.length === 0) return { found: nothing, kept: bytes };
  const found = [...new Set([...plain, ...all].map(({ form }) => `the body (${form})`))];
  const removable = new Set(plain.map(({ start, end }) => text.slice(start, end)));
  if (all.some(({ start, end }) => !removable.has(read.slice(start, end)))) return { found, kept: null };
  const kept = Buffer.from(bytes);
  for (const { start, end } of plain) kept.fill('*', start, end);
  return { found, kept };
}

/** Returns the form of the credential in a value; null if the value contains none. */
function formOf(name: string, value: string, forms: KnownForms): string | null {
  if (value.length < least) return null;
  // Nearly always there is no such text.
  const [token] = value.search(run) < 0 ? [] : tokensIn(value, forms);
  if (token !== undefined) return token.form;
  const isOne = forms.finder.isCredentialField(name, value) && forms.codes.find(value).length === 0;
  return isOne ? 'of its kind' : null;
}

interface Token {
  readonly start: number;
  readonly end: number;
  readonly form: string;
}

function tokensIn(text: string, { finder, codes }: KnownForms): readonly Token[] {
  const tokens: Token[] = [];
  for (const { 0: token, index: start } of text.matchAll(run)) {
    const prefix = finder.prefixOf(token);
    const form = prefix !== null ? `${prefix}…` : looksLikeJwt(token) ? 'a JSON Web Token' : null;
    if (form === null || codes.find(token).length > 0) continue;
    tokens.push({ start, end: start + token.length, form });
  }
  return tokens;
}

/** Decodes the escapes in which ASCII may be written in a query, a form or JSON. */
function decoded(text: string): string {
  return text.replace(/%([2-7][0-9a-f])|\\u00([2-7][0-9a-f])/gi, (_, percent?: string, unicode?: string) =>
    String.fromCharCode(parseInt(percent ?? unicode ?? '', 16)),
  );
}
