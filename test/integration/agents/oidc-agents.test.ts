import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openClient, openTunnel, problemOf, type TunnelOptions } from '../../support/raw-client.ts';
import { addAgent } from '../../support/rights.ts';
import { startSidekey } from '../../support/sidekey.ts';
import {
  gitHubClaims,
  issuerKey,
  type IssuerKey,
  kubernetesClaims,
  spiffeClaims,
  startIssuer,
} from '../../support/token-issuer.ts';
import { startUpstream } from '../../support/upstream.ts';

const audience = 'https://sidekey.acme.test';
const basic = (name: string, token: string) =>
  `Proxy-Authorization: Basic ${Buffer.from(`${name}:${token}`).toString('base64')}`;
const bearer = (token: string) => `Proxy-Authorization: Bearer ${token}`;
const required = { proxy: { listen: '127.0.0.1:0', authentication: 'required' } };
const rule = { subject: 'repo:acme/app:ref:refs/heads/main', claims: { repository_id: 74 } };

/** An API, an issuer with real TLS, and a proxy with a grant for the API that requires an agent. */
async function setup(issuerConfig: object = {}, keys: readonly IssuerKey[] = []) {
  const key = await issuerKey('one');
  const issuer = await startIssuer([key, ...keys]);
  const upstream = await startUpstream((request, response) => {
    if (request.url === '/stream') response.write('first');
    else response.end(request.headers.authorization === undefined ? 'no' : 'ok');
  });
  let time = Date.now();
  const domains = { [upstream.authority]: { grant: 'acme' } };
  const issuers = (change: object = {}) => ({
    main: { issuer: issuer.url, audience, agents: { 'ci-bot': rule }, ...issuerConfig, ...change },
  });
  const sidekey = await startSidekey({
    domains,
    config: { ...required, agent_issuers: issuers() },
    now: () => time,
  });
  await sidekey.grant([upstream.authority]);
  const { store } = sidekey.proxy.state;
  await addAgent(store, 'ci-bot', 'stored-token');
  const seconds = () => Math.floor(time / 1_000);
  const jwt = (change: object = {}, by = key) =>
    by.sign({ ...gitHubClaims(issuer.url, audience, seconds()), ...change });
  const tunnel = (field: string, options: TunnelOptions = {}) =>
    openTunnel(sidekey, upstream.authority, { ...options, fields: [field] });
  const get = async (field: string, path = '/') => {
    const client = await tunnel(field);
    client.send(`GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    return client;
  };
  /** The response to a CONNECT that is refused. */
  const refused = async (field: string) => {
    const client = await openClient(sidekey);
    const { authority } = upstream;
    client.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${field}\r\n\r\n`);
    const answer = await client.response();
    return { status: answer.status, ...problemOf(answer) };
  };
  return {
    key,
    issuer,
    upstream,
    sidekey,
    store,
    domains,
    jwt,
    tunnel,
    get,
    refused,
    seconds,
    reconfigure: (change: object) =>
      sidekey.configure({ ...required, domains, agent_issuers: issuers(change) }),
    advance: (ms: number) => (time += ms),
  };
}

describe('an agent with a GitHub Actions token', () => {
  test.each(['Basic', 'Basic without a name', 'Bearer'])(
    'is accepted by %s, and named in the audit log',
    async (how) => {
      const { jwt, get, sidekey, issuer } = await setup();
      const token = await jwt();
      const field = how === 'Bearer' ? bearer(token) : basic(how === 'Basic' ? 'ci-bot' : '', token);
      const client = await get(field);
      expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
      const subject = 'repo:acme/app:ref:refs/heads/main';
      const access = await sidekey.audited(({ event }) => event === 'access');
      expect(access).toMatchObject({ agent: 'ci-bot', subject });
      expect(await sidekey.audited(({ event }) => event === 'agent.signed_in')).toMatchObject({
        agent: 'ci-bot',
        subject,
        reason: 'by a token of agent_issuers.main',
      });
      const [, , signature = ''] = token.split('.');
      for (const text of [JSON.stringify(await sidekey.audit()), sidekey.logged()])
        expect(text).not.toContain(signature);
      expect(issuer.requests).toEqual(['/.well-known/openid-configuration', '/keys']);
    },
  );

  test('causes one fetch of the issuer keys for many tokens', async () => {
    const { jwt, get, issuer } = await setup();
    const tokens = await Promise.all(['a', 'b', 'c', 'd'].map((jti) => jwt({ jti })));
    const answers = await Promise.all(tokens.map(async (token) => (await get(bearer(token))).response()));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(issuer.requests).toHaveLength(2);
  });

  test('can still use its stored token', async () => {
    const { get } = await setup();
    expect(await (await get(basic('ci-bot', 'stored-token'))).response()).toMatchObject({ status: 200 });
  });

  test.each<[string, object]>([
    ['an environment of another repository', { repository_id: '75' }],
    ['a pull request', { sub: 'repo:acme/app:pull_request' }],
    ['another proxy', { aud: 'https://other.acme.test' }],
    ['the past', { exp: 1_700_000_000 }],
  ])('of %s is refused with a reason and the next step', async (_name, change) => {
    const { jwt, refused, upstream, sidekey } = await setup();
    const token = await jwt(change);
    const answer = await refused(bearer(token));
    expect(answer).toMatchObject({ status: 407, code: 'agent_auth_required' });
    expect(answer.hint).toContain('sidekey agent check');
    expect(upstream.connections()).toBe(0);
    expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({
      code: 'agent_auth_required',
    });
    expect(JSON.stringify(await sidekey.audit())).not.toContain(token.split('.')[2]);
  });

  test('under the name of another agent is refused', async () => {
    const { jwt, refused, store } = await setup();
    await addAgent(store, 'other', 'token-of-other');
    expect(await refused(basic('other', await jwt()))).toMatchObject({ status: 407 });
  });

  test('for an agent missing from the store is refused with the command that creates the agent', async () => {
    const { jwt, refused, store } = await setup();
    await store.agents.remove('ci-bot');
    expect(await refused(bearer(await jwt()))).toMatchObject({
      code: 'agent_auth_required',
      hint: 'sidekey agent create ci-bot --no-token --grant GRANT',
    });
  });
});

