import { hash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { routes } from '../../../src/api/routes.ts';
import type { CommandRow } from '../../../src/cli/command.ts';
import { commandTable } from '../../../src/cli/commands.ts';
import { answered, startService } from '../../support/service.ts';
import type { ProposedChange } from '../../../src/domain/proposal.ts';
import { proposal, question } from '../../support/question.ts';
import { startUpstream } from '../../support/upstream.ts';
import { startTokenServer } from '../../support/token-server.ts';

/** Commands without a route, and the reason. */
const local: Readonly<Record<string, string>> = {
  init: 'asks the person at the terminal about this machine',
  run: 'starts a program of this terminal',
  start: 'starts the process that serves the API',
  open: 'opens a browser of this machine, and makes a link that only this machine may make',
  'service install': 'changes the service manager of this machine',
  'service status': 'asks the service manager of this machine',
  'service logs': 'shows the journal of this machine',
  'service uninstall': 'changes the service manager of this machine',
  'skill install': 'writes into the home of a person',
  'skill list': 'names what skill install takes',
  completion: 'prints a script for a shell',
  mcp: 'speaks another protocol, with a program that started it',
  'transparent rules': 'prints rules for the kernel of this machine',
  'agent check': 'reads a token that stays with its holder',
  'store copy': 'opens another store than the one that is served, with proxies stopped',
  backup: 'writes the master key and all credentials to a file: no key of the API may have them',
  restore: 'writes grants and rights of another time, under the master key of a file',
  upgrade: 'replaces the program itself',
  demo: 'shows the product on a terminal',
  connect: 'needs the browser of a person: connect sessions are the way of the API',
  'grant source': 'runs programs: only the operator sets it, at the command line',
  login: 'uses the API of another machine, and the browser of a person',
  logout: 'uses the API of another machine',
  'ca install': 'changes the trust stores of this machine',
  'node enroll': 'gives away the master key: no role of the API has it',
  'node join': 'is for a machine that has no master key yet',
  'ca uninstall': 'changes the trust stores of this machine',
};

function leavesOf(rows: readonly CommandRow[], before = ''): string[] {
  return rows.flatMap(({ name, commands }) =>
    commands === undefined ? [before + name] : leavesOf(commands, `${before}${name} `),
  );
}

const commands = leavesOf((await commandTable()).flatMap(([, rows]) => rows));

describe('the table of commands', () => {
  it('has for each command a route, or a reason to have no route', () => {
    const served = new Set(routes.flatMap((row) => row.commands ?? []));
    expect(commands.filter((name) => !served.has(name) && !Object.hasOwn(local, name))).toEqual([]);
    expect([...served].filter((name) => !commands.includes(name))).toEqual([]);
    expect(Object.keys(local).filter((name) => served.has(name) || !commands.includes(name))).toEqual([]);
  });
});

describe('the routes of the API', { timeout: 120_000 }, () => {
  it('return responses that match their schemas', async () => {
    const upstream = await startUpstream((request, response) => {
      response.end(JSON.stringify({ authorization: request.headers.authorization?.length ?? 0 }));
    });
    const tokens = await startTokenServer({ expiresIn: 3_600 });
    const consented = tokens.consent('family');
    const { call, sidekey } = await startService({
      domains: { [upstream.authority]: { grant: 'acme' } },
      config: {
        providers: {
          acme: {
            token_endpoint: `${tokens.url}/token/api`,
            client_id: 'sidekey',
            audience: [upstream.authority],
          },
        },
      },
    });
    const ok = async (request: string, body?: unknown) => {
      const answer = await call(request, body === undefined ? {} : { body });
      expect(answer.status, `${request}: ${JSON.stringify(answer.body)}`).toBeLessThan(300);
      return answer.body;
    };
    // Grants
    const added = await ok('POST /v2/grants', {
      provider: 'acme',
      credential: {
        access_token: consented.accessToken,
        refresh_token: consented.refreshToken,
        expires_in: 3600,
        scope: 'read write',
      },
      audience: [upstream.authority],
      verify: false,
    });
    expect((await ok('GET /v2/grants')).data).toHaveLength(1);
    expect((await ok('GET /v2/grants/acme')).id).toBe(added.id);
    expect(
      (await ok('PATCH /v2/grants/acme', { labels: ['x'], metadata: { team: 'infra' } })).labels,
    ).toEqual(['x']);
    expect((await ok('PATCH /v2/grants/acme', { labels: [], max_ttl: 'none' })).labels).toEqual([]);
    expect((await ok('POST /v2/grants/acme/refresh', { force: true })).renewed).toBe(true);
    expect((await ok('GET /v2/grants/acme/scopes?since=30d')).enough).toEqual(['read', 'write']);
    // Domains, providers, explanations
    expect((await ok('GET /v2/domains')).data[0].domain).toBe(upstream.authority);
    await ok('PUT /v2/domains/a.example.com', { action: 'tunnel' });
    await ok('PUT /v2/domains/b.example.com', { action: 'deny' });
    await ok('PUT /v2/domains/c.example.com', { action: 'grant', grant: 'acme', allow_plain_http: true });
    expect((await ok('GET /v2/domains/a.example.com'))[0].action).toBe('tunnel');
    const preview = { text: 'version: 1\n', host: 'd.example.com', action: 'deny' };
    expect((await ok('POST /v2/domains/preview', preview)).text).toContain('d.example.com: deny');
    await ok('DELETE /v2/domains/a.example.com');
    expect((await ok('GET /v2/providers?text=acme')).data[0].name).toBe('acme');
    await ok('GET /v2/providers/github');
    await ok('PATCH /v2/providers/zendesk', { settings: { subdomain: 'acme' } });
    expect((await ok('GET /v2/logins')).data).toEqual([]);
    const explained = await ok('POST /v2/explain', { url: `https://${upstream.authority}/x` });
    expect(explained.allowed, JSON.stringify(explained)).toBe(true);
    expect((await ok('POST /v2/explain', { method: 'GET', url: 'https://b.example.com/' })).allowed).toBe(
      false,
    );
    // Agents and leases
    const agent = await ok('POST /v2/agents', { name: 'ci', grants: ['acme'], acts_for: 'alice' });
    expect(agent.token).toMatch(/^sidekey_agent_/);
    await ok('GET /v2/agents');
    await ok('GET /v2/agents/ci');
    await ok('PATCH /v2/agents/ci', { acts_for: null, agent_labels: ['nightly'] });
    await ok('POST /v2/agents/ci/bind', { providers: ['github'] });
    await ok('POST /v2/agents/ci/bind', { providers: ['github'], remove: true });
    await ok('POST /v2/agents/ci/rotate', { overlap: '1h' });
    const lease = await ok('POST /v2/leases', {
      agent: 'ci',
      grants: ['acme'],
      purpose: 'test',
      ttl: '15m',
      max_uses: 5,
    });
    await ok('GET /v2/leases?agent=ci&all=true');
    await ok(`GET /v2/leases/${lease.id}`);
    await ok(`POST /v2/leases/${lease.id}/renew`, { ttl: '10m', uses: 2 });
    expect((await ok(`POST /v2/leases/${lease.id}/revoke`)).revoked).toEqual([lease.id]);
    await ok('POST /v2/leases/revoke', { agent: 'ci' });
    const environment = await ok('POST /v2/environment', {
      proxy: sidekey.url,
      agent: 'ci',
      grants: ['acme'],
      ttl: '1h',
    });
    expect(environment.set.HTTPS_PROXY).toContain('sidekey_lease_');
    // Requests, approvals, audit
    const sent = await ok('POST /v2/requests', { url: `https://${upstream.authority}/x`, reason: 'test' });
    const relayed = JSON.stringify({ method: 'GET', url: `${upstream.url}/x` });
    const { status: relayStatus } = await call('POST /v2/relay', { headers: { 'sidekey-relay': relayed } });
    expect(relayStatus).toBe(200);
    expect(sent.status).toBe(200);
    const asked = question({ askedAt: Date.now(), who: { grantId: added.id } });
    await sidekey.proxy.state.store.approvals.ask(asked);
    expect((await ok(`GET /v2/approvals/${asked.id}`)).id).toBe(asked.id);
    await sidekey.proxy.state.store.approvals.withdraw(asked.id);
    expect(await ok('GET /v2/approvals')).toEqual({ data: [], next_cursor: null });
    expect(await ok('GET /v2/approvals/standing')).toEqual({ data: [], next_cursor: null });
    const proposed = async (change: ProposedChange) => {
      const made = proposal({ change, agent: 'ci' });
      await sidekey.proxy.state.store.proposals.propose(made, 9);
      return `/v2/proposals/${made.id}`;
    };
    const domain = await proposed({ kind: 'domain', host: 'new.example.com', grant: 'acme' });
    expect((await ok(`GET ${domain}`)).diff).toContain('new.example.com');
    expect((await ok('GET /v2/proposals?waiting=true')).data).toHaveLength(1);
    expect((await ok(`POST ${domain}/accept-for-good`)).answer.outcome).toBe('for_good');
    expect((await ok('GET /v2/proposals')).data).toHaveLength(1);
    expect((await ok('GET /v2/proposals?waiting=true')).data).toEqual([]);
    const scopes = await proposed({ kind: 'scope', grant: 'acme', scopes: ['b'] });
    expect((await ok(`POST ${scopes}/accept`, {})).commands).toHaveLength(1);
    const grant = await proposed({ kind: 'grant', provider: 'github', scopes: [] });
    expect((await ok(`POST ${grant}/decline`)).status).toBe('declined');
    expect((await call(`POST ${grant}/accept`, { body: {} })).status).toBe(409);
    expect(
      (await ok('GET /v2/audit/events?event=grant.*')).data.map((line: { event: string }) => line.event),
    ).toContain('grant.added');
    expect((await ok('GET /v2/audit/events?host=NEW.EXAMPLE.COM')).data).not.toEqual([]);
    expect((await ok('GET /v2/audit/verify')).ok).toBe(true);
    await ok('GET /v2/audit/summary');
    expect((await call('GET /v2/audit/download?format=csv')).status).toBe(200);
    const { buckets } = await ok(`GET /v2/metrics?since=${new Date(Date.now() - 60_000).toISOString()}`);
    expect(buckets.reduce((sum: number, { exchanges }: { exchanges: number }) => sum + exchanges, 0)).toBe(2);
    // The proxy itself
    await ok('GET /v2/status');
    // The id of a node begins with a hash of its host name.
    const id = `${hash('sha256', 'proxy-b').slice(0, 16)}-0`;
    const other = { id, name: 'proxy-b', source: 'env', keyId: '00', version: '1' };
    await sidekey.proxy.state.store.nodes.register(other);
    expect((await ok('GET /v2/nodes')).data).toMatchObject([{ name: 'proxy-b', source: 'env' }]);
    expect(await ok('DELETE /v2/nodes/proxy-b')).toEqual({ name: 'proxy-b', revoked: true });
    expect(await ok('GET /v2/key')).toMatchObject({ source: 'file', rotating: false });
    expect(await ok('POST /v2/key/rotate')).toMatchObject({ resumed: false, finished: true });
    expect((await ok('GET /v2/key')).keys).toHaveLength(2);
    await ok('POST /v2/doctor', { only: ['curl'], offline: true });
    await ok('GET /v2/ca');
    expect((await ok('GET /v2/ca/certificate')).pem).toContain('BEGIN CERTIFICATE');
    await ok('GET /v2/config/paths');
    const { text } = await ok('GET /v2/config');
    await ok('POST /v2/config/check', { text });
    expect((await ok('POST /v2/config/replay', { text })).changed).toBe(0);
    expect(
      (await ok('POST /v2/config/test', { cases: '- request: GET https://b.example.com/\n  expect: deny\n' }))
        .passed,
    ).toBe(1);
    const { headers } = await call('GET /v2/config');
    const edited = await call('PUT /v2/config', {
      body: { text: `# edited\n${text}` },
      headers: { 'if-match': headers.get('etag') ?? '' },
    });
    expect(edited.body.text).toMatch(/^# edited/);
    const made = await ok('POST /v2/api-keys', { name: 'other', role: 'auditor' });
    expect(made.key).toMatch(/^sk_/);
    await ok('GET /v2/api-keys');
    await ok('DELETE /v2/api-keys/other');
    await ok('GET /v2/me');
    await ok('POST /v2/people', { name: 'alice', role: 'user' });
    await ok('GET /v2/people');
    await ok('PATCH /v2/people/alice', { role: 'auditor', disabled: false });
    expect((await ok('GET /v2/people/alice')).role).toBe('auditor');
    expect((await ok('POST /v2/people/alice/link')).url).toContain('/sign-in/');
    await ok('DELETE /v2/people/alice');
    // Tokens
    await ok('POST /v2/users/alice/tokens', {
      integration_key: 'gh',
      provider: 'github',
      token_type: 'api_key',
      token_data: { api_key: 'ghp_0123456789abcdef0123456789abcdef0123' },
      scopes: ['repo'],
    });
    expect((await ok('GET /v2/users/alice/tokens'))[0].integration_key).toBe('gh');
    expect((await ok('GET /v2/users/alice/tokens/gh')).placeholder).toMatch(/^ghp_sidekey/);
    expect((await ok('POST /v2/users/default/tokens/acme/refresh')).success).toBe(true);
    const next = { credential: 'ghp_next56789abcdef0123456789abcdef0123', verify: false };
    expect((await ok('PUT /v2/grants/gh/credential?user=alice', next)).replaced).toBe(true);
    expect((await ok('DELETE /v2/users/alice/tokens/gh')).message).toContain('deleted');
    expect((await ok('POST /v2/grants/acme/revoke', { local: true })).state_reason).toBe(
      'revoked by the API',
    );
    await ok('DELETE /v2/grants/acme?local=true');
    await ok('DELETE /v2/agents/ci');
    expect((await sidekey.audit()).filter(({ event }) => event === 'grant.removed')[0]).toMatchObject({
      by: expect.stringMatching(/^key tester-/) as string,
      client: expect.stringMatching(/^api:127\.0\.0\.1:\d+$/) as string,
    });
    const elsewhere = [
      'streamAuditEvents',
      'answerApproval',
      'revokeApproval',
      'connectLogin',
      'defineProvider',
      'createConnectSession',
      'createDeviceSession',
      'getConnectSession',
      'createLoginCode',
      'revokeOwnKey',
      'listPasskeys',
      'createPasskeyOptions',
      'addPasskey',
      'removePasskey',
      'relayRequest',
    ];
    expect(routes.map(({ id }) => id).filter((id) => !answered.has(id) && !elsewhere.includes(id))).toEqual(
      [],
    );
  });
});
