import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { developmentPki, issueLeaf, makeAuthority, validFor, type CertifiedKey } from './certificate.ts';

/** What a helpdesk run by hand keeps between starts. */
export interface DataDirectory {
  /** Path of the certificate that clients trust. It stays the same from start to start. */
  readonly caFile: string;
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string };
  readonly database: string;
}

const renewBeforeMs = 7 * 86_400_000;

/** The name of the CA certificate's file. */
export function caFileIn(directory: string): string {
  return join(directory, 'ca.crt');
}

/** Opens the directory, and makes what is not there yet: 0700, its keys and its database 0600. */
export function openDataDirectory(directory: string, host: string, now = Date.now()): DataDirectory {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  const authority = openAuthority({ cert: caFileIn(directory), key: join(directory, 'ca.key') }, now);
  const files = { cert: join(directory, 'server.crt'), key: join(directory, 'server.key') };
  const leaf = openLeaf(files, authority, host, now);
  return {
    caFile: caFileIn(directory),
    tls: { ...leaf, ca: authority.cert },
    database: join(directory, 'helpdesk.db'),
  };
}

/** Paths of a certificate and its key. */
interface PairFiles {
  readonly cert: string;
  readonly key: string;
}

/** Reads the root of the development PKI from its files. If it is missing or ends soon, writes a new one. */
export function openAuthority(files: PairFiles, now: number): CertifiedKey {
  return (
    readCertified(files, now, () => true) ??
    write(files, makeAuthority(developmentPki.commonName, validFor(developmentPki.rootDays, now)))
  );
}

/** Reads the certificate of a host. If it is missing, ends soon or has another root, writes a new one. */
export function openLeaf(files: PairFiles, authority: CertifiedKey, host: string, now: number): CertifiedKey {
  const issuer = new X509Certificate(authority.cert);
  const fits = (cert: X509Certificate) => cert.checkIssued(issuer) && cert.checkHost(host) === host;
  return (
    readCertified(files, now, fits) ??
    write(files, issueLeaf(authority, host, validFor(developmentPki.leafDays, now)))
  );
}

/** Returns the pair if the key fits, `fits` accepts it, and it is valid for a week more; otherwise null. */
function readCertified(
  files: PairFiles,
  now: number,
  fits: (cert: X509Certificate) => boolean,
): CertifiedKey | null {
  if (!existsSync(files.cert) || !existsSync(files.key)) return null;
  const pair = { cert: readFileSync(files.cert, 'utf8'), key: readFileSync(files.key, 'utf8') };
  try {
    const cert = new X509Certificate(pair.cert);
    const usable =
      cert.checkPrivateKey(createPrivateKey(pair.key)) &&
      cert.validToDate.getTime() - now > renewBeforeMs &&
      cert.validFromDate.getTime() <= now &&
      fits(cert);
    return usable ? pair : null;
  } catch {
    return null; // damaged: this is a sample, and a new one does as well
  }
}

function write(files: PairFiles, pair: CertifiedKey): CertifiedKey {
  replace(files.key, pair.key, 0o600);
  replace(files.cert, pair.cert, 0o644);
  return pair;
}

function replace(file: string, text: string, mode: number): void {
  const fresh = `${file}.new`;
  writeFileSync(fresh, text, { mode });
  chmodSync(fresh, mode);
  renameSync(fresh, file);
}
