import { type AwsKeys, isAccessKeyId, isAwsSecret } from '../domain/credential.ts';
import { readExpiresAt, readExpiresIn } from '../grants/token-expiry.ts';
import { isJsonObject, type Json } from '../lib/json.ts';
import { SidekeyError } from '../lib/errors.ts';
import { jwtLike } from './placeholders/login-answer.ts';
import { plainForm, type PlaceholderForm, readForm } from './placeholders/codes.ts';
import { authorityText, parseAbsoluteTarget } from './policy/authority.ts';
import { matchesAnyPattern, type MintRow, patternsOf } from './policy/domain-map.ts';
import { forgivenPath, isUnread, matchesLoosely, readPath } from './policy/path.ts';
import type { RequestFacts } from './policy/request.ts';
import { fieldNameAsRead, isFieldValue, matchesAny } from './policy/text.ts';
import type { RawFields } from './http/fields.ts';
import { endpointOf } from './schemes/sigv4/scope.ts';

/** Requests whose answer hands out a credential, and that answer written anew. */

/** A credential that an answer hands out. */
export interface HandedOut {
  readonly row: MintRow;
  /** The member as the service wrote it. */
  readonly written: string;
  /** The credential itself, without the user name of a pair. */
  readonly value: string;
  /** Text before the placeholder inside the member, if that is Base64 of both. */
  readonly username: string | null;
  /** Keys that sign requests, where `value` is their secret; null: it is sent itself. */
  readonly keys: (AwsKeys & { readonly sessionToken: string }) | null;
  /** Milliseconds since the epoch; null: the answer names no end. */
  readonly expiresAt: number | null;
  /** The only host that it may be sent to; null: those of the row. */
  readonly host: string | null;
}

/** Reports whether the answer to a request may hand out a credential of a row, by any path reading. */
export function mayMint(
  { hosts, services, header, paths }: MintRow,
  { authority, path, pathFields }: Pick<RequestFacts, 'authority' | 'path' | 'pathFields'>,
  fields: RawFields,
): boolean {
  if (hosts !== null && !matchesAnyPattern(hosts, authority)) return false;
  if (
    services !== null &&
    endpointOf(authority.host)?.services.some((name) => services.includes(name)) !== true
  )
    return false;
  if (header !== null && !hasHeader(header, services !== null, fields)) return false;
  // Some servers take the path from such a field.
  if (pathFields.length > 0) return true;
  const read = readPath(path);
  const readings = isUnread(read) ? [forgivenPath(path)] : read.loose;
  return paths.some(({ loose }) => matchesLoosely(loose, readings));
}

/**
 * Reports whether a request has the field of a row. Of AWS, only one field that plainly names another
 * operation is another one: nobody knows how each service reads a list or two fields.
 */
function hasHeader(
  { name, values }: NonNullable<MintRow['header']>,
  isOfAws: boolean,
  fields: RawFields,
): boolean {
  const sent = fields.flatMap((text, index) => {
    const read = index % 2 === 0 ? fieldNameAsRead(text) : '';
    const isNamed = read === name || (isOfAws && read === 'x-amzn-target');
    return isNamed ? [fields[index + 1]!.trim().toLowerCase()] : [];
  });
  if (sent.some((value) => matchesAny(values, value))) return true;
  return isOfAws && sent.length > 0 && (sent.length > 1 || !/^\w+\.\w+$/.test(sent[0]!));
}

/**
 * Returns the credentials of an answer, each once.
 *
 * @param now milliseconds since the epoch
 * @throws SidekeyError `mint_unreadable`: a member is no credential, or may not go where the answer says
 */
export function handedOut(answer: Json, rows: readonly MintRow[], now: number): readonly HandedOut[] {
  const found = new Map<string, HandedOut>();
  for (const row of rows) {
    for (const names of row.members) {
      for (const beside of objectsAt(answer, names.slice(0, -1))) {
        const written = beside.get(names.at(-1)!);
        if (written === undefined || written === null) continue;
        if (typeof written !== 'string' || written.length < minLength || !isFieldValue(written))
          throw unreadable('has something else in the place of the credential');
        if (!found.has(written)) found.set(written, { row, written, ...partsOf(written, row, beside, now) });
      }
    }
  }
  return [...found.values()];
}

/** Shorter texts cannot be found in the rest of an answer. */
const minLength = 8;

function objectsAt(value: Json | undefined, names: readonly string[]): ReadonlyMap<string, Json>[] {
  if (Array.isArray(value)) return (value as readonly Json[]).flatMap((item) => objectsAt(item, names));
  if (!isJsonObject(value)) return [];
  const [name, ...rest] = names;
  if (name === undefined) return [value];
  return name === '*'
    ? [...value.values()].flatMap((each) => objectsAt(each, rest))
    : objectsAt(value.get(name), rest);
}

function partsOf(
  written: string,
  { isPair, hostMember, goesTo, keys, expires }: MintRow,
  beside: ReadonlyMap<string, Json>,
  now: number,
): Pick<HandedOut, 'value' | 'username' | 'keys' | 'expiresAt' | 'host'> {
  const [, username = null, password = ''] = isPair
    ? (/^([^:]*):(.{8,})$/.exec(Buffer.from(written, 'base64').toString('latin1')) ?? [])
    : [];
  if (isPair && (username === null || !isFieldValue(password)))
    throw unreadable('has no user name and password in the place of the credential');
  const end = expires === null ? undefined : beside.get(expires);
  const place = hostMember === null ? null : beside.get(hostMember);
  const host = typeof place === 'string' ? hostWithin(place, goesTo) : null;
  if (hostMember !== null && host === null)
    throw unreadable('names no host that goes_to of the provider allows');
  return {
    value: isPair ? password : written,
    username,
    keys: keys === null ? null : keysOf(written, beside.get(keys.id), beside.get(keys.session)),
    expiresAt: typeof end === 'string' || typeof end === 'number' ? endOf(end, now) : null,
    host,
  };
}

