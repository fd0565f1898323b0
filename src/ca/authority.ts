import type { X509Certificate } from 'node:crypto';
import { SidekeyError } from '../errors.ts';
import type { Vault } from '../vault/vault.ts';
import {
  authorityFiles,
  checkDirectory,
  moveAway,
  readCertificate,
  readKeyFile,
  startAnew,
  writeCertificate,
  writeKeyFile,
  type AuthorityFiles,
  type KeyFile,
} from './authority-files.ts';
import { fingerprintOf, iso, issuerOf, newKeyFile, openSealedKey } from './authority-key.ts';
import { keyIdentifier, type Issuer } from './certificate.ts';
import { decode, itemsOf, type Der } from './der.ts';
import { parsePermittedNames, permittedTextsOf, type PermittedName } from './name-constraints.ts';

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

/** Which CA, and what it is opened with. */
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
 * finishes the work. Of two processes that start at once one makes the CA and both use it.
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

/** Clients go by the names in the certificate: a config that says others promises what is not so. */
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
function partsOf(certificate: X509Certificate): { subject: Der; extensions: readonly Der[] } {
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
