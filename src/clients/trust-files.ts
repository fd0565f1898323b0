import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, realpath, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { homedir } from 'node:os';
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { machineRoots, pemBundle, pkcs12TrustStore } from '../ca/trust-bundle.ts';
import { readRegularFile } from '../config/reload.ts';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import { makeFolder } from '../lib/os.ts';
import { packageText, shippedFile } from '../lib/package-files.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';
import { javaRoots } from './java.ts';
import { kubeconfigFor } from './kubeconfig.ts';
import { bypasses, noProxyEntries, type TrustFiles, variables } from './variables.ts';

/** The files, with notes for the user. */
interface WrittenTrust extends TrustFiles {
  /** Sentences, such as for a file of the parent that could not be read. */
  readonly notes: readonly string[];
}

interface TrustSources {
  /** PEM of our CA. */
  readonly authorityPem: string;
  /** The environment that the programs are started from. */
  readonly parent: NodeJS.ProcessEnv;
  /** The domain map. Absent: empty. */
  readonly domains?: readonly Domain[];
}

/** Java's own default. */
const javaPassword = 'changeit';

/**
 * Writes the files that `clientVariables` names, each atomically, into a folder that is created with mode
 * 0700. Replaces existing files.
 *
 * @param folder absolute
 * @throws SidekeyError `file_unwritable`
 */
export async function writeTrustFiles(
  folder: string,
  { authorityPem, parent, domains = [] }: TrustSources,
): Promise<WrittenTrust> {
  const machine = machineRoots();
  const added = parentCertificates(parent);
  const java = await javaRoots(parent);
  const withAdded = (roots: readonly string[]) => ({
    system: [...roots, added.all],
    fallback: [...machine.fallback, added.all],
  });
  // Without roots of the system, those of the parent alone are not sufficient.
  const system = machine.system.length > 0 ? machine.system : machine.fallback;
  const bundleFile = join(folder, 'bundle.pem');
  const hgrc = join(folder, 'hgrc');
  const aptFile = join(folder, 'apt.conf');
  const wanted = {
    'ca.pem': authorityPem,
    'extra.pem': pemBundle(authorityPem, { system: [added.extra], fallback: [] }),
    'bundle.pem': pemBundle(authorityPem, withAdded(system)),
    'java.p12': pkcs12TrustStore(authorityPem, javaPassword, withAdded(java.roots ?? system)),
    'node-proxy.cjs': packageText(shippedFile('node-proxy.cjs')),
    wgetrc: `ca_certificate = ${bundleFile}\n`,
    hgrc: `[web]\ncacerts = ${bundleFile}\n`,
    'php/sidekey.ini': `curl.cainfo = ${iniText(bundleFile)}\nopenssl.cafile = ${iniText(bundleFile)}\n`,
  };
  makePrivate(join(folder, 'php'));
  for (const [name, content] of Object.entries(wanted)) await writeWhole(join(folder, name), content);
  const apt = await aptSettings(parent, aptFile, bundleFile);
  if (apt !== null) await writeWhole(aptFile, apt);
  const kubeFile = join(folder, 'kubeconfig');
  const kubeconfig = kubeconfigFor(kubeFile, parent, domains, authorityPem);
  if (kubeconfig === null) await rm(kubeFile, { force: true });
  else await writeWhole(kubeFile, kubeconfig.text);
  const wget = await ownWgetFile(parent, join(folder, 'wgetrc'));
  return {
    caFile: join(folder, 'ca.pem'),
    extraFile: join(folder, 'extra.pem'),
    bundleFile,
    javaTrustStore: { file: join(folder, 'java.p12'), password: javaPassword },
    nodeFile: join(folder, 'node-proxy.cjs'),
    phpFolder: join(folder, 'php'),
    wgetFile: wget === null ? join(folder, 'wgetrc') : null,
    hgrcPath: await hgrcPath(parent, hgrc),
    aptFile: apt === null ? null : aptFile,
    kubeconfig: kubeconfig?.value ?? null,
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

/** Returns the wget settings of the user, because wget reads only one file; null if there are none. */
async function ownWgetFile(parent: NodeJS.ProcessEnv, ours: string): Promise<string | null> {
  const named = parent['WGETRC'];
  const isNamed = named !== undefined && named !== '' && named !== ours;
  const file = isNamed ? named : join(parent['HOME'] ?? homedir(), '.wgetrc');
  return (await isFile(file)) ? file : null;
}

function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** Quotes a path for PHP, which interprets `"`, `\` before it, and `${`, except in single quotes. */
function iniText(path: string): string {
  return path.includes("'") ? `"${path.replaceAll(/["\\]/g, '\\$&')}"` : `'${path}'`;
}

