import type { KeyObject } from 'node:crypto';
import { SidekeyError } from '../../errors.ts';
import { keyLength, masterKey } from '../master-key.ts';

/**
 * Takes the master key out of an environment variable: 32 bytes as base64, base64url or hex. The variable is deleted
 * from `env`, so that processes started later do not inherit the key.
 * @throws SidekeyError `secret_missing` where it is not set; `key_invalid` where it is not such a key.
 */
export function readKeyVariable(name: string, env: Record<string, string | undefined>): KeyObject {
  const text = env[name]?.trim();
  delete env[name];
  if (text === undefined || text === '') {
    throw new SidekeyError(
      'secret_missing',
      `The environment variable ${name} with the master key is not set.`,
      {
        hint: `Make a key once with "openssl rand -base64 32", keep it, and set ${name} to it.`,
      },
    );
  }
  const bytes = decodeKey(text);
  if (bytes === null) {
    throw new SidekeyError(
      'key_invalid',
      `The environment variable ${name} is not a master key: ${keyLength} bytes as base64 or hex.`,
      { hint: `Set ${name} to the key that was made for this store.` },
    );
  }
  try {
    return masterKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

/** 64 characters can only be hex and 43 only base64, so no text has two readings. */
function decodeKey(text: string): Buffer | null {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return null;
  return Buffer.from(text, 'base64');
}
