import { createPrivateKey, generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto';
import type { DpopAlgorithm, DpopKey } from '../../domain/credential.ts';

/** Last nonce of each server, for the next proof (RFC 9449 §8, §9); kept in memory. */
export interface Nonces {
  /** Returns the last nonce; null if the server sent none. */
  of(origin: string): string | null;
  remember(origin: string, nonce: string): void;
}

/** Maximum number of servers. The one that sent a nonce least recently is dropped; it sends a nonce again. */
const most = 1_024;

/** Characters. Nonces that hold the server's whole state, encrypted, stay well below it. */
const longest = 1_024;

/** Creates an empty store. */
export function createNonces(bound = most): Nonces {
  const known = new Map<string, string>();
  return {
    of: (origin) => known.get(origin) ?? null,
    remember(origin, nonce) {
      known.delete(origin);
      known.set(origin, nonce);
      const [first] = known.size > bound ? known.keys() : [];
      if (first !== undefined) known.delete(first);
    },
  };
}

/**
 * Returns the nonce in the `DPoP-Nonce` fields of a response; null if there is no usable one: several, an
 * empty or too long one, or one with an invalid character (RFC 9449 §8.1).
 */
export function nonceIn(values: readonly string[]): string | null {
  const [value = ''] = values;
  const isOne = values.length === 1 && value.length <= longest;
  return isOne && /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(value) ? value : null;
}

/** Claims of a proof (RFC 9449 §4.2). */
export interface ProofFacts {
  /** `jti`: never the same twice. */
  readonly id: string;
  /** `htm`, as it is sent. */
  readonly method: string;
  /** `htu`, see `targetUri`. */
  readonly uri: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Access token of the request; null: a request to a token endpoint. */
  readonly accessToken: string | null;
  /** Nonce of the server; null: none. */
  readonly nonce: string | null;
}

/** Returns a proof of the key for one request, as the value of the `DPoP` field. */
export function signProof(key: ProofKey, facts: ProofFacts): string {
  const input = signingInput(key.header, facts);
  const signature = sign(key.algorithm === 'ES256' ? 'sha256' : null, Buffer.from(input), {
    key: key.privateKey,
    // RFC 7518 §3.4: both numbers, one after the other.
    dsaEncoding: 'ieee-p1363',
  });
  return `${input}.${signature.toString('base64url')}`;
}

/** Returns the JWS signing input (RFC 7515 §5.1). */
export function signingInput(
  header: string,
  { id, method, uri, now, accessToken, nonce }: ProofFacts,
): string {
  const claims = {
    jti: id,
    htm: method,
    htu: uri,
    iat: Math.floor(now / 1000),
    ...(accessToken === null ? {} : { ath: accessTokenHash(accessToken) }),
    ...(nonce === null ? {} : { nonce }),
  };
  return `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
}

/** `ath` (RFC 9449 §4.2). Tokens are ASCII. */
export function accessTokenHash(accessToken: string): string {
  return hash('sha256', Buffer.from(accessToken, 'latin1'), 'base64url');
}

/**
 * Returns `htu`: the URI of a request without query and fragment (RFC 9449 §4.2). The path is as sent: a
 * server compares it as received, or normalizes both (§4.3). Bytes other than ASCII are encoded.
 *
 * @param origin `https://host`, with the port if it is not the default; in lower case
 * @param path origin-form, with its query; each character is one byte
 */
export function targetUri(origin: string, path: string): string {
  const end = path.search(/[?#]/);
  const bare = end < 0 ? path : path.slice(0, end);
  return `${origin}${bare === '' ? '/' : bare.replace(/[^\x21-\x7e]/g, encoded)}`;
}

function encoded(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}

/** Keys that tokens are bound to (RFC 9449). Generated here, never shown; the thumbprint is public. */

/** A key, ready to sign. */
interface ProofKey {
  readonly algorithm: DpopAlgorithm;
  readonly privateKey: KeyObject;
  /** `jkt`: the identifier of the key at servers (RFC 9449 §6.1). */
  readonly thumbprint: string;
  /** First part of each proof of the key, constant (RFC 9449 §4.2). */
  readonly header: string;
}

const curves = { ES256: 'P-256', EdDSA: 'Ed25519' } as const;

/** Makes a key. */
export function newDpopKey(algorithm: DpopAlgorithm): DpopKey {
  const { privateKey } =
    algorithm === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('ed25519');
  const { x = '', y, d = '' } = privateKey.export({ format: 'jwk' });
  return { crv: curves[algorithm], x, ...(y === undefined ? {} : { y }), d };
}

/** Reports whether a value that was stored has the form of a key. */
export function isDpopKey(value: unknown): value is DpopKey {
  if (typeof value !== 'object' || value === null) return false;
  const { crv, x, y, d } = value as Readonly<Record<string, unknown>>;
  return isPart(x) && isPart(d) && (crv === 'P-256' ? isPart(y) : crv === 'Ed25519' && y === undefined);
}

const opened = new WeakMap<DpopKey, ProofKey>();

/** Parses each key object once. Freed together with its credential. Throws the errors of `node:crypto`. */
export function proofKey(key: DpopKey): ProofKey {
  let known = opened.get(key);
  if (known === undefined) opened.set(key, (known = parse(key)));
  return known;
}

function parse(key: DpopKey): ProofKey {
  const algorithm = key.crv === 'P-256' ? 'ES256' : 'EdDSA';
  const jwk = publicJwk(key);
  return {
    algorithm,
    privateKey: createPrivateKey({ key: { ...jwk, d: key.d }, format: 'jwk' }),
    thumbprint: thumbprint(jwk),
    header: proofHeader(algorithm, jwk),
  };
}

/** Returns the JOSE header of a proof. */
export function proofHeader(algorithm: DpopAlgorithm, jwk: PublicJwk): string {
  return Buffer.from(JSON.stringify({ typ: 'dpop+jwt', alg: algorithm, jwk })).toString('base64url');
}

/** Returns the public half. */
function publicJwk({ crv, x, y = '' }: DpopKey): PublicJwk {
  return crv === 'P-256' ? { kty: 'EC', x, y, crv } : { kty: 'OKP', x, crv };
}

/** Accepts 256 bits in base64url. */
function isPart(value: unknown): boolean {
  return typeof value === 'string' && /^[A-Za-z0-9_-]{43}$/.test(value);
}

/** A public key as proofs carry it (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2). */
type PublicJwk = Readonly<Record<string, string>>;

/** Hashed members of each kind of key, in the order of RFC 7638 §3.3. */
const required: Readonly<Record<string, readonly string[]>> = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
};

/** Returns the SHA-256 thumbprint of a public key (RFC 7638 §3), which is not secret. */
export function thumbprint(jwk: PublicJwk): string {
  const names = required[jwk['kty'] ?? ''] ?? [];
  const text = JSON.stringify(Object.fromEntries(names.map((name) => [name, jwk[name]])));
  return hash('sha256', text, 'base64url');
}
