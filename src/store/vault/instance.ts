import type { Vault } from './vault.ts';

/** Names and contexts of a running proxy that follow from its key. */

/** Returns a name derived from the key of a vault, which identifies one Sidekey. It is not secret. */
export function instanceOf(vault: Pick<Vault, 'mac'>): string {
  return vault.mac('instance', '').slice(0, 16);
}

/**
 * Returns the target of the health check with the report of a running proxy. Each report opens all grants,
 * which is work, so only holders of the key can derive the target.
 */
export function reportTarget(vault: Pick<Vault, 'mac'>): string {
  return `/healthz?report=${vault.mac('instance', 'report')}`;
}

/** Context of the sealed report: another program may listen at the address of the proxy. */
export const reportContext = 'report of the running proxy';
