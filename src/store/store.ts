import type { Grant } from '../grants/grant.ts';
import type { ApprovalStore } from './approvals.ts';
import type {
  AgentStore,
  AgentTokenStore,
  BindingStore,
  GrantPolicyStore,
  LeaseStore,
  RightsStore,
} from './rights.ts';

/**
 * The store: grants, who may use them, and the locks that processes of one store share. It keeps sealed credentials and
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

  readonly agents: AgentStore;
  readonly agentTokens: AgentTokenStore;
  readonly bindings: BindingStore;
  readonly leases: LeaseStore;
  readonly grantPolicies: GrantPolicyStore;
  /** All of these at once. */
  readonly rights: RightsStore;

  /** Requests that wait for people, and what people said. */
  readonly approvals: ApprovalStore;

  /**
   * Locks over all processes of the store, each with an end of its own so that a holder that died blocks nobody
   * for ever. Used so that one process at a time refreshes a grant.
   */
  readonly locks: {
    /**
     * Takes or prolongs the lock `name` for `holder` until `ttlMs` from now. False: another holds it.
     */
    acquire(name: string, holder: string, ttlMs: number): Promise<boolean>;
    /**
     * Prolongs the lock until `ttlMs` from now, where nobody else has taken it since `holder` did, even if its time is
     * over. False: `holder` has it no more.
     */
    renew(name: string, holder: string, ttlMs: number): Promise<boolean>;
    /** Who holds the lock, or held it last and has not given it back; null: nobody. */
    look(name: string): Promise<LockRecord | null>;
    /** Gives the lock back, where `holder` still has it. */
    release(name: string, holder: string): Promise<void>;
  };

  /** Consents that have begun and wait for their answer: `connect --print-url` and `--finish` are two processes. */
  readonly sessions: {
    insert(session: SessionRecord): Promise<void>;
    /** Removes it and answers with it: of several that ask at once, one gets it. Null: there is none (any more). */
    take(id: string): Promise<SessionRecord | null>;
    /** Removes those that ended before this time, in milliseconds since the epoch. */
    removeEnded(before: number): Promise<void>;
  };

  /** What happened to grants, for people and for the schedule of refreshes. Not part of what is sealed. */
  readonly activity: {
    get(grantId: string): Promise<GrantActivity | null>;
    list(): Promise<GrantActivity[]>;
    /**
     * Keeps what is not named. A refresh takes away a failure that was before it, and of two processes the later news
     * counts; only a time that lies well ahead of now gives way, for a clock was wrong then. Of a grant that is not
     * there nothing is kept, and what is kept goes with its grant.
     */
    note(grantId: string, change: ActivityChange): Promise<void>;
  };

  /** How far the chains of audit logs were written, sealed: the log itself could be cut or removed unseen. */
  readonly auditEnds: {
    /** Of one log, in order of node. */
    list(log: string): Promise<AuditEndRecord[]>;
    /** Keeps the end, unless a later one of this chain is kept already. */
    put(end: AuditEndRecord): Promise<void>;
  };

  /** Finishes what is under way and closes. Idempotent. */
  close(): Promise<void>;
}

/** A lock that was not given back. */
export interface LockRecord {
  readonly holder: string;
  /** Milliseconds until it ends, by the store's clock; negative: since it has ended. */
  readonly leftMs: number;
}

/** A grant with its sealed credential. */
export interface GrantRecord extends Grant {
  /** The sealed `SealedCredential`, bound to the grant's id and revision (see `vault/envelope.ts`). */
  readonly sealed: Uint8Array;
}

/** The end of one chain of an audit log. */
export interface AuditEndRecord {
  /** The absolute path of the log. */
  readonly log: string;
  /** The name of the chain. */
  readonly node: string;
  /** The number of its last line. */
  readonly seq: number;
  /** The end itself, sealed for this log and node. */
  readonly sealed: Uint8Array;
}

/** A consent that has begun. */
export interface SessionRecord {
  /** Made from the state (RFC 6749 §10.12), from which nobody can tell the state. */
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** What the flow keeps to itself, sealed for this id. */
  readonly sealed: Uint8Array;
}

/** Times in milliseconds since the epoch; null: never. */
export interface GrantActivity {
  readonly grantId: string;
  /** The last time that a request got its credential, to about a minute. */
  readonly usedAt: number | null;
  readonly refreshedAt: number | null;
  /** The last refresh that failed, and why, in one sentence without a secret; null since one has worked. */
  readonly failedAt: number | null;
  readonly failure: string | null;
  /** The last time that an upstream said that the grant lacks scopes, and their names; none: it did not name them. */
  readonly lackedAt: number | null;
  readonly lacked: readonly string[];
}

/** What became known of a grant. */
export type ActivityChange =
  | { readonly usedAt: number }
  | { readonly refreshedAt: number }
  | { readonly failedAt: number; readonly failure: string }
  | { readonly lackedAt: number; readonly lacked: readonly string[] };
