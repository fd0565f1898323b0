import { dirname, join } from 'node:path';
import { type PostgresAddress, postgresLocation } from '../lib/postgres.ts';
import type { SecretReference } from './secret-reference.ts';

/** Place of the store; paths are absolute. */
export type StoreConfig =
  | { readonly kind: 'sqlite'; readonly path: string }
  | {
      readonly kind: 'postgres';
      readonly address: PostgresAddress;
      /** Null: the server requires none. */
      readonly password: SecretReference | null;
      /** The most connections for queries; undefined: the default. */
      readonly connections: number | undefined;
    };

/** Returns how messages name a store. */
export function storeName(store: StoreConfig): string {
  return store.kind === 'sqlite' ? store.path : postgresLocation(store.address);
}

/** Returns the path beside which local processes keep files: the store, or one in the audit log's folder. */
export function machineFilesOf(config: {
  readonly store: StoreConfig;
  readonly audit: { readonly file: string };
}): string {
  const { store, audit } = config;
  return store.kind === 'sqlite' ? store.path : join(dirname(audit.file), 'sidekey.db');
}
