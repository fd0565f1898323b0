import { SidekeyError } from '../lib/errors.ts';
import { isName } from '../domain/grant.ts';
import { isFieldName, isReservedFieldName } from '../proxy/policy/text.ts';
import type { Field } from '../proxy/schemes/scheme.ts';
import { isPem, readClientCertificate } from './client-certificate.ts';
import {
  checkedKeys,
  checkedRegion,
  checkedString,
  checkedToken,
  type FieldName,
  fieldNamed,
  invalid,
  nearestField,
  shapes,
  type Type,
  types,
} from './credential-shape.ts';
import type { HeldCredential } from '../domain/credential.ts';
import { type Json, type JsonObject, readJson } from '../lib/json.ts';
import { jwtExpiry, looksLikeJwt, readExpiresAt, readExpiresIn } from './token-expiry.ts';

/** Parses the input of `sidekey grant import`. Messages name the field and its position, never its value. */

/** A credential as supplied by a person. */
export interface CredentialInput {
  readonly credential: HeldCredential;
  /** Scopes in the text; may be empty. */
  readonly scopes: readonly string[];
}

const maxText = 1_048_576;
const maxHeaders = 32;
const maxScopes = 256;

/** Fields of a token of any form. */
const ofTokens: readonly FieldName[] = ['expires_in', 'expires_at', 'scope', 'scopes'];

/** Fields that are kept for the readers of a key (`KeyCredential`). */
const extras = {
  api_key: ['api_secret', 'organization_id', 'project_id'],
  jwt: ['algorithm', 'public_key', 'issuer', 'audience'],
} as const;

const belongs: Readonly<Record<Type, ReadonlySet<FieldName>>> = {
  oauth2: new Set([
    ...ofTokens,
    'access_token',
    'refresh_token',
    'token_type',
    'id_token',
    'client_id',
    'client_secret',
    'token_endpoint',
  ]),
  api_key: new Set([...ofTokens, ...extras.api_key, 'value', 'api_key']),
  jwt: new Set([...ofTokens, ...extras.jwt, 'value', 'jwt']),
  basic: new Set(['username', 'password']),
  headers: new Set(['headers']),
  aws: new Set(['access_key_id', 'secret_access_key', 'session_token', 'region']),
  client_certificate: new Set(['certificate', 'private_key', 'passphrase']),
};

/**
 * Parses a credential. The type may be omitted if the fields imply it. Names may be `snake_case` or
 * `camelCase`. Null fields count as omitted. A token response (RFC 6749 §5.1) is accepted: its `id_token`
 * is dropped, and `expires_at` overrides `expires_in`, whose start is unknown. Values of `expires_at`
 * below 1e11 are seconds, others milliseconds. Also accepts PEM files of a client certificate and its key,
 * and a bare key or token, with or without `Bearer`.
 *
 * @throws SidekeyError `input_invalid`, with the expected form as a hint
 */
export function readCredential(text: string, { now }: { now: () => number }): CredentialInput {
  if (isPem(text)) return plain(readClientCertificate({ certificate: text, privateKey: text }, now()));
  const bare = bareToken(text);
  if (bare !== null) return readObject(new Map([['value', bare]]), now);
  const value = parse(text);
  if (isObject(value)) return readObject(value, now);
  throw typeof value === 'string'
    ? invalid('the input is a JSON string, not an object', shapes.api_key, 'wrap it')
    : invalid('the input is JSON, but not an object');
}

/** A credential with the members that name its grant. */
export interface CredentialEntry extends CredentialInput {
  readonly name: string | null;
  readonly user: string | null;
  readonly provider: string | null;
  /** Settings of the grant, as written and not checked. */
  readonly settings: { readonly metadata?: unknown; readonly policy?: unknown };
}

/**
 * Parses one credential of up to 1 MiB, a JSON array of objects, or JSON lines: several lines with an object
 * each. Objects may have `name`, `user`, `provider`, `metadata` and `policy`.
 *
 * @throws SidekeyError as `readCredential`; for arrays with the entry in the message
 */
