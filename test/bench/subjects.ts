import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { issueLeaf, makeAuthority, validFor } from '../../examples/helpdesk/certificate.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createLog } from '../../src/log.ts';
import { openState } from '../../src/state.ts';
import { freePort, isInstalled, startProgram, type Running } from './process.ts';

/** What is measured: a way from the client to the upstream. */
export interface Subject {
  readonly name: string;
  readonly proxyPort: number | null;
  /** What a client must trust on this way. */
  readonly ca: string;
  /** Null: there is no program on the way. */
  readonly program: Running | null;
}

export interface Field {
  readonly host: string;
  readonly port: number;
  readonly subjects: readonly Subject[];
  /** Subjects that could not be set up, and why. */
  readonly missing: readonly string[];
  close(): Promise<void>;
}

const host = 'localhost';
const token = 'bench-token-0123456789abcdef';
const kilobyte = JSON.stringify({ data: 'x'.repeat(1_013) });
const sidekeyDoor = fileURLToPath(new URL('../../src/sidekey.js', import.meta.url));

/** Sets up the upstream and every subject whose program is there. */
export async function setUpField(folder: string): Promise<Field> {
  const running: Running[] = [];
  const missing: string[] = [];
  const authority = makeAuthority('Bench Root', validFor(30, Date.now()));
  const leaf = issueLeaf(authority, host, validFor(30, Date.now()));
  const file = (name: string) => join(folder, name);
  await writeFile(file('root.pem'), authority.cert);
  await writeFile(file('leaf.pem'), leaf.cert);
  await writeFile(file('leaf.key'), leaf.key);

  const start = async (command: string, args: readonly string[], port: number) => {
    const program = await startProgram(command, args, port);
    running.push(program);
    return program;
  };
  const port = await freePort();
  if (isInstalled('nginx')) {
    await writeFile(file('nginx.conf'), nginxConfig(folder, port));
    await start('nginx', ['-p', folder, '-c', file('nginx.conf')], port);
  } else {
    await start(
      process.execPath,
      [fileURLToPath(new URL('upstream.ts', import.meta.url)), folder, String(port), kilobyte],
      port,
    );
    missing.push('nginx as the upstream: not installed; a small Node server serves instead');
  }

  const subjects: Subject[] = [{ name: 'no proxy', proxyPort: null, ca: authority.cert, program: null }];
  if (isInstalled('squid')) {
    const tunnelPort = await freePort();
    const tunnel = await start('squid', await squidArgs(folder, tunnelPort, null), tunnelPort);
    subjects.push({
      name: 'squid, blind tunnel',
      proxyPort: tunnelPort,
      ca: authority.cert,
      program: tunnel,
    });
    const certgen = '/usr/lib/squid/security_file_certgen';
    const bump = makeAuthority('Bench Squid CA', validFor(30, Date.now()));
    const bumpPort = await freePort();
    try {
      const program = await start('squid', await squidArgs(folder, bumpPort, { certgen, ...bump }), bumpPort);
      subjects.push({ name: 'squid, ssl-bump with a header', proxyPort: bumpPort, ca: bump.cert, program });
    } catch (error) {
      missing.push(
        `squid, ssl-bump: ${error instanceof Error ? error.message : String(error)} (needs squid-openssl)`,
      );
    }
  } else {
    missing.push('squid: not installed');
  }
  subjects.push(await sidekey(folder, port, start));
  return {
    host,
    port,
    subjects,
    missing,
    async close() {
      await Promise.all(running.map((program) => program.stop()));
    },
  };
}

