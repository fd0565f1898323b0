import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { describe, expect, it, onTestFinished } from 'vitest';
import { registerNode } from '../../../src/app/own-node.ts';
import { openState, type State } from '../../../src/app/state.ts';
import { authorityFiles, readKeyFile } from '../../../src/ca/authority-files.ts';
import { openAuthority } from '../../../src/ca/authority.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { sealedKeyId } from '../../../src/store/vault/envelope.ts';
import { enrolmentOf, newEnrolmentToken, newNodeKey, nodeKeyId } from '../../../src/store/vault/node-key.ts';
import { newMasterKey } from '../../../src/store/vault/key-source.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const log = { error() {}, warn() {}, info() {}, debug() {} };

/** A node, its key file, and another process that begins a rotation. */
async function setUp() {
  const folder = await tempFolder();
  const file = join(folder, 'sidekey.yaml');
  const key = { source: 'file', path: 'k' };
  const config = { version: 1, store: 'sqlite:s.db', key, ca: { directory: 'c' }, audit: { file: 'a' } };
  await writeFile(file, stringify(config));
  const open = async () => {
    const state = await openState(await loadConfig(file, { env: {} }), { log, now: Date.now });
    onTestFinished(() => state.close());
    return state;
  };
  const [state, other] = [await open(), await open()];
  const register = () => registerNode('me', state, { log, now: Date.now, env: {} });
  const node = await register();
  const keyIds = async () => (await state.store.nodes.list()).map(({ keyId }) => keyId);
  return { open, register, state, other, node, keyIds, keyFile: () => readFile(join(folder, 'k'), 'utf8') };
}

/** The id of the master key that seals the key of the CA. */
const sealerOf = async ({ config }: State) =>
  sealedKeyId((await readKeyFile(authorityFiles(config.ca.directory)))!.sealed);

const beginning = (by: string) => ({ next: newMasterKey(), by, hasCopies: true });

describe('the list of nodes', () => {
  it('shows a node with a key of its own only while the key ring contains the node', async () => {
    const { state, other, register } = await setUp();
    const { id: enrolment, secret } = enrolmentOf(newEnrolmentToken());
    const { privateKey: _, ...member } = newNodeKey({ name: 'b', secret, enrolment });
    await other.keys.admit(member);
    await register();
    const names = async () => (await state.store.nodes.list()).map(({ name, id }) => [name, id]);
    const [own] = (await names()).filter(([, id]) => id === 'me');
    expect(await names()).toEqual([['b', nodeKeyId(member)], own]);
    // Somebody changes the table.
    const row = { id: nodeKeyId(member), source: 'node', keyId: '', version: '' };
    await state.store.nodes.remove(row.id);
    await state.store.nodes.register({ ...row, name: 'a' });
    await register();
    expect(await names()).toEqual([['b', row.id], own]);
    await other.keys.revoke(row.id);
    await register();
    expect(await names()).toEqual([own]);
  });
});

describe('a node that was off during a whole rotation', () => {
  it('seals the key of its CA with the current master key at its next start', async () => {
    const { open, state, other } = await setUp();
    await openAuthority({ ...state.config.ca, vault: state.vault, now: Date.now });
    await state.close();
    await other.keys.begin(beginning('other'));
    await other.keys.source.replace!(other.keys.current());
    await other.keys.retire();
    expect(await sealerOf(other)).not.toBe(other.vault.keyId);
    await open();
    expect(await sealerOf(other)).toBe(other.vault.keyId);
  });
});

describe('a node that sees a rotation', () => {
  it('replaces the key at its source, and retires the previous key if it is the last node', async () => {
    const { state, other, node, keyIds, keyFile } = await setUp();
    const before = await keyFile();
    await state.store.nodes.register({ id: 'off', name: 'off', source: 'file', keyId: 'x', version: '1' });
    await other.keys.begin(beginning('other'));
    await state.vault.refresh();
    await node.follow();
    expect(await keyFile()).not.toBe(before);
    expect(await keyIds()).toEqual(expect.arrayContaining(['x', state.vault.keyId]));
    expect(await state.store.meta.get('key_next')).not.toBeNull();
    await state.store.nodes.seen('off', state.vault.keyId);
    await node.follow();
    expect(await state.store.meta.get('key_next')).toBeNull();
  });

  it('leaves its source unchanged if the rotation was started by a command on this node', async () => {
    const { state, other, node, keyFile } = await setUp();
    const before = await keyFile();
    await other.keys.begin(beginning('me'));
    await state.vault.refresh();
    await node.follow();
    expect(await keyFile()).toBe(before);
    expect(await state.store.meta.get('key_next')).not.toBeNull();
  });
});
