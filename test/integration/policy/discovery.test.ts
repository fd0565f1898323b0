import { describe, expect, test } from 'vitest';
import { everything, type Binding } from '../../../src/domain/lease.ts';
import { hashToken } from '../../../src/agents/authentication.ts';
import { curl, curlMissing } from '../../support/curl.ts';
import { openClient, problemOf } from '../../support/raw-client.ts';
import { addAgent, leaseRecord } from '../../support/rights.ts';
import { bearerToken, startSidekey, type SidekeyOptions, type TestSidekey } from '../../support/sidekey.ts';

const own = 'http://sidekey.internal/';
const token = 'agent-token-0123456789';
const readOnly = { rules: [{ name: 'look', methods: ['GET', 'HEAD'] }] };

/** Grants `acme` and `secret-project`, each with a host of its own; nobody listens there. */
async function setup(options: SidekeyOptions = {}): Promise<TestSidekey> {
  const sidekey = await startSidekey({
    domains: {
      'api.acme.test': { grant: 'acme', ...readOnly },
      'hidden.acme.test': { grant: 'secret-project' },
      'docs.acme.test': 'tunnel',
      'bad.acme.test': 'deny',
    },
    ...options,
  });
  await sidekey.grant(['api.acme.test']);
  await sidekey.grant(['hidden.acme.test'], { name: 'secret-project', provider: 'elsewhere' });
  return sidekey;
}

const required = { config: { proxy: { listen: '127.0.0.1:0', authentication: 'required' } } };

/** Everything behind this is what was looked up, dialed or let through: nothing may be. */
async function eventsOf(sidekey: TestSidekey): Promise<readonly string[]> {
  await sidekey.audited(({ event }) => event === 'discovery');
  return (await sidekey.audit()).map(({ event }) => event);
}

describe.skipIf(curlMissing !== false)('sidekey.internal, requested with curl', () => {
  test('lists as text the allowed hosts with their grants, and the refused hosts', async () => {
    const sidekey = await setup();
    const answer = await curl('-x', sidekey.url, own);
    expect(answer).toMatchObject({ status: 200, exitCode: 0 });
    expect(answer.head.toLowerCase()).toContain('content-type: text/plain; charset=utf-8');
    expect(answer.head.toLowerCase()).toContain('cache-control: no-store');
    const { body } = answer;
    expect(body).toContain('You are a caller on this machine, without a token.');
    expect(body).toContain(
      'api.acme.test (https)\n  grant acme (acme): active\n  only reading is allowed:\n  1. methods GET, HEAD: allowed\n  anything else: refused',
    );
    expect(body).toContain('Passed through as they are, without a credential: docs.acme.test');
    expect(body).toContain('Refused: bad.acme.test');
    expect(body).toContain('sidekey domain allow HOST --grant GRANT');
    expect(body).not.toContain(bearerToken);
    const event = await sidekey.audited((line) => line.event === 'discovery');
    expect(event).toMatchObject({
      host: 'sidekey.internal',
      port: 80,
      scheme: 'http',
      method: 'GET',
      path: '/',
      status: 200,
      outcome: 'ok',
      bytes_out: Buffer.byteLength(body),
    });
    expect(event).not.toHaveProperty('credential');
    expect(await eventsOf(sidekey)).not.toContain('access');
  });

  test.each([
    ['by Accept', [own, '-H', 'Accept: application/json']],
    ['by its path', [`${own}index.json`]],
    ['inside a CONNECT that speaks plain HTTP', [own, '-p', '-H', 'Accept: application/json']],
    ['inside a CONNECT with TLS', ['https://sidekey.internal/index.json']],
    ['over HTTP/2', ['https://sidekey.internal/index.json', '--http2']],
    ['on another port', ['http://sidekey.internal:8080/index.json']],
    ['with its name written otherwise', ['http://SIDEKEY.Internal./index.json']],
  ])('answers in JSON, %s', async (_name, options) => {
    const sidekey = await setup();
    const answer = await curl('-x', sidekey.url, '--cacert', sidekey.caFile, ...options);
    expect(answer).toMatchObject({ status: 200, exitCode: 0 });
    expect(JSON.parse(answer.body)).toMatchObject({
      sidekey: 1,
      agent: null,
      lease: null,
      hosts: [
        {
          host: 'api.acme.test',
          grants: [{ name: 'acme', state: 'active', problem: null }],
          chosen: 'acme',
          read_only: true,
          default: 'deny',
          rules: [{ name: 'look', outcome: 'allow', text: 'methods GET, HEAD', require_reason: false }],
        },
        { host: 'hidden.acme.test', rules: [], default: 'allow' },
      ],
      tunnels: ['docs.acme.test'],
      denied: ['bad.acme.test'],
      unmatched: 'deny',
    });
    expect(await eventsOf(sidekey)).not.toContain('access');
  });

  test('answers HEAD with the same head and no body', async () => {
    const sidekey = await setup();
    const answer = await curl('-x', sidekey.url, '--head', own);
    expect(answer).toMatchObject({ status: 200, body: '' });
    expect(answer.head).toMatch(/^Content-Length: [1-9][0-9]{2,}\r$/m);
  });

  test.each([
    ['another method', ['-X', 'POST', '-d', 'x', own], 405, 'method_not_allowed'],
    ['another path', [`${own}grants`], 404, 'not_found'],
  ])('refuses %s like any other request', async (_name, options, status, code) => {
    const sidekey = await setup();
    const answer = await curl('-x', sidekey.url, ...options);
    expect(answer).toMatchObject({ status });
    expect(answer.head).toContain(`Sidekey-Error: ${code}`);
    expect(answer.head.includes('Allow: GET, HEAD')).toBe(status === 405);
    expect(JSON.parse(answer.body)).toMatchObject({ status, code, hint: `GET ${own}` });
    expect(await sidekey.audited((line) => line.event === 'denied')).toMatchObject({ status, code });
  });

  test.each([[[own]], [[own, '-p']], [['https://sidekey.internal/']]])(
    'reveals nothing to an unknown caller if agents are required: %j',
    async (options) => {
      const sidekey = await setup(required);
      const answer = await curl('-x', sidekey.url, '--cacert', sidekey.caFile, ...options);
      expect(answer.status || answer.connectStatus).toBe(407);
      expect(answer.body).not.toContain('acme');
    },
  );
});

