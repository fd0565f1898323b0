import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { SidekeyError } from '../../lib/errors.ts';
import { remedy } from '../../lib/hint.ts';
import { openEnvelope, sealedKeyId, sealEnvelope, type WrapKey } from './envelope.ts';
import { derivedKey, keyIdOf, keyIdText, takeKey, withBytes } from './key-source.ts';
import { memberShape, nodeKeyId, type NodeMember, sealForNode } from './node-key.ts';
import { createVault, type Ring, type Vault } from './vault.ts';

/**
 * The ring of master keys in the store (decision 85): `key_ring` has the earlier keys, sealed by the current
 * one; `key_next` the current key, sealed by the previous one, whose holders open the store meanwhile.
 */

/** Names of the store's values with keys. */
export const keyNames = { ring: 'key_ring', next: 'key_next', check: 'key_check' } as const;

/** Returns the name of the value with the master key that is sealed for a node. */
export function nodeKeyName(node: string): string {
  return `key_node/${node}`;
}

/** Values to write; null removes a name. */
type Changes = Readonly<Record<string, Uint8Array | null>>;

/** The named values of a store that a ring uses. */
export interface RingValues {
  get(name: string): Promise<Uint8Array | null>;
  /** Writes `values` at once if `guard` still has the value `was` (null: none). Returns whether it wrote. */
  change(guard: string, was: Uint8Array | null, values: Changes): Promise<boolean>;
}

export function valuesIn(map: Map<string, Uint8Array>): RingValues {
  const none = new Uint8Array();
  return {
    get: async (name) => map.get(name) ?? null,
    async change(guard, was, values) {
      if (Buffer.compare(map.get(guard) ?? none, was ?? none) !== 0) return false;
      for (const [name, value] of Object.entries(values))
        if (value === null) map.delete(name);
        else map.set(name, value);
      return true;
    },
  };
}

const contexts = { ring: 'store/key-ring', next: 'store/key-next', check: 'store/key-check' } as const;
const constant = Buffer.from('sidekey key check');

/** Seals a constant for a new store, which proves later that a key is the one the store was made with. */
export function sealKeyCheck(vault: Pick<Vault, 'seal'>): Uint8Array {
  return vault.seal(contexts.check, constant);
}

/**
 * Proves the vault's key against the check of the store at `location`.
 * @throws SidekeyError `key_mismatch` if the store was made with another key; `record_tampered` if the check
 * itself was changed
 */
export function verifyKeyCheck(vault: Vault, check: Uint8Array, location: string): void {
  try {
    if (vault.open(contexts.check, check).equals(constant)) return;
  } catch (error) {
    if (!(error instanceof SidekeyError) || error.code !== 'key_mismatch') throw error;
    throw wrongKey(location, vault.keyId, error);
  }
  throw new SidekeyError('record_tampered', `The key check of the store at ${location} was changed.`, {
    hint: 'Restore the store from a backup.',
  });
}

/** The nodes, in the ring, so that only a holder of the current master key adds or revokes one. */
const nodesShape = z.strictObject({
  /** Id of the node that began the last rotation; null: there is one node. */
  by: z.string().nullable().default(null),
  /** Nodes that receive the master key through the store. */
  members: z.array(memberShape).default([]),
  /** Ids of revoked nodes that have a copy of a key, and enrolments of the other revoked nodes. */
  revoked: z.array(z.string()).default([]),
});

type Nodes = z.output<typeof nodesShape>;

const time = z.number().nullable();
const shape = nodesShape.extend({
  v: z.literal(1),
  since: time,
  earlier: z.array(z.strictObject({ key: z.string(), since: time, retired: time })),
});

/** Maximum attempts at a change of the ring, which other processes change too. */
const maxTries = 5;

interface Beginning {
  readonly next: KeyObject;
  /** Id of the node, if there are several. */
  readonly by: string | null;
  /** True if a node has a copy of the previous key, which opens the store until the node has the new one. */
  readonly hasCopies: boolean;
}

