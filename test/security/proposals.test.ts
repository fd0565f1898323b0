import { describe, expect, test } from 'vitest';
import { newApprovalId } from '../../src/domain/approval.ts';
import { onceMs, proposalLifeMs } from '../../src/domain/proposal.ts';
import { answerProposal, createProposedPolicies } from '../../src/agents/approvals/proposals.ts';
import { curlMissing } from '../support/curl.ts';
import { startProposing } from '../support/proposing.ts';
import { proposal } from '../support/question.ts';
import { openClient } from '../support/raw-client.ts';

const domain = (host: string) => ({ domain: { host, action: 'tunnel' }, reason: 'x' });
const denied = { status: 0, connectStatus: 403 };

describe.skipIf(curlMissing !== false)('a proposal', () => {
  test('can be read by its agent only', async () => {
    const { proposeHost, poll, propose } = await startProposing();
    const id = await proposeHost('ci');
    for (const who of ['other', 'local'] as const) {
      expect(await poll(who, id)).toMatchObject({ status: 404, body: { code: 'not_found' } });
      expect((await propose(who, '', '-G')).body).toEqual({ proposals: [] });
    }
    expect(await poll('ci', newApprovalId())).toMatchObject({ status: 404 });
  });

  test('for a grant cannot be accepted with the grant of another user', async () => {
    const { sidekey, propose, poll } = await startProposing();
    const wanted = { grant: { provider: 'github', scopes: [] }, reason: 'x' };
    const ids = { ci: '', local: '' };
    for (const who of ['ci', 'local'] as const) ids[who] = String((await propose(who, wanted)).body.id);
    await sidekey.grant(['api.github.com'], { provider: 'github', name: 'github', user: 'mallory' });
    for (const who of ['ci', 'local'] as const) {
      expect((await poll(who, ids[who])).body).toMatchObject({ status: 'waiting' });
      expect(await propose(who, wanted)).toMatchObject({ status: 202, body: { id: ids[who] } });
    }
    await sidekey.grant(['api.github.com'], { provider: 'github', name: 'github' });
    for (const who of ['ci', 'local'] as const)
      expect((await poll(who, ids[who])).body).toMatchObject({ status: 'accepted' });
  });

  test('is refused to an agent with too many proposals, and to no other agent', async () => {
    const { propose, sidekey } = await startProposing({ config: { approvals: { max_pending: 2 } } });
    for (const host of ['a.example.com', 'b.example.com', 'b.example.com'])
      expect((await propose('ci', domain(host))).status).toBe(202);
    expect(await propose('leased', domain('c.example.com'))).toMatchObject({
      status: 429,
      body: { code: 'rate_limited', hint: expect.stringContaining('sidekey proposal list') },
    });
    expect((await propose('other', domain('c.example.com'))).status).toBe(202);
    expect(await sidekey.proxy.state.store.proposals.list()).toHaveLength(3);
  });

  test('that was accepted cannot be used by another agent, or by the same agent without its lease', async () => {
    const { proposeHost, get, command, seen } = await startProposing();
    const id = await proposeHost('leased', 'acme');
    await command('proposal', 'accept', id, '--lease');
    for (const who of ['other', 'ci', 'local'] as const) expect(await get(who)).toMatchObject(denied);
    expect(await get('leased')).toMatchObject({ status: 200 });
    expect(seen).toHaveLength(1);
  });

  test('for one request can be used by only one of several concurrent requests', async () => {
    const { proposeHost, get, command, seen } = await startProposing();
    await command('proposal', 'accept', await proposeHost('ci', 'acme'));
    const answers = await Promise.all([get('ci'), get('ci'), get('ci')]);
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(seen).toHaveLength(1);
  });

  test('for one tunnel can be used by only one of several concurrent tunnels', async () => {
    const { proposeHost, get, command, upstream } = await startProposing();
    await command('proposal', 'accept', await proposeHost('ci'));
    const answers = await Promise.all([get('ci'), get('ci'), get('ci')]);
    expect(answers.filter(({ connectStatus }) => connectStatus === 200)).toHaveLength(1);
    expect(upstream.connections()).toBe(1);
  });

  test('for one request cannot be used after an hour', async () => {
    let now = Date.now();
    const { proposeHost, get, sidekey, seen } = await startProposing({ now: () => now });
    const { store, audit } = sidekey.proxy.state;
    const made = (await store.proposals.get(await proposeHost('ci', 'acme')))!;
    await answerProposal({ store, audit }, made, { at: now, by: 'alice', outcome: 'once' });
    // Read while it is in force, so that the end is one of the clock alone.
    await sidekey.proxy.state.store.proposals.list();
    now += onceMs;
    expect(await get('ci')).toMatchObject(denied);
    expect(seen).toEqual([]);
  });

  test('that expired without an answer cannot be accepted', async () => {
    let now = Date.now();
    const { proposeHost, poll, sidekey } = await startProposing({ now: () => now });
    const { store, audit } = sidekey.proxy.state;
    const id = await proposeHost('ci');
    now += proposalLifeMs;
    expect((await poll('ci', id)).body).toMatchObject({ status: 'expired' });
    const made = (await store.proposals.get(id))!;
    const late = answerProposal({ store, audit }, made, { at: now, by: 'alice', outcome: 'for_good' });
    await expect(late).rejects.toMatchObject({ code: 'approval_over' });
    expect((await sidekey.audit()).map(({ event }) => event)).not.toContain('proposal.accepted');
  });

  test.each([
    ['bad.example.com', 403, 'domain_not_allowed'],
    ['bad.example.com:8443', 403, 'domain_not_allowed'],
    ['plain.example.com:80', 403, 'domain_not_allowed'],
    ['listed.example.com', 409, 'already_exists'],
    ['*.example.org', 400, 'bad_request'],
    ['sidekey.internal', 400, 'bad_request'],
    ['https://example.org/', 400, 'bad_request'],
    ['127.0.0.1', 403, 'address_blocked'],
    ['169.254.169.254', 403, 'address_blocked'],
    ['0x7f.1', 400, 'bad_request'],
    ['[::1]:8080', 403, 'address_blocked'],
    ['[::ffff:10.0.0.1]', 403, 'address_blocked'],
    ['localhost', 403, 'address_blocked'],
    ['db.localhost.', 403, 'address_blocked'],
    ['example.org"}: x', 400, 'bad_request'],
  ])('for %s is refused', async (host, status, code) => {
    const { propose, sidekey } = await startProposing({
      domains: {
        '*.example.com': 'tunnel',
        'bad.example.com': 'deny',
        'bad.example.com:8443': 'deny',
        'plain.example.com': 'deny',
        'listed.example.com': { grant: 'acme' },
      },
    });
    expect(await propose('ci', domain(host))).toMatchObject({ status, body: { code } });
    expect(await sidekey.proxy.state.store.proposals.list()).toEqual([]);
  });

  test.each([
    ['no JSON', '{'],
    ['an unknown member', { ...domain('a.example.com'), admin: true }],
    ['no reason', { domain: { host: 'a.example.com', action: 'tunnel' } }],
    ['an empty reason', { ...domain('a.example.com'), reason: ' ' }],
    ['no change', { reason: 'x' }],
    ['two changes', { ...domain('a.example.com'), grant: { provider: 'github', scopes: [] } }],
    ['another action', { domain: { host: 'a.example.com', action: 'deny' }, reason: 'x' }],
    [
      'a tunnel with a grant',
      { domain: { host: 'a.example.com', action: 'tunnel', grant: 'acme' }, reason: 'x' },
    ],
    ['a grant without a name', { domain: { host: 'a.example.com', action: 'grant' }, reason: 'x' }],
    ['a name with a space', { scope: { grant: 'a b', scopes: ['x'] }, reason: 'x' }],
    ['a scope with a line end', { scope: { grant: 'acme', scopes: ['x\ny'] }, reason: 'x' }],
    ['no scope', { scope: { grant: 'acme', scopes: [] }, reason: 'x' }],
    ['an unknown provider', { grant: { provider: 'nobody', scopes: [] }, reason: 'x' }],
  ])('with %s is refused', async (_, body) => {
    const { propose, sidekey } = await startProposing();
    expect(await propose('ci', body)).toMatchObject({
      status: 400,
      body: { code: 'bad_request', detail: expect.stringMatching(/\.$/), hint: expect.anything() },
    });
    expect(await sidekey.proxy.state.store.proposals.list()).toEqual([]);
  });

  test('is refused beyond 4 KiB, or with a content type that a page of another origin may send', async () => {
    const { propose } = await startProposing();
    const long = { ...domain('a.example.com'), reason: 'x'.repeat(4_096) };
    expect(await propose('ci', long)).toMatchObject({ status: 413, body: { code: 'body_too_large' } });
    const asText = await propose('ci', domain('a.example.com'), '-H', 'Content-Type: text/plain');
    expect(asText).toMatchObject({ status: 400, body: { code: 'bad_request' } });
  });

  test('does not widen the audience of a grant or the bindings of its agent', async () => {
    const { propose, command, get, sidekey, upstream, seen } = await startProposing();
    await sidekey.grant(['elsewhere.example.com'], { name: 'narrow' });
    const ask = async (who: 'ci' | 'other', grant: string) => {
      const host = upstream.authority;
      const { body } = await propose(who, { domain: { host, action: 'grant', grant }, reason: 'x' });
      expect((await command('proposal', 'accept', body.id)).exit).toBe(0);
    };
    await ask('ci', 'narrow');
    expect(await get('ci')).toMatchObject({ status: 403, body: expect.stringContaining('policy_violation') });
    const { store } = sidekey.proxy.state;
    await store.bindings.remove('other', await store.bindings.list('other'));
    await ask('other', 'acme');
    expect(await get('other')).toMatchObject({ status: 403, body: expect.stringContaining('grant_missing') });
    expect(seen).toEqual([]);
  });

  test('that was accepted is overridden by a later entry that denies the host', async () => {
    const { proposeHost, command, get, sidekey, upstream, seen } = await startProposing();
    const id = await proposeHost('leased', 'acme');
    const other = await proposeHost('ci', 'acme');
    await command('proposal', 'accept', id, '--lease');
    await sidekey.configure({ domains: { '*.acme.test': 'deny', [upstream.authority]: 'deny' } });
    expect(await get('leased')).toMatchObject(denied);
    expect(await command('proposal', 'accept', other, '--for-good')).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('is denied by the entry'),
    });
    expect(await command('proposal', 'accept', other)).toMatchObject({ exit: 2 });
    expect((await sidekey.proxy.state.store.proposals.get(other))?.answer).toBeNull();
    expect(seen).toEqual([]);
  });

  test('that was accepted ends open tunnels when it is revoked', async () => {
    const { proposeHost, command, sidekey, upstream } = await startProposing();
    const id = await proposeHost('leased');
    await command('proposal', 'accept', id, '--lease');
    const client = await openClient(sidekey);
    const field = Buffer.from('ci:token-of-a-lease-0123456789').toString('base64');
    client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nProxy-Authorization: Basic ${field}\r\n\r\n`);
    expect(await client.until('\r\n\r\n')).toContain('200');
    await command('proposal', 'decline', id);
    await client.ended();
    expect(await sidekey.audited(({ event }) => event === 'tunnel')).toMatchObject({
      code: 'domain_not_allowed',
      approval: id,
    });
  });

  test('cannot control the terminal or the layout with its texts', async () => {
    const { propose, command } = await startProposing();
    const reason = 'a\u001b[2J\nstate  accepted\u202e\u2028😀';
    const { body } = await propose('ci', { ...domain('a.example.com'), reason });
    const shown = await command('proposal', 'show', body.id);
    const listed = await command('proposal', 'list');
    for (const { stdout } of [shown, listed]) {
      expect(stdout).not.toMatch(/[\p{Cf}\p{Zl}]/u);
      expect(stdout).not.toContain('\u001b');
      expect(stdout).not.toMatch(/^ *state +accepted/m);
    }
    expect(shown.stdout).toContain('a\\u001b[2J\\u000astate accepted\\u202e\\u2028');
  });
});

test('accepted domains get the rules that the proxy adds to those of the config', async () => {
  const answer = { at: 1, by: 'alice', outcome: 'lease' } as const;
  const change = { kind: 'domain', host: 'a.example.com', grant: 'acme' } as const;
  const inForce = async () => [proposal({ change, lease: 'x', answer })];
  const policies = createProposedPolicies({
    store: {
      epoch: () => 1,
      changesSince: () => ({ grants: null, names: [], rights: null, others: true }),
      proposals: { inForce } as never,
    },
    now: () => 2,
    restrict: () => (it) => ({ ...it, additionalRules: [] }),
  });
  const policy = await policies.policyFor({ agent: null, lease: 'x' });
  expect(policy?.domains.entries).toMatchObject([{ additionalRules: [], isOnce: false }]);
  expect(policy?.unmatched).toBe('deny');
});
