import type { ChangeCounts } from '../domain/limit-counts.ts';
import type { Binding, BoundGrant, Lease } from '../domain/lease.ts';
import type { Answer, Approval, Asking, Question, StandingApproval } from '../domain/approval.ts';
import type { Proposal, ProposalAnswer, Proposer } from '../domain/proposal.ts';
import type { Grant, GrantState } from '../domain/grant.ts';
import type { HeldGrants } from './held-grants.ts';
import type { RingValues } from './vault/ring.ts';

/**
 * The store of grants, rights, and locks that its processes share. It keeps sealed credentials and never
 * opens one. One conformance suite (`test/conformance/store.ts`) tests every implementation.
 *
 * Every method rejects with `SidekeyError` `store_unavailable` if the store cannot be reached, and never
 * treats an unreadable store as an empty one.
 */
export interface Store {
  /** The location of the store, for people: a URL or path without credentials. */
  readonly location: string;

  /**
   * A number that changes with each write of a grant, a right, a question or a proposal: of this process at
   * once, of others within 5 ms (SQLite; a call after a pause of 3 ms sees all, `createCheckPace`) or 1 s
   * (PostgreSQL). While PostgreSQL is away, the number stays for 15 minutes.
   * @throws SidekeyError `store_unavailable`: earlier reads may be outdated
   */
  epoch(): number;

  /** Returns the writes that `epoch` has counted since this value, as far as they can be distinguished. */
  changesSince(epoch: number): StoreChanges;

  /** Grants whose refreshes by other processes are reported; null: SQLite, which distinguishes no changes. */
  readonly held: HeldGrants | null;

  /** Named values of the store itself, such as the sealed text that proves the master key. */
  readonly meta: RingValues & {
    /** Writes only if the name is not taken; returns whether it wrote. */
    putIfAbsent(name: string, value: Uint8Array): Promise<boolean>;
  };

  /** Sealed records, for a rotation of the master key. */
  readonly sealed: {
    /** Returns sessions, ordered by ID; `grants.find` has the grants. */
    sessions(page: Page<string>): Promise<SessionRecord[]>;
    /** Returns the number of grants and sessions. */
    count(): Promise<number>;
    /** Replaces seals that are unchanged, at once and without a new revision. Returns the number replaced. */
    replace(table: 'grants' | 'sessions', seals: readonly Reseal[]): Promise<number>;
  };

  readonly grants: {
    /**
     * Inserts up to 1,000 grants, all or none.
     * @throws SidekeyError `already_exists` if a user has a grant of that name.
     */
    insert(...records: readonly GrantRecord[]): Promise<void>;
    get(id: string): Promise<GrantRecord | null>;
    /** Returns the grants with these ids that exist, in any order. */
    some(ids: readonly string[]): Promise<GrantRecord[]>;
    /** Returns grants by index, ordered by name, then user. */
    find(query: GrantQuery): Promise<GrantRecord[]>;
    /** Returns up to `limit` grants by index, in any order; no minted ones. */
    matching(choice: GrantChoice, limit: number): Promise<GrantRecord[]>;
    /** Returns up to `limit` grants of a provider, the last changed first; no minted ones. */
    newest(provider: string, limit: number): Promise<GrantRecord[]>;
    /** Returns a page of the grants that belong to leases, or to one lease, ordered by lease, then id. */
    ofLeases(page: LeasePage<GrantRecord>): Promise<GrantRecord[]>;
    minted(query: MintedQuery): Promise<GrantRecord[]>;
    /**
     * Replaces the record with the revision `expectedRevision`; `record.revision` must be greater. Returns
     * false if the record was changed or removed: read it again. With `refresh`, also notes the refresh in
     * the activity, and releases the lock if its holder still has it.
     */
    replace(record: GrantRecord, expectedRevision: number, refresh?: StoredRefresh): Promise<boolean>;
    /** Returns whether there was such a grant. */
    remove(id: string): Promise<boolean>;
    /** Returns grants whose refresh may be due, by index, ordered by that time, then id. */
    due(query: DueQuery): Promise<DueGrant[]>;
    /** Returns the first name of a provider after this one that has grants; null: none. */
    providerAfter(name: string): Promise<string | null>;
    /** Returns up to `limit` grants after this id, ordered by ID, that are not marked as naming no file. */
    perhapsWithFiles(after: string, limit: number): Promise<GrantRecord[]>;
    /** Marks that grants with exactly these contents name no file. No process is notified. */
    markFileless(grants: readonly Pick<GrantRecord, 'id' | 'revision' | 'sealed'>[]): Promise<void>;
    /** Stores times of grants in their revision. No process is notified. */
    plan(plans: readonly RefreshPlan[]): Promise<void>;
    /** Makes all refreshable grants without a due time due, after a clock was set back. */
    planAnew(): Promise<void>;
  };

