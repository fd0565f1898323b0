import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { describe, expect, it, onTestFinished } from 'vitest';
import { rotateKey } from '../../../src/operations/rotation.ts';
import { openState } from '../../../src/app/state.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { newMasterKey } from '../../../src/store/vault/key-source.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** A store whose key a person keeps, and which was rotated once. */
async function setUp() {
  const file = join(await tempFolder(), 'sidekey.yaml');
  const key = { source: 'file', path: 'k' };
  const config = { version: 1, store: 'sqlite:s.db', key, ca: { directory: 'c' }, audit: { file: 'a' } };
  await writeFile(file, stringify(config));
  const log = { error() {}, warn() {}, info() {}, debug() {} };
  const opened = await openState(await loadConfig(file, { env: {} }), { log, now: Date.now });
  onTestFinished(() => opened.close());
  const { keys, vault } = opened;
  const before = keys.current();
  await keys.begin({ next: newMasterKey(), by: null, hasCopies: true });
  await keys.source.replace!(keys.current());
  await keys.retire();
  const current = keys.current();
  const state = { ...opened, keys: { ...keys, source: { ...keys.source, replace: null } } };
  const parts = { now: Date.now, retire: false, next: null, onProgress: () => {} };
  const rotated = (options: object) => rotateKey(state, { ...parts, ...options });
  return { before, current, rotated, vault };
}

describe('a rotation of the master key', () => {
  it('refuses the current key or a retired key as the new key', async () => {
    const { before, current, rotated, vault } = await setUp();
    for (const next of [current, before])
      await expect(rotated({ next })).rejects.toMatchObject({
        code: 'input_invalid',
        message: expect.stringContaining('is, or was, a master key of this store') as string,
      });
    expect(vault.generations).toHaveLength(2);
  });

  it('refuses to retire a key when no rotation is open, and reports the last rotation as finished', async () => {
    const { rotated, vault } = await setUp();
    await expect(rotated({ retire: true, next: newMasterKey() })).rejects.toMatchObject({
      code: 'input_invalid',
      message: expect.stringContaining('No rotation is open') as string,
    });
    await expect(rotated({})).rejects.toMatchObject({
      message: expect.stringContaining(
        `The rotation from ${vault.generations[1]?.keyId} is finished.`,
      ) as string,
    });
    expect(vault.generations).toHaveLength(2);
  });
});
