/** Proxies from npm: libraries, so each has a small program around it in `peers/`. */
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../process.ts';
import type { Ground, Subject } from '../subject.ts';

const peers = fileURLToPath(new URL('../peers/', import.meta.url));

/** What is typed to have them. */
export const peersCommand = 'npm ci --prefix test/bench/peers';

export function mockttp({ rsaAuthority, rootFile, token }: Ground): Subject {
  return {
    id: 'mockttp',
    title: 'mockttp',
    what: `mockttp ${installedVersion('mockttp')}, thenPassThrough that sets a header`,
    adds: true,
    coldReason: null,
    filesPerTunnel: 2,
    async prepare(folder) {
      const port = await freePort();
      await writeFile(join(folder, 'ca.key'), rsaAuthority.key, { mode: 0o600 });
      await writeFile(join(folder, 'ca.pem'), rsaAuthority.cert);
      return {
        command: process.execPath,
        args: [join(peers, 'mockttp.mjs'), String(port), folder],
        // Its own option for roots makes a context for each connection, at three times the cost.
        env: { NODE_EXTRA_CA_CERTS: rootFile, BENCH_TOKEN: token },
        port,
        endsBy: 'SIGKILL',
        ca: async () => rsaAuthority.cert,
      };
    },
  };
}

export function httpMitmProxy({ rootFile, token }: Ground): Subject {
  return {
    id: 'http-mitm-proxy',
    title: 'http-mitm-proxy',
    what: `http-mitm-proxy ${installedVersion('http-mitm-proxy')}, onRequest that sets a header`,
    adds: true,
    coldReason: null,
    filesPerTunnel: 2,
    async prepare(folder) {
      const port = await freePort();
      const home = join(folder, 'ca');
      await mkdir(home);
      return {
        command: process.execPath,
        args: [join(peers, 'http-mitm-proxy.mjs'), String(port), home],
        env: { NODE_EXTRA_CA_CERTS: rootFile, BENCH_TOKEN: token },
        port,
        endsBy: 'SIGKILL',
        ca: () => readFile(join(home, 'certs', 'ca.pem'), 'utf8'),
      };
    },
  };
}

export function httpProxy3({ rsaAuthority, rootFile, token }: Ground): Subject {
  return {
    id: 'http-proxy-3',
    title: 'http-proxy-3',
    what: `http-proxy-3 ${installedVersion('http-proxy-3')} behind node:http, with leaves by node-forge: the obvious design`,
    adds: true,
    coldReason: null,
    filesPerTunnel: 2,
    async prepare(folder) {
      const port = await freePort();
      await writeFile(join(folder, 'ca.key'), rsaAuthority.key, { mode: 0o600 });
      await writeFile(join(folder, 'ca.pem'), rsaAuthority.cert);
      return {
        command: process.execPath,
        args: [join(peers, 'http-proxy-3.mjs'), String(port), folder],
        env: { NODE_EXTRA_CA_CERTS: rootFile, BENCH_TOKEN: token },
        port,
        endsBy: 'SIGKILL',
        ca: async () => rsaAuthority.cert,
      };
    },
  };
}

/** Null where it is not installed. */
export function installedVersion(name: string): string | null {
  try {
    const text = readFileSync(join(peers, 'node_modules', name, 'package.json'), 'utf8');
    return (JSON.parse(text) as { readonly version: string }).version;
  } catch {
    return null;
  }
}
