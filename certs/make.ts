import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { openAuthority, openLeaf } from '../examples/helpdesk/data-directory.ts';

/**
 * `npm run certs -- HOST…`: writes the root of the development PKI and a certificate for each host into this folder.
 * Files that are valid for another week stay. certs/README.md has the names and lifetimes.
 *
 * Options: `--out FOLDER` (default: `certs`).
 */
const { values, positionals } = parseArgs({
  options: { out: { type: 'string', default: import.meta.dirname } },
  allowPositionals: true,
});
const hosts = positionals.length > 0 ? positionals : ['helpdesk.acme.test'];
// The name becomes a file name, and the DNS name of the certificate.
const invalid = hosts.find(
  (host) => !/^(?!-)[a-z0-9-]+(?:\.[a-z0-9-]+)*$/.test(host) || /^[\d.]+$/.test(host),
);
if (invalid !== undefined) {
  console.error(`certs: ${invalid} is not a DNS name in lower case, such as api.acme.test`);
  process.exit(2);
}
mkdirSync(values.out, { recursive: true });
const filesOf = (name: string) => ({
  cert: join(values.out, `${name}.pem`),
  key: join(values.out, `${name}.key`),
});
const now = Date.now();
// Sidekey's own CA is ca.crt and ca.key, and may lie in the same folder.
const authority = openAuthority(filesOf('acme-root'), now);
for (const host of hosts) openLeaf(filesOf(host), authority, host, now);
for (const name of ['acme-root', ...hosts]) console.log(relative('', filesOf(name).cert));