/** The keys of a store, and the changes of a rotation. */
export interface KeyRing {
  readonly vault: Vault;
  readonly current: () => KeyObject;
  readonly nodes: () => Nodes;
  /** Begins a rotation: now all processes seal with the new key. An earlier concurrent rotation stays. */
  readonly begin: (beginning: Beginning) => Promise<void>;
  /** Seals the master key for a node, now and in each later rotation. False: another change was first. */
  readonly admit: (member: NodeMember) => Promise<boolean>;
  /** Removes the master key of the node with this id, or bans the node if it has a copy. */
  readonly revoke: (id: string) => Promise<void>;
  /** Retires the previous key: its holders can no longer open the store. */
  readonly retire: () => Promise<void>;
}

/** The node that opens the ring: by its key, or by the id of one with a copy of the master key. */
type Self = { readonly publicKey: string } | { readonly id: string } | null;

interface KeyRingOptions {
  readonly values: RingValues;
  /** Location of the store, for messages. */
  readonly location: string;
  readonly now: () => number;
  /** Reads the key source again, for a process that missed a whole rotation. Absent if impossible. */
  readonly reread?: (() => Promise<KeyObject | null>) | undefined;
  /** This node; null: the store has one node. */
  readonly self: Self;
}

interface Read {
  /** The stored ring; null if there was no rotation and no node joined. */
  readonly record: Uint8Array | null;
  readonly keys: Ring;
  readonly nodes: Nodes;
}

/** Another ring, and values that are written with it. */
type Next = Partial<Omit<Read, 'record'>> & { readonly values?: Changes };

/**
 * Opens the ring of a store with a master key: the current one, or the previous one until it is retired.
 * @throws SidekeyError `key_mismatch` for another key; `record_tampered` for a changed ring; `node_revoked`
 */
