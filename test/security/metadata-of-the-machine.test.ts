/**
 * Sidekey asks the metadata service of its machine for credentials. An agent must not reach that service
 * through the proxy, and must not see what it gave.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { accountToken, startClouds } from '../support/clouds.ts';
import { proxiedGet } from '../support/proxied-get.ts';
import { openClient } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

test('an agent reaches no metadata service while Sidekey uses it', async () => {
  // The proxy may dial the API at 127.0.0.1, but not this address.
  const clouds = await startClouds({ metadataAddress: '127.0.0.2' });
  const api = await startUpstream((request, response) => {
    response.statusCode = request.headers.authorization === `Bearer ${accountToken}` ? 200 : 401;
    response.end();
  });
  const metadata = new URL(clouds.services.metadata).host;
  const literals = [
    '169.254.169.254',
    '169.254.170.2',
    '169.254.170.23',
    '[fd00:ec2::254]',
    '[fd00:ec2::23]',
  ];
  const open = [metadata, ...literals.map((host) => `${host}:80`)];
  const sidekey = await startSidekey({
    domains: {
      [api.authority]: { grant: 'acme' },
      ...Object.fromEntries(open.map((host) => [host, 'tunnel'])),
    },
    clouds: clouds.services,
  });
  await sidekey.grant([api.authority], {
    credential: { type: 'source', from: 'gcp-instance', form: null, ttlMs: null },
  });
  expect(await proxiedGet(sidekey.url, `${api.url}/a`)).toMatchObject({ status: 200 });
  expect(clouds.requests).toHaveLength(1);

  const path = '/computeMetadata/v1/instance/service-accounts/default/token';
  for (const host of open) {
    const asked = await proxiedGet(sidekey.url, `http://${host}${path}`, { 'metadata-flavor': 'Google' });
    expect(`${host} ${JSON.stringify(asked)}`).toContain('address_blocked');
    const client = await openClient(sidekey);
    client.send(`CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 403, reason: 'address_blocked' });
  }
  expect(clouds.requests).toHaveLength(1);

  const files = (await readdir(sidekey.folder, { recursive: true, withFileTypes: true })).filter((entry) =>
    entry.isFile(),
  );
  for (const { parentPath, name } of files)
    expect(`${name} ${(await readFile(join(parentPath, name), 'latin1')).includes(accountToken)}`).toBe(
      `${name} false`,
    );
  expect(sidekey.logged()).not.toContain(accountToken);
});
