import type { EventEmitter } from 'node:events';
import { getCACertificates } from 'node:tls';
import { readFileSync } from 'node:fs';
import type { Client, ClientConfig, Pool, PoolConfig } from 'pg';
import { SidekeyError, systemCode } from './errors.ts';

/** The address of a PostgreSQL server. */
interface PostgresHost {
  /** A name, an IP address without brackets, or the folder of a Unix socket. */
  readonly host: string;
  readonly port: number;
}

/** A PostgreSQL database, without the password. */
export interface PostgresAddress extends PostgresHost {
  readonly user: string;
  readonly database: string;
  /** Servers that may replace the first one. */
  readonly others?: readonly PostgresHost[];
  /** True for TLS with a verified certificate. False only for servers on this machine. */
  readonly tls: boolean;
  /** PEM file of the trusted certificate authorities; null: those of the system and of Node.js. */
  readonly rootCertificate: string | null;
}

/** A database, and its password. */
export interface PostgresAccess {
  readonly address: PostgresAddress;
  /** Reads the password for each new connection, so that a new one takes effect. Null: none needed. */
  readonly password: (() => Promise<string>) | null;
}

const form = 'postgres://USER@HOST/DATABASE';

const options = ['sslmode', 'sslrootcert', 'host', 'target_session_attrs'];

/**
 * Parses `postgres://USER@HOST:PORT,HOST:PORT/DATABASE`, with libpq's `sslmode`, `sslrootcert`, `host` (the
 * folder of a Unix socket) and `target_session_attrs`. `problem` ends a sentence, and contains no password.
 */
