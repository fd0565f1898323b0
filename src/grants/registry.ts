import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { LRUCache } from 'lru-cache';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { isPattern, parsePattern } from '../proxy/policy/domain-map.ts';
import { grantOf } from '../store/grants.ts';
import { inPages } from '../store/queries.ts';
import type { GrantRecord, MintedQuery, PolicyChange, Store, StoredRefresh } from '../store/store.ts';
import type { Vault } from '../store/vault/vault.ts';
import { erased } from './credential-shape.ts';
import {
  endOf,
  fileReferencesOf,
  isRefreshable,
  type Metadata,
  type OpenedGrant,
  type SealedCredential,
} from '../domain/credential.ts';
import { type Grant, type GrantState, isId, isName, isUserName, nameRules } from '../domain/grant.ts';
import type { GrantScope } from '../domain/lease.ts';
import { neverDue, isKept, refreshTokenSince } from './refresh-times.ts';
import { createGrantCache, type GrantCache } from './grant-cache.ts';
import { sealContext, writeSealed } from './sealed-text.ts';

/** Stored grants: records sealed by the vault, the last used ones in memory. */

/** Properties of a new grant besides its credential. */
export interface NewGrant {
  readonly name: string;
  readonly user: string;
  readonly provider: string;
  readonly scopes: readonly string[];
  /** ID of the lease that the grant belongs to; absent: none. */
  readonly lease?: string;
  /** See `Grant`; absent: not minted. */
  readonly parent?: string;
  readonly mint?: string;
}

/**
 * Grants of a store. One registry per store and process caches records until the store's epoch changes.
 * Methods reject, or throw if they return a value directly, with errors of `Store` and `Vault`.
 */
export interface Registry extends Pick<GrantCache, 'current' | 'first' | 'peek'> {
  /** @throws SidekeyError `already_exists`; `input_invalid`: a name or the audience is invalid */
  add(grant: NewGrant, sealed: SealedCredential, id?: string): Promise<Grant>;
  /** Adds up to 1,000 grants, all or none, and returns them. @throws as `add` */
  addAll(additions: readonly Addition[]): Promise<readonly Grant[]>;
  /** Returns the grants in scope (null: all) with this ID, name or provider, ordered by name, then user. */
  find: (reference: string, scope?: GrantScope | null) => readonly Grant[] | Promise<readonly Grant[]>;
  /** Returns the grant of a user with this exact name; null: none. */
  named(grant: Pick<Grant, 'name' | 'user'>): Promise<Grant | null>;
  /**
   * Returns a minted grant of a query that `isChosen` accepts; null: none.
   *
   * @param key text by which the caller chooses it, so that the next call needs no query
   */
  minted(
    key: string,
    query: Pick<MintedQuery, 'parents' | 'lease'>,
    isChosen: (grant: Grant) => boolean,
  ): Promise<Grant | null>;
  /** Returns a grant with its credential, directly if cached, otherwise a promise. Null: no such grant. */
  open(id: string): OpenedGrant | null | Promise<OpenedGrant | null>;
  /** Opens a record that was just read from the store; null: null. It is not cached. */
  openRecord(record: GrantRecord | null): Promise<OpenedGrant | null>;
  /** Returns a grant with its credential, read from the store; null: no such grant. */
  read(id: string): Promise<OpenedGrant | null>;
  /**
   * Replaces the credential and sets the grant to `active`. Null: the grant was changed or removed by another
   * write, and nothing was written. Read it again, and decide anew.
   */
  replaceCredential(grant: Grant, sealed: SealedCredential, change?: GrantChange): Promise<Grant | null>;
  /** Null as for `replaceCredential`. `reason` contains no secret. `revoked` erases the credential too. */
  setState(grant: Grant, state: GrantState, reason: string | null): Promise<Grant | null>;
  /**
   * Changes metadata of a grant despite concurrent writes. An empty value removes its key. Returns false if
   * the grant does not exist.
   */
  changeMetadata(id: string, change: Metadata): Promise<boolean>;
  /** Returns false if the grant did not exist. */
  remove(id: string): Promise<boolean>;
}

/** A new grant with its credential. */
export interface Addition {
  readonly grant: NewGrant;
  readonly sealed: SealedCredential;
  readonly id: string;
  /** Stored together with it. */
  readonly policy?: PolicyChange | undefined;
}

interface GrantChange {
  readonly scopes?: readonly string[];
  readonly provider?: string;
  /** Stored together with the credential. */
  readonly policy?: PolicyChange | undefined;
  /** Time at which the refresh schedule reads the grant again; absent: at once. */
  readonly dueAt?: number | null | undefined;
  /** Lock of the refresh that ends with this change; see `Store.grants.replace`. */
  readonly lock?: Pick<StoredRefresh, 'name' | 'holder'> | undefined;
}

interface RegistryParts {
  readonly store: Store;
  readonly vault: Vault;
  readonly now: () => number;
  /** Approximate bytes of memory for grants. Default: 64 MiB. */
  readonly cacheBytes?: number | undefined;
}

const pageSize = 200;