/** The whole product with everything on: policy, grant, injection, audit on disk. */
export async function sidekey(
  folder: string,
  upstreamPort: number,
  start: (command: string, args: readonly string[], port: number) => Promise<Running>,
): Promise<Subject> {
  const home = join(folder, 'sidekey');
  await mkdir(home, { mode: 0o700 });
  const proxyPort = await freePort();
  const configFile = join(home, 'sidekey.yaml');
  const config = {
    version: 1,
    proxy: { listen: `127.0.0.1:${proxyPort}` },
    store: 'sqlite:sidekey.db',
    key: { source: 'file', path: 'master.key' },
    ca: { directory: 'certs' },
    audit: { file: 'audit.jsonl' },
    upstream: {
      ca: ['../root.pem'],
      resolve: { [host]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [`${host}:${upstreamPort}`]: { grant: 'bench' } },
  };
  await writeFile(configFile, stringify(config), { mode: 0o600 });
  const loaded = await loadConfig(configFile, { env: {} });
  const state = await openState(loaded, { log: createLog('warn'), now: Date.now });
  const audience = [`${host}:${upstreamPort}`];
  await state.grants.add(
    { name: 'bench', user: 'default', provider: 'bench', scopes: [] },
    { credential: { type: 'api_key', value: token }, audience },
  );
  await state.close();
  const program = await start(process.execPath, [sidekeyDoor, 'start', '--config', configFile], proxyPort);
  return { name: 'sidekey', proxyPort, ca: await readFile(join(home, 'certs', 'ca.crt'), 'utf8'), program };
}

/** It answers 200 only where the credential arrived or where nobody was to add one. */
function nginxConfig(folder: string, port: number): string {
  return `
daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/nginx.log;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 100000000;
  server {
    listen 127.0.0.1:${port} ssl backlog=4096;
    ssl_certificate ${folder}/leaf.pem;
    ssl_certificate_key ${folder}/leaf.key;
    location = /1k { default_type application/json; return 200 '${kilobyte}'; }
    location = /guarded {
      default_type application/json;
      if ($http_authorization != "Bearer ${token}") { return 403; }
      return 200 '${kilobyte}';
    }
  }
}
`;
}

interface Bump {
  readonly certgen: string;
  readonly key: string;
  readonly cert: string;
}

async function squidArgs(folder: string, port: number, bump: Bump | null): Promise<string[]> {
  const home = join(folder, `squid-${port}`);
  await mkdir(home);
  const file = (name: string) => join(home, name);
  let listen = `http_port 127.0.0.1:${port}`;
  if (bump !== null) {
    await writeFile(file('ca.pem'), bump.key + bump.cert, { mode: 0o644 });
    execFileSync(bump.certgen, ['-c', '-s', file('certificates'), '-M', '16MB'], { stdio: 'ignore' });
    listen = `http_port 127.0.0.1:${port} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=16MB tls-cert=${file('ca.pem')}
sslcrtd_program ${bump.certgen} -s ${file('certificates')} -M 16MB
sslcrtd_children 2 startup=1
acl step1 at_step SslBump1
ssl_bump bump all
tls_outgoing_options cafile=${join(folder, 'root.pem')}
request_header_access Authorization deny all
request_header_add Authorization "Bearer ${token}" all`;
  }
  const config = `${listen}
http_access allow all
cache deny all
cache_mem 8 MB
access_log none
cache_log ${file('cache.log')}
cache_store_log none
pid_filename ${file('squid.pid')}
coredump_dir ${home}
max_filedescriptors 8192
shutdown_lifetime 1 seconds
client_idle_pconn_timeout 10 minutes
via off
forwarded_for delete
dns_nameservers 127.0.0.1
netdb_filename none
pinger_enable off
`;
  await writeFile(file('squid.conf'), config);
  await giveToSquid(home);
  return ['-N', '-f', file('squid.conf')];
}

/** Started as root, squid goes on as the user proxy, and writes its files as that. */
async function giveToSquid(home: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const [uid = 0, gid = 0] = ['-u', '-g'].map((flag) =>
    Number(execFileSync('id', [flag, 'proxy'], { encoding: 'utf8' })),
  );
  execFileSync('chown', ['-R', `${uid}:${gid}`, home]);
  await chmod(join(home, '..'), 0o711);
  await chown(home, uid, gid);
}
