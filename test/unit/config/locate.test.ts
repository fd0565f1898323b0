import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import {
  defaultConfigText,
  ensureConfig,
  locateConfig,
  type LocateOptions,
} from '../../../src/config/locate.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const installed: LocateOptions = {
  env: { HOME: '/home/a' },
  cwd: '/work',
  packageRoot: '/usr/lib/node_modules/sidekey',
  exists: () => true,
};
const checkout: LocateOptions = { ...installed, packageRoot: '/src/sidekey' };

describe('the path of the config file', () => {
  test('is that of --config first', () => {
    const env = { SIDEKEY_CONFIG: '/etc/sidekey.yaml', SIDEKEY_HOME: '/srv' };
    expect(locateConfig({ ...checkout, env, option: 'my.yaml' })).toEqual({
      file: '/work/my.yaml',
      origin: 'option',
      state: null,
    });
  });

  test('is that of SIDEKEY_CONFIG before that of the checkout', () => {
    const env = { SIDEKEY_CONFIG: 'my.yaml', SIDEKEY_HOME: '/srv' };
    expect(locateConfig({ ...checkout, env })).toEqual({
      file: '/work/my.yaml',
      origin: 'environment',
      state: null,
    });
  });

  test('is that of the checkout before SIDEKEY_HOME', () => {
    expect(locateConfig({ ...checkout, env: { SIDEKEY_HOME: '/srv' } })).toEqual({
      file: '/src/sidekey/config/sidekey.yaml',
      origin: 'checkout',
      state: null,
    });
  });

  test.each([
    ['for an installed package', installed],
    [
      'for a checkout without a config file',
      { ...checkout, exists: (file: string) => !file.endsWith('.yaml') },
    ],
    [
      'for a container image, which has no sources',
      { ...checkout, exists: (file: string) => !file.endsWith('.ts') },
    ],
  ])('is below SIDEKEY_HOME: %s', (_, options) => {
    expect(locateConfig({ ...options, env: { SIDEKEY_HOME: 'state', HOME: '/home/a' } })).toEqual({
      file: '/work/state/config/sidekey.yaml',
      origin: 'home',
      state: null,
    });
  });

  test('is below the XDG folders by default', () => {
    expect(locateConfig(installed)).toEqual({
      file: '/home/a/.config/sidekey/sidekey.yaml',
      origin: 'xdg',
      state: '/home/a/.local/state/sidekey',
    });
    const env = { HOME: '/home/a', XDG_CONFIG_HOME: '/c', XDG_STATE_HOME: '/s' };
    expect(locateConfig({ ...installed, env })).toMatchObject({
      file: '/c/sidekey/sidekey.yaml',
      state: '/s/sidekey',
    });
    // The XDG specification: a relative path is invalid.
    const relative = { HOME: '/home/a', XDG_CONFIG_HOME: 'c', XDG_STATE_HOME: '' };
    expect(locateConfig({ ...installed, env: relative })).toEqual(locateConfig(installed));
  });

  test('is null without a home folder', () => {
    expect(() => locateConfig({ ...installed, env: {} })).toThrow(
      expect.objectContaining({ code: 'config_missing', hint: expect.stringContaining('SIDEKEY_HOME') }),
    );
  });
});

const mode = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

describe('a missing config', () => {
  test('is created with private mode in the XDG config folder, and its state in the state folder', async () => {
    const home = await tempFolder();
    const location = locateConfig({ ...installed, env: { HOME: home } });
    await expect(ensureConfig(location)).resolves.toBe(true);
    expect(await mode(location.file)).toBe(0o600);
    expect(await mode(join(home, '.config/sidekey'))).toBe(0o700);
    expect(await mode(join(home, '.local/state/sidekey'))).toBe(0o700);
    const state = join(home, '.local/state/sidekey');
    await expect(loadConfig(location.file, { env: {} })).resolves.toMatchObject({
      store: { path: join(state, 'data/sidekey.db') },
      key: { path: join(state, 'data/master.key') },
      ca: { directory: join(state, 'certs') },
      audit: { file: join(state, 'data/audit.jsonl') },
    });
    await expect(readdir(join(home, '.config/sidekey'))).resolves.toEqual(['sidekey.yaml']);
  });

  test('is created below SIDEKEY_HOME, with its state beside it', async () => {
    const home = await tempFolder();
    const location = locateConfig({ ...installed, env: { SIDEKEY_HOME: home } });
    await expect(ensureConfig(location)).resolves.toBe(true);
    await expect(loadConfig(location.file, { env: {} })).resolves.toMatchObject({
      store: { path: join(home, 'data/sidekey.db') },
      ca: { directory: join(home, 'certs') },
    });
  });

  test('is not created at an explicitly named path', async () => {
    const cwd = await tempFolder();
    const location = locateConfig({ ...installed, cwd, option: 'sidekye.yaml' });
    await expect(ensureConfig(location)).resolves.toBe(false);
    await expect(readdir(cwd)).resolves.toEqual([]);
  });

  test('is created once, also by two concurrent processes', async () => {
    const home = await tempFolder();
    const location = locateConfig({ ...installed, env: { SIDEKEY_HOME: home } });
    const made = await Promise.all([1, 2, 3, 4].map(() => ensureConfig(location)));
    expect(made.filter(Boolean)).toHaveLength(1);
    await writeFile(location.file, 'version: 1 # mine\n');
    await expect(ensureConfig(location)).resolves.toBe(false);
    await expect(readFile(location.file, 'utf8')).resolves.toBe('version: 1 # mine\n');
    await expect(readdir(join(home, 'config'))).resolves.toEqual(['sidekey.yaml']);
  });

  test('is refused when its folder is a file', async () => {
    const home = await tempFolder();
    await mkdir(join(home, 'a'));
    await writeFile(join(home, 'a/config'), '');
    const location = locateConfig({ ...installed, env: { SIDEKEY_HOME: join(home, 'a') } });
    await expect(ensureConfig(location)).rejects.toMatchObject({ code: 'file_unwritable' });
  });
});

test('the shipped text for another folder keeps its comments and names no missing schema', () => {
  const shipped =
    '# yaml-language-server: $schema=sidekey.schema.json\n#\n# Words.\nversion: 1\nstore: sqlite:../data/sidekey.db # the store\nkey: { source: file, path: ../data/master.key }\nca: { directory: ../certs }\naudit: { file: ../data/audit.jsonl }\n';
  expect(defaultConfigText(shipped, '/s p/sidekey')).toBe(
    '# Words.\nversion: 1\nstore: "sqlite:/s p/sidekey/data/sidekey.db" # the store\nkey: { source: file, path: "/s p/sidekey/data/master.key" }\nca: { directory: "/s p/sidekey/certs" }\naudit: { file: "/s p/sidekey/data/audit.jsonl" }\n',
  );
});
