/**
 * squid: as a blind tunnel, and with ssl-bump, where it makes a leaf, rewrites a header and speaks TLS to
 * both sides.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../support/free-port.ts';
import { makeAuthority, validFor } from '../../../examples/helpdesk/certificate.ts';
import { openFileLimit, versionOf } from '../process.ts';
import type { Ground, Prepared, Subject } from '../subject.ts';

const certgen = '/usr/lib/squid/security_file_certgen';

export function squidTunnel(ground: Ground): Subject {
  return {
    id: 'tunnel',
    title: 'blind tunnel',
    what: `squid ${versionOf('squid', '-v')}, CONNECT passed through blind`,
    adds: false,
    coldReason: null,
    filesPerTunnel: 2,
    prepare: (folder) => prepare(ground, folder, null),
  };
}

export function squidBump(ground: Ground): Subject {
  return {
    id: 'bump',
    title: 'ssl-bump',
    what: `squid ${versionOf('squid', '-v')}, ssl_bump all, request_header_add`,
    adds: true,
    coldReason: null,
    filesPerTunnel: 1,
    prepare: (folder) => {
      if (!existsSync(certgen)) throw new Error(`there is no ${certgen} (it comes with squid-openssl)`);
      return prepare(ground, folder, makeAuthority('Bench Squid CA', validFor(30, Date.now())));
    },
  };
}

async function prepare(
  ground: Ground,
  folder: string,
  authority: { readonly key: string; readonly cert: string } | null,
): Promise<Prepared> {
  const port = await freePort();
  const file = (name: string) => join(folder, name);
  let listen = `http_port 127.0.0.1:${port}`;
  if (authority !== null) {
    await writeFile(file('ca.pem'), authority.key + authority.cert, { mode: 0o600 });
    execFileSync(certgen, ['-c', '-s', file('certificates'), '-M', '16MB'], { stdio: 'ignore' });
    listen += ` ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=16MB tls-cert=${file('ca.pem')}
sslcrtd_program ${certgen} -s ${file('certificates')} -M 16MB
sslcrtd_children 2 startup=1
ssl_bump bump all
tls_outgoing_options cafile=${ground.rootFile}
request_header_access Authorization deny all
request_header_add Authorization "Bearer ${ground.token}" all`;
  }
  await writeFile(
    file('hosts'),
    [ground.host, ...ground.coldHosts].map((name) => `127.0.0.1 ${name}\n`).join(''),
  );
  await writeFile(
    file('squid.conf'),
    `${listen}
http_access allow all
cache deny all
cache_mem 8 MB
access_log none
cache_log ${file('cache.log')}
cache_store_log none
pid_filename ${file('squid.pid')}
coredump_dir ${folder}
max_filedescriptors ${Math.min(openFileLimit(), 65_536)}
shutdown_lifetime 0 seconds
client_idle_pconn_timeout 10 minutes
pconn_timeout 10 minutes
client_request_buffer_max_size 16 MB
via off
forwarded_for delete
hosts_file ${file('hosts')}
dns_nameservers 127.0.0.1
netdb_filename none
pinger_enable off
`,
  );
  giveToSquid(folder);
  return {
    command: 'squid',
    // A name of its own, because each names shared memory after it; it goes when squid ends in good order.
    args: ['-N', '-n', `bench${port}`, '-f', file('squid.conf')],
    port,
    ca: async () => authority?.cert ?? ground.root,
  };
}

/** Started as root, squid goes on as the user proxy, and writes its files as that. */
function giveToSquid(folder: string): void {
  if (process.getuid?.() === 0) execFileSync('chown', ['-R', 'proxy:', folder]);
}
