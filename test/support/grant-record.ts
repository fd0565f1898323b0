import { randomUUID } from 'node:crypto';
import type { GrantRecord } from '../../src/store/store.ts';

/** A valid grant record with the given fields. */
export function grantRecord(fields: Partial<GrantRecord> = {}): GrantRecord {
  return {
    id: randomUUID(),
    name: 'github',
    user: 'default',
    provider: 'github',
    type: 'oauth2',
    state: 'active',
    stateReason: null,
    scopes: ['repo', 'read:org'],
    expiresAt: 1_800_000_000_000,
    refreshable: true,
    lease: null,
    parent: null,
    mint: null,
    revision: 1,
    createdAt: 1_700_000_000_000,
    updatedAt: 1_700_000_000_001,
    sealed: new TextEncoder().encode('sealed'),
    ...fields,
  };
}
