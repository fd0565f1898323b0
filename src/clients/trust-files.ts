import { randomUUID } from 'node:crypto';
import { mkdir, open, rename, stat, unlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { machineRoots, pemBundle } from '../ca/bundle.ts';
import { pkcs12TrustStore } from '../ca/trust-store.ts';
import { SidekeyError } from '../errors.ts';
import { systemCode } from '../system-error.ts';
import { aptSettings } from './apt-settings.ts';
import { javaRoots } from './java-roots.ts';
import { hgrcPath } from './mercurial.ts';
import { parentCertificates } from './parent-trust.ts';

/** Files that programs read their trust from. Absolute paths. Everything in them is public. */
export interface TrustFiles {
  /** Our CA alone. */
  readonly caFile: string;
  /** Our CA, and what the parent had put beside a program's own roots: for variables that add to those. */
  readonly extraFile: string;
  /** The machine's roots, whatever the parent trusted, and our CA: for variables that replace a program's roots. */
  readonly bundleFile: string;
  readonly javaTrustStore: {
    readonly file: string;
    /**
     * Java wants one. It is no secret: it keys the check of integrity of a file that holds certificates alone, and it
     * stands in `JAVA_TOOL_OPTIONS`, which Java prints.
     */
    readonly password: string;
  };
  /** A folder with an ini file, for `PHP_INI_SCAN_DIR`: PHP has no variable for the roots of its curl extension. */
  readonly phpFolder: string;
  /** For `WGETRC`, in the place of the person's own; null: there is one, and wget reads no second. */
  readonly wgetFile: string | null;
  /** For `HGRCPATH`: the settings of Mercurial that are there, and a file of ours behind them; null: not on this system. */
  readonly hgrcPath: string | null;
  /** For `APT_CONFIG`; takes in the person's own. Null: apt could not read it. */
  readonly aptFile: string | null;
}

/** The files, and what a person should know of them. */
export interface WrittenTrust extends TrustFiles {
  /** Sentences: a file of the parent's that could not be read, say. */
  readonly notes: readonly string[];
}

/** What the files are made from. */
export interface TrustSources {
  /** PEM of our CA. */
  readonly authorityPem: string;
  /** The environment that the programs are started from. */
  readonly parent: NodeJS.ProcessEnv;
}

/** Java's own default. */
const javaPassword = 'changeit';

/**
 * Writes the files that `clientVariables` names, each whole or not at all, into a folder that is made where it is not
 * there, for its owner alone. What was there under the names is replaced.
 *
 * @param folder absolute
 * @throws SidekeyError `file_unwritable`
 */
export async function writeTrustFiles(
  folder: string,
  { authorityPem, parent }: TrustSources,
): Promise<WrittenTrust> {
  const machine = machineRoots();
  const added = parentCertificates(parent);
  const java = await javaRoots(parent);
  const withAdded = (roots: readonly string[]) => ({
    system: [...roots, added.all],
    fallback: [...machine.fallback, added.all],
  });
  // Where the system has no roots, those of the parent alone would be no stand-in for them.
  const system = machine.system.length > 0 ? machine.system : machine.fallback;
  const bundleFile = join(folder, 'bundle.pem');
  const hgrc = join(folder, 'hgrc');
  const aptFile = join(folder, 'apt.conf');
  const wanted = {
    'ca.pem': authorityPem,
    'extra.pem': pemBundle(authorityPem, { system: [added.extra], fallback: [] }),
    'bundle.pem': pemBundle(authorityPem, withAdded(system)),
    'java.p12': pkcs12TrustStore(authorityPem, javaPassword, withAdded(java.roots ?? system)),
    wgetrc: `ca_certificate = ${bundleFile}\n`,
    hgrc: `[web]\ncacerts = ${bundleFile}\n`,
    'php/sidekey.ini': `curl.cainfo = ${iniText(bundleFile)}\nopenssl.cafile = ${iniText(bundleFile)}\n`,
  };
  await makePrivate(join(folder, 'php'));
  for (const [name, content] of Object.entries(wanted)) await writeWhole(join(folder, name), content);
  const apt = await aptSettings(parent, aptFile, bundleFile);
  if (apt !== null) await writeWhole(aptFile, apt);
  const wget = await ownWgetFile(parent, join(folder, 'wgetrc'));
  return {
    caFile: join(folder, 'ca.pem'),
    extraFile: join(folder, 'extra.pem'),
    bundleFile,
    javaTrustStore: { file: join(folder, 'java.p12'), password: javaPassword },
    phpFolder: join(folder, 'php'),
    wgetFile: wget === null ? join(folder, 'wgetrc') : null,
    hgrcPath: await hgrcPath(parent, hgrc),
    aptFile: apt === null ? null : aptFile,
    notes: [
      ...added.notes,
      ...java.notes,
      ...(wget === null
        ? []
        : [
            `wget reads ${wget} alone: without the line ca_certificate = ${bundleFile} in it, it trusts nothing of Sidekey.`,
          ]),
    ],
  };
}

/** The settings of wget that the person has, which ours would hide: wget reads one file. Null: there are none. */
async function ownWgetFile(parent: NodeJS.ProcessEnv, ours: string): Promise<string | null> {
  const named = parent['WGETRC'];
  const isNamed = named !== undefined && named !== '' && named !== ours;
  const file = isNamed ? named : join(parent['HOME'] ?? homedir(), '.wgetrc');
  const isThere = await stat(file).then(
    (found) => found.isFile(),
    () => false,
  );
  return isThere ? file : null;
}

/** In quotes PHP reads only `"`, `\` before it, and `${`, which a single-quoted text has not. */
function iniText(path: string): string {
  return path.includes("'") ? `"${path.replaceAll(/["\\]/g, '\\$&')}"` : `'${path}'`;
}

async function makePrivate(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw unwritable(folder, cause);
  });
}

/** Readers see the old file or the new one: written beside it, and renamed. */
async function writeWhole(path: string, content: string | Buffer): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    const handle = await open(temporary, 'wx', 0o644);
    try {
      await handle.writeFile(content);
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    await unlink(temporary).catch(() => undefined);
    throw unwritable(path, cause);
  }
}

function unwritable(path: string, cause: unknown): SidekeyError {
  return new SidekeyError('file_unwritable', `${path} cannot be written (${systemCode(cause)}).`, {
    hint: 'let this user write to its folder',
    cause,
  });
}
