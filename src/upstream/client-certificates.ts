import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { SidekeyError } from '../errors.ts';
import type { DomainPattern } from '../policy/pattern.ts';

/** Who Sidekey is to the authorities of a pattern (`upstream.client_certificates`). */
export interface ClientCertificate {
  readonly pattern: DomainPattern;
  /** Where it stands in the config, for messages. */
  readonly origin: string;
  readonly material: ClientMaterial;
}

/** A chain and its key in PEM, or both in PKCS #12. */
export type ClientMaterial = { readonly passphrase?: string | undefined } & (
  { readonly cert: Buffer; readonly key: Buffer } | { readonly pfx: Buffer }
);

/** @throws SidekeyError `config_invalid` where the parts do not open, or do not belong together */
export function assertUsable({ origin, material }: ClientCertificate): void {
  const problem = problemOf(material);
  if (problem === null) return;
  throw new SidekeyError('config_invalid', `${origin}: ${problem.what}.`, {
    hint: 'give a certificate with its chain, the key that belongs to it, and a passphrase where the key has one',
    cause: problem.cause,
  });
}

interface Unusable {
  readonly what: string;
  readonly cause?: unknown;
}

function problemOf(material: ClientMaterial): Unusable | null {
  if ('key' in material) {
    const { cert, key, passphrase } = material;
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(cert);
    } catch (cause) {
      return { what: 'the certificate cannot be read as PEM', cause };
    }
    try {
      // A key of another kind than the certificate's is taken by OpenSSL without a word.
      if (
        !certificate.checkPrivateKey(
          createPrivateKey({ key, ...(passphrase === undefined ? {} : { passphrase }) }),
        )
      )
        return { what: 'the key is not that of the certificate' };
    } catch (cause) {
      const isLocked = /PASSPHRASE|BAD_DECRYPT|INTERRUPTED_OR_CANCELLED/.test(codeOf(cause));
      return {
        what: isLocked ? 'the passphrase of the key is missing or wrong' : 'the key cannot be read as PEM',
        cause,
      };
    }
  }
  try {
    // Without roots, which take long to read and say nothing about it.
    createSecureContext({ ...material, ca: [] });
    return null;
  } catch (cause) {
    if (cause instanceof Error && /mac verify/i.test(cause.message))
      return { what: 'the passphrase of the PKCS #12 file is missing or wrong', cause };
    return { what: 'the file cannot be used as a certificate with its key', cause };
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