export function readEntries(text: string, { now }: { now: () => number }): readonly CredentialEntry[] {
  const nobody = { name: null, user: null, provider: null, settings: {} };
  if (isPem(text) || bareToken(text) !== null) return [{ ...nobody, ...readCredential(text, { now }) }];
  const lines = jsonLines(text);
  if (lines !== null) {
    return lines.map((line, index) =>
      readMember(
        inEntry(index, null, () => parse(line)),
        index,
        now,
      ),
    );
  }
  const value = parse(text, /^\uFEFF?\s*\[/.test(text) ? Infinity : maxText);
  if (isObject(value)) return [readEntry(value, now)];
  if (!Array.isArray(value)) return [{ ...nobody, ...readCredential(text, { now }) }];
  if (value.length === 0) throw invalid('the array is empty');
  return value.map((entry: Json, index) => readMember(entry, index, now));
}

/**
 * Returns the objects of JSON lines; null: the text is something else. In a single JSON value, no line with
 * `}` at its end precedes one with `{` at its start, because a comma would be between them.
 */
function jsonLines(text: string): readonly string[] | null {
  if (!/^\uFEFF?\s*\{[^\n]*\}\s*?\n/.test(text)) return null;
  const lines = text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  return lines[1]?.startsWith('{') === true ? lines : null;
}

function readMember(entry: Json, index: number, now: () => number): CredentialEntry {
  return inEntry(index, isObject(entry) ? entry.get('name') : null, () => {
    if (!isObject(entry)) throw invalid('this is not an object');
    return readEntry(entry, now);
  });
}

/** Calls `act`, and adds the entry of an array to its errors. */
export function inEntry<T>(index: number, name: Json | undefined, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw entryError(index, name, error);
  }
}

/** Adds the entry of an array to the message of an error: `Entry 2 (slack): …`. */
export function entryError(index: number, name: Json | undefined, error: unknown): unknown {
  if (!(error instanceof SidekeyError)) return error;
  const words = typeof name === 'string' && isName(name) ? ` (${name})` : '';
  return new SidekeyError(error.code, `Entry ${index + 1}${words}: ${error.message}`, { hint: error.hint });
}

function readEntry(object: JsonObject, now: () => number): CredentialEntry {
  const rest = new Map(object);
  const member = (name: string): string | null => {
    const value = rest.get(name) ?? null;
    rest.delete(name);
    if (value === null || typeof value === 'string') return value;
    throw invalid(`"${name}" must be a string`);
  };
  const [name, user, provider] = [member('name'), member('user'), member('provider')];
  const [metadata, policy] = ['metadata', 'policy'].map((name) => {
    const value = rest.get(name) ?? undefined;
    rest.delete(name);
    return value instanceof Map ? Object.fromEntries(value as JsonObject) : value;
  });
  return { name, user, provider, settings: { metadata, policy }, ...readObject(rest, now) };
}

function isObject(value: Json): value is JsonObject {
  return value instanceof Map;
}

