/**
 * A browser outlives the command that opened it, and keeps the environment that it was started in for as long
 * as it runs: client secrets and the master key, which came in through variables, lay there for every program
 * of the user.
 */
import { watch } from 'node:fs';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startBrowser } from '../../src/cli/connect/browser/browser.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('the browser is started with the environment except its secrets', async () => {
  const folder = await tempFolder();
  const program = join(folder, 'browser');
  await writeFile(
    program,
    `#!/bin/sh\nenv > '${folder}/part'\nmv '${folder}/part' '${folder}/environment'\n`,
  );
  await chmod(program, 0o700);
  const written = Promise.withResolvers<void>();
  const watcher = watch(folder, (_event, name) => {
    if (name === 'environment') written.resolve();
  });
  const secrets = [
    'ACME_CLIENT_SECRET',
    'SIDEKEY_MASTER_KEY',
    'SIDEKEY_P12_PASSWORD',
    'OPENAI_API_KEY',
    'OPENAI_APIKEY',
    'GITHUB_TOKEN',
    'AWS_SECRET_ACCESS_KEY',
    'db_password',
    'PGPASSWORD',
    'GOOGLE_APPLICATION_CREDENTIALS',
    'MY_PASSPHRASE',
    'VAULT_KEY',
  ];
  const kept = {
    PATH: process.env['PATH'],
    DISPLAY: ':0',
    DBUS_SESSION_BUS_ADDRESS: 'unix:path=/run/user/1000/bus',
    XDG_ACTIVATION_TOKEN: 'of the window manager',
    GNOME_KEYRING_CONTROL: '/run/keyring',
    XAUTHORITY: '/run/xauth',
    SSH_AUTH_SOCK: '/run/agent',
    GTK_KEY_THEME: 'Emacs',
  };
  const env = { ...Object.fromEntries(secrets.map((name) => [name, `value-of-${name}`])), ...kept };
  startBrowser([{ program, words: [] }], { env, now: () => 0, failed: () => undefined });
  await written.promise;
  watcher.close();
  const environment = await readFile(join(folder, 'environment'), 'utf8');
  expect(environment).not.toContain('value-of-');
  for (const [name, value] of Object.entries(kept)) expect(environment).toContain(`${name}=${value}`);
});
