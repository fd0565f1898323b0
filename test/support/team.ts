import { copyFile, mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { onTestFinished } from 'vitest';
import { home, type Home } from './command-line.ts';
import { createDatabase } from './postgres.ts';
import { pollDelay } from './two-workers.ts';

/** A store in PostgreSQL, and homes that use it as nodes of their own. */
export interface Team {
  /** Creates a node. The config is merged over that with the store. */
  readonly node: (config?: object) => Promise<Home>;
  /** Creates a node with a copy of the master key of another one, in the file of this name. */
  readonly copyOf: (other: Home, name: string, config?: object) => Promise<Home>;
  /** Runs statements in the database, as the superuser. */
  readonly query: (text: string) => Promise<{ readonly rows: readonly Record<string, unknown>[] }>;
}

/** Creates an empty store, removed at the end of the test. */
export async function createTeam(): Promise<Team> {
  const { address, query, drop } = await createDatabase();
  onTestFinished(drop);
  const store = `postgres://${address.user}@127.0.0.1:${address.port}/${address.database}`;
  const node: Team['node'] = (config = {}) => home({ store, ...config });
  return {
    node,
    query,
    async copyOf(other, name, config) {
      const made = await node(config);
      const path = made.at('data', name);
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await copyFile(other.at('data', name), path);
      return made;
    },
  };
}

/** Resolves with the first value that passes. The test's time limit ends it otherwise. */
export async function until<T>(read: () => Promise<T>, passes: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await read();
    if (passes(value)) return value;
    await pollDelay();
  }
}
