import { hash } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { nodeIdOf } from '../../src/store/node-id.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { newMasterKey } from '../../src/store/vault/key-source.ts';
import { enrolmentOf, newEnrolmentToken, newNodeKey, nodeKeyId } from '../../src/store/vault/node-key.ts';
import { openKeyRing } from '../../src/store/vault/ring.ts';
import { tempFolder } from '../support/temp-folder.ts';

const copyId = (host: string, file: string) =>
  [host, file].map((text) => hash('sha256', text).slice(0, 16)).join('-');

/**
 * Two nodes with keys of their own, three with copies on two hosts, and the hand of somebody in the database.
 */
async function setUp() {
  const path = join(await tempFolder(), 'sidekey.db');
  const store = await openSqliteStore(path, { now: Date.now });
  onTestFinished(() => store.close());
  const parts = { values: store.meta, location: path, now: Date.now, self: null };
  const keys = await openKeyRing(newMasterKey(), parts);
  const facts = { keyId: keys.vault.keyId, version: '1' };
  const members = ['edge', 'spare'].map((name) => {
    const { id: enrolment, secret } = enrolmentOf(newEnrolmentToken());
    const { privateKey: _, ...member } = newNodeKey({ name, secret, enrolment });
    return member;
  });
  for (const member of members) {
    await keys.admit(member);
    await store.nodes.register({ ...facts, id: nodeKeyId(member), name: member.name, source: 'node' });
  }
  const copies = [copyId('web', '/a'), copyId('web', '/b'), copyId('db', '/a')];
  for (const [index, id] of copies.entries())
    await store.nodes.register({ ...facts, id, name: index < 2 ? 'web' : 'db', source: 'file' });
  function swap(a: string, b: string): void {
    const database = new DatabaseSync(path);
    const rename = database.prepare('update nodes set name = ? where name = ?');
    for (const [to, from] of [
      ['-', a],
      [a, b],
      [b, '-'],
    ] as const)
      rename.run(to, from);
    database.close();
  }
  /** Registers a copy. `isTaking`: the row of the node that has the name is removed before. */
  async function register(id: string, name: string, isTaking = false): Promise<void> {
    const rows = await store.nodes.list();
    for (const row of rows)
      if (isTaking && (row.id === id || row.name === name)) await store.nodes.remove(row.id);
    await store.nodes.register({ ...facts, id, name, source: 'file' });
  }
  const idOf = (name: string) => nodeIdOf(name, { store, keys });
  return { idOf, register, swap, members: members.map(nodeKeyId), copies };
}

describe('an attacker with write access to the nodes table', () => {
  it('cannot redirect the revocation of a node that has its own key', async () => {
    const { idOf, swap, members } = await setUp();
    swap('edge', 'spare');
    expect([await idOf('edge'), await idOf('spare')]).toEqual(members);
    swap('edge', 'web');
    expect(await idOf('spare')).toBe(members[1]);
    await expect(idOf('web')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('cannot hide a node with its own key: if a copy has the same name, the ID still selects the node', async () => {
    const { idOf, register, members } = await setUp();
    const id = copyId('edge', '/a');
    await register(id, 'edge');
    await expect(idOf('edge')).resolves.toBe(members[0]);
    await register(id, 'edge', true);
    const hint = expect.stringContaining(members[0]!) as string;
    await expect(idOf('edge')).rejects.toMatchObject({ code: 'input_invalid', hint });
    expect([await idOf(members[0]!), await idOf(id)]).toEqual([members[0], id]);
  });

  it('cannot redirect the revocation of a copy to another host', async () => {
    const { idOf, swap, copies } = await setUp();
    expect([await idOf('web'), await idOf('web~2'), await idOf('db')]).toEqual(copies);
    swap('web', 'db');
    for (const name of ['web', 'db'])
      await expect(idOf(name)).rejects.toMatchObject({ code: 'record_tampered' });
    expect(await idOf('web~2')).toBe(copies[1]);
  });
});
