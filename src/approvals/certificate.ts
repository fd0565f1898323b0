import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Timers } from '../lib/timers.ts';

/** Certificate of the admin listener (`admin.tls`). */

/** Absolute paths of PEM files. */
export interface CertificateFiles {
  /** The certificate, and its chain behind it. */
  readonly cert: string;
  readonly key: string;
}

/** Content of the files. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Milliseconds between two reads. A renewed certificate is in use after this time, without a restart. */
const everyMs = 60_000;

/**
 * Reads a certificate with its key.
 *
 * @throws SidekeyError `config_invalid` if a file cannot be read, or the parts do not belong together
 */
export async function readCertificate({
  cert: certFile,
  key: keyFile,
}: CertificateFiles): Promise<Certificate> {
  const [cert, key] = await Promise.all([readPem('cert', certFile), readPem('key', keyFile)]);
  const certificate = parsed('cert', certFile, () => new X509Certificate(cert));
  const privateKey = parsed('key', keyFile, () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new SidekeyError('config_invalid', `admin.tls.key: ${keyFile} is not the key of ${certFile}.`, {
      hint: 'give the key that belongs to the first certificate of the file',
    });
  }
  return { cert, key };
}

async function readPem(name: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const sentence = `admin.tls.${name}: ${file} cannot be read (${systemCode(cause)}).`;
    throw new SidekeyError('config_invalid', sentence, { hint: 'give the path of a PEM file', cause });
  }
}

function parsed<T>(name: string, file: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new SidekeyError('config_invalid', `admin.tls.${name}: ${file} cannot be read as PEM.`, {
      hint: 'give a PEM file; a key has no passphrase',
      cause,
    });
  }
}

/** Reads the files every minute, and hands over a certificate that differs. A failure keeps the one in use. */
export function followCertificate(
  files: CertificateFiles,
  first: Certificate,
  { use, log, timers }: Follower,
): Disposable {
  let inUse = first;
  let failedWith = '';
  let isOver = false;
  let cancel = timers.after(everyMs, () => void look());
  async function look(): Promise<void> {
    try {
      const read = await readCertificate(files);
      failedWith = '';
      if (!isOver && (read.cert !== inUse.cert || read.key !== inUse.key)) use((inUse = read));
    } catch (error) {
      // A renewal writes one file after the other.
      if (String(error) !== failedWith) log.warn({ err: error }, 'admin.tls: the certificate in use stays');
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

interface Follower {
  readonly use: (certificate: Certificate) => void;
  readonly log: Pick<Log, 'warn'>;
  readonly timers: Timers;
}
