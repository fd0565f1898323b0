import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { curlMissing } from '../../support/curl.ts';
import { startProposing } from '../../support/proposing.ts';
import { proposal } from '../../support/question.ts';
import { leaseRecord } from '../../support/rights.ts';
import { bearerToken } from '../../support/sidekey.ts';

describe.skipIf(curlMissing !== false)('a proposed domain', () => {
  test('waits for a person, and is refused until a person accepts', async () => {
    const { propose, poll, get, sidekey, upstream, seen } = await startProposing();
    const asked = {
      domain: { host: upstream.authority, action: 'grant', grant: 'acme' },
      reason: 'ticket 7',
    };
    const made = await propose('ci', asked);
    expect(made).toEqual({
      status: 202,
      body: {
        id: expect.stringMatching(/^[0-9a-z]{8}$/),
        status: 'waiting',
        expires_at: expect.stringMatching(/Z$/),
        poll: `http://sidekey.internal/proposals/${made.body.id}`,
        next: expect.stringContaining(`sidekey proposal show ${made.body.id}`),
      },
    });
    expect((await propose('ci', asked)).body.id).toBe(made.body.id);
    expect(await poll('ci', made.body.id)).toMatchObject({ status: 200, body: { status: 'waiting' } });
    expect(await get('ci')).toMatchObject({ connectStatus: 403 });
    expect(seen).toEqual([]);
    expect(await sidekey.audited(({ event }) => event === 'proposal.made')).toMatchObject({
      agent: 'ci',
      approval: made.body.id,
      host: 'api.acme.test',
    });
  });

  test('can be accepted once: one request gets the credential, and the next request is refused', async () => {
    const { proposeHost, poll, get, command, seen, sidekey } = await startProposing();
    const id = await proposeHost('ci', 'acme');
    const { stdout, exit } = await command('proposal', 'accept', id);
    expect(stdout).toContain(`Accepted ${id}`);
    expect(exit).toBe(0);
    expect((await poll('ci', id)).body).toMatchObject({ status: 'accepted' });
    expect(await get('ci')).toMatchObject({ status: 200, body: 'done' });
    expect(seen).toEqual([`/x Bearer ${bearerToken}`]);
    expect(await sidekey.audited(({ event }) => event === 'access')).toMatchObject({ approval: id });
    expect(await get('ci')).toMatchObject({ connectStatus: 403 });
    expect((await poll('ci', id)).body.next).toContain('was sent');
    expect(await proposeHost('ci', 'acme')).not.toBe(id);
  });

  test('can be accepted as a tunnel for one lease, until the lease ends', async () => {
    const { proposeHost, get, command, seen, leaseId } = await startProposing();
    const id = await proposeHost('leased');
    expect((await command('proposal', 'accept', id, '--lease')).exit).toBe(0);
    // Blind: the certificate is that of the upstream, which curl does not trust.
    expect(await get('leased')).toMatchObject({ connectStatus: 200, exitCode: 60 });
    expect(await get('ci')).toMatchObject({ connectStatus: 403 });
    expect(await get('other')).toMatchObject({ connectStatus: 403 });
    await command('lease', 'revoke', leaseId);
    expect((await get('leased')).connectStatus).not.toBe(200);
    expect(seen).toEqual([]);
  });

  test('can be accepted permanently: the diff is shown, then written to the config file', async () => {
    const { proposeHost, get, command, seen, sidekey, upstream } = await startProposing();
    const id = await proposeHost('ci', 'acme');
    const shown = await command('proposal', 'show', id);
    const line = `+  ${upstream.authority}: { grant: acme }`;
    expect(shown.stdout).toContain('"for ticket 7"');
    expect(shown.stdout.replaceAll('"', '')).toContain(line);
    expect(shown.stdout).toContain(`sidekey proposal accept ${id} --for-good`);
    expect(shown.stdout).not.toContain('--lease');
    expect((await command('proposal', 'accept', id, '--for-good')).exit).toBe(0);
    expect(await readFile(sidekey.configFile, 'utf8')).toContain(upstream.authority);
    for (const who of ['ci', 'other'] as const) expect(await get(who)).toMatchObject({ status: 200 });
    expect(seen).toHaveLength(2);
    expect((await sidekey.audit()).map(({ event }) => event)).toEqual(
      expect.arrayContaining(['proposal.accepted', 'domain.changed']),
    );
  });

  test('stays declined for the agent, even when proposed again', async () => {
    const { proposeHost, poll, get, command } = await startProposing();
    const id = await proposeHost('ci');
    expect((await command('proposal', 'decline', id)).stdout).toBe(`Declined ${id}.\n`);
    expect((await poll('ci', id)).body).toMatchObject({ status: 'declined' });
    expect(await proposeHost('ci')).toBe(id);
    expect(await get('ci')).toMatchObject({ connectStatus: 403 });
    expect(await command('proposal', 'accept', id)).toMatchObject({ exit: 1 });
  });

  test('is shown by explain and by discovery while it is in effect', async () => {
    const { proposeHost, propose, command, sidekey, upstream } = await startProposing();
    const id = await proposeHost('ci', 'acme');
    await command('proposal', 'accept', id);
    const { stdout } = await command('explain', upstream.url, '--agent', 'ci');
    expect(stdout).toContain(`no entry covers it; allowed by the proposal ${id}`);
    expect(stdout).toContain('Allowed: with the credential');
    // Explaining used nothing up.
    expect((await command('explain', upstream.url, '--agent', 'ci')).exit).toBe(0);
    expect((await command('explain', upstream.url, '--agent', 'other')).stdout).toContain(
      'domain_not_allowed',
    );
    expect(await propose('ci', '', '-G')).toMatchObject({ status: 200, body: { proposals: [{ id }] } });
    const page = await sidekey.proxy.state.store.proposals.get(id);
    expect(page?.usedAt).toBeNull();
  });
});