export async function openKeyRing(
  master: KeyObject,
  { values, location, now, reread, self }: KeyRingOptions,
): Promise<KeyRing> {
  let ring: Read = {
    record: null,
    keys: [{ master, since: null, retiredAt: null }],
    nodes: nodesShape.parse({}),
  };
  const vault = createVault(ring.keys, { reload, now });
  await vault.refresh();
  if (ring.record === null) {
    assertMember(ring.nodes, self);
    const check = await values.get(keyNames.check);
    if (check !== null) verifyKeyCheck(vault, check, location);
  }

  async function reload(): Promise<Ring | null> {
    const record = await values.get(keyNames.ring);
    if (record === null || (ring.record !== null && Buffer.compare(record, ring.record) === 0)) return null;
    const [{ master: held }] = ring.keys;
    ring = await read(record, held).catch(async (error: unknown) => {
      if (error instanceof SidekeyError && error.code === 'node_revoked') throw error;
      // This process missed the rotation, or it ended between the two reads.
      const again = await reread?.();
      if (again === undefined || again === null) throw error;
      return read(record, again);
    });
    return ring.keys;
  }

  async function read(record: Uint8Array, held: KeyObject): Promise<Read> {
    const current = await currentKey(record, held);
    const text = openEnvelope(wrapKeyOf(current), contexts.ring, record);
    const { since, earlier, by, members, revoked } = shape.parse(JSON.parse(text.toString()));
    text.fill(0);
    const nodes = { by, members, revoked };
    assertMember(nodes, self);
    const before = earlier.map((each) => ({
      master: takeKey(Buffer.from(each.key, 'base64')),
      since: each.since,
      retiredAt: each.retired,
    }));
    return { record, keys: [{ master: current, since, retiredAt: null }, ...before], nodes };
  }

  async function currentKey(record: Uint8Array, held: KeyObject): Promise<KeyObject> {
    const id = keyIdText(held);
    if (sealedKeyId(record) === id) return held;
    const next = await values.get(keyNames.next);
    if (next === null || sealedKeyId(next) !== id) throw wrongKey(location, id);
    return takeKey(openEnvelope(wrapKeyOf(held), contexts.next, next));
  }

  /** Writes another ring. False: another process was first. */
  async function write(to: Next): Promise<boolean> {
    const [{ master: current, since }, ...earlier] = to.keys ?? ring.keys;
    const before = earlier.map((each) => ({
      key: withBytes(each.master, (bytes) => bytes.toString('base64')),
      since: each.since,
      retired: each.retiredAt,
    }));
    const text = Buffer.from(JSON.stringify({ v: 1, ...(to.nodes ?? ring.nodes), since, earlier: before }));
    const record = sealEnvelope(wrapKeyOf(current), contexts.ring, text);
    text.fill(0);
    const done = await values.change(keyNames.ring, ring.record, { [keyNames.ring]: record, ...to.values });
    await vault.refresh();
    return done;
  }

  /** Writes another ring, and retries after concurrent changes. `next` returns null for nothing to change. */
  async function change(next: () => Next | null): Promise<void> {
    for (let tries = 0; tries < maxTries; tries += 1) {
      const to = next();
      if (to === null || (await write(to))) return;
    }
    throw new SidekeyError('already_exists', 'Other processes changed the master keys meanwhile.', {
      hint: remedy('key.status'),
    });
  }

  return {
    vault,
    current: () => ring.keys[0].master,
    nodes: () => ring.nodes,
    begin({ next, by, hasCopies }) {
      let isFirst = true;
      return change(() => {
        if (!isFirst && isRotating(vault.generations)) return null;
        isFirst = false;
        const { keys, nodes } = ring;
        const sealed = withBytes(next, (key) => sealEnvelope(wrapKeyOf(keys[0].master), contexts.next, key));
        const forNodes = nodes.members.map((member) => [nodeKeyName(member.name), sealForNode(next, member)]);
        return {
          keys: [{ master: next, since: now(), retiredAt: null }, ...keys],
          nodes: { ...nodes, by },
          values: {
            [keyNames.next]: hasCopies ? sealed : null,
            [keyNames.check]: sealKeyCheck(createVault(next)),
            ...(Object.fromEntries(forNodes) as Changes),
          },
        };
      });
    },
    admit: (member) =>
      write({
        nodes: { ...ring.nodes, members: [...ring.nodes.members, member] },
        values: { [nodeKeyName(member.name)]: sealForNode(ring.keys[0].master, member) },
      }),
    revoke: (id) =>
      change(() => {
        const member = ring.nodes.members.find((each) => nodeKeyId(each) === id);
        const members = ring.nodes.members.filter((each) => each !== member);
        return {
          nodes: { ...ring.nodes, members, revoked: [...ring.nodes.revoked, member?.enrolment ?? id] },
          values: member === undefined ? {} : { [nodeKeyName(member.name)]: null },
        };
      }),
    retire: () =>
      change(() => {
        if (!isRotating(vault.generations)) return null;
        const [current, ...earlier] = ring.keys;
        const retired = earlier.map((each) => ({ ...each, retiredAt: each.retiredAt ?? now() }));
        return { keys: [current, ...retired], values: { [keyNames.next]: null } };
      }),
  };
}

/** @throws SidekeyError `node_revoked` */
function assertMember({ members, revoked }: Nodes, self: Self): void {
  if (self === null) return;
  const isRevoked =
    'id' in self ? revoked.includes(self.id) : !members.some(({ publicKey }) => publicKey === self.publicKey);
  if (isRevoked) throw new SidekeyError('node_revoked');
}

/** Reports whether a rotation is unfinished: an earlier key still opens the store. */
export function isRotating(generations: Vault['generations']): boolean {
  return generations.slice(1).some(({ retiredAt }) => retiredAt === null);
}

function wrapKeyOf(master: KeyObject): WrapKey {
  return { key: derivedKey(master, 'wrap'), id: keyIdOf(master) };
}

function wrongKey(location: string, keyId: string, cause?: unknown): SidekeyError {
  return new SidekeyError(
    'key_mismatch',
    `The store at ${location} was sealed with another master key than the one given (${keyId}).`,
    {
      hint: 'Point "key" in the configuration to the current master key of this store; a rotated key is of no use.',
      cause,
    },
  );
}
