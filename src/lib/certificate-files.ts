import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { SidekeyError, systemCode } from './errors.ts';
import type { Log } from './log.ts';
import type { Timers } from './timers.ts';

/** Certificate of a listener (`admin.tls`, `proxy.tls`). */

/** Absolute paths of PEM files, and their key in the config. */
export interface CertificateFiles {
  /** The certificate, followed by its chain. */
  readonly cert: string;
  readonly key: string;
  /** The CAs of client certificates; null if clients show none. */
  readonly clientCa: string | null;
  readonly setting: 'admin.tls' | 'proxy.tls';
}

/** Content of the files, as options of a TLS server. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
  readonly ca: string | undefined;
}

/** Milliseconds between two reads. A renewed certificate is used after this time, without a restart. */
const everyMs = 60_000;

/**
 * Reads a certificate with its key.
 *
 * @throws SidekeyError `config_invalid` if a file cannot be read, or the key does not match
 */
export async function readCertificate(files: CertificateFiles): Promise<Certificate> {
  const { setting, clientCa } = files;
  const [cert, key, ca] = await Promise.all([
    readPem(`${setting}.cert`, files.cert),
    readPem(`${setting}.key`, files.key),
    clientCa === null ? undefined : readPem(`${setting}.client_ca`, clientCa),
  ]);
  const certificate = parsed(`${setting}.cert`, files.cert, () => new X509Certificate(cert));
  const privateKey = parsed(`${setting}.key`, files.key, () => createPrivateKey(key));
  if (ca !== undefined) parsed(`${setting}.client_ca`, clientCa ?? '', () => new X509Certificate(ca));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new SidekeyError(
      'config_invalid',
      `${setting}.key: ${files.key} is not the key of ${files.cert}.`,
      { hint: 'give the key that belongs to the first certificate of the file' },
    );
  }
  return { cert, key, ca };
}

async function readPem(name: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const sentence = `${name}: ${file} cannot be read (${systemCode(cause)}).`;
    throw new SidekeyError('config_invalid', sentence, { hint: 'give the path of a PEM file', cause });
  }
}

function parsed<T>(name: string, file: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new SidekeyError('config_invalid', `${name}: ${file} cannot be read as PEM.`, {
      hint: 'give a PEM file; a key has no passphrase',
      cause,
    });
  }
}

/** Reads the files every minute, and calls `use` if they changed. A failure keeps the old certificate. */
export function followCertificate(
  files: CertificateFiles,
  first: Certificate,
  { use, log, timers }: { use: (certificate: Certificate) => void; log: Pick<Log, 'warn'>; timers: Timers },
): Disposable {
  let inUse = first;
  let failedWith = '';
  let isOver = false;
  let cancel = timers.after(everyMs, () => void look());
  async function look(): Promise<void> {
    try {
      const read = await readCertificate(files);
      failedWith = '';
      const isSame = read.cert === inUse.cert && read.key === inUse.key && read.ca === inUse.ca;
      if (!isOver && !isSame) use((inUse = read));
    } catch (error) {
      // A renewal writes one file after the other.
      if (String(error) !== failedWith)
        log.warn({ err: error }, `${files.setting}: the certificate in use stays`);
      failedWith = String(error);
    }
    if (!isOver) cancel = timers.after(everyMs, () => void look());
  }
  return {
    [Symbol.dispose]() {
      isOver = true;
      cancel();
    },
  };
}