  readonly grantChecks: GrantChecks;
  readonly agents: AgentStore;
  readonly agentTokens: AgentTokenStore;
  readonly bindings: BindingStore;
  readonly leases: LeaseStore;
  readonly grantPolicies: GrantPolicyStore;
  readonly rights: RightsStore;

  /** Pending requests, and their answers. */
  readonly approvals: ApprovalStore;

  /** Changes that agents propose, and their answers. */
  readonly proposals: ProposalStore;

  /**
   * Locks over all processes of the store, with an expiry, so that a dead holder blocks only for a limited
   * time. They serialise refreshes of a grant.
   */
  readonly locks: {
    /** Acquires or extends the lock for `holder` until `ttlMs` from now. False: another holder has it. */
    acquire(name: string, holder: string, ttlMs: number): Promise<boolean>;
    /**
     * Acquires a lock like `acquire`, but from another holder only `silentMs` after the end of its lock, and
     * returns the grant as it is under the lock. Null: another holder has it.
     */
    acquireFor(grantId: string, lock: GrantLock): Promise<LockedGrant | null>;
    /** Extends the lock until `ttlMs` from now, even if it has expired. False: `holder` no longer has it. */
    renew(name: string, holder: string, ttlMs: number): Promise<boolean>;
    /** Returns the holder of the lock, or the last one that did not release it; null: no holder. */
    look(name: string): Promise<LockRecord | null>;
    /** Releases the lock if `holder` still has it. */
    release(name: string, holder: string): Promise<void>;
  };

  /** Sealed records with an end: pending consents, sign-ins of people, answers that may be repeated. */
  readonly sessions: {
    /** @throws SidekeyError `already_exists` if the id is taken. */
    insert(session: SessionRecord): Promise<void>;
    /** Inserts the session, or replaces the one with its id. */
    put(session: SessionRecord): Promise<void>;
    get(id: string): Promise<SessionRecord | null>;
    /** Removes and returns the session, for one of several concurrent callers; null if there is none. */
    take(id: string): Promise<SessionRecord | null>;
    /** Removes sessions that ended before this time, in milliseconds since the epoch. */
    removeEnded(before: number): Promise<void>;
  };

  /** The activity of grants, for people and for the schedule of refreshes. It is not sealed. */
  readonly activity: {
    get(grantId: string): Promise<GrantActivity | null>;
    /** Returns the activity of these grants, in any order. */
    some(grantIds: readonly string[]): Promise<GrantActivity[]>;
    /**
     * Stores a change and keeps the other values. A refresh clears an earlier failure; of two processes, the
     * later news counts. A time far ahead of now is overwritten, because it came from a wrong clock. Activity
     * is removed with its grant; for a missing grant, nothing is written.
     */
    note(grantId: string, change: ActivityChange): Promise<void>;
  };

  /** Users of access tokens, for leases that revoke tokens. Not copied, nor in backups. */
  readonly tokenUses: {
    /**
     * Notes who used a token, if it is not noted yet. Removed with the grant. Rejects if there is no grant.
     */
    note(use: Pick<TokenUse, 'grantId' | 'token' | 'lease'>, at: number): Promise<void>;
    /** Lists the uses of one token, or of all. */
    list(token?: string): Promise<TokenUse[]>;
    /** Returns a page of the uses by leases, or by one lease, ordered by lease, grant, then token. */
    ofLeases(page: LeasePage<TokenUse>): Promise<TokenUse[]>;
    /** Stores that so many attempts to revoke the token failed, and the time of the next one. */
    retry(use: TokenUse, attempts: number, dueAt: number): Promise<void>;
    remove(use: TokenUse): Promise<void>;
  };

  /** Sealed ends of the chains of audit logs. They show that a log was cut or removed. */
  readonly auditHeads: {
    /** Lists the ends of one log, or of all, in order of log and node. */
    list(log?: string): Promise<AuditEndRecord[]>;
    /** Stores the end, unless a later one of this chain is stored. */
    put(end: AuditEndRecord): Promise<void>;
  };

  readonly apiKeys: {
    /** @throws SidekeyError `already_exists` if the name is taken. */
    insert(key: ApiKeyRecord): Promise<void>;
    find(hash: Uint8Array): Promise<ApiKeyRecord | null>;
    get(name: string): Promise<ApiKeyRecord | null>;
    /** Returns API keys, ordered by name. */
    list(page?: Page<Pick<ApiKeyRecord, 'name'>>): Promise<ApiKeyRecord[]>;
    /** Returns whether there was such a key. */
    remove(name: string): Promise<boolean>;
    /** Removes the keys of a person whose names begin with this text and that have ended at this time. */
    removeEnded(person: string, prefix: string, at: number): Promise<void>;
    /** Records a use; the later of two is kept. */
    noteUse(name: string, at: number): Promise<void>;
  };

