/** The floor: what Node's TLS sockets cost where nothing is decided. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../support/free-port.ts';
import { issueLeaf, makeAuthority, validFor } from '../../../examples/helpdesk/certificate.ts';
import type { Ground, Subject } from '../subject.ts';

export function relay({ host, rootFile, token }: Ground, program = '../relay-main.ts'): Subject {
  const main = fileURLToPath(new URL(program, import.meta.url));
  return {
    id: 'relay',
    title: 'bare relay',
    what: `a hundred lines on Node's TLS sockets that replace Authorization: no proxy in Node.js can be below it`,
    adds: true,
    coldReason: 'it has one leaf, for the usual host',
    filesPerTunnel: 2,
    async prepare(folder) {
      const port = await freePort();
      const authority = makeAuthority('Bench Relay', validFor(30, Date.now()));
      const leaf = issueLeaf(authority, host, validFor(30, Date.now()));
      const [leafFile, keyFile] = [join(folder, 'leaf.pem'), join(folder, 'leaf.key')];
      await writeFile(leafFile, leaf.cert);
      await writeFile(keyFile, leaf.key, { mode: 0o600 });
      return {
        command: process.execPath,
        args: [main, String(port), leafFile, keyFile, rootFile],
        env: { BENCH_TOKEN: token },
        port,
        ca: async () => authority.cert,
      };
    },
  };
}