function makePrivate(folder: string): void {
  try {
    makeFolder(folder, 0o700);
  } catch (cause) {
    throw unwritable(folder, cause);
  }
}

/** Writes a temporary file and renames it, so that readers see the old or the new file. */
async function writeWhole(path: string, content: string | Buffer): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFile(temporary, content, { flag: 'wx', mode: 0o644 });
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

interface ParentFacts {
  readonly parent: NodeJS.ProcessEnv;
  /** The address of Sidekey. */
  readonly proxy: { readonly host: string; readonly port: number };
  readonly domains: readonly Pick<Domain, 'pattern' | 'action'>[];
  /** True if `upstream.proxy` is set. */
  readonly chained: boolean;
}

/** Returns sentences about variables that send programs past Sidekey. */
export function parentNotes({ parent, proxy, domains, chained }: ParentFacts): readonly string[] {
  return [...companyProxy(parent, proxy, chained), ...pastSidekey(parent, proxy, domains)];
}

/** Returns a note about a company proxy, which ours replaces and must be configured to use. */
function companyProxy(parent: NodeJS.ProcessEnv, ours: ParentFacts['proxy'], chained: boolean): string[] {
  if (chained) return [];
  const names = ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'];
  const name = names.find((one) => parent[one] !== undefined && parent[one] !== '');
  if (name === undefined) return [];
  const text = parent[name] ?? '';
  const url = URL.parse(text.includes('://') ? text : `http://${text}`);
  // An invalid URL is not repeated, because it may contain a password.
  const host = url === null ? 'a proxy' : url.host;
  if (url !== null && isOurs(url, ours)) return [];
  return [
    `${name} names ${host}; programs go to Sidekey now, and Sidekey goes out through it only if upstream.proxy in the config says so.`,
  ];
}

function isOurs(url: URL, { host, port }: ParentFacts['proxy']): boolean {
  return url.hostname.replace(/^\[|\]$/g, '') === host && Number(url.port || 80) === port;
}

/** Returns the hosts of the map that `NO_PROXY` excludes: their requests carry no credential. */
function pastSidekey(
  parent: NodeJS.ProcessEnv,
  { host }: ParentFacts['proxy'],
  domains: ParentFacts['domains'],
): string[] {
  // For a proxy with an IPv6 address, `withoutProxy` has an entry for all of its ports.
  const entries = [...noProxyEntries(parent), ...(isIPv6(host) ? [host] : [])];
  const past = domains.filter(
    ({ pattern, action }) => action.kind === 'grant' && entries.some((entry) => bypasses(entry, pattern)),
  );
  return past.length === 0
    ? []
    : [
        `NO_PROXY sends programs past Sidekey to ${past.map(({ pattern }) => pattern.text).join(', ')}: they get no credential there.`,
      ];
}

/** The variables that name files with roots. */
export const trustVariables: readonly string[] = variables
  .filter(({ value }) => value === 'extra' || value === 'bundle')
  .map(({ name }) => name);

/** The certificates that the parent's environment adds. */
interface ParentTrust {
  /** PEM of all certificates. */
  readonly all: string;
  /** PEM of certificates that are added to a program's own roots. */
  readonly extra: string;
  /** A sentence for each file that could not be read. */
  readonly notes: readonly string[];
}

/** Maximum size of a file: 200 roots are 300 KB. */
const maxBytes = 16 * 1024 * 1024;

/**
 * Returns the certificates of files that the parent's variables name, such as a company root in
 * `SSL_CERT_FILE`, because our variables replace these. A file that cannot be read yields a note.
 */
function parentCertificates(parent: NodeJS.ProcessEnv): ParentTrust {
  const notes: string[] = [];
  const read = (kind: 'extra' | 'bundle'): string => {
    const files = new Map(
      variables
        .filter(({ value }) => value === kind)
        .map(({ name }) => [parent[name] ?? '', name] as const)
        .filter(([file]) => file !== ''),
    );
    return [...files].map(([file, variable]) => readPem(file, variable, notes)).join('\n');
  };
  const extra = read('extra');
  return { extra, all: `${read('bundle')}\n${extra}`, notes };
}