  readonly people: PeopleStore;

  /** The nodes of a store that several machines share. All times are of the store's clock. */
  readonly nodes: NodeStore;

  /** Enrolments of new nodes. All times are of the store's clock. */
  readonly enrolments: EnrolmentStore;

  /** Changes counts of limits that several machines share; null: only one machine uses the store. */
  readonly changeCounts: ChangeCounts | null;

  /** Finishes the calls in progress and closes. Idempotent. */
  close(): Promise<void>;
}

/** Writes to the store. */
export interface StoreChanges {
  /** Ids of the grants that were written; null: any. */
  readonly grants: readonly string[] | null;
  /** Names of grants that were added, or are found by others than before. Empty if `grants` is null. */
  readonly names: readonly GrantNames[];
  /** Rights that were changed or removed; null: any. New ones are not listed. */
  readonly rights: readonly ChangedRight[] | null;
  /** True if other records may have been written. */
  readonly others: boolean;
}

/** A lease by its ID; or an agent by its name, with its tokens and bindings. */
export interface ChangedRight {
  readonly kind: 'agent' | 'lease';
  readonly key: string;
}

/** The names by which a grant is found. */
export type GrantNames = Pick<Grant, 'name' | 'user' | 'provider'>;

/**
 * Facts about all grants, for people and monitoring. Between statements that hold the thread for up to 3 ms,
 * other work runs. All times are milliseconds since the epoch.
 */
interface GrantChecks {
  /**
   * Counts grants by their state at this time; `expired` also by the end that their policy sets. Minted
   * grants that are active or expired count only as `minted`.
   */
  count(at: number): Promise<Readonly<Record<GrantState | 'minted', number>>>;
  /**
   * Counts active grants that nothing renews and whose token ends within each of the ascending spans, and
   * returns the next end; null: there is none.
   */
  endings(at: number, spansMs: readonly number[]): Promise<Endings>;
  /**
   * Returns the ids of grants that may need a person: ended, refused, revoked, failing or lacking scopes,
   * ending within 14 days; those with a source, and those of some providers. At most `limit` for each reason.
   */
  concerning(
    at: number,
    choice: { readonly providers: readonly string[]; readonly limit: number },
  ): Promise<string[]>;
  /**
   * Returns up to `limit` of the grants that requests can choose by a reference, ordered by name, then user.
   */
  offered(reference: string, limit: number): Promise<readonly Grant[]>;
  /** Returns which of the texts are the ID, the name or the provider of a grant. */
  existing(references: readonly string[]): Promise<ReadonlySet<string>>;
}

/** Counts of ends within spans from now, and the time of the next end; null: none. */
export interface Endings {
  readonly counts: readonly number[];
  readonly next: number | null;
}

/** A part of an ordered list. */
export interface Page<Place> {
  /** The last entry of the page before. */
  readonly after?: Place | undefined;
  /** Maximum number of entries. Default: all. */
  readonly limit?: number;
}

/** A choice of grants. All conditions must apply. */
export interface GrantQuery extends Page<Pick<Grant, 'name' | 'user'>> {
  /** The ID, the name or the provider. */
  readonly reference?: string;
  readonly users?: readonly string[];
  readonly name?: string;
  /** Names with their users, at most 1,000. */
  readonly named?: readonly Pick<Grant, 'name' | 'user'>[];
  /** True: no minted grants. */
  readonly unminted?: boolean;
}

/** A page of minted grants, ordered by parent, lease, then ID. */
export interface MintedQuery {
  /** At most 1,000 IDs; absent: of all parents. */
  readonly parents?: readonly string[];
  /** ID of their lease; null: those without one; absent: both. */
  readonly lease?: string | null;
  readonly mint?: string;
  /** The last grant of the page before. */
  readonly after?: Pick<Grant, 'id' | 'parent' | 'lease'> | undefined;
  readonly limit: number;
}

/** A choice of grants. All conditions must apply. */
export interface GrantChoice {
  /** True: only grants that belong to no lease. */
  readonly unleased?: boolean;
  readonly type?: Grant['type'];
  readonly state?: GrantState;
  readonly provider?: string;
  readonly user?: string;
  readonly label?: string;
}

/** A page of records that belong to leases. */
export interface LeasePage<Item> {
  /** ID of a lease; absent: of all leases. */
  readonly lease?: string | undefined;
  /** The last record of the page before. */
  readonly after?: Item | undefined;
  /** Maximum number of records. */
  readonly limit: number;
}

