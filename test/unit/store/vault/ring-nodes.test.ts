import { describe, expect, it } from 'vitest';
import {
  enrolmentOf,
  newEnrolmentToken,
  newNodeKey,
  nodeKeyId,
  openForNode,
} from '../../../../src/store/vault/node-key.ts';
import { newMasterKey } from '../../../../src/store/vault/key-source.ts';
import { keyNames, nodeKeyName, openKeyRing, valuesIn } from '../../../../src/store/vault/ring.ts';

type Self = Parameters<typeof openKeyRing>[1]['self'];

const revoked = { code: 'node_revoked' };

const nodeOf = (name: string) => {
  const { id, secret } = enrolmentOf(newEnrolmentToken());
  return newNodeKey({ name, secret, enrolment: id });
};
const memberOf = ({ name, publicKey, secret, enrolment }: ReturnType<typeof nodeOf>) => ({
  name,
  publicKey,
  secret,
  enrolment,
});

async function setUp(values = valuesIn(new Map()), key = newMasterKey()) {
  const open = (
    self: Self = null,
    master = key,
    reread: Parameters<typeof openKeyRing>[1]['reread'] = async () => null,
  ) => openKeyRing(master, { values, location: 'here', now: () => 1, reread, self });
  return { values, key, open };
}

describe('the ring of master keys with nodes', () => {
  it('seals the master key for an admitted node, and the next key in the same change as the rotation', async () => {
    const { values, open } = await setUp();
    const node = nodeOf('b');
    const opened = async () => openForNode(node, (await values.get(nodeKeyName('b')))!);
    const first = await open();
    expect(await first.admit(memberOf(node))).toBe(true);
    const ring = await open(node, await opened(), opened);
    expect(ring.vault.keyId).toBe(first.vault.keyId);
    const next = newMasterKey();
    await ring.begin({ next, by: 'a', hasCopies: false });
    expect((await opened()).equals(next)).toBe(true);
    expect(ring.nodes()).toMatchObject({ by: 'a', members: [{ name: 'b' }] });
    // No node opens the store with the previous key.
    expect(await values.get(keyNames.next)).toBeNull();
    await expect(first.vault.refresh()).rejects.toMatchObject({ code: 'key_mismatch' });
  });

  it('admits a node at the second attempt after a concurrent change, and keeps both nodes', async () => {
    const { open } = await setUp();
    const [first, second] = [await open(), await open()];
    expect(await first.admit(memberOf(nodeOf('b')))).toBe(true);
    expect(await second.admit(memberOf(nodeOf('c')))).toBe(false);
    expect(await second.admit(memberOf(nodeOf('c')))).toBe(true);
    expect(second.nodes().members.map(({ name }) => name)).toEqual(['b', 'c']);
  });

  it('keeps a rotation that another process began earlier', async () => {
    const { open } = await setUp();
    const [first, second] = [await open(), await open()];
    const [one, other] = [newMasterKey(), newMasterKey()];
    await first.begin({ next: one, by: 'a', hasCopies: true });
    await second.begin({ next: other, by: 'b', hasCopies: true });
    expect(second.current().equals(one)).toBe(true);
    expect(second.nodes().by).toBe('a');
  });

  it('revokes a node despite a concurrent change', async () => {
    const { open } = await setUp();
    const [ring, other, node] = [await open(), await open(), nodeOf('b')];
    await ring.admit(memberOf(node));
    await other.revoke(nodeKeyId(node));
    await ring.revoke('copy');
    expect(ring.nodes()).toMatchObject({ members: [], revoked: [node.enrolment, 'copy'] });
  });

  it('removes the key of a revoked node, and refuses its process at the next refresh', async () => {
    const { values, key, open } = await setUp();
    const [ring, node] = [await open(), nodeOf('b')];
    await ring.admit(memberOf(node));
    const joined = await open(node);
    await ring.revoke(nodeKeyId(node));
    expect(await values.get(nodeKeyName('b'))).toBeNull();
    await expect(joined.vault.refresh()).rejects.toMatchObject(revoked);
    await expect(joined.vault.refresh()).rejects.toMatchObject(revoked);
    // Also with the master key that it remembers.
    await expect(open(node, key)).rejects.toMatchObject(revoked);
    expect(ring.nodes().revoked).toEqual([node.enrolment]);
  });

  it('refuses a revoked node that has a copy of the key, and accepts all other nodes', async () => {
    const { open } = await setUp();
    const [ring, copy, other] = [await open({ id: 'a' }), await open({ id: 'b' }), await open({ id: 'c' })];
    await ring.revoke('b');
    await expect(copy.vault.refresh()).rejects.toMatchObject(revoked);
    await expect(open({ id: 'b' })).rejects.toMatchObject(revoked);
    await other.vault.refresh();
  });
});
