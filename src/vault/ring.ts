import { type KeyObject, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { SidekeyError } from '../lib/errors.ts';
import { openEnvelope, sealedKeyId, sealEnvelope, type WrapKey } from './envelope.ts';
import { derivedKey, keyIdOf, keyLength, masterKey } from './key-source.ts';
import { memberShape, nodeKeyId, type NodeMember, sealForNode } from './node-key.ts';
import { createVault, type Ring, type Vault } from './vault.ts';

/**
 * The ring of master keys in the store (decision 85). `key_ring` has the earlier keys, sealed by the current one.
 * `key_next` has the current key, sealed by the one before: as long as it is there, holders of that one open the store.
 */

/** Names of the store's `meta` values. */
export const keyNames = { ring: 'key_ring', next: 'key_next', check: 'key_check' } as const;

/** Returns the name of the value with the master key that is sealed for a node. */
export function nodeKeyName(node: string): string {
  return `key_node/${node}`;
}

const contexts = { ring: 'store/key-ring', next: 'store/key-next' } as const;

const checkContext = 'store/key-check';
const constant = Buffer.from('sidekey key check');

/** A sealed constant, put into a new store: it proves later that a key is the one the store was made with. */
export function sealKeyCheck(vault: Pick<Vault, 'seal'>): Uint8Array {
  return vault.seal(checkContext, constant);
}

/**
 * Proves the vault's key against the check of the store at `location`.
 * @throws SidekeyError `key_mismatch` where the store was made with another key; `record_tampered` where the check
 * itself was changed.
 */
export function verifyKeyCheck(vault: Vault, check: Uint8Array, location: string): void {
  let opened: Buffer;
  try {
    opened = vault.open(checkContext, check);
  } catch (error) {
    if (!(error instanceof SidekeyError) || error.code !== 'key_mismatch') throw error;
    throw new SidekeyError(
      'key_mismatch',
      `The store at ${location} was sealed with another master key than the one given (${vault.keyId}).`,
      {
        hint: 'Point "key" in the configuration to the master key that this store was made with.',
        cause: error,
      },
    );
  }
  if (!opened.equals(constant)) {
    throw new SidekeyError('record_tampered', `The key check of the store at ${location} was changed.`, {
      hint: 'Restore the store from a backup.',
    });
  }
}

/** The part of the store with the keys. */
export interface KeyMeta {
  get(name: string): Promise<Uint8Array | null>;
  putIfAbsent(name: string, value: Uint8Array): Promise<boolean>;
  change(
    guard: string,
    was: Uint8Array | null,
    values: Readonly<Record<string, Uint8Array | null>>,
  ): Promise<boolean>;
}

/** The nodes, in the ring: only a holder of the current master key adds or revokes one. */
const nodesShape = z.strictObject({
  /** Id of the node that began the last rotation; null: there is one node. */
  by: z.string().nullable().default(null),
  /** Nodes that get the master key through the store. */
  members: z.array(memberShape).default([]),
  /** Ids of revoked nodes that have a copy of a key, and enrolments of the other revoked nodes. */
  revoked: z.array(z.string()).default([]),
});

type Nodes = z.output<typeof nodesShape>;

const shape = nodesShape.extend({
  v: z.literal(1),
  since: z.number().nullable(),
  earlier: z.array(
    z.strictObject({ key: z.string(), since: z.number().nullable(), retired: z.number().nullable() }),
  ),
});

/** Attempts at a change of the ring, which other processes change too. */
const maxTries = 5;

/** The beginning of a rotation. */
interface Beginning {
  readonly next: KeyObject;
  /** Id of the node, if there are several. */
  readonly by: string | null;
  /** True if a node has a copy of the key before, which must open the store until it has the new one. */
  readonly hasCopies: boolean;
}

/** The keys of a store, and the changes of a rotation. */
export interface KeyRing {
  readonly vault: Vault;
  /** Begins a rotation to a new key: from now on all processes seal with it. False: another change was first. */
  readonly begin: (beginning: Beginning) => Promise<boolean>;
  /** Returns what the ring says of nodes. */
  readonly nodes: () => Nodes;
  /** Seals the master key for a node, and for each rotation from now on. False: another change was first. */
  readonly admit: (member: NodeMember) => Promise<boolean>;
  /** Takes the master key from the node of this id, or refuses the node if it has a copy. */
  readonly revoke: (id: string) => Promise<void>;
  /** Passes the current key to `keep`. */
  readonly withKey: <T>(keep: (key: KeyObject) => Promise<T>) => Promise<T>;
  /** Retires the key before the current one: its holders can no longer open the store. */
  readonly retire: () => Promise<void>;
}

/** The node that opens the ring: by its key, or by the id of one with a copy of the master key. */
type Self = { readonly publicKey: string } | { readonly id: string } | null;

interface KeyRingOptions {
  readonly meta: KeyMeta;
  /** Location of the store, for messages. */
  readonly location: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Reads the key source again, for a process that missed a whole rotation; null: it cannot. */
  readonly reread: () => Promise<KeyObject | null>;
  /** Null: the store has one node. */
  readonly self: Self;
}

/**
 * Opens the ring of a store with a master key: the current one, or the one before if it is not retired.
 * @throws SidekeyError `key_mismatch` for another key; `record_tampered` if the ring was changed; `node_revoked`
 */
export async function openKeyRing(
  master: KeyObject,
  { meta, location, now, reread, self }: KeyRingOptions,
): Promise<KeyRing> {
  let stored = await meta.get(keyNames.ring);
  let ring: Ring = [{ master, since: null, retiredAt: null }];
  let nodes: Nodes = { by: null, members: [], revoked: [] };
  if (stored !== null) ring = await readAgain(stored, master);
  else assertMember();
  const vault = createVault(ring, { reload, now });
  const check = await meta.get(keyNames.check);
  if (check !== null && stored === null) verifyKeyCheck(vault, check, location);

  async function read(record: Uint8Array, held: KeyObject): Promise<Ring> {
    const current = await currentKey(record, held);
    if (current === null) throw wrongKey(location, held);
    const text = openEnvelope(wrapKeyOf(current), contexts.ring, record);
    const { since, earlier, by, members, revoked } = shape.parse(JSON.parse(text.toString()));
    text.fill(0);
    nodes = { by, members, revoked };
    assertMember();
    return [
      { master: current, since, retiredAt: null },
      ...earlier.map(({ key, ...times }) => ({
        master: keyFrom(Buffer.from(key, 'base64')),
        since: times.since,
        retiredAt: times.retired,
      })),
    ];
  }

  /** Reads the ring, with the key of the source if the rotation of the held one was missed. */
  async function readAgain(record: Uint8Array, held: KeyObject): Promise<Ring> {
    try {
      return await read(record, held);
    } catch (error) {
      if (error instanceof SidekeyError && error.code === 'node_revoked') throw error;
      // This process missed the rotation, or it ended between the two reads.
      const again = await reread();
      if (again === null) throw error;
      return await read(record, again);
    }
  }

  /** @throws SidekeyError `node_revoked` */
  function assertMember(): void {
    if (self === null) return;
    const isRevoked =
      'id' in self
        ? nodes.revoked.includes(self.id)
        : !nodes.members.some(({ publicKey }) => publicKey === self.publicKey);
    if (isRevoked) throw new SidekeyError('node_revoked');
  }

  async function currentKey(record: Uint8Array, held: KeyObject): Promise<KeyObject | null> {
    const wrapKey = wrapKeyOf(held);
    if (sealedKeyId(record) === idOf(held)) return held;
    const next = await meta.get(keyNames.next);
    if (next === null || sealedKeyId(next) !== idOf(held)) return null;
    return keyFrom(openEnvelope(wrapKey, contexts.next, next));
  }

  async function reload(): Promise<Ring | null> {
    const record = await meta.get(keyNames.ring);
    if (record === null || (stored !== null && Buffer.compare(record, stored) === 0)) return null;
    ring = await readAgain(record, ring[0].master);
    stored = record;
    return ring;
  }

  /** Writes another ring, unless another process was first. */
  async function replace(
    to: Ring,
    as: Nodes,
    more: Readonly<Record<string, Uint8Array | null>>,
  ): Promise<boolean> {
    const [{ master: current, since }, ...earlier] = to;
    const text = Buffer.from(
      JSON.stringify({
        v: 1,
        ...as,
        since,
        earlier: earlier.map((each) => ({
          key: each.master.export().toString('base64'),
          since: each.since,
          retired: each.retiredAt,
        })),
      }),
    );
    const record = sealEnvelope(wrapKeyOf(current), contexts.ring, text);
    text.fill(0);
    const done = await meta.change(keyNames.ring, stored, { [keyNames.ring]: record, ...more });
    await vault.refresh();
    return done;
  }

  return {
    vault,
    nodes: () => nodes,
    async begin({ next, by, hasCopies }) {
      const before = ring[0];
      const key = next.export();
      const sealed = sealEnvelope(wrapKeyOf(before.master), contexts.next, key);
      key.fill(0);
      const at = now();
      const forNodes = nodes.members.map(
        (member) => [nodeKeyName(member.name), sealForNode(next, member)] as const,
      );
      return replace(
        [{ master: next, since: at, retiredAt: null }, ...ring],
        { ...nodes, by },
        {
          [keyNames.next]: hasCopies ? sealed : null,
          [keyNames.check]: sealKeyCheck(createVault(next)),
          ...Object.fromEntries(forNodes),
        },
      );
    },
    admit: (member) =>
      replace(
        ring,
        { ...nodes, members: [...nodes.members, member] },
        { [nodeKeyName(member.name)]: sealForNode(ring[0].master, member) },
      ),
    async revoke(id) {
      for (let tries = 0; tries < maxTries; tries += 1) {
        const member = nodes.members.find((each) => nodeKeyId(each) === id);
        const members = nodes.members.filter((each) => each !== member);
        const as = { ...nodes, members, revoked: [...nodes.revoked, member?.enrolment ?? id] };
        if (await replace(ring, as, member ? { [nodeKeyName(member.name)]: null } : {})) return;
      }
      throw changed();
    },
    withKey: (keep) => keep(ring[0].master),
    async retire() {
      for (let tries = 0; tries < maxTries; tries += 1) {
        if (!isRotating(vault.generations)) return;
        const [current, ...earlier] = ring;
        const retired = earlier.map((each) => ({ ...each, retiredAt: each.retiredAt ?? now() }));
        if (await replace([current, ...retired], nodes, { [keyNames.next]: null })) return;
      }
      throw changed();
    },
  };
}

function changed(): SidekeyError {
  return new SidekeyError('already_exists', 'Other processes changed the master keys meanwhile.', {
    hint: 'sidekey key status',
  });
}

/** Reports whether a rotation is not finished: an earlier key still opens the store. */
export function isRotating(generations: Vault['generations']): boolean {
  return generations.slice(1).some(({ retiredAt }) => retiredAt === null);
}

/**
 * Puts the proof of the key into a new store, or proves the key by it. Returns whether the store is new.
 * @throws SidekeyError as `verifyKeyCheck`
 */
export async function proveKey(vault: Vault, meta: KeyMeta, location: string): Promise<boolean> {
  if (await meta.putIfAbsent(keyNames.check, sealKeyCheck(vault))) return true;
  const check = await meta.get(keyNames.check);
  if (check !== null) verifyKeyCheck(vault, check, location);
  return false;
}

/** Makes a new master key. */
export function newMasterKey(): KeyObject {
  return keyFrom(randomBytes(keyLength));
}

function keyFrom(bytes: Buffer): KeyObject {
  try {
    return masterKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

function wrapKeyOf(master: KeyObject): WrapKey {
  return { key: derivedKey(master, 'wrap'), id: keyIdOf(master) };
}

function idOf(master: KeyObject): string {
  return Buffer.from(keyIdOf(master)).toString('hex');
}

function wrongKey(location: string, held: KeyObject): SidekeyError {
  return new SidekeyError(
    'key_mismatch',
    `The store at ${location} is sealed with another master key than the one given (${idOf(held)}).`,
    {
      hint: 'Point "key" in the configuration to the current master key of this store; a rotated key is of no use.',
    },
  );
}