export function parsePostgresUrl(text: string): PostgresAddress | { readonly problem: string } {
  const [, scheme, user = '', hosts = '', rest] =
    /^(postgres(?:ql)?:\/\/)([^/?#@]*@)?([^/?#]*)([\x21-\x7e]*)$/.exec(text) ?? [];
  const read = hosts.split(',').map((host) => {
    // The URL parser refuses a user without a host. A socket has no host.
    const isNamed = /^[^:]/.test(host);
    return parseSingle(`${scheme}${user}${isNamed ? '' : 'socket'}${host}${rest}`, isNamed);
  });
  const problem = read.find((each) => 'problem' in each);
  if (problem !== undefined) return problem;
  const [first, ...others] = read as PostgresAddress[];
  if (first === undefined || others.length === 0) return first ?? { problem: `must be ${form}` };
  return {
    ...first,
    others: others.map(({ host, port }) => ({ host, port })),
    tls: [first, ...others].some(({ tls }) => tls),
  };
}

function parseSingle(text: string, isNamed: boolean): PostgresAddress | { readonly problem: string } {
  const url = /^postgres(?:ql)?:\/\/[\x21-\x7e]*$/.test(text) ? URL.parse(text) : null;
  if (url === null) return { problem: `must be ${form}` };
  if (url.password !== '')
    return { problem: 'has a password in it; write store: { url: …, password: env:NAME }, or file:PATH' };
  const hostname = isNamed ? url.hostname : '';
  const [user, named, database] = [url.username, hostname, url.pathname.slice(1)].map(decoded);
  if (!user || !database || database.includes('/')) return { problem: `must be ${form}` };
  const unknown = [...url.searchParams.keys()].find((key) => !options.includes(key));
  if (unknown !== undefined) return { problem: `has the option ${unknown}; known are ${options.join(', ')}` };
  const attributes = url.searchParams.get('target_session_attrs') ?? 'read-write';
  if (attributes !== 'read-write' && attributes !== 'primary') {
    return {
      problem: `has target_session_attrs=${attributes}; the store is always on the server that takes writes`,
    };
  }
  const socket = url.searchParams.get('host');
  if (socket !== null && (named !== '' || !socket.startsWith('/')))
    return { problem: 'has a host option that is not the folder of a Unix socket, or a host beside it' };
  const host = socket ?? named?.replace(/^\[(.*)\]$/, '$1');
  if (!host) return { problem: `must be ${form}` };
  const isHere =
    host.startsWith('/') || host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
  const mode = url.searchParams.get('sslmode') ?? (isHere ? 'disable' : 'verify-full');
  if (mode !== 'disable' && mode !== 'verify-full')
    return { problem: `has sslmode=${mode}, which does not verify the server; write sslmode=verify-full` };
  if (mode === 'disable' && !isHere) {
    return {
      problem:
        'turns TLS off for another machine, where everybody on the way can read it; leave sslmode out, and name the CA of the server with sslrootcert=PATH if it is not a public one',
    };
  }
  return {
    user,
    host,
    port: url.port === '' ? 5_432 : Number(url.port),
    database,
    tls: mode === 'verify-full',
    rootCertificate: url.searchParams.get('sslrootcert'),
  };
}

function decoded(part: string): string | null {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

/** Formats an address for messages. */
export function postgresLocation({ user, host, port, database, others = [] }: PostgresAddress): string {
  const places = [{ host, port }, ...others].map(
    (it) => `${it.host.includes(':') ? `[${it.host}]` : it.host}:${it.port}`,
  );
  const where = host.startsWith('/') ? '' : places.join(',');
  const socket = host.startsWith('/') ? `?host=${host}` : '';
  return `postgres://${encodeURIComponent(user)}@${where}/${encodeURIComponent(database)}${socket}`;
}

/**
 * Milliseconds after which a connection attempt, a wait for a free connection, or a statement fails. A
 * statement of a migration may rewrite a table, or wait for the migration of another process.
 */
export const timeouts = { connect: 5_000, statement: 10_000, migration: 3_600_000 } as const;

/**
 * Returns the `pg` settings of an access. Sets each value, so that no `PG…` variable and no `~/.pgpass` has
 * an effect.
 *
 * @throws SidekeyError `config_invalid` if the root certificate cannot be read
 */
function postgresSettings(
  { address, password }: PostgresAccess,
  statementMs: number = timeouts.statement,
): PoolConfig {
  const { user, host, port, database, tls } = address;
  return {
    user,
    host,
    port,
    database,
    password: password ?? refuse(address),
    ssl: tls ? { ca: anchorsOf(address), rejectUnauthorized: true } : false,
    application_name: 'sidekey',
    connectionTimeoutMillis: timeouts.connect,
    statement_timeout: statementMs,
    // For a statement whose server disappeared without closing the connection.
    query_timeout: statementMs + 1_000,
    keepAlive: true,
    types: { getTypeParser },
  };
}

function anchorsOf({ rootCertificate: path }: PostgresAddress): string | string[] {
  if (path === null) return [...getCACertificates('bundled'), ...getCACertificates('system')];
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new SidekeyError('config_invalid', `sslrootcert: ${path} cannot be read (${systemCode(cause)}).`, {
      hint: 'name the PEM file of the certificate authority that signs for the server',
      cause,
    });
  }
}

function refuse(address: PostgresAddress): () => never {
  return () => {
    const sentence = `The server of ${postgresLocation(address)} asks for a password, and none is set.`;
    throw new SidekeyError('secret_missing', sentence, {
      hint: 'write store: { url: postgres://…, password: env:NAME } in the config file, or file:PATH or command:…',
    });
  };
}

/** Object IDs of types (`pg_type.dat`). */
const [bytea, int8, int4] = [17, 20, 23];

/** Numbers of the store are below 2^53. */
function getTypeParser(type: number): (text: string) => unknown {
  if (type === int8 || type === int4) return Number;
  return type === bytea ? (text) => Buffer.from(text.slice(2), 'hex') : String;
}

/** Part of a `pg` client that its types lack. */
interface Connected {
  readonly connection: EventEmitter & { readonly stream: { destroy(): void } };
}

/**
 * Returns the milliseconds to wait before the next connection attempt, after this number of failures: at most
 * 1.5 s. Half of it is random, because all nodes lose their connections at the same moment.
 */
export function reconnectAfterMs(failures: number): number {
  const most = Math.min(250 * 2 ** failures, 1_500);
  return most / 2 + (Math.random() * most) / 2;
}

/**
 * Opens a pool. The server ends a statement after `statementMs` milliseconds, and a transaction after
 * `maxPauseMs` without a statement.
 */
export async function openPool(
  access: PostgresAccess,
  max: number,
  maxPauseMs = 10_000,
  statementMs: number = timeouts.statement,
): Promise<Pool> {
  const { Pool: PgPool } = (await import('pg')).default;
  const timing = { idleTimeoutMillis: 60_000, idle_in_transaction_session_timeout: maxPauseMs };
  const settings = { ...postgresSettings(access, statementMs), max, ...timing };
  const pool = new PgPool({ ...settings, Client: await clientClass(access) });
  // A lost connection fails its statement. The next statement opens a new connection.
  pool.on('error', () => {}).on('connect', (client) => client.on('error', () => {}));
  return pool;
}

/** Returns a client that is not connected yet. `timeoutMs`: maximum time to connect. */
export async function openClient(access: PostgresAccess, timeoutMs: number): Promise<Client> {
  const settings = { ...postgresSettings(access), connectionTimeoutMillis: timeoutMs };
  return new (await clientClass(access))(settings);
}

async function clientClass(access: PostgresAccess): Promise<typeof Client> {
  const { default: pg } = await import('pg');
  class OneServer extends pg.Client {
    constructor(settings?: string | ClientConfig) {
      super(settings);
      const { connection } = this as unknown as Connected;
      // The driver leaves the socket open if this side refuses, such as without a password.
      connection.on('error', () => connection.stream.destroy());
    }
  }
  const { host, port, others } = access.address;
  return others === undefined ? OneServer : clientOfSeveral(OneServer, access, [{ host, port }, ...others]);
}

/** Returns a client for the first writable server. Tries the last one that was writable first. */
function clientOfSeveral(
  OneServer: typeof Client,
  access: PostgresAccess,
  places: readonly PostgresHost[],
): typeof Client {
  const settings = postgresSettings(access);
  let order = places;

  async function choose(timeoutMs: number): Promise<PostgresHost> {
    const connectionTimeoutMillis = Math.ceil(timeoutMs / (places.length + 1));
    let failure: unknown = null;
    for (const place of order) {
      const asked = new OneServer({ ...settings, ...place, connectionTimeoutMillis });
      asked.on('error', () => {});
      try {
        await asked.connect();
        const { rows } = await asked.query('show transaction_read_only');
        if (rows[0].transaction_read_only === 'off') {
          order = [place, ...places.filter((each) => each !== place)];
          return place;
        }
        failure = readOnly(access.address);
      } catch (error) {
        failure ??= error;
      } finally {
        void asked.end().catch(() => undefined);
      }
    }
    throw failure;
  }

  return class extends OneServer {
    readonly #timeoutMs: number;

    constructor(given?: string | ClientConfig) {
      super(given);
      this.#timeoutMs = (typeof given === 'object' && given.connectionTimeoutMillis) || timeouts.connect;
    }

    override connect(): Promise<Client>;
    override connect(done: (error: Error) => void): void;
    override connect(done?: (error: Error) => void): Promise<Client> | void {
      const connected = choose(this.#timeoutMs).then((place) => {
        Object.assign(this, place);
        return super.connect();
      });
      if (done === undefined) return connected;
      connected.then(() => done(null as never), done);
    }
  };
}

function readOnly(address: PostgresAddress): SidekeyError {
  const sentence = `No server of ${postgresLocation(address)} takes writes.`;
  return new SidekeyError('store_unavailable', sentence, {
    hint: 'promote one of them, or name the primary in "store"',
  });
}

/** Returns the SQLSTATE of an error of the server (PostgreSQL, appendix A), or null for any other error. */
export function sqlState(error: unknown): string | null {
  const isOfServer = error instanceof Error && 'severity' in error && 'code' in error;
  return isOfServer && typeof error.code === 'string' ? error.code : null;
}

/** Returns the failure of a database that is not available. */
export function postgresUnavailable(location: string, error: unknown): SidekeyError {
  if (error instanceof SidekeyError) return error;
  const state = sqlState(error);
  const explanation = state === null ? undefined : (states[state] ?? states[state.slice(0, 2)]);
  const { why, hint } = explanation ?? { why: reasonOf(error, state), hint: undefined };
  return new SidekeyError('store_unavailable', `The store at ${location} cannot be used: ${why}.`, {
    hint: hint ?? 'Nothing was lost: check that the server runs and can be reached from here.',
    cause: error,
  });
}

const states: Readonly<Record<string, { readonly why: string; readonly hint?: string } | undefined>> = {
  '28': {
    why: 'the server refuses this user or its password',
    hint: 'check the user in "store", its password, and pg_hba.conf of the server',
  },
  '3D000': {
    why: 'there is no such database',
    hint: 'create the database of that name, owned by that user: createdb --owner=USER DATABASE',
  },
  '42501': {
    why: 'the user lacks a privilege',
    hint: 'docs/postgresql.md lists the privileges; a new version needs the owner of the tables for its first start',
  },
  '25006': { why: 'it is read-only, perhaps a replica', hint: 'name the primary in "store"' },
  '53300': {
    why: 'it has too many connections',
    hint: 'lower "connections" in "store", or raise max_connections of the server',
  },
  '53100': { why: 'its disk is full', hint: 'free space on the disk of the server: nothing was lost' },
  '57': { why: 'the server stops, starts, or ended the statement' },
};

/** Messages of the driver may quote a statement, so only their kind is used. */
function reasonOf(error: unknown, state: string | null): string {
  if (state !== null) return `SQLSTATE ${state}`;
  const code = systemCode(error);
  if (code !== 'unknown error') return code;
  const isTls = error instanceof Error && /SSL|certificate|altnames/i.test(error.message);
  return isTls ? 'the server has no TLS, or its certificate is not valid for it' : 'the connection was lost';
}