function readPem(file: string, variable: string, notes: string[]): string {
  const note = (problem: string): string => {
    notes.push(`${variable} names ${file}, which ${problem}: nothing of it is trusted.`);
    return '';
  };
  try {
    const content = readRegularFile(file, maxBytes);
    if (content === null) return note('is not a file');
    if (content.bytes.length > maxBytes) return note('is larger than 16 MiB');
    const text = content.bytes.toString('latin1');
    return text.includes('-----BEGIN CERTIFICATE-----') ? text : note('has no certificate in it');
  } catch (cause) {
    return note(`cannot be read (${systemCode(cause)})`);
  }
}

/**
 * Returns the text of a file for `APT_CONFIG` that sets the roots of https. apt reads only one such file, so
 * the text first includes the file of the user's `APT_CONFIG` (`#include`, apt.conf(5)). Null if apt could
 * not read a file: a path contains a quote, or root runs apt, whose methods run as `_apt` and cannot read the
 * bundle. An unreadable bundle would break https to every host.
 *
 * @param file where the text will be
 */
async function aptSettings(parent: NodeJS.ProcessEnv, file: string, bundle: string): Promise<string | null> {
  if (process.getuid?.() === 0 && !(await isOpenToAll(dirname(bundle)))) return null;
  const settings = await ownSettings(parent['APT_CONFIG'] ?? '', file);
  if ([settings ?? '', bundle].some((path) => /["\r\n]/.test(path))) return null;
  return `${settings === null ? '' : `#include "${settings}";\n`}Acquire::https::CAInfo "${bundle}";\n`;
}

/** Returns the file that our variable includes, if the shell already has our variable. */
async function ownSettings(named: string, ours: string): Promise<string | null> {
  if (named === '') return null;
  const path = resolve(named);
  if (path !== ours) return path;
  const text = await readFile(ours, 'utf8').catch(() => '');
  return /^#include "(.+)";$/m.exec(text)?.[1] ?? null;
}

/** Returns whether every user may go into a folder. */
async function isOpenToAll(folder: string): Promise<boolean> {
  const { mode } = await stat(folder);
  if ((mode & 0o001) === 0) return false;
  const above = dirname(folder);
  return above === folder || isOpenToAll(above);
}

/**
 * Returns `HGRCPATH` with a file of settings at its end; null on Windows, where the usual paths differ. The
 * variable replaces the whole search path (`hg help environment`), so the value starts with the usual paths:
 * the defaults of the program, then the settings of the system and of the user. The last file that sets a
 * value wins; only `.hg/hgrc` of a repository overrides it.
 */
async function hgrcPath(parent: NodeJS.ProcessEnv, file: string): Promise<string | null> {
  if (process.platform === 'win32') return null;
  const named = parent['HGRCPATH'];
  // An empty one means the repository's settings alone.
  const before = named === undefined ? await usualPath(parent) : named.split(delimiter);
  return [...before.filter((entry) => entry !== '' && entry !== file), file].join(delimiter);
}

/** Paths of `rccomponents`, `systemrcpath` and `userrcpath` of Mercurial 6, which skips missing files. */
async function usualPath(parent: NodeJS.ProcessEnv): Promise<readonly string[]> {
  const home = parent['HOME'] ?? homedir();
  const configHome = parent['XDG_CONFIG_HOME'] ?? '';
  const installed = await programOnPath(parent['PATH'] ?? '');
  const roots = [...(installed === null ? [] : [join(dirname(dirname(installed)), 'etc')]), '/etc'];
  return [
    ...(installed === null ? [] : await defaultsBeside(await realpath(installed))),
    ...roots.flatMap((root) => [join(root, 'mercurial', 'hgrc.d'), join(root, 'mercurial', 'hgrc')]),
    join(home, '.hgrc'),
    ...(process.platform === 'darwin'
      ? []
      : [join(isAbsolute(configHome) ? configHome : join(home, '.config'), 'hg', 'hgrc')]),
  ];
}

async function programOnPath(path: string): Promise<string | null> {
  const folders = path.split(delimiter).filter((folder) => isAbsolute(folder));
  for (const folder of folders) if (await isFile(join(folder, 'hg'))) return join(folder, 'hg');
  return null;
}

/** Returns the files of the built-in merge tools of Mercurial, in its Python package. */
async function defaultsBeside(program: string): Promise<readonly string[]> {
  const library = join(dirname(dirname(program)), 'lib');
  const versions = (await readdir(library).catch(() => [])).filter((name) => name.startsWith('python3'));
  const folders = versions.flatMap((version) =>
    ['dist-packages', 'site-packages'].map((packages) =>
      join(library, version, packages, 'mercurial', 'defaultrc'),
    ),
  );
  return folders.filter((folder) => existsSync(folder));
}