/** A page of the grants that are due. */
export interface DueQuery {
  /** Last due time, inclusive, in milliseconds since the epoch. */
  readonly before: number;
  /** If set, grants of this provider by `obtainedAt`; otherwise all grants by `dueAt`. */
  readonly provider?: string;
  /** The last grant of the page before. */
  readonly after?: { readonly at: number; readonly id: string } | null;
  /** Maximum number of grants. */
  readonly limit: number;
}

export interface DueGrant {
  readonly record: GrantRecord;
  /** The time by which it was found: `dueAt` or `obtainedAt`. */
  readonly at: number;
  /** Last use in the store; null: none. */
  readonly usedAt: number | null;
  /** End of the grant that a person set; null: none. */
  readonly endsAt: number | null;
}

/** Indexed times of the refresh schedule, in milliseconds since the epoch. */
interface RefreshTimesRecord {
  /** Time at which the schedule reads the grant again; null: not until its credential is stored again. */
  readonly dueAt: number | null;
  /** Issue time of the last tokens, if the grant has a refresh token that may be used; otherwise null. */
  readonly obtainedAt: number | null;
}

/**
 * Changes `dueAt` from `was`, and `obtainedAt` unless it is absent. Does nothing if the grant has another
 * revision or another time now.
 */
export interface RefreshPlan extends Pick<RefreshTimesRecord, 'dueAt'> {
  readonly obtainedAt?: RefreshTimesRecord['obtainedAt'];
  readonly id: string;
  readonly revision: number;
  readonly was: number;
}

/** The end of a refresh: its time in milliseconds since the epoch, and its lock. */
export interface StoredRefresh extends Pick<GrantLock, 'name' | 'holder'> {
  readonly at: number;
}

/** A lock for a grant. */
export interface GrantLock {
  readonly name: string;
  readonly holder: string;
  readonly ttlMs: number;
  readonly silentMs: number;
}

/** A grant whose lock is held. */
export interface LockedGrant {
  /** Null: there is no such grant. */
  readonly record: GrantRecord | null;
  readonly activity: Pick<GrantActivity, 'refreshedAt' | 'failedAt' | 'failure'>;
}

/** A lock that was not released. */
interface LockRecord {
  readonly holder: string;
  /** Milliseconds until the lock ends, by the store's clock; negative if it has ended. */
  readonly leftMs: number;
}

/** A new seal of a record. */
export interface Reseal {
  readonly id: string;
  readonly was: Uint8Array;
  readonly sealed: Uint8Array;
}

/** A grant with its sealed credential. */
export interface GrantRecord extends Grant {
  /** The sealed `SealedCredential`, bound to the grant's id and revision (see `store/vault/vault.ts`). */
  readonly sealed: Uint8Array;
  /** Written only. Absent: due at once if `refreshable`, and may name files. See `schema.ts`. */
  readonly times?: RefreshTimesRecord & { readonly filelessIn?: number | null };
  /** Written only, in the transaction of the grant: a change as `grantPolicies.set` takes it. */
  readonly policy?: PolicyChange | undefined;
}

export interface AuditEndRecord {
  readonly log: string;
  readonly node: string;
  /** The number of its last line. */
  readonly seq: number;
  /** The sealed end, bound to this log and node. */
  readonly sealed: Uint8Array;
}

/** A node: the processes with one config file on one machine, which share the source of the master key. */
export interface NodeRecord {
  readonly id: string;
  /** Unique, for people. */
  readonly name: string;
  /** The kind of its key source. */
  readonly source: string;
  /** Id of the master key that its source gives. */
  readonly keyId: string;
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly joinedAt: number;
  /** Milliseconds since the node was last seen. */
  readonly awayMs: number;
}

/** The enrolment of a new node. */
export interface EnrolmentRecord {
  /** SHA-256 of its token. */
  readonly id: string;
  readonly name: string;
  readonly sealed: Uint8Array;
  /** The request, as the new node wrote it; null: the token is unused. */
  readonly request: string | null;
  /** Milliseconds until the enrolment ends; not positive if it has ended. */
  readonly leftMs: number;
}

interface EnrolmentStore {
  /** Inserts an enrolment that ends `ttlMs` from now, and removes those that have ended. */
  insert(enrolment: Pick<EnrolmentRecord, 'id' | 'name' | 'sealed'>, ttlMs: number): Promise<void>;
  get(id: string): Promise<EnrolmentRecord | null>;
  /** Stores the request, once, before the end. False: the enrolment has ended, or has another request. */
  ask(id: string, request: string): Promise<boolean>;
  /** Returns the enrolments that have a request and have not ended. */
  asked(): Promise<EnrolmentRecord[]>;
  remove(id: string): Promise<void>;
}

