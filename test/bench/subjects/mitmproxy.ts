/** mitmdump with an add-on that sets one header. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../support/free-port.ts';
import { versionOf } from '../process.ts';
import type { Ground, Subject } from '../subject.ts';
import { mitmdump } from './peers.ts';

const addon = fileURLToPath(new URL('../peers/mitmproxy-addon.py', import.meta.url));

export function mitmproxy({ rsaAuthority, rootFile, token }: Ground): Subject {
  return {
    id: 'mitmproxy',
    title: 'mitmproxy',
    what: `mitmproxy ${versionOf(mitmdump(), '--version')}, mitmdump with an add-on of a few lines`,
    adds: true,
    coldReason: null,
    filesPerTunnel: 2,
    async prepare(folder) {
      const port = await freePort();
      await writeFile(join(folder, 'mitmproxy-ca.pem'), rsaAuthority.key + rsaAuthority.cert, {
        mode: 0o600,
      });
      const settings = {
        confdir: folder,
        ssl_verify_upstream_trusted_ca: rootFile,
        flow_detail: 0,
        http2: false,
      };
      const set = Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
      return {
        command: mitmdump(),
        args: ['-q', '--listen-host', '127.0.0.1', '-p', String(port), ...set, '-s', addon],
        env: { BENCH_TOKEN: token },
        port,
        endsBy: 'SIGKILL',
        ca: async () => rsaAuthority.cert,
      };
    },
  };
}
