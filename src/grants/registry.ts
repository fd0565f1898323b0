import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { SidekeyError } from '../lib/errors.ts';
import { isPattern, parsePattern } from '../policy/domain-map.ts';
import { compare } from '../store/schema.ts';
import type { GrantRecord, Store } from '../store/store.ts';
import type { Vault } from '../vault/vault.ts';
import { erased } from './credential-shape.ts';
import { endOf, isRefreshable, type Metadata, type SealedCredential } from '../domain/credential.ts';
import { type Grant, type GrantState, isName, matches } from '../domain/grant.ts';
import { readSealed, writeSealed } from './sealed-text.ts';

/** Grants at rest: their records in the store, sealed by the vault, and the records in memory for the next request. */

/** Facts of a new grant besides its credential. */
export interface NewGrant {
  readonly name: string;
  readonly user: string;
  readonly provider: string;
  readonly scopes: readonly string[];
  /** See `Grant`; absent: none. */
  readonly lease?: string;
}

/**
 * The grants of a store. One registry for each store of a process: it keeps the read records until the store's epoch
 * changes. Methods reject (or, where the answer is at hand, throw) with what `Store` and `Vault` throw.
 */
export interface Registry {
  /** @throws SidekeyError `already_exists`; `input_invalid` where a name or the audience is not valid. */
  add(grant: NewGrant, sealed: SealedCredential): Promise<Grant>;
  /** In order of name, then user. */
  list(): Promise<readonly Grant[]>;
  /** Grants whose id, name or provider is the reference. Not a promise when it is known already. */
  find(reference: string): readonly Grant[] | Promise<readonly Grant[]>;
  /** The grant with its credential; null where there is none. Not a promise when it is known already. */
  open(id: string): OpenedGrant | null | Promise<OpenedGrant | null>;
  /** The same, from memory alone: undefined where the store would have to be read. */
  peek(id: string): OpenedGrant | null | undefined;
  /** The same, always from the store. */
  read(id: string): Promise<OpenedGrant | null>;
  /**
   * Puts a new credential in place and makes the grant `active`. Null if the grant has changed since (another write was
   * first, or it was removed): nothing was written; read again, and decide anew.
   */
  replaceCredential(grant: Grant, sealed: SealedCredential, change?: GrantChange): Promise<Grant | null>;
  /**
   * Null as for `replaceCredential`. `reason` is one sentence without a secret. A grant that is `revoked` loses its
   * credential too.
   */
  setState(grant: Grant, state: GrantState, reason: string | null): Promise<Grant | null>;
  /**
   * Adds metadata to a grant, whatever else writes to it meanwhile; an empty value removes its key. Returns
   * whether there is such a grant.
   */
  changeMetadata(id: string, change: Metadata): Promise<boolean>;
  /** Answers whether there was such a grant. */
  remove(id: string): Promise<boolean>;
}

interface GrantChange {
  readonly scopes?: readonly string[];
  readonly provider?: string;
}

interface RegistryParts {
  readonly store: Store;
  readonly vault: Vault;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** By default a random UUID. */
  readonly newId?: () => string;
}