interface NodeStore {
  /**
   * Inserts or updates the node, and records that it runs. A node whose name is taken gets a number:
   * `proxy~2`. Removes nodes with a copy of the master key that were not seen for 30 days.
   */
  register(node: Omit<NodeRecord, 'joinedAt' | 'awayMs'>): Promise<void>;
  /** Records that the node runs and, unless null, the key that its source has now. */
  seen(id: string, keyId: string | null): Promise<void>;
  /** Returns all nodes, ordered by name. */
  list(): Promise<NodeRecord[]>;
  /** Returns the nodes with this ID or name. */
  find(reference: string): Promise<NodeRecord[]>;
  /** Returns whether there was such a node. */
  remove(id: string): Promise<boolean>;
}

export interface ApiKeyRecord {
  /** Unique. */
  readonly name: string;
  /** SHA-256 of the key. A key has 256 random bits, so a plain hash is enough (no dictionary to try). */
  readonly hash: Uint8Array;
  /** A `Role` of the API. Stored as text, so that the store does not depend on roles. */
  readonly role: string;
  /** Scopes of the key; null: all scopes of the role. */
  readonly scopes: readonly string[] | null;
  /** The only user whose things it may touch; null: all users. */
  readonly user: string | null;
  /** Person that owns the key; null if the key belongs to no person. */
  readonly person: string | null;
  readonly createdAt: number;
  /** Expiry of the key; null: none. */
  readonly expiresAt: number | null;
  /** Time of the last use, to about a minute; null: never used. */
  readonly usedAt: number | null;
}

/** A person who signs in at the pages. */
export interface PersonRecord {
  /** Unique. */
  readonly name: string;
  /** A `Role` of the API. Stored as text, so that the store does not depend on roles. */
  readonly role: string;
  /** The only user whose data the person may access; null: the role determines it. */
  readonly user: string | null;
  /** Time at which the person was disabled; null: the person may sign in. */
  readonly disabledAt: number | null;
  readonly createdAt: number;
  /** Account at an OpenID provider: issuer, space, subject. Unique; null if the person has none. */
  readonly identity: string | null;
  /** Number of times that all sign-ins were ended. Sign-ins of an earlier generation are always refused. */
  readonly generation: number;
}

/** A passkey of a person (WebAuthn). */
export interface PasskeyRecord {
  /** Credential ID, in base64url. */
  readonly id: string;
  readonly person: string;
  /** COSE key. */
  readonly publicKey: Uint8Array;
  /** Signature counter of the authenticator; 0: it has none. */
  readonly counter: number;
  readonly label: string;
  readonly createdAt: number;
  readonly usedAt: number | null;
}

interface PeopleStore {
  /** @throws SidekeyError `already_exists` if the name or the identity is taken. */
  insert(person: PersonRecord): Promise<void>;
  get(name: string): Promise<PersonRecord | null>;
  find(identity: string): Promise<PersonRecord | null>;
  /** Returns people, ordered by name. */
  list(page?: Page<Pick<PersonRecord, 'name'>>): Promise<PersonRecord[]>;
  /**
   * Returns whether there is such a person.
   *
   * @param endsAt time at which all sign-ins and keys of the person end for good; absent: they stay
   * @throws SidekeyError `already_exists` if another person has the identity
   */
  change(
    name: string,
    change: Partial<Omit<PersonRecord, 'name' | 'createdAt' | 'generation'>>,
    endsAt?: number,
  ): Promise<boolean>;
  /** Removes a person with the passkeys. Returns whether there was one. */
  remove(name: string): Promise<boolean>;
  readonly passkeys: {
    /** @throws SidekeyError `already_exists` if the id is taken. */
    insert(passkey: PasskeyRecord): Promise<void>;
    get(id: string): Promise<PasskeyRecord | null>;
    /** Returns the passkeys of these people; those of one person are ordered by creation. */
    list(...people: readonly string[]): Promise<PasskeyRecord[]>;
    used(id: string, use: { readonly counter: number; readonly at: number }): Promise<void>;
    /** Returns whether the person had such a passkey. */
    remove(person: string, id: string): Promise<boolean>;
  };
}

/** A sealed record with an end. */
export interface SessionRecord {
  /** Derived irreversibly from the session's secret, such as the state of a consent (RFC 6749 §10.12). */
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** The sealed content, bound to this id. */
  readonly sealed: Uint8Array;
}

/** Times in milliseconds since the epoch; null: never. */
export interface GrantActivity {
  readonly grantId: string;
  /** Time of the last request with its credential, to about a minute. */
  readonly usedAt: number | null;
  readonly refreshedAt: number | null;
  /** Time and reason of the last failed refresh, one sentence without a secret; null after a success. */
  readonly failedAt: number | null;
  readonly failure: string | null;
  /** Time at which an upstream last reported missing scopes, and their names; empty if it named none. */
  readonly lackedAt: number | null;
  readonly lacked: readonly string[];
}

