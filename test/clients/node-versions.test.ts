/** Versions of Node.js that read the proxy variables only by the file in `NODE_OPTIONS`. */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeTrustFiles } from '../../src/clients/trust-files.ts';
import { clientVariables } from '../../src/clients/variables.ts';
import { upstreamCa } from '../support/upstream.ts';
import { greeting, packageMissing, programs, stage } from './support/stage.ts';

const nodes = [
  ...['node-20', 'node-22'].map((name) => ({
    name,
    node: join(programs, 'node_modules', name, 'bin', 'node'),
    absent: packageMissing(name),
  })),
  { name: 'this Node.js', node: process.execPath, absent: packageMissing('axios') },
];
const calls = [
  ['fetch', ['-e', 'fetch(process.argv[1]).then((r) => r.text()).then(console.log)']],
  ['node:https', [`${programs}https-request.mjs`]],
  ['axios', [`${programs}version.mjs`, 'axios-1-13']],
  ['got', [`${programs}version.mjs`, 'got-13']],
  ['an agent of undici', [`${programs}version.mjs`, 'undici-6']],
] as const;

for (const { name, node, absent } of nodes) {
  test.skipIf(absent)(`programs of ${name} get a response through the proxy`, async () => {
    const { perform, upstream, seen } = await stage(greeting);
    const env = { NODE_OPTIONS: '--no-deprecation' };
    for (const [call, words] of calls) {
      const ran = await perform([node, ...words, `${upstream.url}/me`], { env });
      expect([call, ran]).toMatchObject([
        call,
        { exit: 0, stdout: expect.stringContaining('hello from upstream') },
      ]);
      expect([call, seen.at(-1)]).toMatchObject([call, { method: 'GET', path: '/me' }]);
    }
    const free = await perform([node, ...calls[0][1], `${upstream.url}/me`], {
      env,
      flags: ['--no-isolate'],
    });
    expect(free).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('hello from upstream'),
      stderr: expect.any(String),
    });
  });

  test.skipIf(absent)(`${name} keeps its options, and calls hosts of NO_PROXY directly`, async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'sidekey-test-')), `a "b" c\\d`);
    await mkdir(folder);
    const parent = { NODE_OPTIONS: '--no-deprecation', NO_PROXY: 'direct.example' };
    const trust = await writeTrustFiles(folder, { authorityPem: upstreamCa, parent });
    // Nothing listens there.
    const proxy = { url: 'http://127.0.0.1:1', host: '127.0.0.1', port: 1 };
    const env = clientVariables({ parent, proxy, trust, noProxy: ['127.0.0.1'] });
    const script = `
      const server = require('http').createServer((_, response) => response.end('direct'));
      server.listen(0, '127.0.0.1', async () => {
        const url = 'http://127.0.0.1:' + server.address().port;
        const told = await fetch(url).then((response) => response.text());
        const refused = await fetch('http://other.example').catch(({ cause }) => cause.code);
        require('http').get(url, (response) => {
          console.log(process.noDeprecation, told, refused, response.statusCode);
          process.exit();
        });
      });`;
    expect(execFileSync(node, ['-e', script], { env, encoding: 'utf8' })).toBe(
      'true direct ECONNREFUSED 200\n',
    );
  });
}
