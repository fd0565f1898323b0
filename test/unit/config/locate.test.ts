import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { pathToFileURL } from 'node:url';
import { defaultConfigText, ensureConfig, locateConfig } from '../../../src/config/locate.ts';
import { packageRoot, shippedFile } from '../../../src/lib/package-files.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const here = { env: { HOME: '/home/a' }, cwd: '/work', platform: 'linux' } as const;

describe('the path of the config file', () => {
  test('comes from --config first', () => {
    const env = { SIDEKEY_CONFIG: '/etc/sidekey.yaml', SIDEKEY_HOME: '/srv' };
    expect(locateConfig({ ...here, env, option: 'my.yaml' })).toEqual({
      file: '/work/my.yaml',
      origin: 'option',
      state: null,
    });
  });

  test('comes from SIDEKEY_CONFIG before SIDEKEY_HOME', () => {
    const env = { SIDEKEY_CONFIG: 'my.yaml', SIDEKEY_HOME: '/srv' };
    expect(locateConfig({ ...here, env })).toEqual({
      file: '/work/my.yaml',
      origin: 'environment',
      state: null,
    });
  });

  test('is below SIDEKEY_HOME before the XDG folders', () => {
    const env = { SIDEKEY_HOME: 'state', HOME: '/home/a', XDG_CONFIG_HOME: '/c' };
    expect(locateConfig({ ...here, env })).toEqual({
      file: '/work/state/config/sidekey.yaml',
      origin: 'home',
      state: null,
    });
  });

  test('is below the XDG folders by default', () => {
    expect(locateConfig(here)).toEqual({
      file: '/home/a/.config/sidekey/sidekey.yaml',
      origin: 'default',
      state: '/home/a/.local/state/sidekey',
    });
    const env = { HOME: '/home/a', XDG_CONFIG_HOME: '/c', XDG_STATE_HOME: '/s' };
    expect(locateConfig({ ...here, env })).toMatchObject({
      file: '/c/sidekey/sidekey.yaml',
      state: '/s/sidekey',
    });
    // The XDG specification: a relative path is invalid.
    const relative = { HOME: '/home/a', XDG_CONFIG_HOME: 'c', XDG_STATE_HOME: '' };
    expect(locateConfig({ ...here, env: relative })).toEqual(locateConfig(here));
  });

  test('is in AppData on Windows, with the state in its local part', () => {
    const env = { USERPROFILE: '/users/a', APPDATA: '/users/a/Roaming', LOCALAPPDATA: '/users/a/Local' };
    const windows = { ...here, platform: 'win32' } as const;
    expect(locateConfig({ ...windows, env })).toEqual({
      file: '/users/a/Roaming/sidekey/sidekey.yaml',
      origin: 'default',
      state: '/users/a/Local/sidekey',
    });
    expect(locateConfig({ ...windows, env: { USERPROFILE: '/users/a' } })).toMatchObject({
      file: '/users/a/AppData/Roaming/sidekey/sidekey.yaml',
      state: '/users/a/AppData/Local/sidekey',
    });
  });

  test('is null without a home folder', () => {
    expect(() => locateConfig({ ...here, env: {} })).toThrow(
      expect.objectContaining({ code: 'config_missing', hint: expect.stringContaining('SIDEKEY_HOME') }),
    );
  });
});

const mode = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

