import { createPlaceholderCodes, type PlaceholderCodes } from './placeholder/codes.ts';
import type { Vault } from './vault/vault.ts';

/** The codes of everybody who has this vault's key: what one process makes, all others know. */
export function placeholderCodes(vault: Pick<Vault, 'mac'>): PlaceholderCodes {
  return createPlaceholderCodes((text) => vault.mac('placeholder', text));
}
