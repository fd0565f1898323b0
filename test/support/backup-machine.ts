import { writeFile } from 'node:fs/promises';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { onTestFinished } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { openState, openStore, openView, type State } from '../../src/app/state.ts';
import type { Store } from '../../src/store/store.ts';
import { home, type Home, type Ran } from './command-line.ts';
import { createDatabase, postgresMissing } from './postgres.ts';
import { allGrants } from './all-grants.ts';

/** A machine with Sidekey, and a store of its own. */
export interface Machine extends Home {
  /** Replaces the credential of a grant, or stores it first. */
  readonly connect: (name: string, refreshToken: string) => Promise<void>;
  /** The refresh tokens of all grants by name; a state that is not active stands in place of its token. */
  readonly tokens: () => Promise<Readonly<Record<string, unknown>>>;
  readonly backup: (file: string) => Promise<Ran>;
  readonly restore: (file: string, ...options: readonly string[]) => Promise<Ran>;
}

const provider = { token_endpoint: 'https://acme.test/token', client_id: 'sidekey', audience: ['acme.test'] };

/** The age recipient of the backups of this file, and its identity. */
export const identity = await generateX25519Identity();
export const recipient = await identityToRecipient(identity);

/** Makes a machine whose store is in a file or in a database. */
export async function machine(engine: 'sqlite' | 'postgres', config: object = {}): Promise<Machine> {
  const store = engine === 'sqlite' ? {} : { store: await database() };
  const at = await home({ ...store, providers: { acme: provider }, ...config });
  await writeFile(at.at('identity'), `# public key: ${recipient}\n${identity}\n`, { mode: 0o600 });
  const view = async () => openView(await loadConfig(at.configFile, { env: {} }), { now: Date.now, env: {} });
  return {
    ...at,
    connect: (name, refreshToken) =>
      at.grant(name, { access_token: `a-${refreshToken}`, refresh_token: refreshToken, expires_in: 3_600 }, [
        '--provider',
        'acme',
        '--replace',
      ]),
    async tokens() {
      await using opened = await view();
      const registry = await opened.registry();
      const all = opened.store === null ? [] : await allGrants(opened.store);
      const entries = await Promise.all(
        all.map(async ({ id, name, state }) => {
          const sealed = (await registry?.open(id))?.sealed;
          const credential = sealed?.credential;
          const token = credential?.type === 'oauth2' ? credential.refreshToken : credential?.type;
          return [name, state === 'active' ? token : state] as const;
        }),
      );
      return Object.fromEntries(entries);
    },
    backup: (file) => at.run(['backup', file, '--recipient', recipient]),
    restore: (file, ...options) => at.run(['restore', file, '--identity', at.at('identity'), ...options]),
  };
}

async function database(): Promise<string> {
  const { address, drop } = await createDatabase();
  onTestFinished(drop);
  return `postgres://${address.user}@127.0.0.1:${address.port}/${address.database}`;
}

export const engines = [
  ['SQLite', 'sqlite'],
  [`PostgreSQL${postgresMissing ?? ''}`, 'postgres'],
] as const;

export const ok = { exit: 0 };

export const log = { error() {}, warn() {}, info() {}, debug() {} };

/** Opens the state of a machine. The caller closes it. */
export async function opened(at: Home): Promise<State> {
  return openState(await loadConfig(at.configFile, { env: {} }), { log, now: Date.now, env: {} });
}

/** Opens the store of a machine. */
export async function openedStore(at: Home): Promise<{ store: Store; close: () => Promise<void> }> {
  const store = await openStore(await loadConfig(at.configFile, { env: {} }), { now: Date.now, env: {} });
  return { store, close: () => store.close() };
}

/** Adds so many grants that a restore writes them to the disk before its end. */
export async function addGrants(at: Home, count: number): Promise<void> {
  const state = await opened(at);
  const credential = { type: 'api_key', value: 'k'.repeat(4_000) } as const;
  for (let index = 0; index < count; index += 1) {
    const grant = { name: `g-${index}`, user: 'default', provider: 'acme', scopes: [] };
    await state.grants.add(grant, { credential, audience: ['acme.test'] });
  }
  await state.close();
}
