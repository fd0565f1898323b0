/** Versions of the last three years of libraries that read the proxy variables, each in its own way. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { greeting, missing, packageMissing, programs, stage } from './support/stage.ts';

const packages =
  'axios-1-6 axios-1-9 axios-1-12 axios-1-13 axios-1-18 axios got-13 got-14 got needle undici-6 undici-7 undici'.split(
    ' ',
  );

for (const name of packages) {
  test.skipIf(packageMissing(name))(`${name} gets a response through the proxy`, async () => {
    await isServed([process.execPath, `${programs}version.mjs`, name]);
  });
}

// Folders of `pip install --target`: one for each set of versions.
const folder = process.env['SIDEKEY_TEST_PYTHON_VERSIONS'];
const python = '/usr/bin/python3';

for (const versions of folder === undefined ? [] : readdirSync(folder)) {
  for (const name of ['requests', 'httpx', 'aiohttp']) {
    const path = join(folder ?? '', versions);
    const absent = missing('env', `PYTHONPATH=${path}`, python, '-c', `import ${name}`);
    test.skipIf(absent)(`${name} of ${versions} gets a response through the proxy`, async () => {
      await isServed([python, `${programs}with-${name}.py`], { PYTHONPATH: path });
    });
  }
}

async function isServed(command: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { perform, upstream, seen } = await stage(greeting);
  const flags = env['PYTHONPATH'] === undefined ? [] : ['--show', env['PYTHONPATH']];
  const ran = await perform([...command, `${upstream.url}/me`], { env, flags });
  expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('hello from upstream') });
  expect(seen).toMatchObject([{ method: 'GET', path: '/me' }]);
}
