import { editDistance } from '../lib/text.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { isFieldValue } from '../proxy/policy/text.ts';
import {
  type AwsKeys,
  type Credential,
  endOf,
  isAccessKeyId,
  isAwsSecret,
  type SealedCredential,
} from '../domain/credential.ts';
import type { Json } from '../lib/json.ts';

/** Forms of a credential in the input, and the checks of every text in it. */

const maxValue = 65_536;

/** Types of credentials in token files. If the type is omitted, the first match applies. */
export const types = ['oauth2', 'api_key', 'jwt', 'basic', 'headers', 'aws', 'client_certificate'] as const;
export type Type = (typeof types)[number];

/** Examples of the types for people. */
export const shapes: Readonly<Record<Type, string>> = {
  oauth2: '{"type":"oauth2","access_token":"…","refresh_token":"…","expires_in":3600}',
  api_key: '{"type":"api_key","value":"…"}',
  jwt: '{"type":"jwt","value":"…"}',
  basic: '{"type":"basic","username":"…","password":"…"}',
  headers: '{"type":"headers","headers":{"X-Api-Key":"…"}}',
  aws: '{"type":"aws","access_key_id":"AKIA…","secret_access_key":"…"}',
  client_certificate: '{"type":"client_certificate","certificate":"PEM…","private_key":"PEM…"}',
};

/** Checks a text for use in a header field. */
export function checkedToken(value: string, place: string, shape: string): string {
  if (!isFieldValue(value)) {
    throw invalid(
      `${place} has a character that a header field cannot have; only visible ASCII is allowed`,
      shape,
    );
  }
  return value;
}

/** Checks a text: not empty, at most 64 KiB, no control characters except what is allowed. */
export function checkedString(
  value: Json | undefined,
  place: string,
  shape: string,
  allowed: 'spaces around it' | 'line breaks' | null = null,
): string {
  if (typeof value !== 'string') throw invalid(`${place} must be a string`, shape);
  if (value.trim() === '') throw invalid(`${place} is empty`, shape);
  if (Buffer.byteLength(value) > maxValue) throw invalid(`${place} is larger than 64 KiB`, shape);
  // Unpaired surrogates have no UTF-8.
  if (/[\p{Cc}\p{Cs}]/u.test(allowed === 'line breaks' ? value.replaceAll(/\r?\n/g, '') : value))
    throw invalid(`${place} holds a control character, such as a line break at its end`, shape);
  if (value !== value.trim() && allowed === null)
    throw invalid(`${place} begins or ends with a space`, shape);
  return value;
}

/** Checks AWS keys. Messages contain none of the three. */
export function checkedKeys({ accessKeyId, secretAccessKey, sessionToken }: AwsKeys): AwsKeys {
  if (!isAccessKeyId(accessKeyId))
    throw invalid('the access key id must be 16 to 128 letters and digits', shapes.aws);
  if (!isAwsSecret(secretAccessKey))
    throw invalid('the secret access key holds a character that none has', shapes.aws);
  if (sessionToken !== null && !isAwsSecret(sessionToken))
    throw invalid('the session token holds a character that none has', shapes.aws);
  return { accessKeyId, secretAccessKey, sessionToken };
}

/** Checks a region such as `eu-west-1`. S3-compatible services have others, such as `auto`. */
export function checkedRegion(region: string): string {
  if (/^[a-z0-9-]{1,64}$/.test(region)) return region;
  throw invalid('the region is not a name such as eu-west-1', shapes.aws);
}

/** Returns an `input_invalid` error with the expected form as a hint. */
export function invalid(message: string, shape?: string, verb = 'expected'): SidekeyError {
  const sentence = `${message.charAt(0).toUpperCase()}${message.slice(1)}${message.endsWith('?') ? '' : '.'}`;
  return new SidekeyError('input_invalid', sentence, {
    hint:
      shape === undefined
        ? hintOf`give a key or token alone, PEM, or JSON such as ${shapes.oauth2}; all forms: ${remedy('grant.import')} --help`
        : `${verb}: ${shape}`,
  });
}

/** Field names of token files, and corrections of misspelt ones. Pure. */

/** Canonical field names with other spellings of tools. `camelCase` is also accepted. */
const spellings = {
  type: [],
  access_token: [],
  refresh_token: [],
  token_type: [],
  expires_in: [],
  expires_at: ['token_expires_at', 'expiry', 'expiry_date'],
  scope: [],
  scopes: [],
  id_token: [],
  client_id: [],
  client_secret: [],
  token_endpoint: ['token_uri', 'token_url'],
  value: [],
  api_key: [],
  jwt: [],
  username: [],
  password: [],
  headers: [],
  access_key_id: ['aws_access_key_id', 'AccessKeyId'],
  secret_access_key: ['aws_secret_access_key', 'SecretAccessKey'],
  session_token: ['aws_session_token', 'SessionToken'],
  region: ['aws_region'],
  certificate: ['certificate_chain', 'client_certificate'],
  private_key: ['client_key'],
  passphrase: [],
  api_secret: [],
  organization_id: [],
  project_id: [],
  algorithm: [],
  public_key: [],
  issuer: [],
  audience: [],
} as const satisfies Record<string, readonly string[]>;

/** Canonical name of a field. */
export type FieldName = keyof typeof spellings;

const canonical = new Map<string, FieldName>(
  Object.entries(spellings).flatMap(([name, others]) =>
    [name, ...others].map((spelling) => [spelling, name as FieldName] as const),
  ),
);

/** Returns the field of a name in the input; null: unknown. */
export function fieldNamed(written: string): FieldName | null {
  return canonical.get(written) ?? canonical.get(snake(written)) ?? null;
}

/** Returns the nearest field name to an unknown one; null: none is near. */
export function nearestField(written: string): string | null {
  if (written.length > 40) return null;
  const plain = flat(written);
  let best: string | null = null;
  let least = 3;
  for (const name of canonical.keys()) {
    const distance = editDistance(plain, flat(name));
    // If most of a short name differs, it is not a misspelling.
    if (distance < least && distance * 2 < name.length) [best, least] = [name, distance];
  }
  return best;
}

function snake(name: string): string {
  return /^[a-z][A-Za-z]*$/.test(name)
    ? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    : name;
}

function flat(name: string): string {
  return name.toLowerCase().replace(/[^a-z]/g, '');
}

/**
 * Returns a credential without secrets and audience, for a revoked grant. A process with write access to the
 * store could set back the state, but cannot restore a removed value.
 */
export function erased({ credential, metadata }: SealedCredential): SealedCredential {
  return { credential: withoutSecrets(credential), audience: [], metadata };
}

function withoutSecrets(credential: Credential): Credential {
  switch (credential.type) {
    case 'oauth2': {
      const { renewal: _renewal, dpop: _dpop, ...rest } = credential;
      return { ...rest, accessToken: null, refreshToken: null, clientSecret: null };
    }
    case 'api_key':
    case 'jwt':
      return { type: credential.type, value: '', expiresAt: endOf(credential) };
    case 'basic':
      return { ...credential, username: '', password: '' };
    case 'headers':
      return { ...credential, headers: [] };
    case 'aws':
      return { ...credential, accessKeyId: '', secretAccessKey: '', sessionToken: null };
    case 'client_certificate':
      // The certificate, with the name of the person, is not secret.
      return { ...credential, privateKey: '' };
    case 'source':
      return { ...credential, from: '' };
  }
}