/** Constructing it has no side effects, and nothing has to be closed. */
export function openRegistry({ store, vault, now, cacheBytes = 64 * 1_048_576 }: RegistryParts): Registry {
  const cache = createGrantCache(store, vault, cacheBytes);
  /** IDs of minted grants by what chose them. */
  const chosen = new LRUCache<string, string>({ max: 10_000 });

  /** Seals for this revision: a seal of an older one does not open in its place. */
  function recordOf(grant: Grant, sealed: SealedCredential, dueAt: number | null = 0): GrantRecord {
    const { credential } = sealed;
    const columns = {
      ...grant,
      type: credential.type,
      expiresAt: endOf(credential),
      refreshable: isRefreshable(credential),
    };
    const times = isKept(columns) ? { dueAt, obtainedAt: refreshTokenSince(credential) } : neverDue;
    const filelessIn = fileReferencesOf(credential).length === 0 ? columns.revision : null;
    const text = writeSealed(sealed);
    return { ...columns, times: { ...times, filelessIn }, sealed: vault.seal(sealContext(columns), text) };
  }

  async function replace(
    grant: Grant,
    sealed: SealedCredential,
    { dueAt, lock, policy }: GrantChange = {},
  ): Promise<Grant | null> {
    await vault.refresh();
    const record = { ...recordOf({ ...grant, revision: grant.revision + 1 }, sealed, dueAt), policy };
    const refresh = lock && { ...lock, at: now() };
    try {
      return (await store.grants.replace(record, grant.revision, refresh)) ? grantOf(record) : null;
    } finally {
      cache.forget(grant.id, grant);
    }
  }

  const registry: Registry = {
    async add(grant, sealed, id = randomUUID()) {
      const [added] = await registry.addAll([{ grant, sealed, id }]);
      return added!;
    },

    async addAll(additions) {
      const at = now();
      for (const { grant, sealed } of additions) {
        assertNames(grant);
        assertAudience(sealed.audience);
      }
      await vault.refresh();
      const records = additions.map(({ grant: wanted, sealed, id, policy }) => {
        const grant = {
          ...wanted,
          id,
          type: sealed.credential.type,
          state: 'active',
          stateReason: null,
          expiresAt: null,
          refreshable: false,
          lease: wanted.lease ?? null,
          parent: wanted.parent ?? null,
          mint: wanted.mint ?? null,
          revision: 1,
          createdAt: at,
          updatedAt: at,
        } as const;
        return { ...recordOf(grant, sealed), policy };
      });
      try {
        await store.grants.insert(...records);
      } finally {
        for (const record of records) cache.forget(record.id, record);
      }
      return records.map(grantOf);
    },

    find: cache.find,

    async named({ name, user }) {
      const some = await cache.find(name, { users: [user], ids: [] });
      return some.find((grant) => grant.name === name) ?? null;
    },

    async minted(key, query, isChosen) {
      const id = chosen.get(key);
      const known = id === undefined ? null : await cache.current(id);
      if (known !== null && isChosen(known)) return known;
      const read = (after?: GrantRecord) => store.grants.minted({ ...query, after, limit: pageSize });
      for await (const page of inPages(pageSize, read)) {
        const grant = page.find(isChosen);
        if (grant === undefined) continue;
        chosen.set(key, grant.id);
        return cache.current(grant.id);
      }
      return null;
    },

    first: cache.first,
    peek: cache.peek,
    current: cache.current,
    open(id) {
      const opened = cache.peek(id);
      return opened === undefined ? cache.open(id) : opened;
    },

    async openRecord(record) {
      await vault.refresh();
      return record && cache.openRecord(record);
    },

    async read(id) {
      const record = await store.grants.get(id);
      if (record === null) cache.forget(id);
      return registry.openRecord(record);
    },

    replaceCredential(grant, sealed, { dueAt, lock, policy, ...change } = {}) {
      assertAudience(sealed.audience);
      const changed = { ...grant, ...change, state: 'active', stateReason: null, updatedAt: now() } as const;
      return replace(changed, sealed, { dueAt, lock, policy });
    },

    async setState(grant, state, reason) {
      const stored = await registry.read(grant.id);
      if (stored === null || stored.grant.revision !== grant.revision) return null;
      const sealed = state === 'revoked' ? erased(stored.sealed) : stored.sealed;
      return replace({ ...stored.grant, state, stateReason: reason, updatedAt: now() }, sealed);
    },

    async changeMetadata(id, change) {
      for (;;) {
        const stored = await registry.read(id);
        if (stored === null) return false;
        const { grant, sealed } = stored;
        const metadata = changedMetadata(sealed.metadata, change);
        if (isDeepStrictEqual(metadata, sealed.metadata)) return true;
        // `updatedAt` is unchanged: it separates failures of an older credential from newer ones.
        if ((await replace(grant, { ...sealed, metadata })) !== null) return true;
      }
    },

    async remove(id) {
      try {
        return await store.grants.remove(id);
      } finally {
        cache.forget(id);
      }
    },
  };
  return registry;
}

/** Returns metadata after a change, whose empty values remove their keys; undefined: none. */
export function changedMetadata(before: Metadata | undefined, change: Metadata = {}): Metadata | undefined {
  const pairs = Object.entries({ ...before, ...change }).filter(([, value]) => value !== '');
  return pairs.length === 0 ? undefined : Object.fromEntries(pairs);
}

/** Refuses invalid names. A name like an ID could be taken for another grant. */
function assertNames({ name, user, provider }: NewGrant): void {
  for (const [what, text] of Object.entries({ name, user, provider })) {
    if (what === 'user' ? isUserName(text) : isName(text) && (what !== 'name' || !isId(text))) continue;
    throw new SidekeyError('input_invalid', `The ${what} of the grant is not valid.`, {
      hint: nameRules[what === 'user' ? 'user' : 'name'],
    });
  }
}

/** Refuses an empty audience, which permits no host, and unreadable entries, which match none. */
function assertAudience(audience: readonly string[]): void {
  if (audience.length > 0 && audience.every((text) => isPattern(parsePattern(text)))) return;
  throw inputInvalid(
    'The audience of the grant is empty or has an entry that is not a host.',
    'set the audience of the provider to the hosts that its credential may be sent to',
  );
}
