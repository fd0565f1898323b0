import { setImmediate as nextTurn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { OpenedGrant, SealedCredential } from '../domain/credential.ts';
import { type Grant, isId, isName, isUserName, matches } from '../domain/grant.ts';
import type { GrantScope } from '../domain/lease.ts';
import { grantOf, inNameOrder } from '../store/grants.ts';
import type { GrantNames, GrantRecord, Store } from '../store/store.ts';
import type { Vault } from '../store/vault/vault.ts';
import { readSealed, sealContext } from './sealed-text.ts';

/** The grants of a store that were used last. A miss costs one read by index. */

export type GrantCache = ReturnType<typeof createGrantCache>;

/** The grants of a reference and a user, or of a reference and all users. */
interface List {
  readonly grants: readonly Grant[];
  readonly generation: number;
}

/** A grant in memory; null: the store has no grant of that ID. */
interface Entry extends List {
  readonly stored: { readonly record: GrantRecord; readonly grant: Grant } | null;
  opened: OpenedGrant | null;
}

/** Grants of a scope, valid while nothing has changed or left the memory, or else while the parts are the same. */
interface Found {
  /** Without credentials, which would stay in memory after the removal of their grant. */
  readonly parts: readonly (readonly Grant[])[];
  readonly grants: readonly Grant[];
  readonly generation: number;
  readonly losses: number;
}

/** A read under way, and what was written since it began. */
interface Reading {
  result: Promise<unknown>;
  readonly ids: Set<string>;
  readonly lists: Set<string>;
}

/** Bytes of an entry besides its sealed and its opened text. */
const entryBytes = 1_500;
/** Bytes of a list, and of each grant in it. */
const listBytes = 300;
/** Grants of a reference that are searched for all users. */
const firstGrants = 2_000;
/** Number of them in a page, which takes some milliseconds on the thread of the proxy with SQLite. */
const firstPage = 100;
/** Maximum parts of the results that are kept for a scope. Each result counts as 20 more. */
const maxParts = 400;

/** @param maxBytes approximate bound of the memory */
export function createGrantCache(
  store: Pick<Store, 'epoch' | 'changesSince' | 'held' | 'grants'>,
  vault: Pick<Vault, 'refresh' | 'open'>,
  maxBytes: number,
) {
  const { held } = store;
  const entries = new LRUCache<string, Entry>({
    maxSize: maxBytes,
    onInsert: (_entry, id) => held?.count(id, 1),
    dispose(_entry, id) {
      losses += 1;
      held?.count(id, -1);
    },
    sizeCalculation: ({ stored }) => entryBytes + 4 * (stored?.record.sealed.byteLength ?? 0),
  });
  /** Keys of the lists that have a grant, by its ID. */
  const listed = new Map<string, Set<string>>();
  const lists = new LRUCache<string, List>({
    maxSize: Math.ceil(maxBytes / 4),
    sizeCalculation: ({ grants }) => listBytes * (1 + grants.length),
    dispose(list, key) {
      losses += 1;
      for (const { id } of list.grants) {
        const keys = listed.get(id);
        keys?.delete(key);
        if (keys?.size === 0 && listed.delete(id)) held?.count(id, -1);
      }
    },
  });
  const readings = new Map<string, Reading>();
  let seen: number | null = null;
  /** Increases when anything may have changed. */
  let generation = 0;
  /** Increases when an entry or a list leaves the memory. */
  let losses = 0;
  /** Results by scope and reference: a caller, which has one scope, looks up few references repeatedly. */
  const answers = new WeakMap<GrantScope, Map<string, Found>>();

  /** Forgets what the store reports as changed. @throws SidekeyError as `Store.epoch` */
  function follow(): void {
    const epoch = store.epoch();
    if (epoch === seen) return;
    const { grants, names } = seen === null ? { grants: null, names: [] } : store.changesSince(seen);
    seen = epoch;
    if (grants === null) generation += 1;
    else grants.forEach(forgetGrant);
    names.forEach(forgetNames);
  }

  function forgetGrant(id: string): void {
    entries.delete(id);
    for (const key of listed.get(id) ?? []) lists.delete(key);
    for (const reading of readings.values()) reading.ids.add(id);
  }

  function forgetNames({ name, user, provider }: GrantNames): void {
    for (const reference of [name, provider]) {
      const last = lists.peek(firstKey(reference))?.grants[firstGrants - 1];
      const isBeyond = last !== undefined && inNameOrder(last, { name, user }) < 0;
      for (const key of [listKey(reference, user), listKey(reference, null), firstKey(reference)]) {
        if (!isBeyond || key !== firstKey(reference)) lists.delete(key);
        for (const reading of readings.values()) reading.lists.add(key);
      }
    }
  }

  /**
   * Reads records once for concurrent callers, and again while what is read changes meanwhile.
   *
   * @param keys IDs or keys of lists
   * @param keep puts the records into the cache
   */
  function readOnce<Result>(
    keys: readonly string[],
    read: () => Promise<readonly GrantRecord[]>,
    keep: (records: readonly GrantRecord[]) => Result,
  ): Promise<Result> {
    const key = keys.join('\n\n');
    const before = readings.get(key);
    if (before !== undefined) return before.result as Promise<Result>;
    const reading: Reading = { result: Promise.resolve(), ids: new Set(), lists: new Set() };
    readings.set(key, reading);
    const readUntilUnchanged = async () => {
      try {
        for (;;) {
          reading.ids.clear();
          reading.lists.clear();
          const begun = generation;
          const records = await read();
          // Another process may have started to use a new key.
          await vault.refresh();
          follow();
          const isChanged =
            begun !== generation ||
            keys.some((each) => reading.lists.has(each) || reading.ids.has(referenceOf(each))) ||
            records.some(({ id }) => reading.ids.has(id));
          if (isChanged) continue;
          for (const { id, revision } of records) held?.read.push({ id, revision });
          return keep(records);
        }
      } finally {
        readings.delete(key);
      }
    };
    const result = readUntilUnchanged();
    reading.result = result;
    return result;
  }

  function keepEntry(id: string, record: GrantRecord | null): Entry {
    const before = entries.get(id);
    if (before?.generation === generation && before.stored?.record.revision === record?.revision)
      return before;
    const stored = record === null ? null : { record, grant: grantOf(record) };
    const opened = stored === null ? null : openedAs(stored, before);
    const entry = { stored, opened, grants: stored === null ? [] : [stored.grant], generation };
    entries.set(id, entry);
    return entry;
  }

  function readEntries(ids: readonly string[]): Promise<ReadonlyMap<string, Entry>> {
    return readOnce(
      ids,
      () => store.grants.some(ids),
      (records) =>
        new Map(ids.map((id) => [id, keepEntry(id, records.find((record) => record.id === id) ?? null)])),
    );
  }

  /** Reads the grants of a reference: of each of the users, or of all. */
  async function readLists(reference: string, users: readonly string[] | null): Promise<readonly List[]> {
    if (!isName(reference)) return (users ?? [null]).map(() => noGrants);
    if (users === null) {
      const key = listKey(reference, null);
      return [
        await readOnce(
          [key],
          () => store.grants.find({ reference }),
          (records) => keepList(key, records),
        ),
      ];
    }
    const names = users.filter(isUserName);
    const read = await readOnce(
      names.map((user) => listKey(reference, user)),
      () => store.grants.find({ reference, users: names }),
      (records) => {
        const byUser = Map.groupBy(records, ({ user }) => user);
        return new Map(
          names.map((user) => [user, keepList(listKey(reference, user), byUser.get(user) ?? [])]),
        );
      },
    );
    return users.map((user) => read.get(user) ?? noGrants);
  }

  function keepList(key: string, records: readonly GrantRecord[]): List {
    return keepGrants(
      key,
      records.map((record) => keepEntry(record.id, record).stored!.grant),
    );
  }

  function keepGrants(key: string, grants: readonly Grant[]): List {
    const list = { grants: Object.freeze(grants), generation };
    // A grant that comes back is reported by its name and provider, so its ID must not be kept as missing.
    if (grants.length > 0 || !isId(referenceOf(key))) lists.set(key, list);
    // Nor was a list that is larger than the bound.
    if (!lists.has(key)) return list;
    for (const { id } of grants) {
      if (!listed.has(id)) held?.count(id, 1);
      listed.set(id, (listed.get(id) ?? new Set()).add(key));
    }
    return list;
  }

  function current<Kept extends List>(kept: Kept | undefined): Kept | undefined {
    return kept?.generation === generation ? kept : undefined;
  }

  /**
   * Returns the grants in scope that have a reference as ID, name or provider, ordered by name, then user;
   * the same array for the same scope while they are unchanged. A promise if some must be read.
   */
  function find(
    reference: string,
    scope: GrantScope | null = null,
  ): readonly Grant[] | Promise<readonly Grant[]> {
    follow();
    if (scope === null) {
      const list = current(lists.get(listKey(reference, null)));
      return list?.grants ?? readLists(reference, null).then(([read]) => read!.grants);
    }
    const ofScope = answers.get(scope);
    const found = ofScope?.get(reference);
    if (found?.generation === generation && found.losses === losses) return found.grants;
    const { users, ids } = scope;
    const some = users.map((user) => current(lists.get(listKey(reference, user))));
    const others = ids.map((id) => current(entries.get(id)));
    const parts = [...some, ...others].map((part) => part?.grants);
    if (!parts.every((part) => part !== undefined)) return readParts(reference, scope, some, others);
    const isSame = found !== undefined && parts.every((part, index) => part === found.parts[index]);
    const grants = isSame ? found.grants : join(reference, parts);
    const answer = { parts, grants, generation, losses };
    if (ofScope === undefined || ofScope.size * (parts.length + 20) >= maxParts)
      answers.set(scope, new Map([[reference, answer]]));
    else ofScope.set(reference, answer);
    return grants;
  }

  /** Returns the first 2,000 grants of a reference, of all users, ordered as by `find`. A promise if read. */
  function first(reference: string): readonly Grant[] | Promise<readonly Grant[]> {
    follow();
    const key = firstKey(reference);
    const list = current(lists.get(key));
    if (list !== undefined) return list.grants;
    if (!isName(reference)) return noGrants.grants;
    return readFirst(reference);
  }

  /** Reads the first grants in pages, each of which is not older than this call. Other work runs between. */
  async function readFirst(reference: string): Promise<readonly Grant[]> {
    const begun = seen;
    const key = firstKey(reference);
    const grants: Grant[] = [];
    for (let isLast = false; !isLast; isLast ||= grants.length >= firstGrants) {
      const after = grants.at(-1);
      const page = await readOnce(
        [key, after === undefined ? '' : `${after.name}\n${after.user}`],
        () => store.grants.find({ reference, after, limit: firstPage }),
        // Without their credentials: few of them are used.
        (records) => records.map(grantOf),
      );
      grants.push(...page);
      isLast = page.length < firstPage;
      if (!isLast) await nextTurn();
    }
    follow();
    if (begun !== seen) return grants;
    // A poll between two pages has compared the ones before, which no mask had yet.
    held?.read.push(...grants);
    return keepGrants(key, grants).grants;
  }

  async function readParts(
    reference: string,
    { users, ids }: GrantScope,
    some: readonly (List | undefined)[],
    others: readonly (Entry | undefined)[],
  ): Promise<readonly Grant[]> {
    const missingUsers = users.filter((_, index) => some[index] === undefined);
    const missingIds = ids.filter((_, index) => others[index] === undefined);
    const news = missingUsers.length === 0 ? [] : await readLists(reference, missingUsers);
    const read = missingIds.length === 0 ? null : await readEntries(missingIds);
    return join(reference, [
      ...some.map((list, index) => (list ?? news[missingUsers.indexOf(users[index]!)]!).grants),
      ...others.map((entry, index) => (entry ?? read!.get(ids[index]!)!).grants),
    ]);
  }

  function openEntry(entry: Entry): OpenedGrant | null {
    const { stored } = entry;
    if (stored === null) return null;
    return (entry.opened ??= { grant: stored.grant, sealed: unsealed(stored.record) });
  }

  function unsealed(record: GrantRecord): SealedCredential {
    return readSealed(vault.open(sealContext(record), record.sealed), record.id);
  }

  /** Returns a grant, or null; undefined if it must be read. */
  function peek(id: string): OpenedGrant | null | undefined {
    follow();
    const entry = current(entries.get(id));
    return entry === undefined ? undefined : openEntry(entry);
  }

  return {
    find,
    first,
    peek,
    /** Returns a grant that is not older than this call, or null. A promise if it must be read. */
    current: (id: string): Grant | null | Promise<Grant | null> => {
      follow();
      const entry = current(entries.get(id));
      if (entry !== undefined) return entry.stored?.grant ?? null;
      return readEntries([id]).then((read) => read.get(id)!.stored?.grant ?? null);
    },
    /** Returns a grant with its credential that is not older than this call, or null. */
    async open(id: string): Promise<OpenedGrant | null> {
      const opened = peek(id);
      return opened === undefined ? openEntry((await readEntries([id])).get(id)!) : opened;
    },
    /** Opens a record that was read from the store. */
    openRecord(record: GrantRecord): OpenedGrant {
      const before = entries.peek(record.id);
      if (before?.stored?.record.revision !== record.revision) forgetGrant(record.id);
      const grant = grantOf(record);
      return openedAs({ record, grant }, before) ?? { grant, sealed: unsealed(record) };
    },
    /** Forgets a grant that may have been written. `names`: those of a new grant. */
    forget(id: string, names?: GrantNames): void {
      forgetGrant(id);
      if (names !== undefined) forgetNames(names);
    },
  };
}

/** Returns the grants of parts in the order of `find`. */
function join(reference: string, parts: readonly (readonly Grant[])[]): readonly Grant[] {
  const all = parts.flat().filter((grant) => matches(grant, reference));
  if (parts.length === 1 && parts[0]!.length === all.length) return parts[0]!;
  const byId = new Map(all.map((grant) => [grant.id, grant]));
  return Object.freeze([...byId.values()].toSorted(inNameOrder));
}

/** The list of a text that is no name. Not kept: its key could be that of another list. */
const noGrants: List = { grants: [], generation: 0 };

/** Names and IDs contain neither NUL nor line breaks. */
function listKey(reference: string, user: string | null): string {
  return user === null ? `\0${reference}` : `${reference}\n${user}`;
}

function firstKey(reference: string): string {
  return `\x01${reference}`;
}

/** Returns the reference of the key of a list; the ID of an entry. */
function referenceOf(key: string): string {
  return /[\w.-]+/.exec(key)?.[0] ?? '';
}

/** Returns the grant with the credential that an earlier entry opened; null: that has another seal. */
function openedAs(
  { record, grant }: NonNullable<Entry['stored']>,
  before: Entry | undefined,
): OpenedGrant | null {
  if (before?.opened == null || !isSameSeal(before.stored!.record, record)) return null;
  return { grant, sealed: before.opened.sealed };
}

/** Equal bytes under an equal seal are the same credential. Other columns may have changed. */
function isSameSeal(a: GrantRecord, b: GrantRecord): boolean {
  return sealContext(a) === sealContext(b) && Buffer.compare(a.sealed, b.sealed) === 0;
}
