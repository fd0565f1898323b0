import type { Binding, Lease } from '../agents/lease.ts';
import type { Answer, Approval, Asking, Question, StandingApproval } from '../approvals/approval.ts';
import type { Grant } from '../grants/grant.ts';

/**
 * The store: grants, who may use them, and the locks that processes of one store share. It keeps sealed credentials and
 * never opens one. One conformance suite (`test/conformance/store.ts`) is run on every implementation.
 *
 * Every method rejects with `SidekeyError` `store_unavailable` when the store cannot be reached, and never takes
 * a store that cannot be read for an empty one.
 */
export interface Store {
  /** The location of the store, for people: a URL or path without credentials. */
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
    /** Returns the holder of the lock, or the last one that did not release it; null: nobody. */
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

  /** The activity of grants, for people and for the schedule of refreshes. It is not sealed. */
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

  /** The sealed ends of the chains of audit logs: the log itself could be cut or removed unseen. */
  readonly auditHeads: {
    /** Lists the ends of one log, in order of node. */
    list(log: string): Promise<AuditEndRecord[]>;
    /** Keeps the end, unless a later one of this chain is kept already. */
    put(end: AuditEndRecord): Promise<void>;
  };

  /** Finishes what is under way and closes. Idempotent. */
  close(): Promise<void>;
}

