import { dirname } from 'node:path';
import type { Config } from './config/config.ts';
import { readRegularFile } from './config/regular-file.ts';
import { readSecret } from './config/secret-reference.ts';
import type { ClientCertificateConfig, UpstreamProxyConfig } from './config/upstream-settings.ts';
import { SidekeyError } from './errors.ts';
import { shellWord } from './shell-word.ts';
import { systemCode } from './system-error.ts';
import type { ClientCertificate } from './upstream/client-certificates.ts';
import type { CompanyProxy } from './upstream/company-proxy.ts';
import { createExit, type Exit } from './upstream/exit.ts';

/** What the way out is opened with. */
export interface OpenExitOptions {
  /** Where `env:` references look. */
  readonly env: NodeJS.ProcessEnv;
  /** The ports that this process itself listens on by now. */
  readonly ownPorts: () => readonly number[];
}

/**
 * The way out that a config describes, in the proxy and at the command line alike. Its files and secrets are read now, and
 * at no later time.
 *
 * @throws SidekeyError `config_invalid` where trust anchors, a certificate or a key cannot be used;
 * `permissions_unsafe` where a key is open to every user; and what `readSecret` throws
 */
export async function openExit(
  { file, upstream, limits }: Pick<Config, 'file' | 'upstream' | 'limits'>,
  { env, ownPorts }: OpenExitOptions,
): Promise<Exit> {
  const reading = { env, cwd: dirname(file) };
  return createExit({
    ca: upstream.ca,
    resolve: upstream.resolve,
    privateAddresses: upstream.privateAddresses,
    proxy: upstream.proxy === null ? null : await openProxy(upstream.proxy, reading),
    noProxy: upstream.noProxy,
    clientCertificates: await Promise.all(
      upstream.clientCertificates.map((it) => readCertificate(it, reading)),
    ),
    limits,
    ownPorts,
  });
}

interface Reading {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
}

async function openProxy(
  { authority, login, resolves }: UpstreamProxyConfig,
  reading: Reading,
): Promise<CompanyProxy> {
  if (login === null) return { authority, credentials: null, resolves };
  const password = await readSecret(login.password, { ...reading, where: login.origin });
  return { authority, credentials: { user: login.user, password }, resolves };
}

async function readCertificate(
  { pattern, files, passphrase, origin }: ClientCertificateConfig,
  reading: Reading,
): Promise<ClientCertificate> {
  const locked =
    passphrase === null
      ? {}
      : { passphrase: await readSecret(passphrase, { ...reading, where: `${origin}.passphrase` }) };
  const material =
    'pfx' in files
      ? { pfx: readPart(files.pfx, { where: `${origin}.pfx`, isSecret: true }) }
      : {
          cert: readPart(files.cert, { where: `${origin}.cert`, isSecret: false }),
          key: readPart(files.key, { where: `${origin}.key`, isSecret: true }),
        };
  return { pattern, origin, material: { ...material, ...locked } };
}

/** No chain of certificates is larger. */
const mostBytes = 1_048_576;

function readPart(
  path: string,
  { where, isSecret }: { readonly where: string; readonly isSecret: boolean },
): Buffer {
  const invalid = (what: string, cause?: unknown) =>
    new SidekeyError('config_invalid', `${where}: ${path} ${what}.`, {
      hint: `make ${path} a file that the user of this process can read`,
      cause,
    });
  let content: ReturnType<typeof readRegularFile>;
  try {
    content = readRegularFile(path, mostBytes);
  } catch (cause) {
    throw invalid(`cannot be read (${systemCode(cause)})`, cause);
  }
  if (content === null) throw invalid('is no regular file');
  if (content.bytes.length > mostBytes) throw invalid('is larger than 1 MiB');
  // Windows has no mode.
  if (isSecret && process.platform !== 'win32' && (content.mode & 0o007) !== 0) {
    throw new SidekeyError('permissions_unsafe', `${where}: ${path} is open to every user of this machine.`, {
      hint: `run: chmod 600 ${shellWord(path)}`,
    });
  }
  return content.bytes;
}
