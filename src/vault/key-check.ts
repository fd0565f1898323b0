import { SidekeyError } from '../errors.ts';
import type { Vault } from './vault.ts';

const context = 'store/key-check';
const constant = Buffer.from('sidekey key check');

/** Name of the key check among the store's `meta` values. */
export const keyCheckName = 'key_check';

/** A sealed constant, put into a new store: it proves later that a key is the one the store was made with. */
export function sealKeyCheck(vault: Vault): Uint8Array {
  return vault.seal(context, constant);
}

/**
 * Proves the vault's key against the check of the store at `location`.
 * @throws SidekeyError `key_mismatch` where the store was made with another key; `record_tampered` where the check
 * itself was changed.
 */
export function verifyKeyCheck(vault: Vault, check: Uint8Array, location: string): void {
  let opened: Buffer;
  try {
    opened = vault.open(context, check);
  } catch (error) {
    if (!(error instanceof SidekeyError) || error.code !== 'key_mismatch') throw error;
    throw new SidekeyError(
      'key_mismatch',
      `The store at ${location} was sealed with another master key than the one given (${vault.keyId}).`,
      {
        hint: 'Point "key" in the configuration to the master key that this store was made with.',
        cause: error,
      },
    );
  }
  if (!opened.equals(constant)) {
    throw new SidekeyError('record_tampered', `The key check of the store at ${location} was changed.`, {
      hint: 'Restore the store from a backup.',
    });
  }
}
