import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { expect, it, onTestFinished } from 'vitest';
import { openUpstreamClient } from '../../../src/app/upstream.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { makeTestAuthority } from '../../support/certificates.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const company = makeTestAuthority('Company CA');
const [first, second] = [company.issue(['first client']), company.issue(['second client'])];

/** The settings of a client, and the contents of what they refer to. */
const settings = {
  ca: company.cert,
  cert: first.cert,
  key: first.key,
  password: 'one',
  upstream: {},
  limits: {},
  before: '',
};

async function setup() {
  const folder = await tempFolder();
  return async (
    change: Partial<typeof settings>,
    before?: Awaited<ReturnType<typeof openUpstreamClient>>,
  ) => {
    const { upstream: changed, limits, password, before: lines, ...files } = { ...settings, ...change };
    for (const [name, text] of Object.entries(files)) {
      await writeFile(join(folder, name), text);
      await chmod(join(folder, name), 0o600);
    }
    const upstream = {
      ca: ['ca'],
      resolve: { 'api.example': '127.0.0.1' },
      private_addresses: ['10.0.0.0/8'],
      no_proxy: ['a.example', '10.0.0.0/8'],
      proxy: { url: 'http://proxy.example:3128', user: 'alice', password: 'env:PASSWORD' },
      client_certificates: { 'api.example': { cert: 'cert', key: 'key' } },
      ...changed,
    };
    const text = `${lines}${stringify({ version: 1, upstream, limits })}`;
    const config = await parseConfig(text, join(folder, 'sidekey.yaml'), { env: {} });
    const client = await openUpstreamClient(config, { env: { PASSWORD: password }, ownPorts, before });
    onTestFinished(() => client.close());
    return client;
  };
}

const ownPorts = () => [];

it.each([
  ['nothing of it', {}, true],
  ['only the lines of the file', { before: '# a comment\n' }, true],
  ['a trust anchor under the same path', { ca: makeTestAuthority('Other CA').cert }, false],
  ['a certificate and its key under the same paths', { cert: second.cert, key: second.key }, false],
  ['the password under the same variable', { password: 'two' }, false],
  ['an address', { upstream: { resolve: { 'api.example': '127.0.0.2' } } }, false],
  ['the trust anchors to none', { upstream: { ca: [] } }, false],
  ['the client certificates to none', { upstream: { client_certificates: {} } }, false],
  [
    'the host of a client certificate',
    { upstream: { client_certificates: { 'b.example': { cert: 'cert', key: 'key' } } } },
    false,
  ],
  ['the private addresses', { upstream: { private_addresses: ['10.0.0.0/9'] } }, false],
  ['a host without the proxy', { upstream: { no_proxy: ['b.example', '10.0.0.0/8'] } }, false],
  ['a block without the proxy', { upstream: { no_proxy: ['a.example', '10.0.0.0/9'] } }, false],
  ['the proxy', { upstream: { proxy: 'http://proxy.example:3128' } }, false],
  ['a limit', { limits: { upstream_connections: 7 } }, false],
])('an edit that changes %s keeps the upstream client or not', async (_, change, isKept) => {
  const open = await setup();
  const before = await open({});
  expect((await open(change, before)) === before).toBe(isKept);
});
