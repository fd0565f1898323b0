import { createPrivateKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { SidekeyError } from '../lib/errors.ts';
import type { Vault } from '../vault/vault.ts';
import {
  authorityFiles,
  type AuthorityFiles,
  checkDirectory,
  type KeyFile,
  moveAway,
  readCertificate,
  readKeyFile,
  startAnew,
  writeCertificate,
  writeKeyFile,
} from './authority-files.ts';
import {
  authorityExtensions,
  commonName,
  type Issuer,
  keyIdentifier,
  parsePermittedNames,
  type PermittedName,
  permittedTextsOf,
  signCertificate,
} from './certificate.ts';
import { decode, itemsOf } from './asn1.ts';
import { type Asn1 } from 'node-forge/lib/asn1.js';

/** The CA that signs the leaves which clients of the proxy see. Its private key is not in here, only its use. */
export interface CertificateAuthority {
  /** Absolute path of the certificate file, for clients to trust. */
  readonly certificateFile: string;
  readonly certificatePem: string;
  /** SHA-256 of the certificate, in lower-case hex: differs for each CA. */
  readonly fingerprint: string;
  /** Common name, such as `Sidekey CA 1f0c9a3e`. */
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** The only names that it signs for, and that clients take from it; empty: no constraint. */
  readonly permittedNames: readonly PermittedName[];
  readonly issuer: Issuer;
}

/** The directory of a CA, and the means to open it. */
export interface OpenAuthorityOptions {
  /** Made (0700) where it is missing. */
  readonly directory: string;
  readonly vault: Pick<Vault, 'seal' | 'open'>;
  /** `ca.permitted_names`: host names, addresses, blocks; empty: no constraint. */
  readonly permittedNames: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Called once, by the process that made the CA, when both files are written. */
  readonly onCreate?: ((authority: CertificateAuthority) => void | Promise<void>) | undefined;
}

/**
 * Opens the CA of a directory, or makes it on the first run: `ca.crt` (PEM, 0644) and `ca.key` (sealed by the vault,
 * 0600). The key file is there first and holds the certificate too, so that a start after a crash in between
 * finishes the work. If two processes start at the same time, one creates the CA and both use it.
 * No file that is there is ever written over.
 *
 * @throws SidekeyError
 * - `ca_mismatch`: a file is damaged or missing, the two do not belong together, the CA has ended, or it was made
 *   with other permitted names.
 * - `key_mismatch`, `record_tampered`: the vault does not open the key.
 * - `permissions_unsafe`: others may read the key or write to the directory.
 * - `clock_wrong`: the clock stands before the CA begins, or before there was a Sidekey.
 * - `file_unwritable`: the first run cannot write.
 * - `config_invalid`: a permitted name is none.
 */
export async function openAuthority(options: OpenAuthorityOptions): Promise<CertificateAuthority> {
  const files = authorityFiles(options.directory);
  const permitted = parsePermittedNames(options.permittedNames);
  await checkDirectory(options.directory);
  // The certificate is read first: as it is written last, one that is there without a key cannot be a first run
  // that another process is in the middle of.
  let certificate = await readCertificate(files);
  let keyFile = await readKeyFile(files);
  let created = false;
  if (keyFile === null) {
    if (certificate !== null) {
      throw new SidekeyError(
        'ca_mismatch',
        `${files.certificate} is there, but its key ${files.key} is not.`,
        {
          hint: startAnew(files),
        },
      );
    }
    created = await writeKeyFile(files, newKeyFile(options.vault, permitted, options.now()));
    certificate = await readCertificate(files);
    keyFile = await readKeyFile(files);
  }
  if (keyFile === null) throw vanished(files, files.key);

  const authority = unseal(files, keyFile, options.vault);
  checkPermitted(files, authority, permitted);
  checkClock(files, authority, options.now());
  if (certificate === null) {
    await writeCertificate(files, keyFile.certificate);
    certificate = await readCertificate(files);
    if (certificate === null) throw vanished(files, files.certificate);
  }
  if (certificate.fingerprint256 !== keyFile.certificate.fingerprint256) {
    throw new SidekeyError('ca_mismatch', `${files.certificate} is not the certificate of ${files.key}.`, {
      hint: `Move ${files.certificate} away: the next start writes the one that belongs to the key.`,
    });
  }
  if (created) await options.onCreate?.(authority);
  return authority;
}

function unseal(files: AuthorityFiles, keyFile: KeyFile, vault: Pick<Vault, 'open'>): CertificateAuthority {
  const { certificate } = keyFile;
  const privateKey = openSealedKey(files, keyFile, vault);
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new SidekeyError('ca_mismatch', `The key in ${files.key} does not belong to its certificate.`, {
      hint: startAnew(files),
    });
  }
  const { publicKey } = certificate;
  if (!certificate.ca || !certificate.verify(publicKey)) {
    throw new SidekeyError('ca_mismatch', `The certificate in ${files.key} is not that of a CA.`, {
      hint: startAnew(files),
    });
  }
  const { subject, extensions } = partsOf(certificate);
  return {
    certificateFile: files.certificate,
    certificatePem: certificate.toString(),
    fingerprint: fingerprintOf(certificate),
    name: certificate.subject.replace(/^CN=/, ''),
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
    permittedNames: parsePermittedNames(permittedTextsOf(extensions)),
    issuer: issuerOf(subject, keyIdentifier(publicKey), privateKey),
  };
}

