import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { freePort } from './free-port.ts';
import { startProgram } from '../bench/process.ts';
import { tempFolder } from './temp-folder.ts';

const program = ['/usr/sbin/squid', '/usr/local/sbin/squid', '/opt/homebrew/sbin/squid'].find((it) =>
  existsSync(it),
);
const passwords = '/usr/lib/squid/basic_ncsa_auth';

/** True when this machine has a squid that supports passwords. */
export const squidMissing =
  program === undefined || !existsSync(passwords) ? 'squid is not installed' : false;

/** A squid that requires a password; stopped when the test ends. */
export async function startSquid(login: { readonly user: string; readonly password: string }): Promise<{
  readonly port: number;
  /** The access log so far. */
  readonly accessLog: string;
}> {
  if (program === undefined) throw new Error('squid is not installed');
  const folder = await tempFolder();
  const home = join(folder, 'squid');
  mkdirSync(home);
  const file = (name: string) => join(home, name);
  const hashed = execFileSync('openssl', ['passwd', '-apr1', login.password], { encoding: 'utf8' }).trim();
  writeFileSync(file('passwords'), `${login.user}:${hashed}\n`);
  const port = await freePort();
  writeFileSync(
    file('squid.conf'),
    `http_port 127.0.0.1:${port}
auth_param basic program ${passwords} ${file('passwords')}
auth_param basic children 1 startup=1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
cache deny all
cache_mem 8 MB
access_log stdio:${file('access.log')}
cache_log ${file('cache.log')}
cache_store_log none
pid_filename ${file('squid.pid')}
coredump_dir ${home}
max_filedescriptors 1024
shutdown_lifetime 1 seconds
dns_nameservers 127.0.0.1
netdb_filename none
pinger_enable off
`,
  );
  giveToSquid(folder, home);
  const running = await startProgram(program, ['-N', '-f', file('squid.conf')], port);
  onTestFinished(() => running.stop());
  return { port, accessLog: file('access.log') };
}

/** If squid is started as root, it continues as the user proxy, and writes its files as that user. */
function giveToSquid(folder: string, home: string): void {
  if (process.getuid?.() !== 0) return;
  const [uid, gid] = [idOf('-u'), idOf('-g')];
  execFileSync('chown', ['-R', `${uid}:${gid}`, home]);
  chmodSync(folder, 0o711);
  chownSync(home, uid, gid);
}

function idOf(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, 'proxy'], { encoding: 'utf8' }));
}
