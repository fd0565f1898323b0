import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { openVault } from '../../../../src/store/vault/open.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const store = '/data/sidekey.db';
const given = { store, meta: null, nodeId: null, now: Date.now };

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('opening the vault', () => {
  it('creates the key file when this is allowed, and finds the same key the next time', async () => {
    const path = join(await tempFolder(), 'data', 'master.key');
    const { vault: first } = await openVault({ source: 'file', path }, { mayCreate: true, ...given });
    const { vault: again } = await openVault({ source: 'file', path }, { mayCreate: false, ...given });
    expect(again.keyId).toBe(first.keyId);
    expect(again.open('a', first.seal('a', Buffer.from('token'))).toString()).toBe('token');
  });

  it('does not create a new key when the store was sealed with a lost key', async () => {
    const folder = await tempFolder();
    const path = join(folder, 'master.key');
    await expect(openVault({ source: 'file', path }, { mayCreate: false, ...given })).rejects.toMatchObject({
      code: 'key_invalid',
      message: `The key file ${path} is missing, and the store at ${store} needs the key it was sealed with.`,
    });
    expect(await readdir(folder)).toEqual([]);
  });

  it('reads the key from the environment, and removes it there', async () => {
    vi.stubEnv('SIDEKEY_TEST_KEY', randomBytes(32).toString('base64'));
    const { vault } = await openVault(
      { source: 'env', name: 'SIDEKEY_TEST_KEY' },
      { mayCreate: true, ...given },
    );
    expect(vault.keyId).toMatch(/^[0-9a-f]{16}$/);
    expect(process.env['SIDEKEY_TEST_KEY']).toBeUndefined();
  });
});
