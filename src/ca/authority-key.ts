import { createPrivateKey, generateKeyPairSync, sign, X509Certificate, type KeyObject } from 'node:crypto';
import { SidekeyError } from '../errors.ts';
import type { Vault } from '../vault/vault.ts';
import { startAnew, type AuthorityFiles, type KeyFile } from './authority-files.ts';
import {
  authorityExtensions,
  commonName,
  keyIdentifier,
  signCertificate,
  type Issuer,
} from './certificate.ts';
import type { Der } from './der.ts';
import type { PermittedName } from './name-constraints.ts';

const dayMs = 86_400_000;
const lifetimeMs = 3_650 * dayMs;
/** Nothing of this program is older: a clock that says so has not been set. */
const earliestMs = Date.UTC(2025, 0, 1);

/**
 * Makes a CA: a P-256 key, a certificate for ten years that names it `Sidekey CA` and its own short id, and the seal.
 * @throws SidekeyError `clock_wrong`.
 */
export function newKeyFile(
  vault: Pick<Vault, 'seal'>,
  permitted: readonly PermittedName[],
  now: number,
): KeyFile {
  if (now < earliestMs) {
    throw new SidekeyError(
      'clock_wrong',
      `This machine's clock says ${iso(now)}: no CA is made on that date.`,
      {
        hint: 'Set the clock, then start again.',
      },
    );
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const identifier = keyIdentifier(publicKey);
  const subject = commonName(`Sidekey CA ${identifier.toString('hex', 0, 4)}`);
  const certificate = new X509Certificate(
    signCertificate({
      issuer: issuerOf(subject, identifier, privateKey),
      subject,
      notBefore: now - dayMs, // For clients whose clocks are behind.
      notAfter: now + lifetimeMs,
      publicKey,
      extensions: authorityExtensions(permitted),
    }),
  );
  const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' });
  try {
    return { certificate, sealed: Buffer.from(vault.seal(sealContext(certificate), pkcs8)) };
  } finally {
    pkcs8.fill(0);
  }
}

/**
 * Opens the sealed key.
 * @throws SidekeyError `key_mismatch`, `record_tampered` where the vault says so; `ca_mismatch` where it is no key.
 */
export function openSealedKey(
  files: AuthorityFiles,
  keyFile: KeyFile,
  vault: Pick<Vault, 'open'>,
): KeyObject {
  let pkcs8: Buffer;
  try {
    pkcs8 = vault.open(sealContext(keyFile.certificate), keyFile.sealed);
  } catch (cause) {
    if (!(cause instanceof SidekeyError)) throw cause;
    if (cause.code === 'key_mismatch') {
      throw new SidekeyError('key_mismatch', `The CA key ${files.key} was sealed by another master key.`, {
        hint: `Start with the master key that made it (\`key\` in the config). ${startAnew(files)}`,
        cause,
      });
    }
    throw new SidekeyError(
      cause.code,
      `The CA key ${files.key} does not open: it was changed, or belongs to another CA.`,
      {
        hint: startAnew(files),
        cause,
      },
    );
  }
  try {
    return createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  } catch (cause) {
    throw new SidekeyError('ca_mismatch', `What is sealed in ${files.key} is no private key.`, {
      hint: startAnew(files),
      cause,
    });
  } finally {
    pkcs8.fill(0);
  }
}

/** The one way to use the private key that leaves this room's two files about it. */
export function issuerOf(name: Der, identifier: Buffer, privateKey: KeyObject): Issuer {
  return { name, keyIdentifier: identifier, sign: (data) => sign('sha256', data, privateKey) };
}

/** SHA-256 of a certificate, in lower-case hex. */
export function fingerprintOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}

/** A moment as messages write it. */
export function iso(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** Binds the sealed key to its certificate: neither can be put beside another. */
function sealContext(certificate: X509Certificate): string {
  return `ca/key/${fingerprintOf(certificate)}`;
}
