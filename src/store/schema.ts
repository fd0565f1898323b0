/**
 * The tables, in types that every SQL database has: times are integers of milliseconds, truth is 0 or 1, lists are
 * JSON text. Names, owners and ends are columns; everything secret is inside `sealed`.
 */
export interface Schema {
  meta: MetaTable;
  grants: GrantTable;
  agents: AgentTable;
  locks: LockTable;
}

/** Named values of the store itself. */
export interface MetaTable {
  name: string;
  value: Uint8Array;
}

/** Grants: see `Grant` for what the columns mean. */
export interface GrantTable {
  id: string;
  name: string;
  user: string;
  provider: string;
  type: string;
  state: string;
  state_reason: string | null;
  /** JSON array of texts. */
  scopes: string;
  expires_at: number | null;
  refreshable: number;
  revision: number;
  created_at: number;
  updated_at: number;
  sealed: Uint8Array;
}

/** Agents, by the hash of their tokens. */
export interface AgentTable {
  name: string;
  token_hash: Uint8Array;
  created_at: number;
}

/** Locks over all processes of the store. */
export interface LockTable {
  name: string;
  holder: string;
  expires_at: number;
}