/** Returns a bare token, without `Bearer`; null: the text is something else. */
function bareToken(text: string): string | null {
  const [, token = null] = /^(?:Bearer\s+)?([^\s[{"]\S*)$/i.exec(text.replace(/^\uFEFF/, '').trim()) ?? [];
  return token === null || /^(?:null|true|false|bearer)$/i.test(token) ? null : token;
}

function readObject(object: JsonObject, clock: () => number): CredentialInput {
  const fields = fieldsOf(object);
  const now = clock();
  const type = typeOf(fields);
  for (const [name, { written }] of fields) {
    if (name !== 'type' && !belongs[type].has(name))
      throw invalid(`the field "${written}" does not belong to the type ${type}`, shapes[type]);
  }
  switch (type) {
    case 'oauth2':
      return oauth2(fields, now);
    case 'api_key':
    case 'jwt': {
      const value = token(fields, fieldOf(fields, ['value', type], type), type);
      const expiresAt = expiry(fields, now) ?? (type === 'jwt' ? jwtExpiry(value) : undefined);
      const credential = { type, value, expiresAt, extra: extraOf(fields, type) };
      return { credential, scopes: scopesOf(fields) };
    }
    case 'basic': {
      const username = string(fields, fieldOf(fields, ['username'], type), type);
      if (username.includes(':'))
        throw invalid('"username" holds a colon, which RFC 7617 does not allow', shapes.basic);
      return plain({ type, username, password: password(fields) });
    }
    case 'headers':
      return plain({ type, headers: headers(fields) });
    case 'aws':
      return plain({
        type,
        ...checkedKeys({
          accessKeyId: string(fields, fieldOf(fields, ['access_key_id'], type), type),
          secretAccessKey: string(fields, fieldOf(fields, ['secret_access_key'], type), type),
          sessionToken: fields.has('session_token') ? string(fields, 'session_token', type) : null,
        }),
        region: fields.has('region') ? checkedRegion(string(fields, 'region', type)) : null,
      });
    case 'client_certificate': {
      const valueOf = (name: FieldName) => fields.get(name)?.value;
      const [certificate, privateKey] = [valueOf('certificate'), valueOf('private_key')];
      return plain(
        readClientCertificate({ certificate, privateKey, passphrase: valueOf('passphrase') }, now),
      );
    }
  }
}

interface Written {
  /** Name in the input. */
  readonly written: string;
  readonly value: Exclude<Json, null>;
}
type Fields = ReadonlyMap<FieldName, Written>;

function parse(text: string, maxLength = maxText): Json {
  if (text.length > maxLength) throw invalid('the input is larger than 1 MiB, which no credential is');
  if (text.replace(/^\uFEFF/, '').trim() === '') throw invalid('the input is empty');
  const reading = readJson(text);
  if (reading.ok) return reading.value;
  throw invalid(
    `the input is not valid JSON: ${reading.problem} (line ${reading.line}, column ${reading.column})`,
  );
}

/** @param object its `value` may be an object with further fields */
function fieldsOf(object: JsonObject): Fields {
  const fields = new Map<FieldName, Written>();
  const inner = object.get('value') ?? null;
  const all = isObject(inner) ? [...object, ...inner].filter(([, value]) => value !== inner) : object;
  for (const [written, value] of all) {
    const name = fieldNamed(written);
    if (name === null) throw unknownField(written);
    if (value === null) continue;
    const twin = fields.get(name);
    if (twin !== undefined)
      throw invalid(`"${twin.written}" and "${written}" are the same field; leave one out`);
    fields.set(name, { written, value });
  }
  return fields;
}

function unknownField(written: string): SidekeyError {
  // Other names are not shown: they may be tokens in the wrong place.
  if (!/^_{0,2}[A-Za-z]{1,20}(?:[_.-]{1,2}[A-Za-z]{1,20}){0,3}$/.test(written))
    return invalid(`a field name of ${written.length} characters is not known`);
  const nearest = nearestField(written);
  return invalid(
    `the field "${written}" is not known${nearest === null ? '' : `; did you mean "${nearest}"?`}`,
  );
}

function typeOf(fields: Fields): Type {
  const stated = fields.get('type');
  if (stated !== undefined) {
    const type = stated.value === 'apiKey' ? 'api_key' : types.find((type) => type === stated.value);
    if (type === undefined) throw invalid(`"type" must be one of ${types.join(', ')}`);
    return type;
  }
  const value = fields.get('value')?.value;
  if (value !== undefined) {
    // Both types are sent alike, but a JWT has an expiry.
    return fields.has('jwt') || (typeof value === 'string' && looksLikeJwt(value)) ? 'jwt' : 'api_key';
  }
  const names = [...fields.keys()].filter((name) => !ofTokens.includes(name));
  const type = types.find((type) => names.some((name) => belongs[type].has(name)));
  if (type === undefined) throw invalid('the input holds no credential');
  return type;
}

function oauth2(fields: Fields, now: number): CredentialInput {
  const tokenType = fields.get('token_type');
  const type = tokenType === undefined ? 'bearer' : string(fields, 'token_type', 'oauth2').toLowerCase();
  if (tokenType !== undefined && type === 'dpop') {
    const key = 'the key of the tool that it came from, which stays there';
    throw invalid(`"${tokenType.written}" is DPoP: such a token is bound to ${key}`, shapes.oauth2);
  }
  if (tokenType !== undefined && type !== 'bearer')
    throw invalid(`"${tokenType.written}" must be "Bearer": Sidekey sends no other kind`, shapes.oauth2);
  const accessToken = fields.has('access_token') ? token(fields, 'access_token', 'oauth2') : null;
  const refreshToken = fields.has('refresh_token') ? string(fields, 'refresh_token', 'oauth2') : null;
  if (accessToken === null && refreshToken === null)
    throw invalid('an oauth2 credential needs "access_token", "refresh_token" or both', shapes.oauth2);
  const scope = scopesOf(fields, 'scope');
  const expiresAt = expiry(fields, now);
  return {
    credential: {
      type: 'oauth2',
      accessToken,
      refreshToken,
      expiresAt: accessToken === null ? null : expiresAt,
      obtainedAt: now,
      scope: scope.length === 0 ? null : scope.join(' '),
      clientId: fields.has('client_id') ? string(fields, 'client_id', 'oauth2') : null,
      clientSecret: fields.has('client_secret') ? string(fields, 'client_secret', 'oauth2') : null,
      tokenEndpoint: endpoint(fields),
    },
    scopes: scopesOf(fields),
  };
}

function expiry(fields: Fields, now: number): number | null {
  const absolute = fields.get('expires_at');
  const field = absolute ?? fields.get('expires_in');
  if (field === undefined) return null;
  if (typeof field.value !== 'number' && typeof field.value !== 'string')
    throw invalid(`"${field.written}" must be a number or a string`, shapes.oauth2);
  const read = absolute === undefined ? readExpiresIn(field.value, now) : readExpiresAt(field.value, now);
  if ('problem' in read) throw invalid(`"${field.written}" ${read.problem}`, shapes.oauth2);
  return read.at;
}

/**
 * Parses scopes (RFC 6749 §3.3), separated by spaces or commas. Some tools write a list.
 *
 * @param first the field that is meant if both are there: `scope` is the provider's word, `scopes` the caller's
 */
function scopesOf(fields: Fields, first: 'scope' | 'scopes' = 'scopes'): readonly string[] {
  const field = fields.get(first) ?? fields.get('scopes') ?? fields.get('scope');
  if (field === undefined) return [];
  const { value, written } = field;
  const items: readonly Json[] | null =
    typeof value === 'string' ? value.split(/[ ,]+/).filter(Boolean) : Array.isArray(value) ? value : null;
  const valid = items?.every(
    (item) => typeof item === 'string' && /^[\x21\x23-\x5b\x5d-\x7e]{1,512}$/.test(item),
  );
  if (items === null || valid !== true || items.length > maxScopes)
    throw invalid(
      `"${written}" must be scopes with spaces or commas between them, or a list of scopes`,
      shapes.oauth2,
    );
  return [...new Set(items as readonly string[])];
}

function endpoint(fields: Fields): string | null {
  if (!fields.has('token_endpoint')) return null;
  const text = string(fields, 'token_endpoint', 'oauth2');
  const url = URL.parse(text);
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '' || url.hash !== '') {
    throw invalid(
      `"${fields.get('token_endpoint')?.written}" must be an https URL without user information and fragment`,
      shapes.oauth2,
    );
  }
  return text;
}

function headers(fields: Fields): readonly Field[] {
  const value = fields.get('headers')?.value;
  if (!(value instanceof Map) || value.size === 0 || value.size > maxHeaders) {
    throw invalid(
      `"headers" must be an object of 1 to ${maxHeaders} header names and values`,
      shapes.headers,
    );
  }
  const seen = new Set<string>();
  return [...(value as JsonObject)].map(([name, value], index) => {
    const place = `header ${index + 1}`;
    if (!isFieldName(name) || name.length > 256)
      throw invalid(`${place} has no valid field name (RFC 9110 §5.1)`, shapes.headers);
    if (isReservedFieldName(name))
      throw invalid(`${place} has a reserved name: "${name}" is set by the proxy itself`, shapes.headers);
    if (seen.has(name.toLowerCase()))
      throw invalid(`${place} has the name of another header`, shapes.headers);
    seen.add(name.toLowerCase());
    return [name, checkedToken(checkedString(value, place, shapes.headers), place, shapes.headers)];
  });
}

/** Returns the field of `names` that is present. */
function fieldOf(fields: Fields, names: readonly FieldName[], type: Type): FieldName {
  const [name, twin] = names.filter((name) => fields.has(name));
  if (name === undefined) throw invalid(`the field "${names[0]}" is missing`, shapes[type]);
  if (twin !== undefined)
    throw invalid(`"${name}" and "${twin}" are the same here; leave one out`, shapes[type]);
  return name;
}

/** Returns a field for use in a header field. */
function token(fields: Fields, name: FieldName, type: Type): string {
  return checkedToken(string(fields, name, type), `"${fields.get(name)?.written}"`, shapes[type]);
}

function string(fields: Fields, name: FieldName, type: Type): string {
  const field = fields.get(name);
  return checkedString(field?.value, `"${field?.written ?? name}"`, shapes[type]);
}

/** Returns the fields that are never sent; undefined: none. Keys in PEM have line breaks. */
function extraOf(fields: Fields, type: keyof typeof extras): Record<string, string> | undefined {
  const checked = (name: FieldName) =>
    checkedString(fields.get(name)?.value, `"${name}"`, shapes[type], 'line breaks');
  const names = extras[type].filter((name) => fields.has(name));
  return names.length === 0 ? undefined : Object.fromEntries(names.map((name) => [name, checked(name)]));
}

/**
 * Parses a password. Unlike a token, it is encoded, so spaces at the ends are valid. It may be empty: some
 * APIs expect only a key as the user name.
 */
function password(fields: Fields): string {
  const value = fields.get(fieldOf(fields, ['password'], 'basic'))?.value;
  if (value === '') return value;
  return checkedString(value, '"password"', shapes.basic, 'spaces around it');
}

function plain(credential: HeldCredential): CredentialInput {
  return { credential, scopes: [] };
}