describe('an OIDC token in use', () => {
  test('expires inside an open tunnel and during an open response', async () => {
    const { jwt, get, sidekey, upstream, advance } = await setup();
    const field = bearer(await jwt());
    const stream = await get(field, '/stream');
    await stream.until('first');
    const idle = await get(field);
    expect(await idle.response()).toMatchObject({ status: 200 });
    advance(300_000);
    await stream.ended();
    expect(
      await sidekey.audited(({ event, path }) => event === 'outcome' && path === '/stream'),
    ).toMatchObject({ outcome: 'aborted', code: 'agent_auth_required' });
    idle.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await idle.response();
    expect({ status: answer.status, ...problemOf(answer) }).toMatchObject({
      status: 407,
      detail: expect.stringContaining('ended at') as unknown,
      hint: 'get a new token from its issuer, and set it in HTTPS_PROXY',
    });
  });

  test.each<[string, (place: Awaited<ReturnType<typeof setup>>) => Promise<unknown>]>([
    ['its agent is disabled', ({ store }) => store.agents.change('ci-bot', { disabledAt: 1 })],
    ['its agent is removed', ({ store }) => store.agents.remove('ci-bot')],
    ['its rule is removed', ({ reconfigure }) => reconfigure({ agents: { 'ci-bot': { subject: 'x' } } })],
    ['its audience changes', ({ reconfigure }) => reconfigure({ audience: 'https://new.acme.test' })],
  ])('is refused on the next request if %s, and open exchanges are cut', async (_name, change) => {
    const place = await setup();
    const { jwt, get, upstream } = place;
    const field = bearer(await jwt());
    const stream = await get(field, '/stream');
    await stream.until('first');
    const idle = await get(field);
    expect(await idle.response()).toMatchObject({ status: 200 });
    await change(place);
    idle.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await idle.response()).toMatchObject({ status: 407 });
    await stream.ended();
  });

  test('stays valid while its issuer is unreachable, but new tokens are refused', async () => {
    const { jwt, get, refused, issuer, upstream, advance, reconfigure } = await setup({ max_age: '1h' });
    const end = { exp: Math.floor(Date.now() / 1_000) + 3_600 };
    const client = await get(bearer(await jwt(end)));
    expect(await client.response()).toMatchObject({ status: 200 });
    issuer.failing = { status: 503, body: '{}' };
    advance(660_000);
    expect(await refused(bearer(await jwt({ ...end, jti: 'new' })))).toMatchObject({
      status: 503,
      code: 'issuer_unavailable',
    });
    // A change of the config has it verified again, by the keys in memory.
    await reconfigure({ agents: { 'ci-bot': { subject: 'repo:acme/app:ref:refs/heads/*' } } });
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
  });
});

