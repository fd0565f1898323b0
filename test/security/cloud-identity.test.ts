/**
 * The endpoints that SDKs of clouds ask for credentials are open to every program and web page of the machine.
 * An answer must be worth nothing to another caller, and must not say which grants others have.
 */
import { describe, expect, test } from 'vitest';
import { hashToken, newSecret } from '../../src/agents/authentication.ts';
import type { PeerOwner } from '../../src/lib/os.ts';
import { openClient, problemOf } from '../support/raw-client.ts';
import { addAgent, leaseRecord } from '../support/rights.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

const google = '/computeMetadata/v1/instance/service-accounts/default';
const flavor = 'Metadata-Flavor: Google';

/** A request to each endpoint: its target, the field that it needs, and the field of its token. */
const endpoints = [
  { target: '/.sidekey/aws', needs: 'Accept: */*', field: 'Authorization' },
  {
    target: '/.sidekey/azure?resource=https://vault.azure.net',
    needs: 'Accept: */*',
    field: 'X-IDENTITY-HEADER',
  },
  { target: `${google}/token`, needs: flavor, field: 'Authorization' },
  { target: '/', needs: flavor, field: 'Authorization' },
];

const keys = {
  type: 'aws',
  accessKeyId: 'AKIAREAL',
  secretAccessKey: 'real',
  sessionToken: null,
  region: null,
} as const;

/** A proxy with a grant of each cloud, whose agent `alpha` has all and whose agent `beta` has none. */
async function setUp({
  owner = 'own',
  authentication = 'optional',
}: { readonly owner?: PeerOwner; readonly authentication?: string } = {}) {
  const upstream = await startUpstream((_request, response) => void response.end('ok'));
  const { authority } = upstream;
  const sidekey = await startSidekey({
    domains: {
      [authority]: { grant: 'google' },
      'management.azure.com': { grant: 'azure' },
      's3.amazonaws.com': { grant: 'aws' },
    },
    config: { proxy: { listen: '127.0.0.1:0', authentication } },
    peerOwner: () => Promise.resolve(owner),
  });
  await sidekey.grant([authority], { name: 'google', provider: 'google' });
  await sidekey.grant(['management.azure.com'], { name: 'azure', provider: 'azure' });
  await sidekey.grant(['s3.amazonaws.com'], { name: 'keys', provider: 'aws', credential: keys });
  const tokens = { alpha: newSecret('agent'), beta: newSecret('agent') };
  const { store } = sidekey.proxy.state;
  await addAgent(store, 'alpha', tokens.alpha);
  await addAgent(store, 'beta', tokens.beta, { bindings: [{ kind: 'provider', value: 'acme' }] });
  const host = `Host: 127.0.0.1:${sidekey.port}`;
  const ask = async (target: string, ...fields: readonly string[]) => {
    const client = await openClient(sidekey);
    const all = fields.some((field) => field.startsWith('Host:')) ? fields : [host, ...fields];
    client.send(`${[`GET ${target} HTTP/1.1`, ...all].join('\r\n')}\r\n\r\n`);
    return client.response();
  };
  return { sidekey, authority, tokens, store, ask };
}

