import { randomUUID, X509Certificate } from 'node:crypto';
import { type FileHandle, link, mkdir, open, readFile, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { isPrivate, isWritableByAll, syncFolder } from '../lib/os.ts';
import { shellWord } from '../lib/text.ts';

/** The files of a CA. */
export interface AuthorityFiles {
  /** The certificate, in PEM, for everybody to read. */
  readonly certificate: string;
  /** The sealed key, and the certificate that it belongs to once more. */
  readonly key: string;
}

/**
 * The content of `ca.key`. The certificate is in it as well, so that a crash between the two files, or a deleted
 * `ca.crt`, loses nothing: the seal is bound to that certificate.
 */
export interface KeyFile {
  readonly certificate: X509Certificate;
  readonly sealed: Buffer;
}

const format = 'sidekey-ca-key/1';

/** The two files of a directory. */
export function authorityFiles(directory: string): AuthorityFiles {
  return { certificate: join(directory, 'ca.crt'), key: join(directory, 'ca.key') };
}

/**
 * Refuses a directory in which any user could replace the certificate that clients are told to trust.
 * @throws SidekeyError `permissions_unsafe`.
 */
export async function checkDirectory(directory: string): Promise<void> {
  const mode = await stat(directory).then(
    (found) => found.mode,
    () => 0, // It is made later, or reading its files says what is the matter.
  );
  const sticky = (mode & 0o1000) !== 0; // Others may add files then, but not replace ours.
  if (isWritableByAll(mode) && !sticky) {
    throw new SidekeyError('permissions_unsafe', `Every user of this machine can write to ${directory}.`, {
      hint: `chmod o-w ${shellWord(directory)}`,
    });
  }
}

/**
 * The certificate, or null where there is no such file.
 * @throws SidekeyError `ca_mismatch` where it cannot be read or is no certificate.
 */
export async function readCertificate(files: AuthorityFiles): Promise<X509Certificate | null> {
  try {
    return new X509Certificate(await readFile(files.certificate));
  } catch (cause) {
    if (isMissing(cause)) return null;
    throw unreadable(files, files.certificate, 'is no certificate that can be read', cause);
  }
}

/**
 * The sealed key, or null where there is no such file.
 * @throws SidekeyError `permissions_unsafe` where others may read it; `ca_mismatch` where it cannot be read or says
 * something else than a key file does.
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
    const { mode } = await handle.stat();
    if (!isPrivate(mode)) {
      throw new SidekeyError('permissions_unsafe', `The CA key ${files.key} is open to other users.`, {
        hint: `chmod 600 ${shellWord(files.key)}`,
      });
    }
    return parseKeyFile(await handle.readFile('utf8'));
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw unreadable(files, files.key, 'is no CA key that can be read', cause);
  } finally {
    await handle.close();
  }
}

/**
 * Writes the key file unless there is one; answers whether it wrote.
 * @throws SidekeyError `file_unwritable`.
 */
export async function writeKeyFile(files: AuthorityFiles, keyFile: KeyFile): Promise<boolean> {
  const text = JSON.stringify(
    { format, certificate: keyFile.certificate.toString(), sealed: keyFile.sealed.toString('base64') },
    null,
    2,
  );
  return writeOnce(files.key, `${text}\n`, 0o600);
}

/**
 * Writes the certificate unless there is one; answers whether it wrote.
 * @throws SidekeyError `file_unwritable`.
 */
export async function writeCertificate(
  files: AuthorityFiles,
  certificate: X509Certificate,
): Promise<boolean> {
  return writeOnce(files.certificate, certificate.toString(), 0o644);
}

/** Returns the hint for a CA that is of no use. */
export function startAnew(files: AuthorityFiles): string {
  return `Restore ${files.certificate} and ${files.key} from a backup, or ${moveAway(files)}`;
}

/** The way to a new CA, as the end of a sentence. */
export function moveAway(files: AuthorityFiles): string {
  return `move ${files.certificate} and ${files.key} away: the next start makes a new CA, which clients have to trust.`;
}

function parseKeyFile(text: string): KeyFile {
  const parsed = JSON.parse(text) as Partial<Record<string, unknown>> | null;
  if (parsed?.['format'] !== format) throw new Error(`its format is not ${format}`);
  const { certificate, sealed } = parsed;
  if (typeof certificate !== 'string') throw new Error('it has no certificate');
  if (typeof sealed !== 'string' || !/^[A-Za-z0-9+/]+={0,2}$/.test(sealed)) {
    throw new Error('it has no sealed key');
  }
  return { certificate: new X509Certificate(certificate), sealed: Buffer.from(sealed, 'base64') };
}

/**
 * A whole file appears under its name, or none: written beside it and linked, because a link, other than a rename,
 * fails where the name is taken. One of two processes succeeds, and existing files stay.
 */
async function writeOnce(path: string, text: string, mode: number): Promise<boolean> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const handle = await open(temporary, 'wx', mode);
    try {
      await handle.chmod(mode); // Whatever the umask is.
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await link(temporary, path);
    // Not every system lets a folder be synced, and none needs it for correctness.
    await syncFolder(dirname(path)).catch(() => undefined);
    return true;
  } catch (cause) {
    if (isSystemError(cause, 'EEXIST') && (await exists(path))) return false;
    throw new SidekeyError('file_unwritable', `Cannot write ${path}${reason(cause)}.`, {
      hint: `Let this user write to ${dirname(path)}, or set ca.directory to another place on a local disk.`,
      cause,
    });
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

function unreadable(files: AuthorityFiles, path: string, problem: string, cause: unknown): SidekeyError {
  return new SidekeyError('ca_mismatch', `${path} ${problem}${reason(cause)}.`, {
    hint: isSystemError(cause, 'EACCES')
      ? `Let this user, and only this user, read ${path}.`
      : startAnew(files),
    cause,
  });
}

/** The system's name of a file error, which is worth a search. */
function reason(cause: unknown): string {
  const code = systemCode(cause);
  return /^E[A-Z]+$/.test(code) ? ` (${code})` : '';
}

/** ENOTDIR: the directory itself is missing, and writing says so. */
function isMissing(cause: unknown): boolean {
  return isSystemError(cause, 'ENOENT', 'ENOTDIR');
}
