import { existsSync } from 'node:fs';
import { access, constants, readdir, readFile, realpath } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { systemCode } from '../lib/errors.ts';
import { type Call, runProgram } from './programs.ts';
import { findProgram } from '../lib/programs.ts';

/** Kinds of trust stores, as in `--store`. */
export const storeKinds = ['system', 'browsers', 'java'] as const;

/** A certificate store that programs of this machine trust. */
export interface TrustStore {
  readonly kind: (typeof storeKinds)[number];
  /** Name with the path, for a person. */
  readonly title: string;
  readonly install: readonly Call[];
  /** Calls that remove what `install` added. */
  readonly uninstall: readonly Call[];
  /** Reports whether the store has the entry of `install`. */
  readonly has: () => Promise<boolean>;
  /** File or folder that a change writes; null: the system prompts the user itself. */
  readonly writes: string | null;
}

interface Installable {
  readonly file: string;
  readonly pem: string;
  /** SHA-256 and SHA-1 of the certificate, in lower-case hex. */
  readonly sha256: string;
  readonly sha1: string;
}

/** A machine. The variables `HOME`, `PATH` and `JAVA_HOME` locate its stores. */
interface Machine {
  readonly platform: NodeJS.Platform;
  readonly env: NodeJS.ProcessEnv;
}

export async function findStores(machine: Machine, certificate: Installable): Promise<readonly TrustStore[]> {
  return [
    ...(await systemStore(machine, certificate)),
    ...(await browserStores(machine, certificate)),
    ...(await javaStores(machine, certificate)),
  ];
}

/** Runs the calls in order until one fails; reports whether all succeeded. */
export async function runCalls(calls: readonly Call[], env: NodeJS.ProcessEnv): Promise<boolean> {
  for (const call of calls) if ((await runProgram(call, { env, timeout: 120_000 }))?.code !== 0) return false;
  return true;
}

/** Reports whether this process may change a store. */
export async function isWritable({ writes }: Pick<TrustStore, 'writes'>): Promise<boolean> {
  if (writes === null) return true;
  const code = await access(writes, constants.W_OK).then(() => null, systemCode);
  // A missing folder is created in its parent.
  return code === null || (code === 'ENOENT' && (await isWritable({ writes: dirname(writes) })));
}

/** Folders of added roots, with the program that applies them: Debian and Alpine, Fedora, Arch, openSUSE. */
const anchorFolders = [
  { folder: '/usr/local/share/ca-certificates', apply: 'update-ca-certificates' },
  { folder: '/etc/pki/ca-trust/source/anchors', apply: 'update-ca-trust' },
  { folder: '/etc/ca-certificates/trust-source/anchors', apply: 'update-ca-trust' },
  { folder: '/etc/pki/trust/anchors', apply: 'update-ca-certificates' },
] as const;

async function systemStore({ platform, env }: Machine, cert: Installable): Promise<TrustStore[]> {
  const kind = 'system' as const;
  if (platform === 'darwin') {
    const keychain = join(env['HOME'] ?? '', 'Library', 'Keychains', 'login.keychain-db');
    return [
      {
        kind,
        title: `the login keychain (${keychain})`,
        install: [['security', 'add-trusted-cert', '-r', 'trustRoot', '-k', keychain, cert.file]],
        uninstall: [
          ['security', 'remove-trusted-cert', cert.file],
          ['security', 'delete-certificate', '-Z', cert.sha1.toUpperCase(), keychain],
        ],
        has: () =>
          printed(['security', 'find-certificate', '-a', '-Z', keychain], env, cert.sha1.toUpperCase()),
        writes: null,
      },
    ];
  }
  if (platform === 'win32') {
    return [
      {
        kind,
        title: 'the root certificates of your Windows user',
        install: [['certutil', '-user', '-addstore', 'Root', cert.file]],
        uninstall: [['certutil', '-user', '-delstore', 'Root', cert.sha1]],
        has: () => printed(['certutil', '-user', '-verifystore', 'Root', cert.sha1], env, ''),
        writes: null,
      },
    ];
  }
  for (const { folder, apply } of anchorFolders) {
    const program = existsSync(folder) ? await programOf(apply, env) : null;
    if (program === null) continue;
    const file = join(folder, `${entryName(cert)}.crt`);
    return [
      {
        kind,
        title: `the system's store (${file})`,
        install: [['install', '-m', '644', cert.file, file], [program]],
        // Without --fresh, update-ca-certificates leaves its links to a removed file.
        uninstall: [['rm', '-f', file], apply === 'update-ca-trust' ? [program] : [program, '--fresh']],
        has: async () => (await readFile(file, 'utf8').catch(() => '')) === cert.pem,
        writes: folder,
      },
    ];
  }
  return [];
}