/** Clients go by the names in the certificate: a config with other values would be wrong. */
function checkPermitted(
  files: AuthorityFiles,
  authority: CertificateAuthority,
  permitted: readonly PermittedName[],
): void {
  const asked = textOf(permitted);
  const made = textOf(authority.permittedNames);
  if (asked === made) return;
  throw new SidekeyError(
    'ca_mismatch',
    `${files.certificate} was made for ${made === '' ? 'any name' : made}, but ca.permitted_names says ${asked === '' ? 'nothing' : asked}.`,
    {
      hint: `Set ca.permitted_names to [${made}], or ${moveAway(files)}`,
    },
  );
}

function checkClock(files: AuthorityFiles, authority: CertificateAuthority, now: number): void {
  if (now < authority.notBefore) {
    throw new SidekeyError(
      'clock_wrong',
      `This machine's clock says ${iso(now)}, but ${files.certificate} begins on ${iso(authority.notBefore)}.`,
      { hint: `Set the clock. If it is right, the CA was made while it was wrong: ${moveAway(files)}` },
    );
  }
  if (now > authority.notAfter) {
    throw new SidekeyError(
      'ca_mismatch',
      `${files.certificate} ended on ${iso(authority.notAfter)}; this machine's clock says ${iso(now)}.`,
      {
        hint: `If the clock is wrong, set it. If not: ${moveAway(files)}`,
      },
    );
  }
}

/** Subject and extensions: items 5 and the one tagged `[3]` of a v3 TBSCertificate (RFC 5280 §4.1). */
function partsOf(certificate: X509Certificate): { subject: Asn1; extensions: readonly Asn1[] } {
  const toBeSigned = itemsOf(itemsOf(decode(certificate.raw))[0]);
  const subject = toBeSigned[5];
  if (subject === undefined) throw new Error('A certificate without a subject');
  return { subject, extensions: itemsOf(itemsOf(toBeSigned.at(-1))[0]) };
}

function textOf(permitted: readonly PermittedName[]): string {
  return permitted.map((name) => name.text).join(', ');
}

function vanished(files: AuthorityFiles, path: string): SidekeyError {
  return new SidekeyError('ca_mismatch', `${path} was removed while it was read.`, {
    hint: startAnew(files),
  });
}

const dayMs = 86_400_000;
const lifetimeMs = 3_650 * dayMs;
/** Nothing of this program is older: a clock that says so has not been set. */
const earliestMs = Date.UTC(2025, 0, 1);

/**
 * Makes a CA: a P-256 key, a certificate for ten years that names it `Sidekey CA` and its own short id, and the seal.
 * @throws SidekeyError `clock_wrong`.
 */
function newKeyFile(vault: Pick<Vault, 'seal'>, permitted: readonly PermittedName[], now: number): KeyFile {
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
function openSealedKey(files: AuthorityFiles, keyFile: KeyFile, vault: Pick<Vault, 'open'>): KeyObject {
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

/** The only use of the private key outside of this file: it signs. */
function issuerOf(name: Asn1, identifier: Buffer, privateKey: KeyObject): Issuer {
  return { name, keyIdentifier: identifier, sign: (data) => sign('sha256', data, privateKey) };
}

/** SHA-256 of a certificate, in lower-case hex. */
function fingerprintOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}

/** A moment as messages write it. */
function iso(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** Binds the sealed key to its certificate: neither can be put beside another. */
function sealContext(certificate: X509Certificate): string {
  return `ca/key/${fingerprintOf(certificate)}`;
}
