import { expect, test } from 'vitest';
import { greeting, missing, packageMissing, programs, stage } from './support/stage.ts';

const node = missing(process.execPath, '--version');

const getters = [
  { name: 'fetch of Node.js', program: 'node-fetch-builtin.mjs', absent: node },
  { name: 'undici', program: 'undici.mjs', absent: packageMissing('undici') },
  { name: 'axios', program: 'axios.mjs', absent: packageMissing('axios') },
  { name: 'node:https', program: 'https-request.mjs', absent: node },
  { name: 'node-fetch', program: 'node-fetch-package.mjs', absent: packageMissing('node-fetch') },
  { name: 'got', program: 'got.mjs', absent: packageMissing('got') },
  {
    name: 'the request API of Playwright',
    program: 'playwright.mjs',
    absent: packageMissing('playwright-core'),
  },
];

for (const { name, program, absent } of getters) {
  test.skipIf(absent)(`${name} gets a response without seeing the token`, async () => {
    const { perform, upstream, seen } = await stage(greeting);
    const ran = await perform([process.execPath, `${programs}${program}`, `${upstream.url}/me`]);
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('hello from upstream') });
    expect(seen).toMatchObject([{ method: 'GET', path: '/me' }]);
  });
}

test.skipIf(node)(
  'Node.js calls the proxy itself directly if the map has another port of the same host',
  async () => {
    const { perform, upstream, seen } = await stage(greeting, { domains: { '127.0.0.1:9': 'tunnel' } });
    const ran = await perform([process.execPath, `${programs}asks-proxy.mjs`, `${upstream.url}/me`]);
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('hello from upstream') });
    expect(seen).toMatchObject([{ method: 'GET', path: '/me' }]);
  },
);
