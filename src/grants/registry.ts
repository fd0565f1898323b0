import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { SidekeyError } from '../lib/errors.ts';
import { isPattern, parsePattern } from '../proxy/policy/domain-map.ts';
import { compare } from '../store/schema.ts';
import type { GrantRecord, Store } from '../store/store.ts';
import type { Vault } from '../store/vault/vault.ts';
import { erased } from './credential-shape.ts';
import { endOf, isRefreshable, type Metadata, type SealedCredential } from '../domain/credential.ts';
import { type Grant, type GrantState, isName, matches } from '../domain/grant.ts';
import { readSealed, writeSealed } from './sealed-text.ts';

/** Stored grants: records sealed by the vault, with a cache in memory. */

/** Properties of a new grant besides its credential. */
export interface NewGrant {
  readonly name: string;
  readonly user: string;
  readonly provider: string;
  readonly scopes: readonly string[];
  /** See `Grant`; absent: none. */
  readonly lease?: string;
}

/**
 * Grants of a store. One registry per store and process caches records until the store's epoch changes.
 * Methods reject, or throw if they return a value directly, with errors of `Store` and `Vault`.
 */
export interface Registry {
  /** @throws SidekeyError `already_exists`; `input_invalid`: a name or the audience is invalid */
  add(grant: NewGrant, sealed: SealedCredential): Promise<Grant>;
  /** Sorted by name, then user. */
  list(): Promise<readonly Grant[]>;
  /** Finds grants by ID, name or provider. Returns the value directly if cached, otherwise a promise. */
  find(reference: string): readonly Grant[] | Promise<readonly Grant[]>;
  /** Returns a grant with its credential, directly if cached, otherwise a promise. Null: no such grant. */
  open(id: string): OpenedGrant | null | Promise<OpenedGrant | null>;
  /** Like `open`, but from memory only. Undefined: the store would have to be read. */
  peek(id: string): OpenedGrant | null | undefined;
  /** Like `open`, but always from the store. */
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

interface GrantChange {
  readonly scopes?: readonly string[];
  readonly provider?: string;
}

interface RegistryParts {
  readonly store: Store;
  readonly vault: Vault;
  readonly now: () => number;
  /** Default: a random UUID. */
  readonly newId?: () => string;
}

/** Constructing it has no side effects, and nothing has to be closed. */
export function openRegistry({ store, vault, now, newId = randomUUID }: RegistryParts): Registry {
  const snapshots = createSnapshots(store, vault);
  const opened = createOpenedGrants(vault);

  /** Seals for the next revision: a seal of an older one does not open in its place. */
  async function recordOf(grant: Grant, sealed: SealedCredential): Promise<GrantRecord> {
    await vault.refresh();
    const { credential } = sealed;
    const columns = {
      ...grant,
      type: credential.type,
      expiresAt: endOf(credential),
      refreshable: isRefreshable(credential),
    };
    return { ...columns, sealed: vault.seal(sealContext(columns), writeSealed(sealed)) };
  }

  async function replace(grant: Grant, sealed: SealedCredential): Promise<Grant | null> {
    const record = await recordOf({ ...grant, revision: grant.revision + 1 }, sealed);
    try {
      return (await store.grants.replace(record, grant.revision)) ? grantOf(record) : null;
    } finally {
      snapshots.drop(grant.id);
    }
  }

  const registry: Registry = {
    async add(grant, sealed) {
      for (const [what, name] of Object.entries({
        name: grant.name,
        user: grant.user,
        provider: grant.provider,
      })) {
        // A name like an ID could be taken for another grant.
        if (!isName(name) || (what === 'name' && uuid.test(name)))
          throw new SidekeyError('input_invalid', `The ${what} of the grant is not valid.`, {
            hint: 'use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
          });
      }
      assertAudience(sealed.audience);
      const at = now();
      const record = await recordOf(
        {
          ...grant,
          id: newId(),
          type: sealed.credential.type,
          state: 'active',
          stateReason: null,
          expiresAt: null,
          refreshable: false,
          lease: grant.lease ?? null,
          revision: 1,
          createdAt: at,
          updatedAt: at,
        },
        sealed,
      );
      try {
        await store.grants.insert(record);
      } finally {
        snapshots.drop(record.id);
      }
      return grantOf(record);
    },

    async list() {
      return (snapshots.current() ?? (await snapshots.load())).grants();
    },

    find(reference) {
      const snapshot = snapshots.current();
      return snapshot === null
        ? snapshots.load().then((loaded) => loaded.find(reference))
        : snapshot.find(reference);
    },

    open(id) {
      const inMemory = registry.peek(id);
      return inMemory === undefined
        ? snapshots.load().then((loaded) => opened.open(id, loaded.record(id)))
        : inMemory;
    },

    peek(id) {
      const snapshot = snapshots.current();
      return snapshot === null ? undefined : opened.open(id, snapshot.record(id));
    },

    async read(id) {
      const record = await store.grants.get(id);
      await vault.refresh();
      // The cached record is older than this one, even with the same epoch.
      if (snapshots.current()?.record(id)?.revision !== record?.revision) snapshots.drop(id);
      return opened.open(id, record);
    },

    replaceCredential(grant, sealed, change = {}) {
      assertAudience(sealed.audience);
      const changed = { ...grant, ...change, state: 'active', stateReason: null, updatedAt: now() } as const;
      return replace(changed, sealed);
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
        const pairs = Object.entries({ ...sealed.metadata, ...change }).filter(([, value]) => value !== '');
        const metadata = pairs.length === 0 ? undefined : Object.fromEntries(pairs);
        if (isDeepStrictEqual(metadata, sealed.metadata)) return true;
        // `updatedAt` is unchanged: it separates failures of an older credential from newer ones.
        if ((await replace(grant, { ...sealed, metadata })) !== null) return true;
      }
    },

    async remove(id) {
      try {
        return await store.grants.remove(id);
      } finally {
        snapshots.drop(id);
      }
    },
  };
  return registry;
}

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Refuses an empty audience, which permits no host, and unreadable entries, which match none. */
function assertAudience(audience: readonly string[]): void {
  if (audience.length > 0 && audience.every((text) => isPattern(parsePattern(text)))) return;
  throw new SidekeyError(
    'input_invalid',
    'The audience of the grant is empty or has an entry that is not a host.',
    { hint: 'set the audience of the provider to the hosts that its credential may be sent to' },
  );
}