/** NSS databases: the one of Chromium, and those of Firefox profiles. */
async function browserStores({ platform, env }: Machine, cert: Installable): Promise<TrustStore[]> {
  const home = env['HOME'] ?? '';
  // Elsewhere browsers read the system's store. Windows has another program of this name.
  const certutil = platform === 'linux' && home !== '' ? await programOf('certutil', env) : null;
  if (certutil === null) return [];
  const profiles = [
    join(home, '.mozilla', 'firefox'),
    join(home, 'snap', 'firefox', 'common', '.mozilla', 'firefox'),
  ];
  const found = await Promise.all(profiles.map(databasesIn));
  const chromium = join(home, '.pki', 'nssdb');
  return Promise.all(
    [chromium, ...found.flat()].map(async (folder) => {
      const database = ['-d', `sql:${folder}`];
      const entry = ['-n', entryName(cert)];
      const create: Call[] = existsSync(join(folder, 'cert9.db'))
        ? []
        : [
            ['mkdir', '-p', '-m', '700', folder],
            [certutil, ...database, '-N', '--empty-password'],
          ];
      return {
        kind: 'browsers' as const,
        title: `${folder === chromium ? 'Chromium' : 'Firefox'} (${folder})`,
        install: [...create, [certutil, ...database, '-A', ...entry, '-t', 'C,,', '-i', cert.file]] as const,
        uninstall: [[certutil, ...database, '-D', ...entry]] as const,
        has: () => printed([certutil, ...database, '-L', ...entry], env, ''),
        writes: folder,
      };
    }),
  );
}

async function databasesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.map((name) => join(folder, name)).filter((path) => existsSync(join(path, 'cert9.db')));
}

/** `cacerts` of `JAVA_HOME`, else of the `java` on the `PATH`. */
async function javaStores({ env }: Machine, cert: Installable): Promise<TrustStore[]> {
  const java = await programOf('java', env);
  const home = env['JAVA_HOME'] ?? (java === null ? null : dirname(dirname(await realpath(java))));
  if (home === null || home === '') return [];
  const own = join(home, 'bin', 'keytool');
  const keytool = existsSync(own) ? own : await programOf('keytool', env);
  const file = join(home, 'lib', 'security', 'cacerts');
  if (keytool === null || !existsSync(file)) return [];
  // Java's default password. It keys an integrity check and is not secret.
  const store = ['-keystore', file, '-storepass', 'changeit', '-alias', entryName(cert)] as const;
  return [
    {
      kind: 'java',
      title: `Java (${file})`,
      install: [[keytool, '-importcert', '-noprompt', ...store, '-file', cert.file]],
      uninstall: [[keytool, '-delete', ...store]],
      has: () => printed([keytool, '-list', ...store], env, ''),
      writes: file,
    },
  ];
}

/** Name of the entry in every store, different for each CA. */
function entryName({ sha256 }: Installable): string {
  return `sidekey-${sha256.slice(0, 16)}`;
}

async function printed(call: Call, env: NodeJS.ProcessEnv, text: string): Promise<boolean> {
  const ended = await runProgram(call, { env, timeout: 60_000 });
  return ended?.code === 0 && ended.stdout.includes(text);
}

/** Finds a program, also in folders of administrators, which users lack on their `PATH`. */
function programOf(name: string, { PATH = '' }: NodeJS.ProcessEnv): Promise<string | null> {
  return findProgram(name, [PATH, '/usr/sbin', '/sbin'].join(delimiter));
}
