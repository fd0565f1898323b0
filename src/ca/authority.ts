import { createPrivateKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { SidekeyError } from '../lib/errors.ts';
import type { Vault } from '../store/vault/vault.ts';
import {
  authorityFiles,
  type AuthorityFiles,
  checkDirectory,
  formatKeyFile,
  type KeyFile,
  moveAway,
  parseKeyFile,
  readCertificate,
  readKeyFile,
  replaceKeyFile,
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

/** The CA that signs leaves. `issuer` signs with the private key, without access to the key itself. */
export interface CertificateAuthority {
  /** Absolute path of the certificate file, for clients to trust. */
  readonly certificateFile: string;
  readonly certificatePem: string;
  /** SHA-256 of the certificate, in lower-case hex. */
  readonly fingerprint: string;
  /** Common name, such as `Sidekey CA 1f0c9a3e`. */
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Names that the CA may sign for, which clients enforce too; empty: no constraint. */
  readonly permittedNames: readonly PermittedName[];
  readonly issuer: Issuer;
}

/** Options of `openAuthority`. */
export interface OpenAuthorityOptions {
  /** Folder of the CA, which is created (0700) if it is missing. */
  readonly directory: string;
  readonly vault: Pick<Vault, 'seal' | 'open' | 'refresh' | 'rewrap'>;
  /** `ca.permitted_names`: host names, addresses, blocks; empty: no constraint. */
  readonly permittedNames: readonly string[];
  readonly now: () => number;
  /** Called once, in the process that created the CA, after both files are written. */
  readonly onCreate?: ((authority: CertificateAuthority) => void | Promise<void>) | undefined;
}

/**
 * Opens the CA of a directory, or creates it on the first run: `ca.crt` (PEM, 0644) and `ca.key` (sealed,
 * 0600). Writes the key file first, with a copy of the certificate, so that the next start completes an
 * interrupted creation. If two processes start together, one creates the CA and both use it. Never
 * overwrites.
 *
 * @throws SidekeyError
 * - `ca_mismatch`: a file is damaged or missing, the files do not match, the CA has expired, or its permitted
 *   names differ.
 * - `key_mismatch`, `record_tampered`: the vault cannot open the key.
 * - `permissions_unsafe`: other users may read the key or write to the directory.
 * - `clock_wrong`: the clock is before the start of the CA, or before 2025.
 * - `file_unwritable`: the first run cannot write.
 * - `config_invalid`: a permitted name is invalid.
 */
export async function openAuthority(options: OpenAuthorityOptions): Promise<CertificateAuthority> {
  const files = authorityFiles(options.directory);
  const permitted = parsePermittedNames(options.permittedNames);
  await checkDirectory(options.directory);
  // Reads in the reverse order of creation. So a certificate without a key is an error instead of the
  // unfinished first run of another process.
  let certificate = await readCertificate(files);
  let keyFile = await readKeyFile(files);
  let created = false;
  if (keyFile === null) {
    if (certificate !== null) {
      throw new SidekeyError(
        'ca_mismatch',
        `${files.certificate} is there, but its key ${files.key} is not.`,
        { hint: startAnew(files) },
      );
    }
    await options.vault.refresh();
    created = await writeKeyFile(files, newKeyFile(options.vault, permitted, options.now()));
    certificate = await readCertificate(files);
    keyFile = await readKeyFile(files);
  }
  if (keyFile === null) throw vanished(files, files.key);

  await options.vault.refresh();
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

/**
 * Seals the CA key with the current master key. Returns false if it is already sealed by it, or missing.
 * @throws SidekeyError as `openAuthority`
 */
export async function rewrapAuthority(
  directory: string,
  vault: Pick<Vault, 'rewrap' | 'refresh'>,
): Promise<boolean> {
  const files = authorityFiles(directory);
  const keyFile = await readKeyFile(files);
  await vault.refresh();
  const sealed = keyFile && currentSeal(keyFile, vault);
  if (keyFile === null || sealed === null || sealed === keyFile.sealed) return false;
  await replaceKeyFile(files, { ...keyFile, sealed });
  return true;
}

/**
 * Reads the key file. The returned function returns its text, sealed with the vault's current master key;
 * null if there is no CA.
 * @throws SidekeyError as `openAuthority`
 */
export async function exportAuthority(
  directory: string,
): Promise<(vault: Pick<Vault, 'rewrap'>) => string | null> {
  const keyFile = await readKeyFile(authorityFiles(directory));
  return (vault) =>
    keyFile === null ? null : formatKeyFile({ ...keyFile, sealed: currentSeal(keyFile, vault) });
}

/**
 * Returns the sealed key under the current master key. A retired master key opens it at any age: a machine
 * may be off long after a rotation, and others cannot write to this file, unlike to the store.
 */
function currentSeal({ certificate, sealed }: KeyFile, vault: Pick<Vault, 'rewrap'>): Buffer {
  const rewrapped = vault.rewrap(sealContext(certificate), sealed, Infinity);
  return rewrapped === null ? sealed : Buffer.from(rewrapped);
}

/**
 * Writes an exported CA, sealed by `to` instead of `from`. Returns false if the directory has a CA.
 * @throws SidekeyError as `openAuthority`
 */
export async function importAuthority(
  directory: string,
  text: string,
  { from, to }: { readonly from: Pick<Vault, 'open'>; readonly to: Pick<Vault, 'seal'> },
): Promise<boolean> {
  const files = authorityFiles(directory);
  await checkDirectory(directory);
  const { certificate, sealed } = parseKeyFile(text);
  const context = sealContext(certificate);
  const key = from.open(context, sealed);
  const keyFile = { certificate, sealed: Buffer.from(to.seal(context, key)) };
  key.fill(0);
  if ((await readCertificate(files)) !== null || !(await writeKeyFile(files, keyFile))) return false;
  return writeCertificate(files, certificate);
}

function unseal(
  files: AuthorityFiles,
  keyFile: KeyFile,
  vault: Pick<Vault, 'open' | 'rewrap'>,
): CertificateAuthority {
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

/** Refuses permitted names that differ from the certificate's, because clients apply the certificate's. */
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

/** Returns the subject (item 5) and the extensions (tag `[3]`) of a v3 TBSCertificate (RFC 5280 §4.1). */
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
/** Earliest plausible time: this program is newer, so an earlier clock is wrong. */
const earliestMs = Date.UTC(2025, 0, 1);

/**
 * Creates a CA: a sealed P-256 key and a ten-year certificate named `Sidekey CA` with a short ID.
 * @throws SidekeyError `clock_wrong`
 */
function newKeyFile(vault: Pick<Vault, 'seal'>, permitted: readonly PermittedName[], now: number): KeyFile {
  if (now < earliestMs) {
    throw new SidekeyError(
      'clock_wrong',
      `This machine's clock says ${iso(now)}: no CA is made on that date.`,
      { hint: 'Set the clock, then start again.' },
    );
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const identifier = keyIdentifier(publicKey);
  const subject = commonName(`Sidekey CA ${identifier.toString('hex', 0, 4)}`);
  const certificate = new X509Certificate(
    signCertificate({
      issuer: issuerOf(subject, identifier, privateKey),
      subject,
      notBefore: now - dayMs, // Clocks of clients may be slow.
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
 * @throws SidekeyError `key_mismatch`, `record_tampered` of the vault; `ca_mismatch` if it contains no key
 */
function openSealedKey(
  files: AuthorityFiles,
  keyFile: KeyFile,
  vault: Pick<Vault, 'open' | 'rewrap'>,
): KeyObject {
  let pkcs8: Buffer;
  try {
    pkcs8 = vault.open(sealContext(keyFile.certificate), currentSeal(keyFile, vault));
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
      { hint: startAnew(files), cause },
    );
  }
  try {
    return createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  } catch (cause) {
    throw new SidekeyError('ca_mismatch', `The sealed content of ${files.key} is not a private key.`, {
      hint: startAnew(files),
      cause,
    });
  } finally {
    pkcs8.fill(0);
  }
}

/** Returns the signer. It signs with the private key, without access to the key for other files. */
function issuerOf(name: Asn1, identifier: Buffer, privateKey: KeyObject): Issuer {
  return { name, keyIdentifier: identifier, sign: (data) => sign('sha256', data, privateKey) };
}

/** Returns the SHA-256 of a certificate, in lower-case hex. */
function fingerprintOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}

/** Formats a time for messages. */
function iso(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** Returns the context of the seal, which binds the key to its certificate. */
function sealContext(certificate: X509Certificate): string {
  return `ca/key/${fingerprintOf(certificate)}`;
}
