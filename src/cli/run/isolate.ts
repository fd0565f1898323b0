import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../config/config.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { door } from '../../lib/package-files.ts';
import { findProgram, runBounded } from '../../lib/programs.ts';
import type { ProxyEndpoint } from './proxy-endpoint.ts';

/** A command in a network namespace of its own, whose only way out is the proxy. */
interface Isolated {
  readonly program: string;
  readonly words: readonly string[];
  close(): Promise<void>;
}

const relayHost = '127.0.0.1';

/** Options of bubblewrap: the files of this machine, no network, and no other processes. */
const apart: readonly string[] =
  '--dev-bind / / --unshare-net --unshare-pid --proc /proc --cap-drop ALL --die-with-parent'.split(' ');

/** Folders of sockets of other programs that reach the network for whoever asks: Docker, D-Bus, systemd, X. */
const socketFolders = ['/run', '/tmp/.X11-unix'];
/** Folders below them that stay: programs of NixOS, and disks of the user. */
const keptFolders = ['/run/current-system', '/run/wrappers', '/run/opengl-driver', '/run/media'];

/**
 * Returns the command inside of bubblewrap, on Linux. A socket in the file system leads from its namespace to the proxy:
 * `--relay` listens there on the port of the proxy. It cannot read the key and the store of Sidekey.
 *
 * @throws SidekeyError `input_invalid`: another system, or it permits no namespaces; `not_found`: bubblewrap is not installed
 */
export async function isolated(
  command: readonly string[],
  { proxy, config }: Pick<ProxyEndpoint, 'proxy' | 'config'>,
  env: NodeJS.ProcessEnv,
): Promise<Isolated> {
  if (process.platform !== 'linux')
    throw new SidekeyError('input_invalid', '--isolate works on Linux alone.', {
      hint: 'run the program in a container that reaches nothing but the proxy: docs/containers.md',
    });
  const bwrap = await findProgram('bwrap', env['PATH'] ?? '');
  if (bwrap === null)
    throw new SidekeyError('not_found', 'bubblewrap, which --isolate needs, is not installed.', {
      hint: 'install the package bubblewrap (apt, dnf, pacman, apk)',
    });
  await assertPermitted(bwrap);
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-isolate-'));
  const socket = join(folder, 'proxy');
  const server = await relay({ path: socket }, { host: proxy.host, port: proxy.port });
  const hidden = secretFiles(config()).filter((file) => existsSync(file));
  return {
    program: bwrap,
    words: [
      ...apart,
      ...socketFolders.filter((each) => existsSync(each)).flatMap((each) => ['--tmpfs', each]),
      ...[...keptFolders, tmpdir()]
        .filter((each) => each.startsWith('/run/'))
        .flatMap((each) => ['--bind-try', each, each]),
      ...hidden.flatMap((file) => ['--ro-bind', '/dev/null', file]),
      '--',
      process.execPath,
      door,
      'run',
      '--relay',
      `${proxy.port}:${socket}`,
      '--',
      ...command,
    ],
    async close() {
      server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** @throws SidekeyError `input_invalid`: this machine does not let its users make namespaces */
async function assertPermitted(bwrap: string): Promise<void> {
  const argv = [bwrap, ...apart, '--', 'true'];
  const end = await runBounded({ argv, cwd: '/', env: process.env, timeoutMs: 10_000, maxBytes: 4_096 });
  if (end.kind === 'ended' && end.code === 0) return;
  const [line = ''] = end.kind === 'ended' ? end.error.split('\n', 1) : [];
  throw new SidekeyError(
    'input_invalid',
    `This machine permits no isolated program${line && ` (${line})`}.`,
    {
      hint: 'permit user namespaces (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu an AppArmor profile for bwrap), or use a container: docs/containers.md',
    },
  );
}

function secretFiles({ key, store }: Pick<Config, 'key' | 'store'>): readonly string[] {
  const files = store.kind === 'sqlite' ? ['', '-wal', '-shm'].map((end) => store.path + end) : [];
  return 'path' in key && typeof key.path === 'string' ? [...files, key.path] : files;
}

/** Returns an endpoint as the command of `isolated` reaches it. */
export function atRelay(endpoint: ProxyEndpoint): ProxyEndpoint {
  const url = new URL(endpoint.proxy.url);
  url.hostname = relayHost;
  return { ...endpoint, proxy: { ...endpoint.proxy, host: relayHost, url: url.href.replace(/\/$/, '') } };
}

/** Serves the port of the proxy in the namespace of the command. @param place `PORT:SOCKET`, from `isolated` */
export async function serveRelay(place: string): Promise<Server> {
  const [port = '', ...path] = place.split(':');
  return relay({ host: relayHost, port: Number(port) }, { path: path.join(':') });
}

type Place = { readonly path: string } | { readonly host: string; readonly port: number };

/** Passes each connection to another place. */
async function relay(from: Place, to: Place): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ ...to, allowHalfOpen: true, noDelay: true });
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  server.listen(from);
  await once(server, 'listening');
  return server;
}
