import type { createLocalJWKSet, JSONWebKeySet } from 'jose';
import { SidekeyError } from '../lib/errors.ts';
import { isJsonObject, parseStrictJson } from '../lib/json.ts';
import { withoutStop } from '../lib/text.ts';

export interface IssuerKeys {
  readonly text: string;
  /** Finds the key that a JWS names. */
  readonly find: ReturnType<typeof createLocalJWKSet>;
}

const maxKeys = 100;

/**
 * Reads the keys of an issuer. An issuer without keys has withdrawn them.
 *
 * @param name for messages: `agent_issuers.github`
 * @param read returns the key set (RFC 7517 §5), of 64 KiB at most
 * @param before keys that are returned if they are the same
 * @throws SidekeyError `issuer_unavailable`
 */
export async function readIssuerKeys(
  name: string,
  read: () => Promise<string>,
  before: IssuerKeys | null,
): Promise<IssuerKeys> {
  try {
    const keys = publicKeys(await read());
    const text = JSON.stringify(keys);
    if (before?.text === text) return before;
    const { createLocalJWKSet: create } = await import('jose');
    return { text, find: create(keys) };
  } catch (cause) {
    const why = cause instanceof SidekeyError ? withoutStop(cause.message) : 'it is not a set of public keys';
    throw new SidekeyError('issuer_unavailable', `The keys of ${name} cannot be read: ${why}.`, { cause });
  }
}

/**
 * Returns the public keys for signatures. A SPIFFE bundle marks them with `jwt-svid`. Keys of certificates
 * are left out, and so are private and symmetric keys, which cannot belong to an issuer.
 */
function publicKeys(text: string): JSONWebKeySet {
  const set = parseStrictJson(text);
  const keys = isJsonObject(set) ? set.get('keys') : undefined;
  if (!Array.isArray(keys) || keys.length > maxKeys) throw new TypeError('not a key set');
  const usable = keys.flatMap((key) => {
    if (!isJsonObject(key) || key.has('d') || key.has('k')) return [];
    const use = key.get('use') ?? 'sig';
    return use === 'sig' || use === 'jwt-svid' ? [{ ...Object.fromEntries(key), use: 'sig' }] : [];
  });
  return { keys: usable };
}
