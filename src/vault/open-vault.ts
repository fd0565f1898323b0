import type { KeyObject } from 'node:crypto';
import { SidekeyError } from '../errors.ts';
import { createVault } from './create-vault.ts';
import { readKeyVariable } from './key-source/env.ts';
import { createKeyFile, readKeyFile } from './key-source/file.ts';
import type { Vault } from './vault.ts';

/** Where the master key comes from. */
export type KeySource =
  | { readonly source: 'file'; /** Absolute. */ readonly path: string }
  | { readonly source: 'env'; readonly name: string };

/** What else counts when a vault is opened. */
export interface OpenVaultOptions {
  /**
   * Whether a key file that is missing may be made. Only where nothing was ever sealed: a new key does not open
   * what the lost one sealed.
   */
  readonly mayCreate: boolean;
  /** Location of the store, for the sentence that says what needs the missing key. */
  readonly store: string;
  /** Hears that a key was made. */
  readonly onCreate?: (() => void) | undefined;
}

/**
 * Opens the vault with the key of this source, and makes the key file where it may.
 * @throws SidekeyError `key_invalid`, `permissions_unsafe`, `secret_missing`, `file_unwritable`.
 */
export async function openVault(source: KeySource, options: OpenVaultOptions): Promise<Vault> {
  return createVault(await keyFrom(source, options));
}

async function keyFrom(source: KeySource, options: OpenVaultOptions): Promise<KeyObject> {
  if (source.source === 'env') return readKeyVariable(source.name, process.env);
  const key = await readKeyFile(source.path);
  if (key !== null) return key;
  if (options.mayCreate) {
    const made = await createKeyFile(source.path);
    options.onCreate?.();
    return made;
  }
  throw new SidekeyError(
    'key_invalid',
    `The key file ${source.path} is missing, and the store at ${options.store} needs the key it was sealed with.`,
    { hint: `Put the key file back from your backup: ${source.path}` },
  );
}