describe('a missing config', () => {
  test('is created with private mode in the XDG config folder, and its state in the state folder', async () => {
    const home = await tempFolder();
    const location = locateConfig({ ...here, env: { HOME: home } });
    await expect(ensureConfig(location, {})).resolves.toBe(true);
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
    const location = locateConfig({ ...here, env: { SIDEKEY_HOME: home } });
    await expect(ensureConfig(location, {})).resolves.toBe(true);
    await expect(loadConfig(location.file, { env: {} })).resolves.toMatchObject({
      store: { path: join(home, 'data/sidekey.db') },
      ca: { directory: join(home, 'certs') },
    });
  });

  test('is not created at an explicitly named path', async () => {
    const cwd = await tempFolder();
    const location = locateConfig({ ...here, cwd, option: 'sidekye.yaml' });
    await expect(ensureConfig(location, {})).resolves.toBe(false);
    await expect(readdir(cwd)).resolves.toEqual([]);
  });

  test('is created only once by two concurrent processes', async () => {
    const home = await tempFolder();
    const location = locateConfig({ ...here, env: { SIDEKEY_HOME: home } });
    const made = await Promise.all([1, 2, 3, 4].map(() => ensureConfig(location, {})));
    expect(made.filter(Boolean)).toHaveLength(1);
    await writeFile(location.file, 'version: 1 # mine\n');
    await expect(ensureConfig(location, {})).resolves.toBe(false);
    await expect(readFile(location.file, 'utf8')).resolves.toBe('version: 1 # mine\n');
    await expect(readdir(join(home, 'config'))).resolves.toEqual(['sidekey.yaml']);
  });

  test('is refused when its folder is a file', async () => {
    const home = await tempFolder();
    await mkdir(join(home, 'a'));
    await writeFile(join(home, 'a/config'), '');
    const location = locateConfig({ ...here, env: { SIDEKEY_HOME: join(home, 'a') } });
    await expect(ensureConfig(location, {})).rejects.toMatchObject({ code: 'file_unwritable' });
  });

  test.skipIf(process.platform !== 'linux')('is refused below /proc (Linux only)', async () => {
    const location = locateConfig({ ...here, env: { SIDEKEY_HOME: '/proc/x' } });
    await expect(ensureConfig(location, {})).rejects.toMatchObject({
      code: 'file_unwritable',
      message: 'The config file /proc/x/config/sidekey.yaml cannot be made (ENOENT).',
    });
  });
});

describe('the text of a new config', () => {
  const state = '/s p/sidekey';
  const text = defaultConfigText({ state }, {});

  test('has the state paths of its location, the comments of the template, and the schema of the program', () => {
    expect(text).toContain('\nstore: "sqlite:/s p/sidekey/data/sidekey.db"\n');
    expect(text).toContain('\nkey: { source: file, path: "/s p/sidekey/data/master.key" }\n');
    expect(text).toContain('\nca: { directory: "/s p/sidekey/certs" }\n');
    expect(text).toContain('\naudit: { file: "/s p/sidekey/data/audit.jsonl" }\n');
    expect(text).toContain('\n  # optional: local callers need no agent token.');
    const schema = pathToFileURL(shippedFile('sidekey.schema.json')).href;
    expect(text.split('\n')[0]).toBe(`# yaml-language-server: $schema=${schema}`);
  });

  test.each([
    ['SIDEKEY_UNMATCHED', 'unmatched', 'tunnel', 'deny'],
    ['SIDEKEY_LOCAL_CALLERS', 'local_callers', 'same_user', 'any'],
  ])('has the value of %s, and refuses another value', (name, key, normal, other) => {
    expect(text).toContain(`\n  ${key}: ${normal}\n`);
    expect(defaultConfigText({ state }, { [name]: other })).toBe(
      text.replace(`${key}: ${normal}`, `${key}: ${other}`),
    );
    expect(() => defaultConfigText({ state }, { [name]: 'allow' })).toThrow(
      expect.objectContaining({
        code: 'input_invalid',
        message: `${name} is neither ${other} nor ${normal}.`,
      }),
    );
  });
});

test('the Dockerfile creates configs that refuse unlisted hosts, and that serve other users in the container network', async () => {
  const dockerfile = await readFile(join(packageRoot, 'Dockerfile'), 'utf8');
  expect(dockerfile).toMatch(/^ENV (?:.* )?SIDEKEY_UNMATCHED=deny SIDEKEY_LOCAL_CALLERS=any(?: |$)/m);
});
