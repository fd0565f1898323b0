import { X509Certificate } from 'node:crypto';
import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { createFile, isPrivateFile, isReplaceableByAll, replaceFile, syncFolder } from '../lib/os.ts';
import { shellWord } from '../lib/text.ts';

/** Paths of the files of a CA. */
export interface AuthorityFiles {
  /** Path of the certificate in PEM, readable by all users. */
  readonly certificate: string;
  /** Path of the sealed key, with a copy of its certificate. */
  readonly key: string;
}

/**
 * Content of `ca.key`. The seal is bound to the certificate. The copy of the certificate restores a lost
 * `ca.crt`, such as after a crash between the two writes.
 */
export interface KeyFile {
  readonly certificate: X509Certificate;
  readonly sealed: Buffer;
}

const format = 'sidekey-ca-key/1';

/** Returns the paths of the two files in a directory. */
export function authorityFiles(directory: string): AuthorityFiles {
  return { certificate: join(directory, 'ca.crt'), key: join(directory, 'ca.key') };
}

/**
 * Refuses a directory in which every user could replace the certificate that clients trust.
 * @throws SidekeyError `permissions_unsafe`
 */
export async function checkDirectory(directory: string): Promise<void> {
  const mode = await stat(directory).then(
    (found) => found.mode,
    () => 0, // If it is missing, it is created later. Other errors appear when its files are read.
  );
  if (isReplaceableByAll(mode)) {
    throw new SidekeyError('permissions_unsafe', `Every user of this machine can write to ${directory}.`, {
      hint: `chmod o-w ${shellWord(directory)}`,
    });
  }
}

/**
 * Returns the certificate; null if the file is missing.
 * @throws SidekeyError `ca_mismatch` if it cannot be read or is not a certificate
 */
export async function readCertificate(files: AuthorityFiles): Promise<X509Certificate | null> {
  try {
    return new X509Certificate(await readFile(files.certificate));
  } catch (cause) {
    if (isMissing(cause)) return null;
    throw unreadable(files, files.certificate, 'is not a certificate that can be read', cause);
  }
}

/**
 * Returns the sealed key; null if the file is missing.
 * @throws SidekeyError `permissions_unsafe` if other users may read the file; `ca_mismatch` if it cannot be
 * read or is not a key file
 */
export async function readKeyFile(files: AuthorityFiles): Promise<KeyFile | null> {
  let handle: FileHandle;
  try {
    handle = await open(files.key);
  } catch (cause) {
    if (isMissing(cause)) return null;
    throw unreadable(files, files.key, 'cannot be read', cause);
  }
  try {
    if (!isPrivateFile(await handle.stat())) {
      throw new SidekeyError('permissions_unsafe', `The CA key ${files.key} is open to other users.`, {
        hint: `chmod 600 ${shellWord(files.key)}`,
      });
    }
    return parseKeyFile(await handle.readFile('utf8'));
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw unreadable(files, files.key, 'is not a CA key that can be read', cause);
  } finally {
    await handle.close();
  }
}

/**
 * Writes the key file if it is missing. Returns whether it wrote.
 * @throws SidekeyError `file_unwritable`
 */
export async function writeKeyFile(files: AuthorityFiles, keyFile: KeyFile): Promise<boolean> {
  return writeOnce(files.key, formatKeyFile(keyFile), 0o600);
}

/** Replaces the key file at once. Rejects with errors of the file system. */
export function replaceKeyFile(files: AuthorityFiles, keyFile: KeyFile): Promise<void> {
  return replaceFile(files.key, formatKeyFile(keyFile), 0o600);
}

export function formatKeyFile({ certificate, sealed }: KeyFile): string {
  const values = { format, certificate: certificate.toString(), sealed: sealed.toString('base64') };
  return `${JSON.stringify(values, null, 2)}\n`;
}

/**
 * Writes the certificate if it is missing. Returns whether it wrote.
 * @throws SidekeyError `file_unwritable`
 */
export async function writeCertificate(
  files: AuthorityFiles,
  certificate: X509Certificate,
): Promise<boolean> {
  return writeOnce(files.certificate, certificate.toString(), 0o644);
}

/** Returns the hint for an unusable CA. */
export function startAnew(files: AuthorityFiles): string {
  return `Restore ${files.certificate} and ${files.key} from a backup, or ${moveAway(files)}`;
}

/** Returns the instructions for a new CA, as the end of a sentence. */
export function moveAway(files: AuthorityFiles): string {
  return `move ${files.certificate} and ${files.key} away: the next start makes a new CA, which clients have to trust.`;
}

/** Parses the text of a key file. Throws an error that quotes none of it. */
export function parseKeyFile(text: string): KeyFile {
  const parsed = JSON.parse(text) as Partial<Record<string, unknown>> | null;
  if (parsed?.['format'] !== format) throw new Error(`its format is not ${format}`);
  const { certificate, sealed } = parsed;
  if (typeof certificate !== 'string') throw new Error('it has no certificate');
  if (typeof sealed !== 'string' || !/^[A-Za-z0-9+/]+={0,2}$/.test(sealed))
    throw new Error('it has no sealed key');
  return { certificate: new X509Certificate(certificate), sealed: Buffer.from(sealed, 'base64') };
}

async function writeOnce(path: string, text: string, mode: number): Promise<boolean> {
  try {
    const isMade = await createFile(path, text, mode);
    // Not every system can sync a folder. Only durability depends on it.
    await syncFolder(dirname(path)).catch(() => undefined);
    return isMade;
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `Cannot write ${path}${reason(cause)}.`, {
      hint: `Let this user write to ${dirname(path)}, or set ca.directory to another place on a local disk.`,
      cause,
    });
  }
}

function unreadable(files: AuthorityFiles, path: string, problem: string, cause: unknown): SidekeyError {
  return new SidekeyError('ca_mismatch', `${path} ${problem}${reason(cause)}.`, {
    hint: isSystemError(cause, 'EACCES')
      ? `Let this user, and only this user, read ${path}.`
      : startAnew(files),
    cause,
  });
}

/** Returns the system's code of a file error in parentheses; empty if there is none. */
function reason(cause: unknown): string {
  const code = systemCode(cause);
  return /^E[A-Z]+$/.test(code) ? ` (${code})` : '';
}

/** Reports whether a file is missing. On ENOTDIR (a file instead of a folder), the later write fails. */
function isMissing(cause: unknown): boolean {
  return isSystemError(cause, 'ENOENT', 'ENOTDIR');
}
