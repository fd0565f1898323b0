import type { Grant } from '../grants/grant.ts';

/**
 * The store: grants, agents, and the locks that processes of one store share. It keeps sealed credentials and
 * never opens one. One conformance suite (`test/conformance/store.ts`) is run on every implementation.
 *
 * Every method rejects with `SidekeyError` `store_unavailable` when the store cannot be reached, and never takes
 * a store that cannot be read for an empty one.
 */
export interface Store {
  /** Where it is, for people: a URL or path without credentials. */
  readonly location: string;

  /**
   * A number that differs whenever another connection may have changed the store since the last call.
   * Cheap enough to ask for each request (SQLite: `PRAGMA data_version`, about a microsecond), so that a cache
   * in front of the store is never stale for longer than the request at hand.
   */
  epoch(): number;

  /** Named values of the store itself, such as the sealed text that proves the master key. */
  readonly meta: {
    get(name: string): Promise<Uint8Array | null>;
    /** Writes only where the name is not taken; answers whether it wrote. */
    putIfAbsent(name: string, value: Uint8Array): Promise<boolean>;
  };

  readonly grants: {
    /** @throws SidekeyError `already_exists` where the user has a grant of that name. */
    insert(record: GrantRecord): Promise<void>;
    get(id: string): Promise<GrantRecord | null>;
    /** In order of name, then user. */
    list(): Promise<GrantRecord[]>;
    /**
     * Replaces the record whose revision is still `expectedRevision`; `record.revision` must be greater.
     * Answers false where somebody else was first or the grant is gone: read again, and decide anew.
     */
    replace(record: GrantRecord, expectedRevision: number): Promise<boolean>;
    /** Answers whether there was such a grant. */
    remove(id: string): Promise<boolean>;
  };

  readonly agents: {
    /** @throws SidekeyError `already_exists`. */
    insert(agent: AgentRecord): Promise<void>;
    get(name: string): Promise<AgentRecord | null>;
    /** In order of name. */
    list(): Promise<AgentRecord[]>;
    remove(name: string): Promise<boolean>;
  };

  /**
   * Locks over all processes of the store, each with an end of its own so that a holder that died blocks nobody
   * for ever. Used so that one process at a time refreshes a grant.
   */
  readonly locks: {
    /**
     * Takes or prolongs the lock `name` for `holder` until `ttlMs` from now. False: another holds it.
     */
    acquire(name: string, holder: string, ttlMs: number): Promise<boolean>;
    /** Gives the lock back, where `holder` still has it. */
    release(name: string, holder: string): Promise<void>;
  };

  /** Finishes what is under way and closes. Idempotent. */
  close(): Promise<void>;
}

/** A grant with its sealed credential. */
export interface GrantRecord extends Grant {
  /** The sealed `SealedCredential`, bound to the grant's id and revision (see `vault/envelope.ts`). */
  readonly sealed: Uint8Array;
}

/** An agent, as the store knows it. */
export interface AgentRecord {
  /** Unique. */
  readonly name: string;
  /** SHA-256 of the token. A token has 256 random bits, so a plain hash is enough (no dictionary to try). */
  readonly tokenHash: Uint8Array;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
}