describe.skipIf(curlMissing !== false)('a proposed grant', () => {
  test('is accepted when the grant is connected with the scopes, not by proposal accept', async () => {
    const { propose, poll, command, sidekey } = await startProposing();
    const { body } = await propose('ci', {
      grant: { provider: 'github', scopes: ['repo'] },
      reason: 'to read issues',
    });
    const accepted = await command('proposal', 'accept', body.id);
    expect(accepted.stdout).toContain('sidekey connect github');
    expect(accepted.stdout).toContain('--scope repo');
    expect(accepted.stdout).toContain('sidekey agent bind ci --grant github');
    expect((await poll('ci', body.id)).body).toMatchObject({ status: 'waiting' });
    const { grants } = sidekey.proxy.state;
    const credential = { type: 'api_key', value: 'x'.repeat(32) } as const;
    const fields = { name: 'few', user: 'default', provider: 'github' };
    await grants.add({ ...fields, scopes: ['user'] }, { credential, audience: ['api.github.com'] });
    expect((await poll('ci', body.id)).body).toMatchObject({ status: 'waiting' });
    await grants.add(
      { ...fields, name: 'more', scopes: ['repo'] },
      { credential, audience: ['api.github.com'] },
    );
    expect((await poll('ci', body.id)).body).toMatchObject({ status: 'accepted' });
    expect(
      (
        await sidekey.audited(
          ({ event, reason }) => event === 'proposal.accepted' && reason?.includes('more') === true,
        )
      ).agent,
    ).toBe('ci');
    expect(
      await propose('ci', { scope: { grant: 'more', scopes: ['repo'] }, reason: 'again' }),
    ).toMatchObject({
      status: 409,
      body: { code: 'already_exists' },
    });
  });

  test('with more scopes names the command that requests these scopes', async () => {
    const { propose, command } = await startProposing();
    const { body } = await propose('ci', { scope: { grant: 'acme', scopes: ['b', 'a', 'b'] }, reason: 'x' });
    const { stdout } = await command('proposal', 'show', body.id);
    expect(stdout).toContain('more of the grant acme: a b');
    expect((await command('proposal', 'accept', body.id, '--once')).exit).toBe(2);
  });

  test('with more scopes names the grant that the proposer uses, of several with the name', async () => {
    const { command, sidekey, leaseId: lease } = await startProposing();
    const { store } = sidekey.proxy.state;
    const { id } = await sidekey.grant(['api.example.com'], { user: 'alice' });
    await sidekey.grant(['api.example.com'], { user: 'zoe' });
    const named = leaseRecord({ agent: 'ci', grants: [id], expiresAt: Date.now() + 3_600_000 });
    await store.leases.insert(named);
    const commandsFor = async (agent: string | null, leaseId: string | null = null, grant = 'acme') => {
      const change = { kind: 'scope', grant, scopes: ['a'] } as const;
      const made = await store.proposals.propose(proposal({ agent, lease: leaseId, change }), 9);
      return (await command('proposal', 'show', made!.id, '--json')).stdout;
    };
    await command('agent', 'set', 'other', '--for', 'zoe');
    expect(await commandsFor('other')).toContain('acme --user zoe');
    for (const [agent, leaseId] of [
      [null, null],
      ['ci', null],
      ['ci', lease],
    ] as const)
      expect(await commandsFor(agent, leaseId)).toContain('import acme --provider');
    expect(await commandsFor('ci', named.id)).toContain('acme --user alice');
    await sidekey.grant(['api.example.com'], { name: 'solo', user: 'alice' });
    expect(await commandsFor(null, null, 'solo')).toContain('solo --user alice');
    await command('agent', 'bind', 'ci', '--remove', '--all');
    expect(await commandsFor('ci')).toContain('import acme --provider');
    expect(await commandsFor('ci', null, 'solo')).toContain('connect PROVIDER');
    await command('agent', 'bind', 'ci', '--user', 'alice');
    expect(await commandsFor('ci')).toContain('acme --user alice');
  });
});

test.skipIf(curlMissing !== false)('status and approve --list count the waiting proposals', async () => {
  const { proposeHost, command } = await startProposing();
  expect((await command('approve', '--list')).stdout).not.toContain('proposal');
  await proposeHost('ci');
  expect((await command('approve', '--list')).stdout).toMatch(
    /\n1 proposal of agents to answer: sidekey proposal list\n$/,
  );
  expect((await command('status')).stdout).toMatch(/proposals +1 proposal of agents to answer/);
});
