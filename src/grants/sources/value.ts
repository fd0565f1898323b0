import { type Json, type JsonObject, isJsonObject, parseStrictJson } from '../../lib/json.ts';
import { readCredential } from '../credential-input.ts';
import { endOf, type SourceForm } from '../../domain/credential.ts';
import type { SourceValue } from './source.ts';
import { SidekeyError } from '../../lib/errors.ts';

/**
 * Parses the output of a source. If `form` is null, it is detected:
 *
 * - `token`: a bare token; `first_line`: a bare token, then other lines
 * - `json`: an object with a token and optionally its expiry
 * - `aws`: `credential_process` of AWS, version 1
 * - `exec`: ExecCredential of Kubernetes, with a token
 * - `docker`, `git`: output of their credential helpers
 *
 * @throws SidekeyError `input_invalid`, never with a part of the output
 */
export function readValue(text: string, form: SourceForm | null, now: () => number): SourceValue {
  const [line = ''] = text.split(/\r?\n/, 1);
  if (form === 'first_line') return plainValue(line, now);
  if (form === 'git' || (form === null && isGit(text))) return gitValue(text, now);
  if (form === 'token' || (form === null && !text.trimStart().startsWith('{'))) return plainValue(text, now);
  const object = parseStrictJson(text.trim());
  if (!isJsonObject(object)) throw unreadable('it is no JSON object');
  switch (form ?? formOf(object)) {
    case 'aws':
      return awsValue(object, now);
    case 'docker':
      return dockerValue(object, now);
    case 'exec':
      return execValue(object, now);
    default:
      return jsonValue(object, now);
  }
}

function formOf(object: JsonObject): SourceForm {
  if (object.get('kind') === 'ExecCredential') return 'exec';
  if (object.has('AccessKeyId')) return 'aws';
  return object.has('Secret') && object.has('Username') ? 'docker' : 'json';
}

function isGit(text: string): boolean {
  return /^(?:protocol|username)=/m.test(text) && /^password=/m.test(text);
}

function plainValue(text: string, now: () => number): SourceValue {
  const value = text.trim();
  if (value === '') throw unreadable('it is empty');
  if (/\s/.test(value)) throw unreadable('it has several words or lines, and a token is one');
  return checked({ value }, null, now);
}

/** Members with a token or its expiry, in order of precedence. */
const tokenNames = ['access_token', 'accessToken', 'token', 'api_key', 'apiKey', 'value'];
const endNames = [
  'expires_at',
  'expiresAt',
  'expires_on',
  'expiry',
  'token_expiry',
  'expiration',
  'expires',
  'expireTime',
];

/** Reads a JSON object. gcloud has the token in `credential`. */
function jsonValue(root: JsonObject, now: () => number): SourceValue {
  const inner = root.get('credential');
  const object = isJsonObject(inner) ? inner : root;
  const token = firstOf(object, tokenNames);
  if (token === null) throw unreadable('it has no token');
  return tokenValue(token, firstOf(object, endNames), firstOf(object, ['expires_in', 'expiresIn']), now);
}

/** @param at expiry; @param inS seconds until then; null: not stated */
function tokenValue(token: Json, at: Json, inS: Json, now: () => number): SourceValue {
  if (at === null && inS === null) return checked({ value: token }, null, now);
  return checked({ type: 'oauth2', access_token: token, expires_at: at, expires_in: inS }, null, now);
}

function awsValue(object: JsonObject, now: () => number): SourceValue {
  if (object.get('Version') !== 1) throw unreadable('its Version is not 1');
  const names = ['AccessKeyId', 'SecretAccessKey', 'SessionToken'];
  const keys = Object.fromEntries(names.map((name) => [name, object.get(name) ?? null]));
  return checked({ type: 'aws', ...keys }, object.get('Expiration') ?? null, now);
}

function dockerValue(object: JsonObject, now: () => number): SourceValue {
  const [username = null, secret = null] = [object.get('Username'), object.get('Secret')];
  // Docker's user name for a token without a user.
  if (username === '<token>') return checked({ value: secret }, null, now);
  return checked({ type: 'basic', username, password: secret }, null, now);
}

function gitValue(text: string, now: () => number): SourceValue {
  const valueOf = (name: string) => new RegExp(`^${name}=(.*?)\r?$`, 'm').exec(text)?.[1] ?? null;
  const [username, password] = [valueOf('username'), valueOf('password')];
  return checked({ type: 'basic', username, password }, valueOf('password_expiry_utc'), now);
}

function execValue(object: JsonObject, now: () => number): SourceValue {
  const status = object.get('status');
  if (!isJsonObject(status)) throw unreadable('it has no status');
  const token = status.get('token') ?? null;
  if (token === null) throw unreadable('it has no token');
  return tokenValue(token, status.get('expirationTimestamp') ?? null, null, now);
}

function firstOf(object: JsonObject, names: readonly string[]): Json {
  return names.map((name) => object.get(name) ?? null).find((value) => value !== null) ?? null;
}

/** Parses a credential with the checks of `grant import`, and its expiry with those of a token. */
function checked(fields: Readonly<Record<string, Json>>, expiresAt: Json, now: () => number): SourceValue {
  const { credential } = readCredential(JSON.stringify(fields), { now });
  const end = expiresAt === null ? null : endOf(tokenValue('end', expiresAt, null, now).credential);
  return { credential, expiresAt: end ?? endOf(credential) };
}

function unreadable(why: string): SidekeyError {
  return new SidekeyError('input_invalid', `The answer is not a credential: ${why}.`);
}
