import { SidekeyError } from '../errors.ts';
import type { Grant } from '../grants/grant.ts';
import type { GrantTable } from './schema.ts';
import type { GrantRecord } from './store.ts';

const types: readonly Grant['type'][] = [
  'oauth2',
  'api_key',
  'jwt',
  'basic',
  'headers',
  'aws',
  'client_certificate',
];
const states: readonly Grant['state'][] = ['active', 'expired', 'revoked', 'reauth_required'];

/** A grant as it stands in its table. */
export function toGrantRow(record: GrantRecord): GrantTable {
  return {
    id: record.id,
    name: record.name,
    user: record.user,
    provider: record.provider,
    type: record.type,
    state: record.state,
    state_reason: record.stateReason,
    scopes: JSON.stringify(record.scopes),
    expires_at: record.expiresAt,
    refreshable: record.refreshable ? 1 : 0,
    revision: record.revision,
    created_at: record.createdAt,
    updated_at: record.updatedAt,
    sealed: record.sealed,
  };
}

/**
 * The grant of a row.
 * @throws SidekeyError `store_damaged` where a column holds what Sidekey never writes: a state that is not known must
 * not pass for one that is usable.
 */
export function fromGrantRow(row: GrantTable): GrantRecord {
  return {
    id: row.id,
    name: row.name,
    user: row.user,
    provider: row.provider,
    type: known(row, 'type', types),
    state: known(row, 'state', states),
    stateReason: row.state_reason,
    scopes: scopesOf(row),
    expiresAt: row.expires_at,
    refreshable: row.refreshable !== 0,
    revision: row.revision,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    sealed: row.sealed,
  };
}

function known<Value extends string>(
  row: GrantTable,
  column: 'type' | 'state',
  values: readonly Value[],
): Value {
  const found = values.find((value) => value === row[column]);
  if (found === undefined) throw damaged(row, column);
  return found;
}

function scopesOf(row: GrantTable): string[] {
  let scopes: unknown;
  try {
    scopes = JSON.parse(row.scopes);
  } catch (error) {
    throw damaged(row, 'scopes', error);
  }
  if (!Array.isArray(scopes) || !scopes.every((scope) => typeof scope === 'string'))
    throw damaged(row, 'scopes');
  return scopes;
}

function damaged(row: GrantTable, column: string, cause?: unknown): SidekeyError {
  return new SidekeyError(
    'store_damaged',
    `The grant "${row.name}" of user "${row.user}" has a ${column} column in the store that Sidekey did not write.`,
    { hint: 'Restore the store from a backup, or remove the grant and add it again.', cause },
  );
}