/** A lock that was not given back. */
interface LockRecord {
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
  /** The state of the flow, sealed for this id. */
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

/** News about a grant. */
export type ActivityChange =
  | { readonly usedAt: number }
  | { readonly refreshedAt: number }
  | { readonly failedAt: number; readonly failure: string }
  | { readonly lackedAt: number; readonly lacked: readonly string[] };

/** The part of the store where requests wait for people. All times are milliseconds since the epoch. */

export interface ApprovalStore {
  /**
   * Takes a question in; of a path 2,048 characters are kept, of a reason and a purpose 1,024.
   * @throws SidekeyError `grant_missing` where the grant, the agent or the lease is gone; `already_exists` where the id
   * was given before
   */
  ask(question: Question): Promise<void>;
  /** Null: there is none of that id (any more). */
  get(id: string): Promise<Approval | null>;
  /** Says that these wait still, until this time at least: `aliveUntil`. */
  keepAlive(ids: readonly string[], until: number): Promise<void>;
  /** Returns those that wait at this time (see `isWaiting`), in order of asking. */
  waiting(at: number): Promise<Approval[]>;
  /**
   * Answers a question that waits at `answer.at`, and keeps a yes that reaches further, at once. Null: it waits no
   * longer, and nothing was written.
   * @throws SidekeyError `input_invalid` for a yes as long as the lease, where there is none; nothing was written
   */
  answer(id: string, answer: Answer): Promise<Approval | null>;
  /**
   * Takes back a question that nobody has answered, and forgets it: from then on nobody can. Answers what was said
   * before; null: nothing.
   */
  withdraw(id: string): Promise<Answer | null>;
  /**
   * A yes that stands at this time for the same agent, lease, grant and rule; null: none. Under a lease none stands
   * longer than that.
   */
  standing(who: Asking, at: number): Promise<StandingApproval | null>;
  /** All that stand at this time, in order of the answers. */
  listStanding(at: number): Promise<StandingApproval[]>;
  /** Ends a yes. Null: there is none of that id. */
  revoke(id: string): Promise<StandingApproval | null>;
  /** Forgets questions and their answers that were asked and over before this time, but for a yes that stands then. */
  removeEnded(before: number): Promise<void>;
}

/** The parts of the store that grant rights. All times are milliseconds since the epoch. */

/** An agent, as the store knows it. Its tokens, bindings and leases go with it. */
export interface AgentRecord {
  /** Unique. */
  readonly name: string;
  /** The user it acts for; null: nobody in particular. */
  readonly user: string | null;
  /** For rules. */
  readonly labels: readonly string[];
  /** Since when its tokens and leases are refused; null: it is enabled. */
  readonly disabledAt: number | null;
  readonly createdAt: number;
}

/** One of an agent's tokens. Several may live at once. */
export interface AgentTokenRecord {
  /** UUID. */
  readonly id: string;
  readonly agent: string;
  /** The name of the token; several may have one name while one takes over from another. */
  readonly label: string;
  /** SHA-256 of the token. A token has 256 random bits, so a plain hash is enough (no dictionary to try). */
  readonly hash: Uint8Array;
  readonly createdAt: number;
  /** Null: it has no end of its own. */
  readonly expiresAt: number | null;
  /** To about a minute; null: never. */
  readonly usedAt: number | null;
  readonly revokedAt: number | null;
}

/** A binding and whose it is. */
export interface BindingRecord extends Binding {
  readonly agent: string;
  readonly createdAt: number;
}

/** A lease with what is kept of its token. */
export interface LeaseRecord extends Lease {
  /** SHA-256 of the lease's token. */
  readonly tokenHash: Uint8Array;
}

/** The settings of a grant by people, which are not sealed. Spans are in milliseconds; null: nothing is set. */
export interface GrantPolicy {
  readonly grantId: string;
  /** The end of the grant itself, whatever its tokens' ends are. */
  readonly expiresAt: number | null;
  /** The default and the maximum time by which `grant extend` moves that end. */
  readonly defaultTtlMs: number | null;
  readonly maxTtlMs: number | null;
  /** The default and the maximum life of its leases. */
  readonly leaseDefaultMs: number | null;
  readonly leaseMaxMs: number | null;
  /** For bindings and rules. */
  readonly labels: readonly string[];
}

/** Everything that decides who may use which grant, at one moment; tokens and leases in order of creation. */
export interface Rights {
  /** See `RightsStore.revision`. */
  readonly revision: number;
  readonly agents: readonly AgentRecord[];
  readonly tokens: readonly AgentTokenRecord[];
  readonly bindings: readonly BindingRecord[];
  readonly leases: readonly LeaseRecord[];
  readonly policies: readonly GrantPolicy[];
}

/** All of them at once, for who decides about requests. */
interface RightsStore {
  /**
   * Grows with every change of an agent, a token, a binding, a lease or a grant's policy, and stays while uses are
   * noted and counted: those are many, and change no right.
   */
  revision(): Promise<number>;
  /** @param since leases whose time was over before this are left out: none of them will be asked for any more */
  read(since?: number): Promise<Rights>;
  /** Notes uses, the later of two counts. What is gone is left out. */
  noteUses(uses: readonly RightUse[]): Promise<void>;
}

/** A token or a lease was used. */
export interface RightUse {
  readonly kind: 'token' | 'lease';
  readonly id: string;
  readonly at: number;
}

interface AgentBeginning {
  readonly tokens?: readonly AgentTokenRecord[];
  readonly bindings?: readonly Binding[];
}

interface AgentStore {
  /** With what it begins with, or not at all. @throws SidekeyError `already_exists`. */
  insert(agent: AgentRecord, beginning?: AgentBeginning): Promise<void>;
  get(name: string): Promise<AgentRecord | null>;
  /** In order of name. */
  list(): Promise<AgentRecord[]>;
  /** Answers whether there is such an agent. */
  change(
    name: string,
    change: Partial<Pick<AgentRecord, 'user' | 'labels' | 'disabledAt'>>,
  ): Promise<boolean>;
  /** With its tokens, bindings and leases. Answers whether there was such an agent. */
  remove(name: string): Promise<boolean>;
}

/** The tokens that a new one replaces, and their latest end. */
interface TakeOver {
  /** Null: from all of the agent's. */
  readonly label: string | null;
  readonly at: number;
}

interface AgentTokenStore {
  /** In order of creation; of one agent, or of all. */
  list(agent?: string): Promise<AgentTokenRecord[]>;
  /**
   * Adds a token. Those it takes over from end at `takeOver.at` at the latest; one that had ended by then stays as it
   * was. Answers how many will end, null where there is no such agent.
   */
  add(token: AgentTokenRecord, takeOver: TakeOver | null): Promise<number | null>;
  /** Ends those with this label (null: all) at once. Answers how many were live. */
  revoke(agent: string, label: string | null, at: number): Promise<number>;
  /** Forgets those that ended before this time. */
  removeEnded(before: number): Promise<void>;
}

interface BindingStore {
  /** In order of agent, kind and value; of one agent, or of all. */
  list(agent?: string): Promise<BindingRecord[]>;
  /** Answers how many are new; null where there is no such agent. */
  add(agent: string, bindings: readonly Binding[], at: number): Promise<number | null>;
  /** Answers how many there were. */
  remove(agent: string, bindings: readonly Binding[]): Promise<number>;
}

/** A choice of leases. `grant` includes leases for everything that their agent reaches. */
export type LeaseChoice = { readonly id: string } | { readonly agent: string } | { readonly grant: string };

export interface LeaseStore {
  /** Answers false where there is no such agent. */
  insert(lease: LeaseRecord): Promise<boolean>;
  get(id: string): Promise<LeaseRecord | null>;
  /** In order of creation. */
  list(): Promise<LeaseRecord[]>;
  /**
   * Gives it a new end, and more uses; where it had ended, nothing that people approved under it stands any more.
   * Null where
   * there is no such lease, or it was revoked: then nothing is written.
   */
  renew(
    id: string,
    renewal: { readonly at: number; readonly expiresAt: number; readonly moreUses: number },
  ): Promise<LeaseRecord | null>;
  /** Answers with the ids of those that were not revoked before. One that has ended already is revoked too. */
  revoke(which: LeaseChoice, at: number): Promise<string[]>;
  /**
   * Counts one use, over all processes of the store; answers how many there are now. Null: not counted, because it was
   * the last one before, or the lease has ended or is gone.
   */
  use(id: string, at: number): Promise<number | null>;
  /** Forgets those whose time was over before this. */
  removeEnded(before: number): Promise<void>;
}

interface GrantPolicyStore {
  /** Null: nothing was ever set. */
  get(grantId: string): Promise<GrantPolicy | null>;
  list(): Promise<GrantPolicy[]>;
  /** Keeps what is not named. Answers whether there is such a grant; what is kept goes with it. */
  set(grantId: string, change: Partial<Omit<GrantPolicy, 'grantId'>>): Promise<boolean>;
}
