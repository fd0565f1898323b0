import { chmod, readFile, writeFile } from 'node:fs/promises';
import { watch } from 'node:fs';
import { expect, test } from 'vitest';
import { acmeHome, visit } from '../support/connect-home.ts';

/**
 * Every user of a machine can read the arguments of its programs, and whoever knows the state can forge an
 * answer.
 */
test('the browser is started without the state among its arguments', async () => {
  const at = await acmeHome();
  const program = at.at('browser');
  const [words, whole] = [at.at('words.tmp'), at.at('words')];
  await writeFile(program, `#!/bin/sh\nprintf '%s\\n' "$@" > '${words}'\nmv '${words}' '${whole}'\n`);
  await chmod(program, 0o700);
  const written = Promise.withResolvers<void>();
  const watcher = watch(at.folder, (_event, name) => {
    if (name === 'words') written.resolve();
  });
  const command = at.begin(['connect', 'acme', '--port', '0', '--browser', program], {
    env: { PATH: process.env['PATH'] ?? '' },
  });
  const consentUrl = await command.consentUrl();
  await written.promise;
  watcher.close();
  const argument = (await readFile(whole, 'utf8')).trim();
  expect(argument).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/[A-Za-z0-9_-]+$/);
  expect(argument).not.toContain(new URL(consentUrl).searchParams.get('state'));
  // It leads to the consent page once: a second visitor learns nothing.
  expect(await visit(argument)).toMatchObject({ status: 302, headers: { location: consentUrl } });
  expect((await visit(argument)).headers['location']).toBeUndefined();
  await visit(await at.consent(consentUrl));
  expect((await command.done).exit).toBe(0);
});
