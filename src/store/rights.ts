/** Who may do what, until when: the parts of the store that say it. All times are milliseconds since the epoch. */
import type { Binding } from '../grants/binding.ts';
import type { Lease } from '../grants/lease.ts';

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
  /** What it is called; several may have one name while one takes over from another. */
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
  /** As of an agent's token. */
  readonly tokenHash: Uint8Array;
}

/** What people set for a grant; no part of what is sealed. Spans are in milliseconds; null: nothing is set. */
export interface GrantPolicy {
  readonly grantId: string;
  /** The end of the grant itself, whatever its tokens' ends are. */
  readonly expiresAt: number | null;
  /** How far into the future `grant extend` puts that end by itself, and at most. */
  readonly defaultTtlMs: number | null;
  readonly maxTtlMs: number | null;
  /** How long leases of it last by themselves, and at most. */
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
export interface RightsStore {
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

/** What an agent begins with. */
export interface AgentBeginning {
  readonly tokens?: readonly AgentTokenRecord[];
  readonly bindings?: readonly Binding[];
}

export interface AgentStore {
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

/** Which tokens a new one takes over from, and when they end at the latest. */
export interface TakeOver {
  /** Null: from all of the agent's. */
  readonly label: string | null;
  readonly at: number;
}

export interface AgentTokenStore {
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

export interface BindingStore {
  /** In order of agent, kind and value; of one agent, or of all. */
  list(agent?: string): Promise<BindingRecord[]>;
  /** Answers how many are new; null where there is no such agent. */
  add(agent: string, bindings: readonly Binding[], at: number): Promise<number | null>;
  /** Answers how many there were. */
  remove(agent: string, bindings: readonly Binding[]): Promise<number>;
}

/** Which leases are meant. Of a grant: those for whatever their agent reaches, too. */
export type LeaseChoice = { readonly id: string } | { readonly agent: string } | { readonly grant: string };

export interface LeaseStore {
  /** Answers false where there is no such agent. */
  insert(lease: LeaseRecord): Promise<boolean>;
  get(id: string): Promise<LeaseRecord | null>;
  /** In order of creation. */
  list(): Promise<LeaseRecord[]>;
  /**
   * Gives it a new end, and more uses; where it had ended, nothing that people approved under it stands any more. Null where
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

export interface GrantPolicyStore {
  /** Null: nothing was ever set. */
  get(grantId: string): Promise<GrantPolicy | null>;
  list(): Promise<GrantPolicy[]>;
  /** Keeps what is not named. Answers whether there is such a grant; what is kept goes with it. */
  set(grantId: string, change: Partial<Omit<GrantPolicy, 'grantId'>>): Promise<boolean>;
}
