import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { issueLeaf, makeAuthority, validFor, type CertifiedKey } from './certificate.ts';

/** What a helpdesk run by hand keeps between starts. */
export interface DataDirectory {
  /** Path of the certificate that clients trust. It stays the same from start to start. */
  readonly caFile: string;
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string };
  readonly database: string;
}

const authorityDays = 825;
const leafDays = 45;
const renewBeforeMs = 7 * 86_400_000;

/** The name of the CA certificate's file. */
export function caFileIn(directory: string): string {
  return join(directory, 'ca.crt');
}

/** Opens the directory, and makes what is not there yet: 0700, its keys and its database 0600. */
export function openDataDirectory(directory: string, host: string, now = Date.now()): DataDirectory {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  const caFile = caFileIn(directory);
  const authority =
    readCertified(caFile, join(directory, 'ca.key'), now, () => true) ??
    write(
      caFile,
      join(directory, 'ca.key'),
      makeAuthority('Acme Sample Root CA', validFor(authorityDays, now)),
    );
  const [certFile, keyFile] = [join(directory, 'server.crt'), join(directory, 'server.key')];
  const issuer = new X509Certificate(authority.cert);
  const leaf =
    readCertified(
      certFile,
      keyFile,
      now,
      (cert) => cert.checkIssued(issuer) && cert.checkHost(host) === host,
    ) ?? write(certFile, keyFile, issueLeaf(authority, host, validFor(leafDays, now)));
  return { caFile, tls: { ...leaf, ca: authority.cert }, database: join(directory, 'helpdesk.db') };
}

/** The pair, where it is there, belongs together, fits, and lasts a week more; null: make a new one. */
function readCertified(
  certFile: string,
  keyFile: string,
  now: number,
  fits: (cert: X509Certificate) => boolean,
): CertifiedKey | null {
  if (!existsSync(certFile) || !existsSync(keyFile)) return null;
  const pair = { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
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

function write(certFile: string, keyFile: string, pair: CertifiedKey): CertifiedKey {
  replace(keyFile, pair.key, 0o600);
  replace(certFile, pair.cert, 0o644);
  return pair;
}

function replace(file: string, text: string, mode: number): void {
  const fresh = `${file}.new`;
  writeFileSync(fresh, text, { mode });
  chmodSync(fresh, mode);
  renameSync(fresh, file);
}
