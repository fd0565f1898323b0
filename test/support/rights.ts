import { randomBytes, randomUUID } from 'node:crypto';
import { hashToken } from '../../src/agents/authentication.ts';
import { type Binding, everything } from '../../src/domain/lease.ts';
import type { AgentRecord, AgentTokenRecord, LeaseRecord, Store } from '../../src/store/store.ts';

/** An agent with the given fields. */
export function agentRecord(fields: Partial<AgentRecord> = {}): AgentRecord {
  return {
    name: 'claude',
    user: null,
    labels: [],
    disabledAt: null,
    createdAt: 1_700_000_000_000,
    ...fields,
  };
}

/** A token of the agent `claude`. */
export function tokenRecord(fields: Partial<AgentTokenRecord> = {}): AgentTokenRecord {
  return {
    id: randomUUID(),
    agent: 'claude',
    label: 'main',
    hash: randomBytes(32),
    createdAt: 1_700_000_000_000,
    expiresAt: null,
    usedAt: null,
    revokedAt: null,
    ...fields,
  };
}

/** A lease of the agent `claude` for an hour. */
export function leaseRecord(fields: Partial<LeaseRecord> = {}): LeaseRecord {
  return {
    id: randomUUID(),
    agent: 'claude',
    tokenHash: randomBytes(32),
    grants: [],
    purpose: 'a test',
    createdAt: 1_700_000_000_000,
    expiresAt: 1_700_003_600_000,
    idleMs: null,
    renewedAt: null,
    usedAt: null,
    maxUses: null,
    uses: 0,
    revokedAt: null,
    ...fields,
  };
}

/** Adds an agent with a known token to a store; bound to every grant by default. */
export async function addAgent(
  store: Pick<Store, 'agents'>,
  name: string,
  secret: string,
  {
    bindings = [everything],
    ...fields
  }: Partial<AgentRecord> & { readonly bindings?: readonly Binding[] } = {},
): Promise<void> {
  const token = tokenRecord({ agent: name, hash: hashToken(secret), createdAt: 0 });
  await store.agents.insert(agentRecord({ name, createdAt: 0, ...fields }), { tokens: [token], bindings });
}
