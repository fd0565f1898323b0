/** Grants whose source exchanges the identity of the workload for a credential of a cloud. */
import { readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { accountToken, type Clouds, roleArn, startClouds, temporaryKeys } from '../../support/clouds.ts';
import { home } from '../../support/command-line.ts';
import { startCompanyProxy } from '../../support/company-proxy.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { startUpstream, type Upstream, upstreamCa, upstreamLeaf } from '../../support/upstream.ts';

test('connect aws --from exchanges the token once, and stores only the source', async () => {
  const clouds = await startClouds({ identity: upstreamLeaf('sts.amazonaws.com') });
  const parent = await startCompanyProxy({ place: () => ({ host: '127.0.0.1', port: clouds.port }) });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      proxy: { url: `http://127.0.0.1:${parent.port}`, remote_dns: true },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const from = `aws-web-identity:${roleArn}?token=file:${at.at('token')}`;
  const missing = await at.run(['connect', 'aws', '--from', from]);
  expect(missing).toMatchObject({ exit: 5, stderr: expect.stringContaining('The token file is missing') });
  expect(missing.stderr).toContain('serviceAccountToken');
  expect(parent.targets()).toEqual([]);

  const token = await clouds.sign();
  await writeFile(at.at('token'), token, { mode: 0o600 });
  const ran = await at.run(['connect', 'aws', '--from', from]);
  expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('not verified') });
  expect(parent.targets()[0]).toBe('sts.amazonaws.com:443');
  expect(await at.json(['grant', 'show', 'aws'])).toMatchObject({ type: 'source', source: from });
  await writeFile(at.at('token'), '');
  for (const [name] of await at.everything()) {
    const content = await readFile(at.at(name), 'latin1').catch(() => '');
    for (const secret of [token, temporaryKeys.secret, temporaryKeys.token])
      expect(`${name} ${content.includes(secret)}`).toBe(`${name} false`);
  }
});

test('an invalid source is refused with its form', async () => {
  const at = await home();
  const ran = await at.run(['connect', 'aws', '--from', `aws-web-identity:${roleArn}?token=hunter2`]);
  expect(ran).toMatchObject({ exit: 2 });
  expect(ran.stderr).toContain('has no valid token; its form is aws-web-identity:ROLE_ARN?token=TOKEN');
  expect(ran.stderr).not.toContain('hunter2');
});

/** An API that takes the token of the instance. */
const startApi = () =>
  startUpstream((request, response) => {
    response.statusCode = request.headers.authorization === `Bearer ${accountToken}` ? 200 : 401;
    response.end();
  });

/** A proxy for the API with a clock. `folder`: that of a proxy with the grant, whose store is shared. */
async function desk(clouds: Clouds, api: Upstream, now: () => number, folder?: string) {
  const sidekey = await startSidekey({
    domains: { [api.authority]: { grant: 'acme' } },
    clouds: clouds.services,
    now,
    ...(folder === undefined ? {} : { folder }),
  });
  const credential = { type: 'source', from: 'gcp-instance', form: null, ttlMs: null } as const;
  if (folder === undefined) await sidekey.grant([api.authority], { credential });
  return { sidekey, get: () => proxiedGet(sidekey.url, `${api.url}/a`) };
}

const refreshed = async (sidekey: TestSidekey) =>
  (await sidekey.audit()).filter(({ event }) => event === 'grant.refreshed').length;

test('requests share one exchange, and a token is replaced before its end', async () => {
  const clock = { now: Date.UTC(2027, 0, 1) };
  const clouds = await startClouds({ now: () => clock.now });
  const { sidekey, get } = await desk(clouds, await startApi(), () => clock.now);
  const opened = Promise.withResolvers<void>();
  clouds.gate = opened.promise;
  const first = Array.from({ length: 20 }, get);
  while (clouds.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
  opened.resolve();
  for (const answer of await Promise.all(first)) expect(answer).toMatchObject({ status: 200 });
  expect(clouds.requests).toHaveLength(1);

  // Four minutes before the end: the request gets the current token, and the next one is fetched meanwhile.
  clock.now += 3_360_000;
  expect(await get()).toMatchObject({ status: 200 });
  while ((await refreshed(sidekey)) < 2) await new Promise((resolve) => setImmediate(resolve));
  expect(await get()).toMatchObject({ status: 200 });
  expect(clouds.requests).toHaveLength(2);

  // After the end, a token that cannot be replaced is not used.
  clock.now += 3_600_000;
  clouds.instead.push([/computeMetadata/, { status: 404, body: '' }]);
  const refused = await get();
  expect(refused).toMatchObject({ status: 502 });
  expect(JSON.stringify(refused)).toContain('The instance has no such service account');
});

const now = () => Date.UTC(2027, 0, 1);

test('each node asks the metadata service of its own machine', async () => {
  const [one, two] = [await startClouds({ now }), await startClouds({ now })];
  const api = await startApi();
  const first = await desk(one, api, now);
  const second = await desk(two, api, now, first.sidekey.folder);
  expect(await first.get()).toMatchObject({ status: 200 });
  expect(await second.get()).toMatchObject({ status: 200 });
  expect([one.requests.length, two.requests.length]).toEqual([1, 1]);
});
