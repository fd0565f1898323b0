import { createHmac, type KeyObject } from 'node:crypto';
import { openEnvelope, sealEnvelope, type WrapKey } from './envelope.ts';
import { createLineMac } from './line-mac.ts';
import { derivedKey, keyIdOf } from './master-key.ts';
import type { MacPurpose, Vault } from './vault.ts';

/**
 * A vault over a master key (see `masterKey`). It keeps derived keys only, inside closures: inspecting or serializing
 * the vault shows its key id and nothing else.
 */
export function createVault(master: KeyObject): Vault {
  const wrapKey: WrapKey = { key: derivedKey(master, 'wrap'), id: keyIdOf(master) };
  const macs: Readonly<Record<MacPurpose, (data: string | Uint8Array) => string>> = {
    'audit-chain': createLineMac(derivedKey(master, 'audit-chain')),
    'audit-head': createLineMac(derivedKey(master, 'audit-head')),
    'audit-anchor': macWith(derivedKey(master, 'audit-anchor')),
    'audit-retention': macWith(derivedKey(master, 'audit-retention')),
    'audit-end': macWith(derivedKey(master, 'audit-end')),
    'credential-fingerprint': macWith(derivedKey(master, 'credential-fingerprint')),
    'approval-link': macWith(derivedKey(master, 'approval-link')),
    placeholder: macWith(derivedKey(master, 'placeholder')),
  };
  return Object.freeze({
    keyId: Buffer.from(wrapKey.id).toString('hex'),
    seal: (context: string, plaintext: Uint8Array) => sealEnvelope(wrapKey, context, plaintext),
    open: (context: string, sealed: Uint8Array) => openEnvelope(wrapKey, context, sealed),
    mac: (purpose: MacPurpose, data: string | Uint8Array) => macs[purpose](data),
  });
}

function macWith(key: KeyObject): (data: string | Uint8Array) => string {
  return (data) => createHmac('sha256', key).update(data).digest('hex');
}
