/** Grants at rest: what the store keeps of them, sealed by the vault, and what is kept in memory for the next request. */
import { randomUUID } from 'node:crypto';
import { SidekeyError } from '../errors.ts';
import { isPattern, parsePattern } from '../policy/pattern.ts';
import type { GrantRecord, Store } from '../store/store.ts';
import type { Vault } from '../vault/vault.ts';
import type { SealedCredential } from './credential.ts';
import { erased } from './erased.ts';
import { isName, type Grant, type GrantState } from './grant.ts';
import { grantOf, sealContext } from './grant-record.ts';
import { createOpenedGrants, type OpenedGrant } from './opened-grants.ts';
import { writeSealed } from './sealed-text.ts';
import { createSnapshots } from './snapshot.ts';
import { endOf, isRefreshable } from './token-clock.ts';

export type { OpenedGrant };

/** What a new grant is told; the rest follows from its credential. */
export interface NewGrant {
  readonly name: string;
  readonly user: string;
  readonly provider: string;
  readonly scopes: readonly string[];
}

/**
 * The grants of a store. One registry for each store of a process: it keeps what it read until the store's epoch
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
  /** The same, from the store itself, whatever is known. */
  read(id: string): Promise<OpenedGrant | null>;
  /**
   * Puts a new credential in place and makes the grant `active`. Null where the grant is no longer as it was
   * given (another write was first, or it is gone): nothing was written; read again, and decide anew.
   */
  replaceCredential(grant: Grant, sealed: SealedCredential, change?: GrantChange): Promise<Grant | null>;
  /**
   * Null as for `replaceCredential`. `reason` is one sentence without a secret. A grant that is `revoked` loses its
   * credential too.
   */
  setState(grant: Grant, state: GrantState, reason: string | null): Promise<Grant | null>;
  /** Answers whether there was such a grant. */
  remove(id: string): Promise<boolean>;
}

/** What may change together with a credential. */
export interface GrantChange {
  readonly scopes?: readonly string[];
  readonly provider?: string;
}

/** What a registry stands on. */
export interface RegistryParts {
  readonly store: Store;
  readonly vault: Vault;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** By default a random UUID. */
  readonly newId?: () => string;
}

/** Reads nothing yet, and opens nothing that has to be closed. */
export function openRegistry({ store, vault, now, newId = randomUUID }: RegistryParts): Registry {
  const snapshots = createSnapshots(store);
  const opened = createOpenedGrants(vault);

  /** Seals for the revision that the record will have: a seal of an older one does not open in its place. */
  function recordOf(grant: Grant, sealed: SealedCredential): GrantRecord {
    const { credential } = sealed;
    const columns = {
      ...grant,
      type: credential.type,
      expiresAt: endOf(credential),
      refreshable: isRefreshable(credential),
      updatedAt: now(),
    };
    return { ...columns, sealed: vault.seal(sealContext(columns), writeSealed(sealed)) };
  }

  async function replace(grant: Grant, sealed: SealedCredential): Promise<Grant | null> {
    const record = recordOf({ ...grant, revision: grant.revision + 1 }, sealed);
    try {
      return (await store.grants.replace(record, grant.revision)) ? grantOf(record) : null;
    } finally {
      snapshots.drop();
    }
  }

  const registry: Registry = {
    async add(grant, sealed) {
      for (const [what, name] of Object.entries({
        name: grant.name,
        user: grant.user,
        provider: grant.provider,
      })) {
        if (!isName(name)) throw badName(what);
      }
      assertAudience(sealed.audience);
      const at = now();
      const record = recordOf(
        {
          ...grant,
          id: newId(),
          type: sealed.credential.type,
          state: 'active',
          stateReason: null,
          expiresAt: null,
          refreshable: false,
          revision: 1,
          createdAt: at,
          updatedAt: at,
        },
        sealed,
      );
      try {
        await store.grants.insert(record);
      } finally {
        snapshots.drop();
      }
      return grantOf(record);
    },

    async list() {
      return (snapshots.current() ?? (await snapshots.load())).grants;
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
      // What is known is older than this: the epoch must not be the only thing that says so.
      if (snapshots.current()?.record(id)?.revision !== record?.revision) snapshots.drop();
      return opened.open(id, record);
    },

    replaceCredential(grant, sealed, change = {}) {
      assertAudience(sealed.audience);
      return replace({ ...grant, ...change, state: 'active', stateReason: null }, sealed);
    },

    async setState(grant, state, reason) {
      const stored = await registry.read(grant.id);
      if (stored === null || stored.grant.revision !== grant.revision) return null;
      const sealed = state === 'revoked' ? erased(stored.sealed) : stored.sealed;
      return replace({ ...stored.grant, state, stateReason: reason }, sealed);
    },

    async remove(id) {
      try {
        return await store.grants.remove(id);
      } finally {
        snapshots.drop();
      }
    },
  };
  return registry;
}

function badName(what: string): SidekeyError {
  return new SidekeyError('input_invalid', `The ${what} of the grant is not valid.`, {
    hint: 'use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
  });
}

/** A credential without an audience could go nowhere; one that cannot be read would match nothing. */
function assertAudience(audience: readonly string[]): void {
  if (audience.length > 0 && audience.every((text) => isPattern(parsePattern(text)))) return;
  throw new SidekeyError('input_invalid', 'The audience of the grant is empty or holds what is no host.', {
    hint: 'set the audience of the provider to the hosts that its credential may be sent to',
  });
}