/** Reads nothing yet, and opens nothing that has to be closed. */
export function openRegistry({ store, vault, now, newId = randomUUID }: RegistryParts): Registry {
  const snapshots = createSnapshots(store, vault);
  const opened = createOpenedGrants(vault);

  /** Seals for the revision that the record will have: a seal of an older one does not open in its place. */
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
        // A name in the form of an id would be taken for another grant.
        if (!isName(name) || (what === 'name' && uuid.test(name))) throw badName(what);
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
      const known = registry.peek(id);
      return known === undefined
        ? snapshots.load().then((loaded) => opened.open(id, loaded.record(id)))
        : known;
    },

    peek(id) {
      const snapshot = snapshots.current();
      return snapshot === null ? undefined : opened.open(id, snapshot.record(id));
    },

    async read(id) {
      const record = await store.grants.get(id);
      await vault.refresh();
      // The cached record is older than this one, also with the same epoch.
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
        // `updatedAt` stays: failures before the last new credential say nothing about it.
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

function badName(what: string): SidekeyError {
  return new SidekeyError('input_invalid', `The ${what} of the grant is not valid.`, {
    hint: 'use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
  });
}

/** A credential without an audience could go nowhere; one that cannot be read would match nothing. */
function assertAudience(audience: readonly string[]): void {
  if (audience.length > 0 && audience.every((text) => isPattern(parsePattern(text)))) return;
  throw new SidekeyError(
    'input_invalid',
    'The audience of the grant is empty or has an entry that is not a host.',
    {
      hint: 'set the audience of the provider to the hosts that its credential may be sent to',
    },
  );
}

/** A grant and its credential in the clear. */
export interface OpenedGrant {
  readonly grant: Grant;
  readonly sealed: SealedCredential;
}

/** Opens records, and caches the last one of each grant. */
interface OpenedGrants {
  /** @throws SidekeyError `record_tampered`, `key_mismatch`. */
  open(id: string, record: GrantRecord | null): OpenedGrant | null;
}

/** The maximum number of open grants; beyond it the one that was opened first is dropped. */
const maxOpen = 4_096;

/** Nothing is opened before it is asked for. */
function createOpenedGrants(vault: Vault): OpenedGrants {
  const known = new Map<string, { readonly record: GrantRecord; readonly opened: OpenedGrant }>();
  return {
    open(id, record) {
      if (record === null) {
        known.delete(id);
        return null;
      }
      const last = known.get(record.id);
      if (last?.record === record) return last.opened;
      // The same bytes under the same seal hold the same credential; other columns may still have changed.
      const sealed =
        last !== undefined && isSameSeal(last.record, record)
          ? last.opened.sealed
          : readSealed(vault.open(sealContext(record), record.sealed), record.id);
      const opened = { grant: grantOf(record), sealed };
      known.delete(record.id);
      known.set(record.id, { record, opened });
      const [first] = known.size > maxOpen ? known.keys() : [];
      if (first !== undefined) known.delete(first);
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
  /** Puts records in the place of those with these ids; the other ones are gone. */
  replace(ids: readonly string[], records: readonly GrantRecord[]): void;
}

/** The last snapshot, for as long as the store says that nothing has changed. */
interface Snapshots {
  /** Null where the store has changed since, or was never read. Costs one `Store.epoch`. */
  current(): Snapshot | null;
  /** A snapshot that is not older than this call. */
  load(): Promise<Snapshot>;
  /** Forgets a grant, and what a load that is under way will bring. */
  drop(id: string): void;
}

/** Beyond as many grants, all are read: that is faster than to name them. */
const maxSome = 1_000;

/** Reads nothing before it is asked, and then no more than has changed. */
function createSnapshots(store: Store, vault: Pick<Vault, 'refresh'>): Snapshots {
  let known: { readonly snapshot: Snapshot; readonly epoch: number } | null = null;
  let drops = 0;
  const dropped = new Set<string>();
  let loading: Promise<Snapshot> | null = null;

  /** Returns the ids of grants that may differ from the snapshot; null: all. */
  function stale(epoch: number): readonly string[] | null {
    if (known === null) return null;
    const changed = known.epoch === epoch ? [] : store.changesSince(known.epoch).grants;
    return changed === null || changed.length + dropped.size > maxSome ? null : [...changed, ...dropped];
  }

  function current(): Snapshot | null {
    if (known === null) return null;
    const epoch = store.epoch();
    if (known.epoch === epoch && dropped.size === 0) return known.snapshot;
    if (stale(epoch)?.length !== 0) return null;
    known = { ...known, epoch };
    return known.snapshot;
  }

  async function read(): Promise<Snapshot> {
    for (;;) {
      const begun = drops;
      // Asked before the rows: a change in between makes the snapshot count as old, never as new.
      const epoch = store.epoch();
      const ids = stale(epoch);
      const records = await (ids === null ? store.grants.list() : store.grants.some(ids));
      // Records may be sealed with a key that another process has begun to use.
      await vault.refresh();
      if (begun !== drops) continue;
      const snapshot = ids === null || known === null ? snapshotOf(records) : known.snapshot;
      if (ids !== null) snapshot.replace(ids, records);
      known = { snapshot, epoch };
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
        // It may have read its rows before this call; its answer counts only while nothing has changed.
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
  const found = new Map<string, readonly Grant[]>();
  const forget = (grant: Grant | undefined) => {
    if (grant === undefined) return;
    for (const reference of found.keys()) if (matches(grant, reference)) found.delete(reference);
  };
  const grants = () => (sorted ??= Array.from(byId.values(), ({ grant }) => grant).toSorted(inOrder));
  return {
    grants,
    record: (id) => byId.get(id)?.record ?? null,
    find(reference) {
      let candidates = found.get(reference);
      if (candidates === undefined) {
        candidates = grants().filter((grant) => matches(grant, reference));
        // References come from the config: few. References without a match are not cached, so that callers cannot fill
        // the memory.
        if (candidates.length > 0) found.set(reference, candidates);
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

/** By code unit: names are ASCII. */
function inOrder(a: Grant, b: Grant): number {
  return compare(a.name, b.name) || compare(a.user, b.user);
}

/**
 * Returns what a seal is bound to: it opens for this grant and this revision alone, and under the labels that decide
 * who may
 * use it and where its refresh token is sent.
 */
export function sealContext(grant: Pick<Grant, 'id' | 'revision' | 'name' | 'user' | 'provider'>): string {
  const { id, revision, name, user, provider } = grant;
  return `grant/${id}/${revision}/${name}/${user}/${provider}`;
}

/** The columns that a person may see. */
export function grantOf(record: GrantRecord): Grant {
  const { sealed: _sealed, ...grant } = record;
  return Object.freeze(grant);
}
