import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { tempFolder } from '../../support/temp-folder.ts';

it('a node that follows a rotation does not prompt for a new passphrase', async () => {
  const file = join(await tempFolder(), 'sidekey.yaml');
  await writeFile(file, 'version: 1\nkey: { source: passphrase, path: k }\n');
  const config = await loadConfig(file, { env: {} });
  // The terminal and what was typed belong to a module.
  vi.resetModules();
  onTestFinished(() => void vi.resetModules());
  const [{ askOnTerminal }, { keySourceOf }, { openKeySource }, { newMasterKey }] = await Promise.all([
    import('../../../src/lib/prompt.ts'),
    import('../../../src/app/keys.ts'),
    import('../../../src/store/vault/open.ts'),
    import('../../../src/store/vault/key-source.ts'),
  ]);
  const asked: string[] = [];
  askOnTerminal(async (question) => {
    asked.push(question);
    return 'one';
  });
  const source = openKeySource(keySourceOf(config, { env: {}, keepsPassphrase: true }));
  const key = newMasterKey();
  await source.replace?.(key);
  expect((await source.read())?.equals(key)).toBe(true);
  expect(asked).toEqual(['Passphrase of the master key']);
});
