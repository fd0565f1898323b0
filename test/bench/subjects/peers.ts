/**
 * Proxies from the registries of npm, Go, Rust and Python. Libraries have a small program around them in
 * `peers/`.
 */
import { createPrivateKey } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../support/free-port.ts';
import type { Ground, Subject } from '../subject.ts';

const peers = fileURLToPath(new URL('../peers/', import.meta.url));

/** A program that gets its port and a folder with `ca.key` and `ca.pem`. */
interface Peer {
  readonly id: string;
  readonly what: string;
  /** The program, and its arguments before the port and the folder. */
  readonly command: readonly string[];
  /** Arguments of the program; default: the port and the folder. */
  readonly args?: (port: number, folder: string, ground: Ground) => readonly string[];
  /** The authority that it shows; default: that of the bench. */
  readonly caIn?: (folder: string) => string;
  readonly coldReason?: string;
  /** The file without which it cannot run, and the command that makes it. */
  readonly needs: readonly [file: string, command: string];
}

const npm = (name: string): Peer['needs'] => [
  `node_modules/${name}/package.json`,
  'npm ci --prefix test/bench/peers',
];
const venv = (program: string): Peer['needs'] => [
  `python/venv/bin/${program}`,
  'cd test/bench/peers/python && python3 -m venv venv && venv/bin/pip install -r requirements.txt',
];
const noList = 'it has no list of hosts';

const table: readonly Peer[] = [
  {
    id: 'goproxy',
    what: 'goproxy 1.9.3 (Go), OnRequest that sets a header',
    command: [join(peers, 'goproxy/bin/goproxy')],
    needs: ['goproxy/bin/goproxy', 'go build -C test/bench/peers/goproxy -o bin/goproxy'],
  },
  {
    id: 'hudsucker',
    what: 'hudsucker 0.25.0 (Rust), HttpHandler that sets a header',
    command: [join(peers, 'hudsucker/target/release/hudsucker-bench')],
    coldReason: noList,
    needs: [
      'hudsucker/target/release/hudsucker-bench',
      'cargo build --release --manifest-path test/bench/peers/hudsucker/Cargo.toml',
    ],
  },
  {
    id: 'proxy.py',
    what: 'proxy.py 2.4.10, one worker, a plug-in that sets a header',
    command: [join(peers, 'python/venv/bin/proxy')],
    args: (port, folder, { rootFile }) => {
      const key = join(folder, 'ca.key');
      const named = {
        hostname: '127.0.0.1',
        port: String(port),
        'num-workers': '1',
        'num-acceptors': '1',
        plugins: 'proxy_py_plugin.SetsHeader',
        'ca-file': rootFile,
        'ca-cert-dir': folder,
        'ca-cert-file': join(folder, 'ca.pem'),
        'ca-key-file': key,
        'ca-signing-key-file': key,
        'log-level': 'ERROR',
      };
      return Object.entries(named).flatMap(([name, value]) => [`--${name}`, value]);
    },
    coldReason: noList,
    needs: venv('proxy'),
  },
  {
    id: 'sandbox-runtime',
    what: `@anthropic-ai/sandbox-runtime ${installedVersion('@anthropic-ai/sandbox-runtime')}, its proxy with TLS termination and mutateHeaders`,
    command: [process.execPath, join(peers, 'sandbox-runtime.mjs')],
    needs: npm('@anthropic-ai/sandbox-runtime'),
  },
  {
    id: 'mockttp',
    what: `mockttp ${installedVersion('mockttp')}, thenPassThrough that sets a header`,
    command: [process.execPath, join(peers, 'mockttp.mjs')],
    needs: npm('mockttp'),
  },
  {
    id: 'http-mitm-proxy',
    what: `http-mitm-proxy ${installedVersion('http-mitm-proxy')}, onRequest that sets a header`,
    command: [process.execPath, join(peers, 'http-mitm-proxy.mjs')],
    args: (port, folder) => [String(port), join(folder, 'ca')],
    caIn: (folder) => join(folder, 'ca', 'certs', 'ca.pem'),
    needs: npm('http-mitm-proxy'),
  },
  {
    id: 'http-proxy-3',
    what: `http-proxy-3 ${installedVersion('http-proxy-3')} behind node:http, with leaves by node-forge: the obvious design`,
    command: [process.execPath, join(peers, 'http-proxy-3.mjs')],
    needs: npm('http-proxy-3'),
  },
];

/** Returns a proxy of the table, or why it is missing. */
export function peer(id: string, ground: Ground): Subject | string {
  const { what, command, args, caIn, coldReason = null, needs } = table.find((each) => each.id === id)!;
  const [file, install] = needs;
  if (!existsSync(join(peers, file))) return `not installed (${install})`;
  const { rsaAuthority, rootFile, token } = ground;
  return {
    id,
    title: id,
    what,
    adds: true,
    coldReason,
    filesPerTunnel: 2,
    async prepare(folder) {
      const port = await freePort();
      // Rust's libraries read no other form of the key.
      const key = createPrivateKey(rsaAuthority.key).export({ type: 'pkcs8', format: 'pem' });
      await writeFile(join(folder, 'ca.key'), key, { mode: 0o600 });
      await writeFile(join(folder, 'ca.pem'), rsaAuthority.cert);
      await mkdir(join(folder, 'ca'));
      return {
        command: command[0]!,
        args: [...command.slice(1), ...(args?.(port, folder, ground) ?? [String(port), folder])],
        env: {
          // Some have an option for roots that makes a context for each connection, at three times the cost.
          NODE_EXTRA_CA_CERTS: rootFile,
          BENCH_ROOT: rootFile,
          BENCH_TOKEN: token,
          PYTHONPATH: join(peers, 'python'),
        },
        port,
        endsBy: 'SIGKILL',
        ca: async () => (caIn === undefined ? rsaAuthority.cert : readFile(caIn(folder), 'utf8')),
      };
    },
  };
}

/** Returns mitmdump of the virtual environment, else that of the system. */
export function mitmdump(): string {
  const own = join(peers, 'python/venv/bin/mitmdump');
  return existsSync(own) ? own : 'mitmdump';
}

/** Null where it is not installed. */
function installedVersion(name: string): string | null {
  try {
    const text = readFileSync(join(peers, 'node_modules', name, 'package.json'), 'utf8');
    return (JSON.parse(text) as { readonly version: string }).version;
  } catch {
    return null;
  }
}