/** The use of an access token by a lease, or by all other callers. */
export interface TokenUse {
  readonly grantId: string;
  /** Fingerprint of the token, as in the audit log. */
  readonly token: string;
  /** ID of the lease; null: callers without a lease. */
  readonly lease: string | null;
  /** Failed attempts to revoke the token since the lease ended. */
  readonly attempts: number;
  /** Time of the next attempt, in milliseconds since the epoch; null: at once. */
  readonly dueAt: number | null;
}

/** News about a grant. */
export type ActivityChange =
  | { readonly usedAt: number }
  | { readonly refreshedAt: number }
  | { readonly failedAt: number; readonly failure: string }
  | { readonly lackedAt: number; readonly lacked: readonly string[] };

/** The part of the store for pending requests. All times are milliseconds since the epoch. */

export interface ApprovalStore {
  /**
   * Inserts a question; truncates a path to 2,048 characters, a reason and a purpose to 1,024.
   * @throws SidekeyError `grant_missing` if the grant, the agent or the lease is gone; `already_exists` if
   * the id is taken
   */
  ask(question: Question): Promise<void>;
  get(id: string): Promise<Approval | null>;
  /** Extends the wait of these questions to at least this time: `aliveUntil`. */
  keepAlive(ids: readonly string[], until: number): Promise<void>;
  /** Returns questions that wait at this time (see `isWaiting`), ordered by `askedAt`, then id. */
  waiting(at: number, page?: Page<Pick<Question, 'askedAt' | 'id'>>): Promise<Approval[]>;
  /** Counts the questions that wait at this time. `agent`: only those of one agent, or of no agent (null). */
  countWaiting(at: number, agent?: string | null): Promise<number>;
  /**
   * Answers a question that is pending at `answer.at`, and stores a further approval atomically. Null: it is
   * no longer pending, and nothing was written.
   * @throws SidekeyError `input_invalid` for an approval for the lease without a lease; nothing was written
   */
  answer(id: string, answer: Answer): Promise<Approval | null>;
  /** Withdraws an unanswered question, so that nobody can answer it. Returns an earlier answer, or null. */
  withdraw(id: string): Promise<Answer | null>;
  /**
   * Returns the standing approval that is valid at this time for the same agent, lease, grant and rule, or
   * null. An approval for a lease ends with the lease at the latest.
   */
  standing(who: Asking, at: number): Promise<StandingApproval | null>;
  /** Returns a standing approval that is valid at this time by its ID; null: there is none. */
  standingOf(id: string, at: number): Promise<StandingApproval | null>;
  /** Returns standing approvals that are valid at this time, ordered by the time of the answer, then id. */
  listStanding(at: number, page?: Page<Pick<StandingApproval, 'at' | 'id'>>): Promise<StandingApproval[]>;
  /** Revokes an approval, and returns it; null if no approval has that id. */
  revoke(id: string): Promise<StandingApproval | null>;
  /** Deletes questions that ended before this time, except standing approvals. */
  removeEnded(before: number): Promise<void>;
}

/** A page of the proposals. `agent`: only those of one agent, or of no agent (null). */
interface ProposalQuery extends Page<Pick<Proposal, 'askedAt' | 'id'>> {
  readonly agent?: string | null;
}

/** The part of the store for changes that agents propose. All times are milliseconds since the epoch. */
export interface ProposalStore {
  /**
   * Inserts and returns a proposal; truncates its reason to 1,024 characters. If the caller has the same
   * change in force, declined or waiting, returns that. Null: `maxWaiting` proposals of the agent wait.
   * @throws SidekeyError `not_found` if the agent or the lease is gone
   */
  propose(proposal: Proposal, maxWaiting: number): Promise<Proposal | null>;
  get(id: string): Promise<Proposal | null>;
  /** Returns proposals, or those of one agent, by index, ordered by creation, then id. */
  list(query?: ProposalQuery): Promise<Proposal[]>;
  /** Counts the proposals that can be answered at this time and have no answer. */
  countWaiting(at: number): Promise<number>;
  /**
   * Answers a proposal that waits at `answer.at`; declines one that is accepted temporarily; completes
   * `connect` with `connected`. Null: this answer is not possible, and nothing was written.
   */
  answer(id: string, answer: ProposalAnswer): Promise<Proposal | null>;
  /**
   * Returns the domains accepted for this caller, for its lease or for one exchange, that are in force at this
   * time, by index, ordered by creation.
   */
  inForce(who: Proposer, at: number): Promise<Proposal[]>;
  /** Uses up a proposal accepted for one exchange. Returns false if it is not in force at this time. */
  use(id: string, at: number): Promise<boolean>;
  /** Deletes proposals that ended before this time, except those in force. */
  removeEnded(before: number): Promise<void>;
}