function keysOf(
  secretAccessKey: string,
  accessKeyId: Json | undefined,
  sessionToken: Json | undefined,
): HandedOut['keys'] {
  const isWhole =
    typeof accessKeyId === 'string' &&
    isAccessKeyId(accessKeyId) &&
    typeof sessionToken === 'string' &&
    [secretAccessKey, sessionToken].every((text) => text.length >= minLength && isAwsSecret(text));
  if (!isWhole) throw unreadable('has no whole keys of AWS in their place');
  return { accessKeyId, secretAccessKey, sessionToken };
}

/** Returns the host and port of a URL, or of a host alone, if the patterns cover it; null: they do not. */
function hostWithin(place: string, goesTo: readonly string[]): string | null {
  const target = parseAbsoluteTarget(/^https:/i.test(place) ? place : `https://${place}`);
  return target !== null && matchesAnyPattern(patternsOf(goesTo), target.authority)
    ? authorityText(target.authority)
    : null;
}

/** Numbers up to here are seconds from now, because nothing ends in the year 1980. */
const mostSeconds = 316_000_000;

/** Returns the end of a credential in milliseconds since the epoch; null: the answer has none (0: never). */
function endOf(written: string | number, now: number): number | null {
  const number = Number(written);
  const isSpan = Number.isFinite(number) && number < mostSeconds;
  if (isSpan && number <= 0) return null;
  const end = isSpan ? readExpiresIn(written, now) : readExpiresAt(written, now);
  return 'at' in end ? end.at : null;
}

/** Returns the form of the placeholder of a credential. */
export function formOf({
  row: { form: template },
  written,
}: Pick<HandedOut, 'row' | 'written'>): PlaceholderForm {
  if (template === null) return jwtLike(written) ?? plainForm;
  const claim = (_: string, name: string) =>
    new RegExp(`(?:^|; ?)${name}=([\\w.,-]*)(?=[;:]|$)`).exec(written)?.[1] ?? '';
  return readForm(template.replaceAll(/\{([\w-]+)\}/g, claim)) ?? plainForm;
}

/** Members of answers that say why a request was refused, besides numbers, booleans and null. */
const reasons: ReadonlySet<string> = new Set(
  'error error_description errors code message __type type detail details status'.split(' '),
);

/**
 * Returns the answer with placeholders and the members of an allow-list.
 *
 * @param placeholders placeholder by member as written
 */
export function writtenAnew(
  answer: Json,
  rows: readonly MintRow[],
  placeholders: ReadonlyMap<string, string>,
): unknown {
  const credentials = rows.flatMap((row) => [
    ...row.members,
    ...(row.keys === null ? [] : beside(row, Object.values(row.keys))),
  ]);
  const kept = rows.flatMap((row) => [
    ...row.keep.map((path) => path.split('.')),
    ...beside(row, [row.expires, row.hostMember]),
  ]);
  const ways = [...credentials, ...kept];
  /** @param textOf returns a text as it is passed on; null: it is not */
  const anew = (value: Json, path: Path, textOf: (text: string) => string | null): unknown => {
    if (Array.isArray(value)) return (value as readonly Json[]).map((item) => anew(item, path, textOf));
    if (isJsonObject(value))
      return Object.fromEntries([...value].flatMap((entry) => memberOf(entry, path, textOf === unchanged)));
    return typeof value === 'string' ? textOf(value) : value;
  };
  const memberOf = ([name, value]: readonly [string, Json], above: Path, isKept: boolean) => {
    const path = [...above, name];
    if (credentials.some((way) => isAt(way, path))) {
      const placeholder = typeof value === 'string' ? placeholders.get(value) : undefined;
      return placeholder === undefined ? [] : [[name, placeholder]];
    }
    if (isKept || kept.some((way) => isAt(way, path))) return [[name, anew(value, path, unchanged)]];
    if (reasons.has(name.toLowerCase())) return [[name, anew(value, path, plainWords)]];
    const isBare = value === null || (typeof value !== 'string' && typeof value !== 'object');
    const isOnTheWay =
      typeof value === 'object' &&
      ways.some((way) => isAt(way.slice(0, path.length), path) && way.length > path.length);
    return isBare || isOnTheWay ? [[name, anew(value, path, nothing)]] : [];
  };
  return anew(answer, [], nothing);
}

type Path = readonly string[];

function isAt(way: Path, path: Path): boolean {
  return way.length === path.length && way.every((name, i) => name === '*' || name === path[i]);
}

/** Returns the paths of members beside the credentials of a row. Clients read them too. */
function beside({ members }: MintRow, names: readonly (string | null)[]): readonly Path[] {
  return members.flatMap((path) =>
    names.flatMap((name) => (name === null ? [] : [[...path.slice(0, -1), name]])),
  );
}

const unchanged = (text: string): string => text;
const nothing = (): null => null;

/** Returns a sentence without words that could be a credential, which a refusal may repeat. */
function plainWords(text: string): string {
  return text.replaceAll(/[^\s"'()<>,]{8,}/g, (word) =>
    /^[A-Z]?[A-Za-z_.:;-]{1,40}$/.test(word) ? word : '…',
  );
}

/** Returns the failure of an answer that cannot be written anew. @param why the end of a sentence */
export function unreadable(why: string): SidekeyError {
  return new SidekeyError('mint_unreadable', `The answer hands out a credential, and ${why}.`);
}
