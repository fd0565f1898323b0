/** If the provider lets the client use its own credential, Sidekey adds none, and all other rules apply. */
import { expect, test } from 'vitest';
import { proxiedGet } from '../../support/proxied-get.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { startPlainUpstream, startUpstream } from '../../support/upstream.ts';

async function registry(domain: object = {}) {
  const seen: { path: string; authorization: string | undefined }[] = [];
  const upstream = await startUpstream((request, response) => {
    const { authorization } = request.headers;
    seen.push({ path: request.url ?? '', authorization });
    response.setHeader('alt-svc', 'h3=":443"');
    if (authorization === undefined) response.writeHead(401, { 'www-authenticate': 'Bearer realm="x"' });
    response.end('body');
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'hub', ...domain } },
    config: {
      providers: {
        hub: {
          audience: [upstream.authority],
          inject: [
            { paths: ['/token'], as: { basic: 'token' } },
            { paths: ['/v2/**'], as: 'own' },
          ],
        },
      },
    },
  });
  const grant = await sidekey.grant([upstream.authority], { name: 'hub', provider: 'hub' });
  const get = (path: string, authorization?: string) =>
    proxiedGet(sidekey.url, `${upstream.url}${path}`, authorization === undefined ? {} : { authorization });
  return { upstream, sidekey, grant, get, seen };
}

test('the Authorization of the client is forwarded, and a challenge is returned', async () => {
  const { sidekey, get, seen } = await registry();
  expect(await get('/v2/')).toMatchObject({ status: 401 });
  expect(await get('/v2/', 'Bearer handed-out')).toMatchObject({ status: 200 });
  expect(await get('/token', 'Bearer handed-out')).toMatchObject({ status: 200 });
  expect(seen.map(({ authorization }) => authorization)).toEqual([
    undefined,
    'Bearer handed-out',
    `Basic ${Buffer.from(`token:${bearerToken}`).toString('base64')}`,
  ]);
  const lines = (await sidekey.audit()).filter(({ event }) => event === 'access');
  expect(lines.map(({ path, credential }) => [path, typeof credential])).toEqual([
    ['/v2/', 'undefined'],
    ['/v2/', 'undefined'],
    ['/token', 'string'],
  ]);
});

test('rules apply to a client with its own credential, and a path without a configured scheme is refused', async () => {
  const { get, seen } = await registry({
    rules: [{ methods: ['GET'], paths: ['/v2/acme/**', '/elsewhere'] }],
  });
  expect(await get('/v2/acme/widgets', 'Bearer x')).toMatchObject({ status: 200 });
  expect(await get('/v2/other/widgets', 'Bearer x')).toMatchObject({ status: 403 });
  const refused = await get('/elsewhere', 'Bearer x');
  expect(refused).toMatchObject({ status: 403 });
  expect(JSON.stringify(refused)).toContain('does not say how its credential is carried');
  expect(seen).toHaveLength(1);
});

test('an ambiguous path is refused if it may be a path for the credential of the client', async () => {
  const { get, seen } = await registry();
  for (const path of ['/v2//x', '/v2/..%2ftoken', '/v2/;a']) {
    expect(await get(path, 'Bearer x')).toMatchObject({ status: 403 });
  }
  expect(seen).toEqual([]);
});

test('a client with its own credential is refused if the grant is revoked', async () => {
  const { sidekey, grant, get, seen } = await registry();
  await sidekey.proxy.state.grants.setState(grant, 'revoked', null);
  expect(await get('/v2/', 'Bearer x')).toMatchObject({ status: 403 });
  expect(seen).toEqual([]);
});

test('the credential of the client is not forwarded over plain http', async () => {
  const seen: string[] = [];
  const upstream = await startPlainUpstream((request, response) => {
    seen.push(request.url ?? '');
    response.end();
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'hub' } },
    config: { providers: { hub: { audience: [upstream.authority], inject: [{ as: 'own' }] } } },
  });
  await sidekey.grant([upstream.authority], { name: 'hub', provider: 'hub' });
  const answer = await proxiedGet(sidekey.url, `${upstream.url}/v2/`, { authorization: 'Bearer x' });
  expect(JSON.stringify(answer)).toContain('insecure_transport');
  expect(seen).toEqual([]);
});
