import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';
import { startService } from '../../support/service.ts';
import { gitHubClaims, issuerKey, startIssuer } from '../../support/token-issuer.ts';
import { upstreamCa } from '../../support/upstream.ts';

const audience = 'sidekey.acme.test';
const rule = { subject: 'repo:acme/app:ref:refs/heads/*', claims: { repository_id: 74 } };

/** A home with an issuer for the agent `ci`, which has no token of its own. */
async function setup() {
  const key = await issuerKey('one');
  const issuer = await startIssuer([key]);
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { 'api.acme.test': '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { 'api.example.com': { grant: 'github' } },
    agent_issuers: { main: { issuer: issuer.url, audience, agents: { ci: rule } } },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const seconds = Math.floor(Date.now() / 1_000);
  const jwt = (change: object = {}) =>
    key.sign({ ...gitHubClaims(issuer.url, audience, seconds), ...change });
  const check = (input: string, args: readonly string[] = []) =>
    at.run(['agent', 'check', ...args], { input });
  return { at, issuer, jwt, check, seconds };
}

describe('an agent that authenticates with an OIDC token', () => {
  test('is created without a token, and shows the claims that identify it', async () => {
    const { at } = await setup();
    const created = await at.run(['agent', 'create', 'ci', '--no-token', '--everything']);
    expect(created).toMatchObject({
      exit: 0,
      stdout: 'HTTPS_PROXY=http://ci:TOKEN@127.0.0.1:PORT\n',
      stderr: expect.stringContaining(
        'TOKEN is a token that an issuer of agent_issuers gives ci.',
      ) as unknown,
    });
    expect(await at.json(['agent', 'show', 'ci'])).toMatchObject({
      tokens: [],
      identities: [
        { issuer: 'main', claims: { sub: 'repo:acme/app:ref:refs/heads/*', repository_id: '74' } },
      ],
    });
    expect((await at.run(['agent', 'show', 'ci'])).stdout).toContain(
      'main: sub repo:acme/app:ref:refs/heads/*, repository_id 74',
    );
    expect(await at.json(['agent', 'list'])).toMatchObject([{ live_tokens: 0, issuers: ['main'] }]);
    expect((await at.run(['agent', 'list'])).stdout).toContain('0, main');
  });

  test('can also be identified by a client certificate, whose name is shown, and is accepted by explain', async () => {
    const names = { client_ca: 'ca.pem', agents: { ci: 'spiffe://acme.test/ci' } };
    const at = await home({
      proxy: { listen: '127.0.0.1:0', tls: { cert: 'proxy.pem', key: 'proxy.key', ...names } },
      domains: { 'api.example.com': { grant: 'github' } },
    });
    await at.grant('github', { type: 'api_key', value: 'key-0123456789' }, ['--audience', 'api.example.com']);
    const created = await at.run(['agent', 'create', 'ci', '--no-token', '--everything']);
    expect(created.stderr).toContain('On other machines: https, and a name of the certificate');
    const { stdout } = await at.run(['agent', 'show', 'ci']);
    expect(stdout).toContain('proxy.tls: certificate spiffe://acme.test/ci');
    const explained = await at.run(['explain', 'https://api.example.com/', '--agent', 'ci']);
    expect(explained.stdout).toContain('Allowed: with the credential of github');
  });

  test('shows its last use in the list and in the details', async () => {
    const { sidekey, call } = await startService();
    const { agents, rights } = sidekey.proxy.state.store;
    await agents.insert({ name: 'ci', user: null, labels: [], disabledAt: null, createdAt: 0 });
    const shown = async () => [
      (await call('GET /v2/agents')).body.data[0].used_at,
      (await call('GET /v2/agents/ci')).body.used_at,
    ];
    expect(await shown()).toEqual([null, null]);
    await rights.noteUses([{ kind: 'identity', id: 'ci', at: Date.UTC(2026, 0, 1) }]);
    expect(await shown()).toEqual(['2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z']);
  });

  test('can be the caller of explain, as if its token were valid', async () => {
    const { at } = await setup();
    const explain = ['explain', 'https://api.example.com/', '--agent', 'ci', '--json'];
    await at.run(['agent', 'create', 'ci', '--no-token', '--everything']);
    const { stdout } = await at.run(explain);
    expect(JSON.parse(stdout)).toMatchObject({ code: 'grant_missing' });
    await at.run(['agent', 'set', 'ci', '--disable']);
    expect(JSON.parse((await at.run(explain)).stdout)).toMatchObject({ code: 'agent_auth_required' });
  });
});

describe('agent check', () => {
  test('names the agent that a token identifies, and changes nothing', async () => {
    const { at, jwt, check, seconds } = await setup();
    await at.run(['agent', 'create', 'ci', '--no-token', '--everything']);
    const token = await jwt();
    const { stdout, stderr } = await check(`${token}\n`, ['--json']);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      agent: 'ci',
      issuer: 'main',
      subject: 'repo:acme/app:ref:refs/heads/main',
      expires_at: new Date((seconds + 300) * 1_000).toISOString(),
    });
    const text = await check(token);
    expect(text.stdout).toContain('repo:acme/app:ref:refs/heads/main');
    expect(text.stdout).not.toContain(token);
    expect(await readFile(at.at('data', 'audit.jsonl'), 'utf8')).not.toContain('signed_in');
  });

  test.each<[string, object, string]>([
    ['its audience', { aud: 'other' }, 'has not the audience sidekey.acme.test'],
    ['a claim', { repository_id: '75' }, '(ci: repository_id differs)'],
    ['its issuer', { iss: 'https://other.test' }, 'which agent_issuers does not list'],
  ])(
    'refuses a token for %s with the reason, the next step, and exit code 3',
    async (_name, change, sentence) => {
      const { jwt, check } = await setup();
      const token = await jwt(change);
      const { exit, stdout, stderr } = await check(token);
      expect({ exit, stdout }).toEqual({ exit: 3, stdout: '' });
      expect(stderr).toContain(sentence);
      expect(stderr).toContain('→ ');
      expect(stderr).not.toContain(token);
    },
  );

  test('refuses a token of an agent that does not exist or is disabled', async () => {
    const { at, jwt, check } = await setup();
    expect(await check(await jwt())).toMatchObject({
      exit: 3,
      stderr: expect.stringContaining('sidekey agent create ci --no-token') as unknown,
    });
    await at.run(['agent', 'create', 'ci', '--no-token', '--everything']);
    await at.run(['agent', 'set', 'ci', '--disable']);
    expect(await check(await jwt())).toMatchObject({
      exit: 3,
      stderr: expect.stringContaining('The agent ci is disabled') as unknown,
    });
  });

  test('reports an issuer that cannot be reached, and refuses input that is not a JWT', async () => {
    const { issuer, jwt, check } = await setup();
    issuer.failing = { status: 500, body: '' };
    expect(await check(await jwt())).toMatchObject({
      exit: 6,
      stderr: expect.stringContaining('The keys of agent_issuers.main cannot be read') as unknown,
    });
    expect(await check('sidekey_agent_x')).toMatchObject({ exit: 2, stdout: '' });
  });
});