describe('content of the discovery document', () => {
  async function ask(sidekey: TestSidekey, secret: string | null): Promise<{ text: string; json: Reached }> {
    const client = await openClient(sidekey);
    const proof = secret === null ? '' : `Proxy-Authorization: Bearer ${secret}\r\n`;
    client.send(`GET ${own} HTTP/1.1\r\nHost: sidekey.internal\r\n${proof}\r\n`);
    const { body: text } = await client.response();
    client.send(`GET ${own}index.json HTTP/1.1\r\nHost: sidekey.internal\r\n${proof}\r\n`);
    return { text, json: JSON.parse((await client.response()).body) as Reached };
  }

  interface Reached {
    readonly hosts: readonly { readonly host: string; readonly [key: string]: unknown }[];
    readonly [key: string]: unknown;
  }

  test('an agent sees only the grants that are bound to it', async () => {
    const sidekey = await setup(required);
    const bindings: readonly Binding[] = [{ kind: 'provider', value: 'acme' }];
    await addAgent(sidekey.proxy.state.store, 'robot', token, { bindings });
    const { text, json } = await ask(sidekey, token);
    expect(json).toMatchObject({ agent: 'robot', lease: null, ends_at: null });
    expect(json.hosts.map(({ host }) => host)).toEqual(['api.acme.test']);
    expect(text).toContain('You are the agent robot.');
    for (const told of [text, JSON.stringify(json)]) {
      expect(told).not.toMatch(/hidden|secret-project|elsewhere/);
    }
    await expect(sidekey.audited((line) => line.event === 'discovery')).resolves.toMatchObject({
      agent: 'robot',
    });
  });

  test('a lease has its purpose, its expiry and only its own grants', async () => {
    const sidekey = await setup(required);
    const { store, grants } = sidekey.proxy.state;
    await addAgent(store, 'robot', token, { bindings: [everything] });
    const [acme] = await grants.find('acme');
    const now = Date.now();
    const lease = leaseRecord({
      agent: 'robot',
      tokenHash: hashToken('lease-secret'),
      grants: [acme?.id ?? ''],
      purpose: 'the nightly report',
      createdAt: now,
      expiresAt: now + 3_600_000,
    });
    await store.leases.insert(lease);
    const { text, json } = await ask(sidekey, 'lease-secret');
    const endsAt = new Date(lease.expiresAt).toISOString();
    expect(json).toMatchObject({ lease: { id: lease.id, purpose: 'the nightly report', ends_at: endsAt } });
    expect(json.hosts.map(({ host }) => host)).toEqual(['api.acme.test']);
    expect(text).toContain(`the lease ${lease.id} (the nightly report)`);
    expect(text).toContain(`This ends at ${endsAt}`);
    expect(text).not.toContain('hidden');
  });

  test('an unusable grant is shown with its refusal and the command that repairs the grant', async () => {
    const sidekey = await setup();
    const { grants } = sidekey.proxy.state;
    const [acme] = await grants.find('acme');
    if (acme === undefined) throw new Error('no grant');
    await grants.setState(acme, 'reauth_required', 'the provider said invalid_grant');
    const { text, json } = await ask(sidekey, null);
    expect(json.hosts[0]).toMatchObject({
      grants: [
        {
          state: 'reauth_required',
          problem: { code: 'reauth_required', hint: expect.stringContaining('sidekey grant import acme') },
        },
      ],
    });
    expect(text).toContain('not usable now');
    expect(text).toContain('ask the person for: sidekey grant import acme');
  });

  test('several grants have a hint for selection, and a caller without a token sees a missing grant', async () => {
    const sidekey = await setup();
    await sidekey.grant(['api.acme.test'], { name: 'acme-two' });
    await sidekey.configure({ domains: { 'api.acme.test': { grant: 'acme' }, 'x.test': { grant: 'none' } } });
    // An exact name goes before a provider of that name; of a provider there are two.
    const [named] = (await ask(sidekey, null)).json.hosts;
    expect(named).toMatchObject({ chosen: 'acme', problem: null });
    await sidekey.grant(['y.test'], { name: 'one', provider: 'many' });
    await sidekey.grant(['y.test'], { name: 'two', provider: 'many' });
    await sidekey.configure({ domains: { 'y.test': { grant: 'many' }, 'x.test': { grant: 'none' } } });
    const { json } = await ask(sidekey, null);
    expect(json.hosts).toMatchObject([
      { host: 'y.test', chosen: null, problem: { code: 'grant_ambiguous' } },
      { host: 'x.test', grants: [], problem: { code: 'grant_missing' } },
    ]);
  });

  test('rules for other agents are not shown', async () => {
    const rules = [
      { name: 'mine', methods: ['GET'], agents: ['robot'] },
      { name: 'theirs', methods: ['POST'], agents: ['hal-9000'] },
    ];
    const sidekey = await setup({ domains: { 'api.acme.test': { grant: 'acme', rules } }, ...required });
    await addAgent(sidekey.proxy.state.store, 'robot', token);
    const { text, json } = await ask(sidekey, token);
    expect(json.hosts).toMatchObject([{ rules: [{ name: 'mine', text: 'methods GET' }], read_only: true }]);
    expect(text + JSON.stringify(json)).not.toMatch(/hal-9000|theirs/);
  });
});

test('sidekey.internal is answered by the proxy even if unlisted hosts are tunnelled', async () => {
  const sidekey = await setup({ config: { proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel' } } });
  const client = await openClient(sidekey);
  client.send('CONNECT sidekey.internal:80 HTTP/1.1\r\nHost: sidekey.internal:80\r\n\r\n');
  expect(await client.response('CONNECT')).toMatchObject({ status: 200 });
  client.send('GET /index.json HTTP/1.1\r\nHost: sidekey.internal\r\n\r\n');
  expect(JSON.parse((await client.response()).body)).toMatchObject({ unmatched: 'tunnel' });
  expect(await eventsOf(sidekey)).not.toContain('tunnel');
});

test('a request with a different Host is refused here too', async () => {
  const sidekey = await setup();
  const client = await openClient(sidekey);
  client.send(`GET ${own} HTTP/1.1\r\nHost: api.acme.test\r\n\r\n`);
  const answer = await client.response();
  expect(answer).toMatchObject({ status: 421 });
  expect(problemOf(answer).code).toBe('authority_mismatch');
});
