import { writeFile } from 'node:fs/promises';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { onTestFinished } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { openView } from '../../src/app/state.ts';
import { home, type Home, type Ran } from './command-line.ts';
import { createDatabase } from './postgres.ts';

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
      const all = (await registry?.list()) ?? [];
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
