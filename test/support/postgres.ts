import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  accessSync,
  chownSync,
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Client, type QueryResult } from 'pg';
import { freePort } from './free-port.ts';
import type { PostgresAddress } from '../../src/lib/postgres.ts';

/** The folder of the programs of PostgreSQL; null: it is not installed. */
export const programs = findPrograms();

/** The reason to skip the tests of PostgreSQL; null: they run. */
export const postgresMissing =
  programs === null ? ' (PostgreSQL is not installed: Debian package postgresql)' : null;

function findPrograms(): string | null {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).toSorted((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...versions.map((version) => join(debian, version, 'bin')),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  return (
    folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres'))) ??
    null
  );
}

/** A server of this worker, which ends with it. */
interface PostgresServer {
  /** Folder of its Unix socket. */
  readonly folder: string;
  /** Also listens on 127.0.0.1. */
  readonly port: number;
}

/** Any user but root, whom PostgreSQL refuses. */
const nobody = 65_534;
export const asNobody: { readonly uid?: number; readonly gid?: number } =
  process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};

let started: Promise<PostgresServer> | undefined;

/** Starts a PostgreSQL server at the first call of this worker. */
export function postgresServer(): Promise<PostgresServer> {
  started ??= start();
  return started;
}

async function start(): Promise<PostgresServer> {
  const folder = mkdtempSync(join(baseFolder(), 'sidekey-pg-'));
  if ('uid' in asNobody) chownSync(folder, nobody, nobody);
  const data = join(folder, 'data');
  const run = { ...asNobody, cwd: folder, env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8' } };
  const initdb = ['-D', data, '-U', 'sidekey', '--auth=trust', '--no-sync', '--no-instructions'];
  execFileSync(join(programs!, 'initdb'), initdb, { ...run, stdio: 'ignore' });
  const rules = ['local all all trust', 'host all locked all scram-sha-256', 'host all all all trust', ''];
  writeFileSync(join(data, 'pg_hba.conf'), rules.join('\n'));
  const certificate = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const subject = ['-subj', '/CN=db.test', '-addext', 'subjectAltName=DNS:localhost', '-days', '2'];
  const [key, cert] = [join(data, 'server.key'), join(data, 'server.crt')];
  execFileSync('openssl', [...certificate, ...subject, '-keyout', key, '-out', cert], {
    ...run,
    stdio: 'ignore',
  });
  for (let tries = 0; ; tries += 1) {
    const port = await freePort();
    if (await serve(folder, data, port, run)) return { folder, port };
    if (tries === 3) throw new Error(logOf(folder));
  }
}

/** Returns a folder in memory if it has a GiB free: a database is created there in a quarter of the time. */
function baseFolder(): string {
  const inMemory = '/dev/shm';
  try {
    accessSync(inMemory, constants.W_OK);
    const { bavail, bsize } = statfsSync(inMemory);
    if (bavail * bsize >= 2 ** 30) return inMemory;
  } catch {
    // This system has no such folder, or this user may not write there.
  }
  return tmpdir();
}

/**
 * Starts the server under a shell that stops it, and removes its folder, when this process has ended in any
 * way.
 */
async function serve(folder: string, data: string, port: number, run: object): Promise<boolean> {
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder,
    ssl: 'on',
    fsync: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
    max_connections: 200,
    max_wal_size: '64MB',
  };
  const words = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const script =
    'folder=$1; shift; "$@" <&- >>"$folder/log" 2>&1 & pid=$!; cat >/dev/null; kill -QUIT $pid; wait $pid; rm -rf "$folder"';
  const guard = spawn('sh', ['-c', script, 'sh', folder, join(programs!, 'postgres'), '-D', data, ...words], {
    ...run,
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.unref();
  (guard.stdin as { unref?: () => void }).unref?.();
  // Until it accepts connections.
  for (let tries = 0; tries < 200; tries += 1) {
    try {
      await admin({ folder, port }, 'select 1');
      return true;
    } catch {
      if (logOf(folder).includes('could not bind')) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  return false;
}

function logOf(folder: string): string {
  const log = join(folder, 'log');
  return existsSync(log) ? readFileSync(log, 'utf8') : '';
}

/** Runs statements as the superuser. */
export async function admin(
  { folder, port }: PostgresServer,
  text: string,
  database = 'postgres',
): Promise<QueryResult> {
  const client = new Client({ host: folder, port, user: 'sidekey', database });
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}

/** A new empty database. */
export interface PostgresDatabase {
  readonly address: PostgresAddress;
  /** Runs statements in it, as the superuser. */
  readonly query: (text: string) => Promise<QueryResult>;
  /** Ends its connections and removes it. */
  readonly drop: () => Promise<void>;
}

/** Creates an empty database, or a copy of one without connections. The caller drops it. */
export async function createDatabase(template = 'template1'): Promise<PostgresDatabase> {
  const server = await postgresServer();
  const database = `t_${randomBytes(6).toString('hex')}`;
  await admin(server, `create database ${database} template ${template} strategy file_copy`);
  const { folder: host, port } = server;
  return {
    address: { user: 'sidekey', host, port, database, tls: false, rootCertificate: null },
    query: (text) => admin(server, text, database),
    async drop() {
      await admin(server, `drop database ${database} with (force)`);
    },
  };
}