/** A grant with its unsealed credential. */
export interface OpenedGrant {
  readonly grant: Grant;
  readonly sealed: SealedCredential;
}

/** Opens records, and caches the last one of each grant. */
interface OpenedGrants {
  /** @throws SidekeyError `record_tampered`, `key_mismatch`. */
  open(id: string, record: GrantRecord | null): OpenedGrant | null;
}

/** Maximum open grants. Beyond it, the oldest is dropped. */
const maxOpen = 4_096;

/** Opens records on demand. */
function createOpenedGrants(vault: Vault): OpenedGrants {
  const openedGrants = new Map<string, { readonly record: GrantRecord; readonly opened: OpenedGrant }>();
  return {
    open(id, record) {
      if (record === null) {
        openedGrants.delete(id);
        return null;
      }
      const last = openedGrants.get(record.id);
      if (last?.record === record) return last.opened;
      // Equal bytes under an equal seal are the same credential. Other columns may have changed.
      const sealed =
        last !== undefined && isSameSeal(last.record, record)
          ? last.opened.sealed
          : readSealed(vault.open(sealContext(record), record.sealed), record.id);
      const opened = { grant: grantOf(record), sealed };
      openedGrants.delete(record.id);
      openedGrants.set(record.id, { record, opened });
      const [first] = openedGrants.size > maxOpen ? openedGrants.keys() : [];
      if (first !== undefined) openedGrants.delete(first);
      return opened;
    },
  };
}

function isSameSeal(a: GrantRecord, b: GrantRecord): boolean {
  return sealContext(a) === sealContext(b) && Buffer.compare(a.sealed, b.sealed) === 0;
}

/** All grants of the store, still sealed. */
interface Snapshot {
  readonly grants: () => readonly Grant[];
  record(id: string): GrantRecord | null;
  find(reference: string): readonly Grant[];
  /** Replaces the records with these IDs. Those without a new record are removed. */
  replace(ids: readonly string[], records: readonly GrantRecord[]): void;
}

/** The last snapshot, valid until the store changes. */
interface Snapshots {
  /** Returns null after a change of the store, and before the first read. Costs one `Store.epoch`. */
  current(): Snapshot | null;
  /** Returns a snapshot that is not older than this call. */
  load(): Promise<Snapshot>;
  /** Invalidates a grant, and the load in progress. */
  drop(id: string): void;
}

