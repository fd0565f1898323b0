import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../config/config.ts';
import { readRegularFile } from '../config/reload.ts';
import { readSecret } from '../config/secret-reference.ts';
import type { ClientCertificateConfig, UpstreamProxyConfig } from '../config/upstream.ts';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import { shellWord } from '../lib/text.ts';
import { createUpstreamClient, type UpstreamClient } from '../proxy/upstream/client.ts';
import type { ParentProxy } from '../proxy/upstream/parent-proxy.ts';
import { type ClientCertificate, readAnchors } from '../proxy/upstream/tls.ts';

interface OpenUpstreamOptions {
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
  /** Listening ports of this process. */
  readonly ownPorts: () => readonly number[];
  /** Client of the config before. */
  readonly before?: UpstreamClient | undefined;
}

/** Settings of each client, with the contents of files and secrets: they can change under the same name. */
const openedWith = new WeakMap<UpstreamClient, object>();

/**
 * Opens the upstream client of a config, for the proxy and the command line. Reads files and secrets once.
 * Returns `before`, with its connections, if settings, contents of files and secrets are the same.
 *
 * @throws SidekeyError `config_invalid` if trust anchors, a certificate or a key cannot be used;
 * `permissions_unsafe` if every user can access a key; errors of `readSecret`
 */
export async function openUpstreamClient(
  { file, upstream, limits }: Pick<Config, 'file' | 'upstream' | 'limits'>,
  { env, ownPorts, before }: OpenUpstreamOptions,
): Promise<UpstreamClient> {
  const reading = { env, cwd: dirname(file) };
  const options = {
    ca: upstream.ca.map((file) => readAnchors(file)),
    hostCa: new Map(
      Array.from(upstream.hostCa, ([host, file]) => [host, readAnchors(file, `upstream.host_ca.${host}`)]),
    ),
    resolve: upstream.resolve,
    privateAddresses: upstream.privateAddresses,
    proxy: upstream.proxy === null ? null : await openProxy(upstream.proxy, reading),
    noProxy: upstream.noProxy,
    clientCertificates: await Promise.all(
      upstream.clientCertificates.map((it) => readCertificate(it, reading)),
    ),
    limits,
  };
  // Lines of the config file move.
  const certificates = options.clientCertificates.map(({ pattern, material }) => ({ pattern, material }));
  const settings = { ...options, clientCertificates: certificates };
  if (before !== undefined && isDeepStrictEqual(openedWith.get(before), settings)) return before;
  const client = createUpstreamClient({ ...options, ownPorts });
  openedWith.set(client, settings);
  return client;
}

interface Reading {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
}

async function openProxy(
  { authority, login, remoteDns }: UpstreamProxyConfig,
  reading: Reading,
): Promise<ParentProxy> {
  if (login === null) return { authority, credentials: null, remoteDns };
  const password = await readSecret(login.password, { ...reading, where: login.origin });
  return { authority, credentials: { user: login.user, password }, remoteDns };
}

async function readCertificate(
  { pattern, files, passphrase, origin }: ClientCertificateConfig,
  reading: Reading,
): Promise<ClientCertificate> {
  const material =
    'pfx' in files
      ? { pfx: readPart(files.pfx, { where: `${origin}.pfx`, isSecret: true }) }
      : {
          cert: readPart(files.cert, { where: `${origin}.cert`, isSecret: false }),
          key: readPart(files.key, { where: `${origin}.key`, isSecret: true }),
        };
  if (passphrase === null) return { pattern, origin, material };
  const secret = await readSecret(passphrase, { ...reading, where: `${origin}.passphrase` });
  return { pattern, origin, material: { ...material, passphrase: secret } };
}

/** Maximum size of a certificate chain, in bytes. */
const maxChainBytes = 1_048_576;

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
    content = readRegularFile(path, maxChainBytes);
  } catch (cause) {
    throw invalid(`cannot be read (${systemCode(cause)})`, cause);
  }
  if (content === null) throw invalid('is not a regular file');
  if (content.bytes.length > maxChainBytes) throw invalid('is larger than 1 MiB');
  // Windows has no file modes.
  if (isSecret && process.platform !== 'win32' && (content.mode & 0o007) !== 0) {
    throw new SidekeyError('permissions_unsafe', `${where}: ${path} is open to every user of this machine.`, {
      hint: `run: chmod 600 ${shellWord(path)}`,
    });
  }
  return content.bytes;
}
