import { execFileSync, spawn } from 'node:child_process';
import { chownSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import type { QueryResult } from 'pg';
import { onTestFinished, vi } from 'vitest';
import { admin, asNobody, programs } from '../support/postgres.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { ended, shared } from './network.ts';

/** A PostgreSQL server on an address of its own, over TLS, with the database `sidekey`. */
export interface DatabaseServer {
  /** Starts it, and resolves when it answers. */
  readonly start: () => Promise<void>;
  /** Sends SIGKILL to its first process, and resolves when all have ended. */
  readonly kill: () => Promise<void>;
  /** Runs statements as the superuser. */
  readonly query: (text: string, database?: string) => Promise<QueryResult>;
}

/** A primary, and a streaming replica to which each commit goes first. */
export interface Databases {
  readonly primary: DatabaseServer;
  readonly standby: DatabaseServer;
  /** The URL of the store: both servers. */
  readonly url: string;
  /** The PEM file of the certificate authority. */
  readonly certificate: string;
}

const port = 5_432;
const environment = { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8' };

/** Starts them; stopped when the test ends. */
export async function startDatabases(): Promise<Databases> {
  const folder = await tempFolder();
  await chmod(folder, 0o755);
  const { uid, gid } = asNobody;
  if (uid !== undefined && gid !== undefined) chownSync(folder, uid, gid);
  const run = (name: string, words: readonly string[]) =>
    execFileSync(name, words, {
      ...asNobody,
      cwd: folder,
      env: environment,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  const data = join(folder, 'primary');
  run(join(programs!, 'initdb'), [
    '-D',
    data,
    '-U',
    'sidekey',
    '--auth=trust',
    '--no-sync',
    '--no-instructions',
  ]);
  const rules = ['local all all trust', 'local replication all trust', 'hostssl all all all trust', ''];
  writeFileSync(join(data, 'pg_hba.conf'), rules.join('\n'));
  const names = Object.values(shared)
    .map((address) => `IP:${address}`)
    .join(',');
  const certificate = join(data, 'server.crt');
  const made = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
  ];
  const subject = ['-subj', '/CN=db.test', '-addext', `subjectAltName=${names}`];
  run('openssl', [...made, ...subject, '-keyout', join(data, 'server.key'), '-out', certificate]);
  const primary = server(data, join(folder, 'a'), shared.primary);
  await primary.start();
  await primary.query('create database sidekey');
  const copy = join(folder, 'standby');
  const source = ['-h', join(folder, 'a'), '-p', String(port), '-U', 'sidekey'];
  run(join(programs!, 'pg_basebackup'), [...source, '-D', copy, '-R', '-c', 'fast', '--no-sync']);
  const standby = server(copy, join(folder, 'b'), shared.standby);
  await standby.start();
  await primary.query(`alter system set synchronous_standby_names = '*'`);
  await primary.query('select pg_reload_conf()');
  await vi.waitFor(
    async () => {
      const { rows } = await primary.query('select sync_state from pg_stat_replication');
      if (rows[0]?.sync_state !== 'sync') throw new Error('The replica does not follow yet.');
    },
    { timeout: 10_000, interval: 50 },
  );
  const root = join(folder, 'root.pem');
  copyFileSync(certificate, root);
  return {
    primary,
    standby,
    certificate: root,
    url: `postgres://sidekey@${shared.primary},${shared.standby}/sidekey?sslrootcert=${root}&target_session_attrs=read-write`,
  };
}

function server(data: string, socket: string, address: string): DatabaseServer {
  execFileSync('mkdir', ['-p', socket], asNobody);
  const settings = {
    port,
    listen_addresses: address,
    unix_socket_directories: socket,
    ssl: 'on',
    // A killed process loses nothing that it has written; only a power cut would.
    fsync: 'off',
    max_connections: 100,
    wal_retrieve_retry_interval: '500ms',
  };
  const words = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const log = join(socket, 'log');
  // The server ends with this process in every case.
  const script =
    'log=$1; shift; exec 3<&0; "$@" <&- 3<&- >>"$log" 2>&1 & pid=$!; (cat <&3 >/dev/null; kill -QUIT $pid) 2>/dev/null & wait $pid';
  let guard: ReturnType<typeof spawn> | null = null;
  const query: DatabaseServer['query'] = (text, database) => admin({ folder: socket, port }, text, database);
  const stop = async () => {
    if (guard !== null) await ended(guard);
    guard = null;
  };
  onTestFinished(stop);

  async function answers(): Promise<boolean> {
    for (;;) {
      if (guard?.exitCode !== null) return false;
      try {
        await query('select 1');
        return true;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  return {
    query,
    async start() {
      for (let tries = 0; ; tries += 1) {
        guard = spawn('sh', ['-c', script, 'sh', log, join(programs!, 'postgres'), '-D', data, ...words], {
          ...asNobody,
          cwd: data,
          env: environment,
          stdio: ['pipe', 'ignore', 'ignore'],
        });
        if (await answers()) return;
        // Processes of a server that was killed may still hold its memory.
        if (tries === 20) throw new Error(readFileSync(log, 'utf8').slice(-2_000));
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    },
    async kill() {
      const [pid] = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
      process.kill(Number(pid), 'SIGKILL');
      await stop();
    },
  };
}
