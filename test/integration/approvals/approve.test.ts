import { userInfo } from 'node:os';
import { describe, expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';
import { homeWithApprovals } from '../../support/waiting-requests.ts';

const me = userInfo().username;
const by = `${me} at the command line`;

describe('an answer at the command line', () => {
  test.each([
    [[], { kind: 'once' }, 'once'],
    [['--once'], { kind: 'once' }, 'once'],
    [['--lease'], { kind: 'lease' }, 'for the lease'],
    [['--for', '15m'], { kind: 'until', at: expect.any(Number) }, 'until 20'],
  ])('%j approves the request with the right scope', async (args, reach, words) => {
    const { at, store, who, ask, events } = await homeWithApprovals();
    const { id, exchange } = await ask({ who: who.leased });
    const before = Date.now();
    const { exit, stdout } = await at.run(['approve', id, ...args]);
    expect(exit).toBe(0);
    expect(stdout).toContain(`Allowed ${id}`);
    const answer = (await store.approvals.get(id))?.answer;
    expect(answer).toMatchObject({ outcome: 'allowed', by, reach });
    if (answer?.outcome === 'allowed' && answer.reach.kind === 'until')
      expect(answer.reach.at - before).toBeLessThan(910_000);
    expect((await store.approvals.standing(who.leased, Date.now()))?.id).toBe(
      reach.kind === 'once' ? undefined : id,
    );
    expect(await events()).toEqual([
      expect.objectContaining({
        event: 'approval.allowed',
        outcome: 'allow',
        exchange,
        approval: id,
        agent: 'ci',
        lease: who.leased.lease,
        user: 'default',
        grant: who.leased.grantId,
        provider: 'acme',
        method: 'DELETE',
        scheme: 'https',
        host: 'helpdesk.acme.test',
        port: 8443,
        path: '/tickets/7',
        reason: expect.stringContaining(`${by}, ${words}`),
      }),
    ]);
  });

  test('denies the request', async () => {
    const { at, store, ask, events } = await homeWithApprovals();
    const { id } = await ask();
    expect(await at.run(['approve', id, '--deny'])).toMatchObject({
      exit: 0,
      stdout: `Denied ${id}: the request is refused.\n`,
    });
    expect((await store.approvals.get(id))?.answer).toMatchObject({ outcome: 'denied', by });
    expect(await events()).toEqual([
      expect.objectContaining({ event: 'approval.denied', outcome: 'deny', approval: id, reason: by }),
    ]);
  });

  test('states the scope of a standing approval', async () => {
    const { at, who, ask } = await homeWithApprovals();
    const leased = await ask({ who: who.leased });
    const { stdout } = await at.run(['approve', leased.id, '--lease']);
    expect(stdout).toContain(
      `all that the rule matches of ci under the lease ${who.leased.lease?.slice(0, 8)} with the grant work and the same header fields, while the lease lasts`,
    );
    const local = await ask({ who: who.local });
    expect((await at.run(['approve', local.id, '--for', '1h'])).stdout).toContain(
      'of any local caller without a token with the grant work and the same header fields, for 1h',
    );
  });

  test('accepts the short id of a request, and has JSON output', async () => {
    const { at, store, ask } = await homeWithApprovals();
    await ask({ id: '011abc0z' });
    expect(await at.json(['approve', 'OIlABCOZ', '--deny'])).toMatchObject({
      id: '011abc0z',
      answer: { outcome: 'denied', reach: null, by },
    });
    expect((await store.approvals.get('011abc0z'))?.answer?.outcome).toBe('denied');
  });

  test('for a finished or unknown request fails, and is not recorded', async () => {
    const { at, store, ask, events } = await homeWithApprovals();
    const late = await ask({ expiresAt: Date.now() - 1 });
    const answered = await ask();
    await store.approvals.answer(answered.id, { at: Date.now(), by: 'bob\u001b[2J', outcome: 'denied' });
    const withdrawn = await ask();
    await store.approvals.withdraw(withdrawn.id);
    const standing = await ask();
    await at.run(['approve', standing.id, '--for', '1h']);
    for (const [id, exit, code, words, hint] of [
      [late.id, 1, 'approval_over', 'Too late: ', '--list'],
      [answered.id, 1, 'approval_over', 'was answered before: no, by bob\\u001b[2J.', '--list'],
      [standing.id, 1, 'approval_over', `was answered before: yes, by ${by}.`, `--revoke ${standing.id}`],
      [withdrawn.id, 2, 'not_found', 'it timed out, its client left', '--list'],
      ['zzzzzzzz', 2, 'not_found', 'No request zzzzzzzz is waiting', '--list'],
    ] as const) {
      const refused = await at.run(['approve', id]);
      expect(refused).toMatchObject({ exit, stdout: '' });
      expect(refused.stderr).toContain(words);
      expect(refused.stderr).toContain(`→ sidekey approve ${hint}`);
      const told = await at.run(['approve', id, '--json']);
      expect(JSON.parse(told.stderr)).toMatchObject({ error: { code } });
    }
    expect((await events()).map(({ approval }) => approval)).toEqual([standing.id]);
  });

  test('for the lease is refused if the request has no lease, and the request still waits', async () => {
    const { at, store, ask, events } = await homeWithApprovals();
    const { id } = await ask();
    const refused = await at.run(['approve', id, '--lease']);
    expect(refused).toMatchObject({ exit: 2, stdout: '' });
    expect(refused.stderr).toContain(`The request ${id} has no lease.`);
    expect(refused.stderr).toContain(`→ sidekey approve ${id} --for 15m`);
    expect(await store.approvals.waiting(Date.now())).toHaveLength(1);
    expect(await events()).toEqual([]);
  });

  test.each([
    ['ID', '--once', '--deny'],
    ['ID', '--lease', '--for', '1h'],
    ['ID', '--list'],
    ['ID', '--revoke', 'ID'],
    ['--list', '--revoke', 'ID'],
    ['--deny'],
    ['--list', '--once'],
    ['ID', '--for', 'soon'],
    ['short'],
    ['--revoke', '../../x'],
  ])('%j %j %j is refused as bad input, and answers no request', async (...args) => {
    const { at, store, ask } = await homeWithApprovals();
    const { id } = await ask();
    const refused = await at.run(['approve', ...args.map((word) => (word === 'ID' ? id : word))]);
    expect(refused).toMatchObject({ exit: 2, stdout: '' });
    expect((await store.approvals.get(id))?.answer).toBeNull();
  });

  test('has no effect if it cannot be recorded', async () => {
    const { at, store, ask } = await homeWithApprovals();
    const { id } = await ask();
    const standing = await ask();
    await at.run(['approve', standing.id, '--for', '1h']);
    const { rm, mkdir } = await import('node:fs/promises');
    await rm(at.at('data', 'audit.jsonl'));
    await mkdir(at.at('data', 'audit.jsonl'));
    for (const args of [[id], ['--revoke', standing.id]]) {
      expect((await at.run(['approve', ...args])).exit).toBe(1);
    }
    expect((await store.approvals.get(id))?.answer).toBeNull();
    expect(await store.approvals.listStanding(Date.now())).toHaveLength(1);
  });
});

describe('a standing approval', () => {
  test('can be revoked once by its ID, after the revocation is recorded', async () => {
    const { at, store, who, ask, events } = await homeWithApprovals();
    const { id } = await ask({ who: who.leased });
    await at.run(['approve', id, '--lease']);
    const ended = await at.run(['approve', '--revoke', id.toUpperCase()]);
    expect(ended).toMatchObject({ exit: 0 });
    expect(ended.stdout).toContain(`Ended ${id}`);
    expect(await store.approvals.standing(who.leased, Date.now())).toBeNull();
    expect((await events()).at(-1)).toMatchObject({
      event: 'approval.revoked',
      approval: id,
      agent: 'ci',
      lease: who.leased.lease,
      grant: who.leased.grantId,
      reason: by,
    });
    const again = await at.run(['approve', '--revoke', id]);
    expect(again).toMatchObject({ exit: 2, stdout: '' });
    expect(again.stderr).toContain(`No approval ${id} is in force`);
    expect(await events()).toHaveLength(2);
  });

  test('ends when its lease ends', async () => {
    const { at, who, ask } = await homeWithApprovals();
    const { id } = await ask({ who: who.leased });
    await at.run(['approve', id, '--for', '8h']);
    await at.run(['lease', 'revoke', '--agent', 'ci']);
    expect(await at.json(['approve', '--list'])).toEqual({ waiting: [], standing: [], proposals: 0 });
  });
});

describe('the list of approvals', () => {
  test('has at most 1,000 requests, and says if there are more', async () => {
    const { at, ask } = await homeWithApprovals();
    for (let n = 0; n < 1_001; n += 1) await ask({ expiresAt: Date.now() + 600_000 });
    const { stdout, stderr } = await at.run(['approve', '--list', '--json']);
    expect((JSON.parse(stdout) as { waiting: unknown[] }).waiting).toHaveLength(1_000);
    expect(stderr).toBe('{"more":true}\n');
    expect((await at.run(['approve', '--list'])).stderr).toContain('There are more: answer');
  });

  test('is also a finding of status', async () => {
    const { at, ask } = await homeWithApprovals();
    const waiting = async () => (await at.run(['status'])).stdout;
    expect(await waiting()).not.toContain('for a person');
    await ask();
    expect(await waiting()).toMatch(/✗ approvals +1 request waits for a person[^]*→ sidekey approve --list/);
  });

  test('shows waiting requests and standing approvals, with the commands that answer or revoke', async () => {
    const { at, who, ask } = await homeWithApprovals();
    const askedAt = Date.now();
    const plain = await ask({
      askedAt,
      operation: 'delete a ticket',
      reason: 'ticket 7 is a duplicate',
      ruleName: 'deletes',
    });
    const leased = await ask({ askedAt: askedAt + 1, who: who.leased, purpose: 'nightly report' });
    const standing = await ask({ who: who.local });
    await at.run(['approve', standing.id, '--for', '8h']);
    for (const args of [['approve'], ['approve', '--list']]) {
      const { exit, stdout } = await at.run(args);
      expect(exit).toBe(0);
      expect(stdout.replace(/waits \d:\d\d/g, 'waits M:SS')).toContain(
        [
          `${plain.id} waits M:SS more`,
          '  asks to  delete a ticket',
          '  request  DELETE https://helpdesk.acme.test:8443/tickets/7',
          '  agent    ci, at 127.0.0.1:4711',
          '  grant    work (acme)',
          '  reason   "ticket 7 is a duplicate"',
          '  rule     config/sidekey.yaml:12 (deletes)',
          `  → sidekey approve ${plain.id}`,
          `  → sidekey approve ${plain.id} --for 15m`,
          `  → sidekey approve ${plain.id} --deny`,
          '',
          `${leased.id} waits M:SS more`,
        ].join('\n'),
      );
      expect(stdout).toContain(`  lease    ${who.leased.lease?.slice(0, 8)} "nightly report"\n`);
      expect(stdout).toContain(
        `  → sidekey approve ${leased.id}\n  → sidekey approve ${leased.id} --lease\n`,
      );
      expect(stdout).toMatch(new RegExp(`^${standing.id} is in force until .+ \\(in 8 h\\)$`, 'm'));
      expect(stdout).toContain(`  → sidekey approve --revoke ${standing.id}\n`);
      expect(stdout).not.toContain(`${standing.id} waits`);
    }
  });

  test('has the same content in JSON', async () => {
    const { at, who, ask } = await homeWithApprovals();
    const { id, exchange } = await ask({ who: who.leased, reason: 'x', purpose: 'nightly report' });
    const standing = await ask();
    await at.run(['approve', standing.id, '--for', '8h']);
    expect(await at.json(['approve'])).toEqual({
      waiting: [
        {
          id,
          exchange,
          asked_at: expect.any(String),
          expires_at: expect.any(String),
          expires_in: expect.any(Number),
          agent: 'ci',
          client: '127.0.0.1:4711',
          lease: who.leased.lease,
          purpose: 'nightly report',
          method: 'DELETE',
          scheme: 'https',
          authority: 'helpdesk.acme.test:8443',
          path: '/tickets/7',
          query: null,
          fields: [],
          operation: null,
          has_query: false,
          body_bytes: 0,
          grant: who.leased.grantId,
          grant_name: 'work',
          user: 'default',
          provider: 'acme',
          reason: 'x',
          rule: 'config/sidekey.yaml:12',
          rule_name: null,
          answer: null,
        },
      ],
      standing: [
        {
          id: standing.id,
          agent: 'ci',
          lease: null,
          grant: who.agent.grantId,
          grant_name: 'work',
          rule: 'config/sidekey.yaml:12',
          rule_name: null,
          until: expect.any(String),
          at: expect.any(String),
          by,
        },
      ],
      proposals: 0,
    });
  });

  test('is empty for a fresh folder, and creates no file', async () => {
    const at = await home();
    const before = await at.everything();
    expect(await at.run(['approve'])).toEqual({
      exit: 0,
      stdout: 'No requests waiting, no approvals in force.\n',
      stderr: '',
    });
    expect(await at.everything()).toEqual(before);
  });
});

test('answers appear in the audit log, as text and with filters', async () => {
  const { at, who, ask } = await homeWithApprovals();
  const allowed = await ask({ who: who.leased });
  const denied = await ask();
  await at.run(['approve', allowed.id, '--lease']);
  await at.run(['approve', denied.id, '--deny']);
  await at.run(['approve', '--revoke', allowed.id]);
  const events = async (...args: readonly string[]) => {
    const { stdout } = await at.run(['audit', 'query', ...args, '--json']);
    return stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { event: string }).event);
  };
  const all = ['approval.allowed', 'approval.denied', 'approval.revoked'];
  expect(await events('--event', 'approval.*')).toEqual(all);
  expect(await events('--event', 'approval.*', '--grant', 'work', '--agent', 'ci')).toEqual(all);
  expect(await events('--event', 'approval.*', '--host', 'helpdesk.acme.test')).toEqual(all.slice(0, 2));
  expect(await events('--outcome', 'deny')).toEqual(['approval.denied']);
  const { stdout } = await at.run(['audit', 'query', '--event', 'approval.*']);
  expect(stdout).toContain(`${by}, for the lease`);
  expect(stdout).toContain(`deny ${by}`);
  // These are not requests.
  expect(await at.json(['audit', 'summary'])).toEqual([]);
});