describe.each(endpoints)('$target', ({ target, needs, field }) => {
  test('answers programs of the same user, and agents with a token', async () => {
    const { ask, tokens, sidekey } = await setUp();
    const [path] = target.split('?');
    expect(await ask(target, needs)).toMatchObject({ status: 200, headers: { 'metadata-flavor': 'Google' } });
    expect(await ask(target, needs, `${field}: ${tokens.alpha}`)).toMatchObject({ status: 200 });
    expect(
      await sidekey.audited((line) => line.event === 'discovery' && line.agent === 'alpha'),
    ).toMatchObject({
      path: path === '/' ? '/computeMetadata/v1/' : path,
    });
  });

  test.each([
    ['with Origin', 'Origin: https://evil.example'],
    ['with Sec-Fetch-Site', 'Sec-Fetch-Site: cross-site'],
    ['with Sec-Fetch-Dest', 'Sec-Fetch-Dest: image'],
    ['that a reverse proxy passes on', 'X-Forwarded-For: 203.0.113.7'],
    ['under a name that resolves to this machine', 'Host: evil.example'],
  ])('refuses a request %s', async (_what, line) => {
    const { ask } = await setUp();
    // A proxy of the browser gets the absolute form.
    const absolute = line.startsWith('Host:') ? [] : [`http://sidekey.internal${target}`];
    for (const each of [target, ...absolute]) {
      const host = each === target ? [] : ['Host: sidekey.internal'];
      const answer = await ask(each, needs, line, ...host);
      expect(answer.status).toBe(403);
      expect(problemOf(answer).code).toBe('browser_refused');
    }
  });

  test('refuses another user of the machine', async () => {
    const { ask } = await setUp({ owner: 'other' });
    const answer = await ask(target, needs);
    expect(answer.status).toBe(401);
    expect(problemOf(answer).code).toBe('caller_not_same_user');
  });

  test('refuses a caller without a token if a token is required', async () => {
    const { ask, tokens } = await setUp({ authentication: 'required' });
    expect(await ask(target, needs)).toMatchObject({ status: 401 });
    expect(await ask(target, needs, `${field}: ${tokens.alpha}`)).toMatchObject({ status: 200 });
  });

  test('answers a lease that has ended in the words of each SDK', async () => {
    const { ask, store } = await setUp();
    const token = newSecret('lease');
    const ended = { agent: 'alpha', tokenHash: hashToken(token), grants: null, createdAt: 1, expiresAt: 2 };
    await store.leases.insert(leaseRecord(ended));
    const answer = await ask(target, needs, `${field}: ${token}`);
    expect(answer.status).toBe(403);
    const { code, detail } = problemOf(answer);
    expect(code).toBe('lease_expired');
    expect(JSON.parse(answer.body)).toMatchObject({
      Code: code,
      Message: detail,
      error: code,
      error_description: detail,
    });
  });

  test('answers a caller without the grant like a caller of a Sidekey without any', async () => {
    const { ask, tokens } = await setUp();
    const answer = await ask(target, needs, `${field}: ${tokens.beta}`);
    expect(answer.status).toBe(404);
    const none = await startSidekey();
    const client = await openClient(none);
    client.send(`GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:${none.port}\r\n${needs}\r\n\r\n`);
    expect((await client.response()).body).toBe(answer.body);
    if (target !== '/') {
      const named = `${target}${target.includes('?') ? '&' : '?'}grant=nothing`;
      expect((await ask(named, needs)).body).toBe(answer.body);
    }
  });
});

test('a request to the metadata of Google without its field is refused', async () => {
  const { ask } = await setUp();
  expect(await ask(`${google}/token`)).toMatchObject({ status: 400 });
});

test('there are no ID tokens, which other services accept', async () => {
  const { ask } = await setUp();
  const answer = await ask(`${google}/identity?audience=https://vault.example`, flavor);
  expect(answer).toMatchObject({ status: 404, body: 'There is no such page.\n' });
});

test('a placeholder is valid for the caller that got it, and for no other', async () => {
  const { ask, authority, tokens, store } = await setUp();
  await addAgent(store, 'gamma', 'of-gamma');
  const got = await ask(`${google}/token`, flavor, `Authorization: ${tokens.alpha}`);
  const { access_token: placeholder } = JSON.parse(got.body) as { access_token: string };
  const call = (token: string) =>
    ask(
      `https://${authority}/`,
      `Host: ${authority}`,
      `Proxy-Authorization: Bearer ${token}`,
      `Authorization: Bearer ${placeholder}`,
    );
  expect(await call(tokens.alpha)).toMatchObject({ status: 200, body: 'ok' });
  expect(problemOf(await call('of-gamma')).code).toBe('placeholder_misused');
});

test('with several grants, a placeholder names the one in the query, and none without', async () => {
  const { ask, sidekey } = await setUp();
  await sidekey.grant(['s3.amazonaws.com'], { name: 'other', provider: 'aws', credential: keys });
  const idOf = async (query: string) => {
    const { body } = await ask(`/.sidekey/aws${query}`);
    return (JSON.parse(body) as { AccessKeyId: string }).AccessKeyId;
  };
  expect(await idOf('')).toBe('ASIASIDE000000000000');
  const [one, two] = [await idOf('?grant=keys'), await idOf('?grant=other')];
  expect(one).toMatch(/^ASIASIDE[A-Z2-7]{12}$/);
  expect(two).toMatch(/^ASIASIDE[A-Z2-7]{12}$/);
  expect(one).not.toBe(two);
});
