import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { openAuthority, openLeaf } from '../examples/helpdesk/data-directory.ts';

/**
 * `npm run certs -- HOST…`: writes the root of the development PKI, and a certificate for each host, here.
 * Files that are valid for another week stay. certs/README.md has the names and lifetimes.
 *
 * Options: `--out FOLDER` (default: `certs`).
 */
const { values, positionals } = parseArgs({
  options: { out: { type: 'string', default: import.meta.dirname } },
  allowPositionals: true,
});
const hosts = positionals.length > 0 ? positionals : ['helpdesk.acme.test'];
// A host becomes a file name. A name with a dot cannot overwrite the root or Sidekey's own CA, ca.key.
const invalid = hosts.find((host) => !/^(?:localhost|(?:[a-z0-9][a-z0-9-]*\.)+[a-z][a-z0-9-]*)$/.test(host));
if (invalid !== undefined) {
  console.error(
    `certs: ${invalid} is neither localhost nor a DNS name in lower case with a dot, such as api.acme.test`,
  );
  process.exit(2);
}
mkdirSync(values.out, { recursive: true });
const filesOf = (name: string) => ({
  cert: join(values.out, `${name}.pem`),
  key: join(values.out, `${name}.key`),
});
const now = Date.now();
const authority = openAuthority(filesOf('acme-root'), now);
for (const host of hosts) openLeaf(filesOf(host), authority, host, now);
for (const name of ['acme-root', ...hosts]) console.log(relative('', filesOf(name).cert));
