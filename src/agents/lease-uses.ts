import { LRUCache } from 'lru-cache';
import { type UseNotes, usesEveryMs } from '../grants/activity.ts';
import type { SidekeyError } from '../lib/errors.ts';
import type { LeaseRecord, Store } from '../store/store.ts';
import { unknownToken } from './authentication.ts';
import { type Lease, leaseStanding } from '../domain/lease.ts';
import { leaseEnded, usedUp } from './permissions.ts';

/** Usage counts of leases in this process. Other processes may use the same leases. */
export class LeaseUses {
  /** Without an entry, the stored counts are used, as of a lease that another process used last. */
  readonly #fresh = new LRUCache<string, { readonly usedAt: number | null; readonly uses: number }>({
    max: 10_000,
  });
  readonly #leases: Pick<Store['leases'], 'get' | 'use'>;
  readonly #notes: Pick<UseNotes, 'used'>;

  constructor(leases: Pick<Store['leases'], 'get' | 'use'>, notes: Pick<UseNotes, 'used'>) {
    this.#leases = leases;
    this.#notes = notes;
  }

  /** Returns why the lease has ended; null if it has not. A promise if another process may have used it. */
  refusal(lease: LeaseRecord, at: number): SidekeyError | null | Promise<SidekeyError | null> {
    const current = this.#asKnown(lease);
    const standing = leaseStanding(current, at);
    if (standing.state === 'active') return null;
    if (standing.state !== 'expired' || standing.why !== 'idle') return leaseEnded(current, standing);
    return this.#idleRefusal(current, at);
  }

  /** Returns the end of the lease, in milliseconds since the epoch. */
  endOf(lease: LeaseRecord, at: number): number {
    const standing = leaseStanding(this.#asKnown(lease), at);
    return standing.state === 'active' ? standing.endsAt : at;
  }

  /** Notes a use that is not counted. */
  note(lease: LeaseRecord, at: number): void {
    const { id, idleMs, createdAt, usedAt, uses } = this.#asKnown(lease);
    this.#learn(id, { usedAt: at, uses });
    // Other processes read only the written uses. A use after a long pause is written at once. Other uses are
    // written soon enough that the lease cannot look idle.
    const isLate = idleMs !== null && at - (usedAt ?? createdAt) >= idleMs / 2;
    this.#notes.used('lease', id, isLate ? 0 : Math.min(usesEveryMs, (idleMs ?? Infinity) / 4));
  }

  /** Counts a use of a lease that has a maximum in the store, for all processes at once. */
  async count({ id }: LeaseRecord, at: number): Promise<SidekeyError | null> {
    const uses = await this.#leases.use(id, at);
    if (uses !== null) {
      this.#learn(id, { usedAt: at, uses });
      return null;
    }
    const stored = await this.#leases.get(id);
    if (stored === null) return unknownToken();
    this.#learn(id, stored);
    const standing = leaseStanding(stored, at);
    // Others gave it back a use in between: the next request gets it.
    return standing.state === 'active' ? usedUp(stored) : leaseEnded(stored, standing);
  }

  /** Reads an idle lease from the store, because another process may have used it meanwhile. */
  async #idleRefusal(lease: LeaseRecord, at: number): Promise<SidekeyError | null> {
    const stored = await this.#leases.get(lease.id);
    if (stored === null) return unknownToken();
    this.#learn(stored.id, stored);
    const standing = leaseStanding(lease.maxUses === null ? { ...stored, maxUses: null } : stored, at);
    return standing.state === 'active' ? null : leaseEnded(stored, standing);
  }

  #asKnown(lease: LeaseRecord): LeaseRecord {
    const fresh = this.#fresh.get(lease.id);
    if (fresh === undefined) return lease;
    const { usedAt, uses } = fresh;
    return {
      ...lease,
      usedAt: usedAt === null || (lease.usedAt ?? 0) > usedAt ? lease.usedAt : usedAt,
      uses: Math.max(lease.uses, uses),
    };
  }

  #learn(id: string, { usedAt, uses }: Pick<Lease, 'usedAt' | 'uses'>): void {
    this.#fresh.set(id, { usedAt, uses });
  }
}