/** Maximum grants to read by ID. Beyond it, reading all is faster. */
const maxSome = 1_000;

/** Reads on demand, and only changed records. */
function createSnapshots(store: Store, vault: Pick<Vault, 'refresh'>): Snapshots {
  let cached: { readonly snapshot: Snapshot; readonly epoch: number } | null = null;
  let drops = 0;
  const dropped = new Set<string>();
  let loading: Promise<Snapshot> | null = null;

  /** Returns the ids of grants that may differ from the snapshot; null: all. */
  function stale(epoch: number): readonly string[] | null {
    if (cached === null) return null;
    const changed = cached.epoch === epoch ? [] : store.changesSince(cached.epoch).grants;
    return changed === null || changed.length + dropped.size > maxSome ? null : [...changed, ...dropped];
  }

  function current(): Snapshot | null {
    if (cached === null) return null;
    const epoch = store.epoch();
    if (cached.epoch === epoch && dropped.size === 0) return cached.snapshot;
    if (stale(epoch)?.length !== 0) return null;
    cached = { ...cached, epoch };
    return cached.snapshot;
  }

  async function read(): Promise<Snapshot> {
    for (;;) {
      const begun = drops;
      // Read before the rows: a change in between makes the snapshot outdated, never too new.
      const epoch = store.epoch();
      const ids = stale(epoch);
      const records = await (ids === null ? store.grants.list() : store.grants.some(ids));
      // Another process may have started to use a new key.
      await vault.refresh();
      if (begun !== drops) continue;
      const snapshot = ids === null || cached === null ? snapshotOf(records) : cached.snapshot;
      if (ids !== null) snapshot.replace(ids, records);
      cached = { snapshot, epoch };
      dropped.clear();
      return snapshot;
    }
  }

  function start(): Promise<Snapshot> {
    const begun = read().finally(() => {
      if (loading === begun) loading = null;
    });
    loading = begun;
    return begun;
  }

  return {
    current,
    async load() {
      if (loading !== null) {
        // The rows may be older than this call. The snapshot is valid only if nothing has changed.
        await loading.catch(() => null);
        const snapshot = current();
        if (snapshot !== null) return snapshot;
      }
      return loading ?? start();
    },
    drop(id) {
      drops += 1;
      dropped.add(id);
    },
  };
}

function snapshotOf(records: readonly GrantRecord[]): Snapshot {
  const byId = new Map(records.map((record) => [record.id, { record, grant: grantOf(record) }]));
  let sorted: readonly Grant[] | null = null;
  const byReference = new Map<string, readonly Grant[]>();
  const forget = (grant: Grant | undefined) => {
    if (grant === undefined) return;
    for (const reference of byReference.keys()) if (matches(grant, reference)) byReference.delete(reference);
  };
  const grants = () => (sorted ??= Array.from(byId.values(), ({ grant }) => grant).toSorted(inOrder));
  return {
    grants,
    record: (id) => byId.get(id)?.record ?? null,
    find(reference) {
      let candidates = byReference.get(reference);
      if (candidates === undefined) {
        candidates = grants().filter((grant) => matches(grant, reference));
        // References of the config are few. Misses are not cached, so that callers cannot fill the memory.
        if (candidates.length > 0) byReference.set(reference, candidates);
      }
      return candidates;
    },
    replace(ids, changed) {
      const news = new Map(changed.map((record) => [record.id, { record, grant: grantOf(record) }]));
      for (const id of ids) {
        const next = news.get(id);
        forget(byId.get(id)?.grant);
        forget(next?.grant);
        if (next === undefined) byId.delete(id);
        else byId.set(id, next);
      }
      sorted = null;
    },
  };
}

/** Compares by code unit: names are ASCII. */
function inOrder(a: Grant, b: Grant): number {
  return compare(a.name, b.name) || compare(a.user, b.user);
}

/**
 * Returns the context of a seal: it opens only for this grant and revision, and with the names that decide
 * who may use the grant and where its refresh token is sent.
 */
export function sealContext(grant: Pick<Grant, 'id' | 'revision' | 'name' | 'user' | 'provider'>): string {
  const { id, revision, name, user, provider } = grant;
  return `grant/${id}/${revision}/${name}/${user}/${provider}`;
}

/** Returns the columns that a person may see. */
export function grantOf(record: GrantRecord): Grant {
  const { sealed: _sealed, ...grant } = record;
  return Object.freeze(grant);
}
