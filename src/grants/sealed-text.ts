/** The text inside the seal: how a `SealedCredential` is written, and read back with nothing taken on trust. */
import { SidekeyError } from '../errors.ts';
import type { Credential, SealedCredential } from './credential.ts';

const version = 1;

/** What the vault seals. */
export function writeSealed({ credential, audience }: SealedCredential): Uint8Array {
  return Buffer.from(JSON.stringify({ v: version, credential, audience }), 'utf8');
}

/**
 * Reads what the vault opened.
 * @throws SidekeyError `record_tampered` where it is of another form: written by a newer version, or not by Sidekey.
 */
export function readSealed(bytes: Uint8Array, grantId: string): SealedCredential {
  const parsed = parse(bytes);
  if (parsed?.['v'] === version && isCredential(parsed['credential']) && isStrings(parsed['audience'])) {
    return { credential: parsed['credential'], audience: parsed['audience'] };
  }
  throw new SidekeyError(
    'record_tampered',
    `The sealed credential of grant ${grantId} has a form that this version of Sidekey does not know.`,
    { hint: 'use the version that wrote it, or remove the grant and add it again' },
  );
}

function parse(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return isObject(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

function isCredential(value: unknown): value is Credential {
  if (!isObject(value)) return false;
  switch (value['type']) {
    case 'oauth2':
      return (
        typeof value['obtainedAt'] === 'number' &&
        isTime(value['expiresAt']) &&
        ['accessToken', 'refreshToken', 'scope', 'clientId', 'clientSecret', 'tokenEndpoint'].every(
          (name) => value[name] === null || typeof value[name] === 'string',
        )
      );
    case 'api_key':
      return typeof value['value'] === 'string';
    case 'jwt':
      return typeof value['value'] === 'string' && isTime(value['expiresAt']);
    case 'basic':
      return typeof value['username'] === 'string' && typeof value['password'] === 'string';
    case 'headers':
      return (
        Array.isArray(value['headers']) &&
        value['headers'].every((field) => isStrings(field) && field.length === 2)
      );
    default:
      return false;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isTime(value: unknown): value is number | null {
  return value === null || typeof value === 'number';
}