describe('the keys of an issuer', () => {
  test.each<[string, NonNullable<Awaited<ReturnType<typeof startIssuer>>['failing']>]>([
    ['an error', { status: 500, body: '{}' }],
    ['a status of an error', { status: 404, body: '{"issuer":"URL","jwks_uri":"URL/keys"}' }],
    ['a redirect', { status: 302, body: '', location: 'https://api.acme.test/keys' }],
    ['another issuer', { status: 200, body: '{"issuer":"https://evil.test","jwks_uri":"URL/keys"}' }],
    ['a text without end', { status: 200, body: `{"issuer":"${'x'.repeat(70_000)}"}` }],
    ['no JSON', { status: 200, body: '<html>' }],
  ])('refuse tokens if the issuer answers with %s', async (_name, failing) => {
    const { jwt, refused, issuer } = await setup();
    issuer.failing = { ...failing, body: failing.body.replaceAll('URL', issuer.url) };
    const answer = await refused(bearer(await jwt()));
    expect(answer).toMatchObject({ status: 503, code: 'issuer_unavailable' });
    expect(answer.hint).not.toBe('');
    expect(issuer.requests).toEqual(['/.well-known/openid-configuration']);
  });

  test('are not fetched from an unlisted private address', async () => {
    const { jwt, refused, issuer, sidekey, domains } = await setup();
    await sidekey.configure({
      ...required,
      domains,
      upstream: { ca: ['upstream-ca.pem'], resolve: { 'api.acme.test': '127.0.0.1' } },
      agent_issuers: { main: { issuer: issuer.url, audience, agents: { 'ci-bot': rule } } },
    });
    expect(await refused(bearer(await jwt()))).toMatchObject({ status: 503, code: 'issuer_unavailable' });
    expect(issuer.upstream.connections()).toBe(0);
  });

  test('are not fetched from a server whose certificate is not trusted, unless ca trusts it', async () => {
    const { jwt, refused, get, issuer, upstream, sidekey, domains } = await setup();
    const without = {
      ...required,
      domains,
      upstream: { resolve: { 'api.acme.test': '127.0.0.1' }, private_addresses: ['127.0.0.1/32'] },
    };
    const main = { issuer: issuer.url, audience, agents: { 'ci-bot': rule } };
    await sidekey.configure({ ...without, agent_issuers: { main } });
    expect(await refused(bearer(await jwt()))).toMatchObject({ code: 'issuer_unavailable' });
    expect(issuer.requests).toEqual([]);
    await sidekey.configure({
      ...without,
      agent_issuers: { main: { ...main, ca: 'upstream-ca.pem' } },
    });
    const client = await get(bearer(await jwt()));
    // The API has a certificate of the same CA, which only the issuer may have.
    expect(await client.response()).toMatchObject({ status: 502 });
    expect(upstream.connections()).toBeGreaterThan(0);
    expect(issuer.requests).toHaveLength(2);
  });
});

describe('a Kubernetes service account token', () => {
  test('identifies a pod by the keys of the API server, which itself requires a token', async () => {
    const { issuer, key, get, sidekey, reconfigure, seconds, refused } = await setup();
    const name = 'https://kubernetes.default.svc.cluster.local';
    await writeFile(join(sidekey.folder, 'account-token'), 'token-of-the-proxy', { mode: 0o600 });
    issuer.authorization = 'Bearer token-of-the-proxy';
    const cluster = {
      issuer: name,
      jwks_url: `${issuer.url}/openid/v1/jwks`,
      agents: {
        'ci-bot': { claims: { 'kubernetes.io': { namespace: 'ci', serviceaccount: { name: 'runner' } } } },
      },
    };
    await reconfigure({ ...cluster, token: 'file:account-token' });
    const token = await key.sign(kubernetesClaims(name, audience, seconds()));
    expect(await (await get(basic('ci-bot', token))).response()).toMatchObject({ status: 200 });
    expect(await sidekey.audited(({ event }) => event === 'access')).toMatchObject({
      subject: 'system:serviceaccount:ci:runner',
    });
    await reconfigure(cluster);
    expect(
      await refused(bearer(await key.sign(kubernetesClaims(name, audience, seconds() + 1)))),
    ).toMatchObject({ code: 'issuer_unavailable' });
  });
});

describe('a JWT-SVID of SPIRE', () => {
  test('identifies a workload by the keys of a bundle file, which may be replaced while the proxy runs', async () => {
    const next = await issuerKey('two');
    const { key, sidekey, get, refused, seconds, domains, advance, store } = await setup();
    await addAgent(store, 'runner', 'stored-token-of-runner');
    const bundle = (jwk: object) =>
      writeFile(
        join(sidekey.folder, 'bundle.json'),
        JSON.stringify({ keys: [{ ...jwk, alg: undefined, use: 'jwt-svid' }], spiffe_refresh_hint: 300 }),
      );
    await bundle(key.jwk);
    await sidekey.configure({
      ...required,
      domains,
      agent_issuers: {
        spire: {
          trust_domain: 'example.org',
          audience,
          jwks: 'bundle.json',
          agents: { runner: { subject: 'spiffe://example.org/ns/ci/sa/runner' } },
        },
      },
    });
    const svid = (by: IssuerKey) => by.sign(spiffeClaims(audience, seconds()), { typ: undefined });
    expect(await (await get(bearer(await svid(key)))).response()).toMatchObject({ status: 200 });
    expect(await sidekey.audited(({ event }) => event === 'access')).toMatchObject({
      agent: 'runner',
      subject: 'spiffe://example.org/ns/ci/sa/runner',
    });
    await bundle(next.jwk);
    advance(11_000);
    expect(await (await get(bearer(await svid(next)))).response()).toMatchObject({ status: 200 });
    expect(await refused(bearer(await svid(key)))).toMatchObject({ code: 'agent_auth_required' });
  });
});