/** The parts of the store that grant rights. All times are milliseconds since the epoch. */

/** A stored agent. Its tokens, bindings and leases are removed with it. */
export interface AgentRecord {
  /** Unique. */
  readonly name: string;
  /** User that the agent acts for; null: none. */
  readonly user: string | null;
  /** Labels of the agent, for rules. */
  readonly labels: readonly string[];
  /** Time at which the agent was disabled; null: it is enabled. */
  readonly disabledAt: number | null;
  readonly createdAt: number;
}

/** One of an agent's tokens. Several may be valid at once. */
export interface AgentTokenRecord {
  /** UUID. */
  readonly id: string;
  readonly agent: string;
  /** Name of the token. A token and its replacement may have the same name. */
  readonly label: string;
  /** SHA-256 of the token. A token has 256 random bits, so a plain hash is enough (no dictionary to try). */
  readonly hash: Uint8Array;
  readonly createdAt: number;
  /** Expiry of the token; null: none. */
  readonly expiresAt: number | null;
  /** Time of the last use, to about a minute; null: never used. */
  readonly usedAt: number | null;
  readonly revokedAt: number | null;
}

export interface BindingRecord extends Binding {
  readonly agent: string;
  readonly createdAt: number;
}

/** A lease with the stored part of its token. */
export interface LeaseRecord extends Lease {
  /** SHA-256 of the lease's token. */
  readonly tokenHash: Uint8Array;
}

/** The settings of a grant that are not sealed. Spans are in milliseconds; null: not set. */
export interface GrantPolicy {
  readonly grantId: string;
  /** The end of the grant itself, independent of its tokens. */
  readonly expiresAt: number | null;
  /** The span that `grant set --ttl` set last, and the maximum from the time of a change. */
  readonly defaultTtlMs: number | null;
  readonly maxTtlMs: number | null;
  /** The default and the maximum life of its leases. */
  readonly leaseDefaultMs: number | null;
  readonly leaseMaxMs: number | null;
  /** Labels of the grant, for bindings and rules. */
  readonly labels: readonly string[];
}

export interface BoundAgent extends AgentRecord {
  readonly bindings: readonly Binding[];
}

/** A token of an agent, or the lease that it belongs to. Either may have ended. */
export type HeldToken =
  | { readonly kind: 'token'; readonly agent: BoundAgent; readonly token: AgentTokenRecord }
  | { readonly kind: 'lease'; readonly agent: BoundAgent; readonly lease: LeaseRecord };

/** Rights for decisions about requests. */
interface RightsStore {
  /**
   * Increases with every change of an agent, a token, a binding, a lease or a grant's policy. Uses do not
   * increase it, because they are frequent and change no right.
   */
  revision(): Promise<number>;
  /** Returns the token or the lease with this hash and its agent, of one moment; null: there is none. */
  holder(tokenHash: Uint8Array): Promise<HeldToken | null>;
  /** Returns an agent with its bindings, of one moment; null: there is none. */
  agent(name: string): Promise<BoundAgent | null>;
  /** Records uses; the later of two is kept. Missing records are ignored. */
  noteUses(uses: readonly RightUse[]): Promise<void>;
}

/** A use of a token or a lease, or of an agent by an OIDC token. */
export interface RightUse {
  readonly kind: 'token' | 'lease' | 'identity';
  /** Id of the token or lease; name of the agent. */
  readonly id: string;
  readonly at: number;
}

interface AgentBeginning {
  readonly tokens?: readonly AgentTokenRecord[];
  readonly bindings?: readonly Binding[];
}

/** An agent with its bindings. Leases are the 100 of the agent that end last. */
interface AgentInList extends AgentRecord {
  readonly bindings: readonly Binding[];
  readonly liveTokens: number;
  readonly activeLeases: number;
  /** Last use by a token, a lease or an OIDC token; null: none. */
  readonly usedAt: number | null;
}

interface AgentStore {
  /** Inserts an agent, its first token and bindings atomically. @throws SidekeyError `already_exists` */
  insert(agent: AgentRecord, beginning?: AgentBeginning): Promise<void>;
  get(name: string): Promise<AgentRecord | null>;
  /** Returns agents, ordered by name. */
  list(page?: { readonly limit: number }): Promise<AgentRecord[]>;
  count(): Promise<number>;
  /** Returns agents with facts of their rights at this time, ordered by name. */
  inList(at: number, page: Page<string>): Promise<AgentInList[]>;
  /** Returns up to `limit` agents whose bindings reach a grant (see `reachesGrant`), ordered by name. */
  reaching(grant: Omit<BoundGrant, 'lease' | 'parent'>, limit: number): Promise<AgentRecord[]>;
  /** Returns the time of the last use by an OIDC token, to about a minute; null: none. */
  identityUse(name: string): Promise<number | null>;
  /** Returns whether there is such an agent. */
  change(
    name: string,
    change: Partial<Pick<AgentRecord, 'user' | 'labels' | 'disabledAt'>>,
  ): Promise<boolean>;
  /** Removes an agent with its tokens, bindings and leases. Returns whether there was one. */
  remove(name: string): Promise<boolean>;
}

