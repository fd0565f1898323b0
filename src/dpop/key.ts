/** The keys that tokens are bound to (RFC 9449): made here, never shown. What is public of one is its thumbprint. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { DpopAlgorithm, DpopKey } from '../grants/credential.ts';
import { thumbprint, type PublicJwk } from './thumbprint.ts';

/** A key, ready to sign. */
export interface ProofKey {
  readonly algorithm: DpopAlgorithm;
  readonly privateKey: KeyObject;
  /** `jkt`: what servers know the key by (RFC 9449 §6.1). */
  readonly thumbprint: string;
  /** The first part of each of its proofs: the same for all (RFC 9449 §4.2). */
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

/** Whether a value that was stored has the form of a key. */
export function isDpopKey(value: unknown): value is DpopKey {
  if (typeof value !== 'object' || value === null) return false;
  const { crv, x, y, d } = value as Readonly<Record<string, unknown>>;
  return isPart(x) && isPart(d) && (crv === 'P-256' ? isPart(y) : crv === 'Ed25519' && y === undefined);
}

const opened = new WeakMap<DpopKey, ProofKey>();

/** Parsed once for each object: gone from memory together with the credential that it is of. Throws what `node:crypto` does. */
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

/** What a proof says of itself and of its key. */
export function proofHeader(algorithm: DpopAlgorithm, jwk: PublicJwk): string {
  return Buffer.from(JSON.stringify({ typ: 'dpop+jwt', alg: algorithm, jwk })).toString('base64url');
}

/** The half that everybody may see. */
function publicJwk({ crv, x, y = '' }: DpopKey): PublicJwk {
  return crv === 'P-256' ? { kty: 'EC', x, y, crv } : { kty: 'OKP', x, crv };
}

/** Of 256 bits, as base64url has them. */
function isPart(value: unknown): boolean {
  return typeof value === 'string' && /^[A-Za-z0-9_-]{43}$/.test(value);
}