/** The tokens that a new one replaces, and their latest end. */
export interface TakeOver {
  /** Label of the tokens; null: all tokens of the agent. */
  readonly label: string | null;
  readonly at: number;
}

interface AgentTokenStore {
  /** Reports whether an agent has a token. */
  any(): Promise<boolean>;
  /** Returns the tokens of one agent or of all, ordered by creation. */
  list(agent?: string): Promise<AgentTokenRecord[]>;
  /**
   * Adds a token. The tokens that it replaces end at `takeOver.at` at the latest. Returns the number of
   * tokens that will end, null if there is no such agent.
   */
  add(token: AgentTokenRecord, takeOver: TakeOver | null): Promise<number | null>;
  /** Ends the tokens with this label (null: all) at once. Returns the number of tokens that were valid. */
  revoke(agent: string, label: string | null, at: number): Promise<number>;
  /** Deletes tokens that ended before this time. */
  removeEnded(before: number): Promise<void>;
}

interface BindingStore {
  /** Returns the bindings of one agent or of all, ordered by agent, kind and value. */
  list(agent?: string): Promise<BindingRecord[]>;
  /** Returns the number of new bindings; null if there is no such agent. */
  add(agent: string, bindings: readonly Binding[], at: number): Promise<number | null>;
  /** Returns the number of removed bindings. */
  remove(agent: string, bindings: readonly Binding[]): Promise<number>;
}

/** A page of the leases. */
export interface LeaseQuery extends Page<Pick<Lease, 'expiresAt' | 'id'>> {
  readonly agent?: string | undefined;
  /** ID of a grant. Includes leases for everything that their agent reaches. */
  readonly grant?: string;
  /** Exclusive start of `expiresAt`. */
  readonly endsAfter?: number | undefined;
}

/** A choice of leases. `grant` includes leases for everything that their agent reaches. */
export type LeaseChoice = { readonly id: string } | { readonly agent: string } | { readonly grant: string };

export interface LeaseStore {
  /** Returns false if there is no such agent, or it is disabled. */
  insert(lease: LeaseRecord): Promise<boolean>;
  get(id: string): Promise<LeaseRecord | null>;
  /** Returns leases by index, ordered by `expiresAt`, then id. */
  find(query?: LeaseQuery): Promise<LeaseRecord[]>;
  /** Counts leases that are not revoked and end after this time, as `GrantChecks.endings` counts. */
  endings(at: number, spansMs: readonly number[]): Promise<Endings & { readonly total: number }>;
  /** Returns the leases whose id begins with this text, at most two, ordered by id. */
  startingWith(prefix: string): Promise<LeaseRecord[]>;
  /**
   * Sets a new end and adds uses. If the lease had ended, its approvals end. Null if there is no such lease,
   * or it was revoked; then nothing is written.
   */
  renew(
    id: string,
    renewal: { readonly at: number; readonly expiresAt: number; readonly moreUses: number },
  ): Promise<LeaseRecord | null>;
  /** Revokes leases, even expired ones. Returns the ids of the leases that were not revoked before. */
  revoke(which: LeaseChoice, at: number): Promise<string[]>;
  /**
   * Counts one use over all processes of the store, and returns the number of uses. Null: not counted,
   * because no use is left, or the lease has ended or is gone.
   */
  use(id: string, at: number): Promise<number | null>;
  /** Deletes leases that ended before this time. */
  removeEnded(before: number): Promise<void>;
}

export type PolicyChange = Partial<Omit<GrantPolicy, 'grantId'>>;

interface GrantPolicyStore {
  /** Returns the policy of a grant; null if none is set. */
  get(grantId: string): Promise<GrantPolicy | null>;
  /** Returns the policies of these grants, in any order. */
  some(grantIds: readonly string[]): Promise<GrantPolicy[]>;
  /**
   * Returns up to `limit` policies whose `leaseMaxMs` is less than `below`, ordered by it, then by grant.
   * @param after the last policy of the page before
   */
  leaseMaxima(below: number, after: GrantPolicy | undefined, limit: number): Promise<GrantPolicy[]>;
  /** Keeps unnamed values. Returns whether there is such a grant; the policy is removed with it. */
  set(grantId: string, change: PolicyChange): Promise<boolean>;
}
