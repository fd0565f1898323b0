import { readFile, writeFile } from 'node:fs/promises';
import { stringify } from 'yaml';
import { describe, expect, test } from 'vitest';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { home, type Home, leaseCreate, type Ran } from '../../support/command-line.ts';

const key = { api_key: 'key-secret-0123456789' };

async function withAgent(config: object = {}): Promise<Home> {
  const at = await home(config);
  await at.grant('work', key);
  await at.grant('github', key, ['--provider', 'github']);
  await at.run(['agent', 'create', 'ci', '--provider', 'acme', 'github']);
  return at;
}
const create = (at: Home, ...args: readonly string[]): Promise<Ran> =>
  at.run(['lease', 'create', '--agent', 'ci', '--grant', 'work', '--purpose', 'a report', ...args]);
const leases = async (at: Home, ...args: readonly string[]) =>
  (await at.json(['lease', 'list', ...args])) as {
    id: string;
    state: string;
    expires_in: number;
    purpose: string;
  }[];
const audit = async (at: Home) =>
  (await readFile(at.at('data', 'audit.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string; lease?: string; agent?: string; reason?: string });

describe('a lease', () => {
  test('requires an agent: if there is none, lease list prints the command that creates an agent', async () => {
    const at = await home();
    expect((await at.run(['lease', 'list'])).stdout).toContain('→ sidekey agent create AGENT\n');
    await at.run(['agent', 'create', 'ci']);
    expect((await at.run(['lease', 'list'])).stdout).toContain('→ sidekey lease create --agent AGENT');
  });

  test('list, of any kind, has pages with --limit and --cursor', async () => {
    const at = await withAgent();
    await at.run(['agent', 'create', 'other', '--everything']);
    for (const purpose of ['one', 'two']) await create(at, '--purpose', purpose);
    for (const [noun, member] of [
      ['grant', 'name'],
      ['lease', 'purpose'],
      ['agent', 'name'],
    ] as const) {
      const all = (await at.json([noun, 'list'])) as Record<string, string>[];
      expect(all).toHaveLength(2);
      const first = await at.run([noun, 'list', '--limit', '1']);
      const [, cursor = ''] = /^ {2}→ repeat the command with --cursor (\S+)$/m.exec(first.stderr) ?? [];
      expect(first.stdout).not.toContain(all[1]![member]);
      const asJson = await at.run([noun, 'list', '--limit', '1', '--json']);
      expect(JSON.parse(asJson.stderr)).toEqual({ next_cursor: cursor });
      const second = await at.run([noun, 'list', '--cursor', cursor, '--json']);
      const pages = [asJson, second].flatMap(({ stdout }) => JSON.parse(stdout) as typeof all);
      expect(pages.map((entry) => entry[member])).toEqual(all.map((entry) => entry[member]));
      expect(second.stderr).toBe('');
    }
    expect((await at.run(['lease', 'list', '--cursor', 'x'])).stderr).toContain('not that of a page');
    expect((await at.run(['lease', 'list', '--limit', '0'])).stderr).toContain('--limit is below 1');
  });

  test('is printed once as a line to paste, and expires', async () => {
    const at = await withAgent();
    const made = await create(at, '--ttl', '15m', '--idle', '5m', '--max-uses', '10');
    const [, token = ''] =
      /^HTTPS_PROXY=http:\/\/ci:(sidekey_lease_[\w-]{43})@127\.0\.0\.1:PORT\n$/.exec(made.stdout) ?? [];
    expect(token).not.toBe('');
    expect(made.stderr).toContain('It ends in 15 min, or when it is not used for 5m, or after 10 requests.');
    expect(made.stderr).not.toContain(token);
    const [lease] = await leases(at);
    expect(lease).toMatchObject({ agent: 'ci', state: 'active', idle: 300, max_uses: 10, uses: 0 });
    expect((await at.run(['lease', 'list'])).stdout).toMatch(
      /^LEASE .+\n[0-9a-f]{8} +ci +work +active +in \d+ .+ +0 of 10 +never +a report\n$/,
    );
    const shown = await at.run(['lease', 'list', lease!.id.slice(0, 8)]);
    expect(shown.stdout).toContain('after 5m without a request');
    expect(await audit(at)).toContainEqual(
      expect.objectContaining({
        event: 'lease.created',
        agent: 'ci',
        lease: lease!.id,
        reason: 'a report',
        client: 'cli',
        by: expect.any(String),
      }),
    );
    const rest =
      shown.stdout +
      JSON.stringify(await leases(at)) +
      (await readFile(at.at('data', 'audit.jsonl'), 'utf8'));
    expect(rest).not.toContain(token);
  });

  test('is limited to grants that the agent may use, and names the command that binds others', async () => {
    const at = await withAgent();
    await at.grant('other', key, ['--provider', 'stripe', '--user', 'bob']);
    const refused = await at.run(leaseCreate('ci', ['work', 'other']));
    expect(refused).toMatchObject({ exit: 4, stdout: '' });
    expect(refused.stderr).toContain('→ sidekey agent bind ci --grant bob/other');
    expect(await leases(at)).toEqual([]);
  });

  test.each([
    ['--ttl', '0s', 'is not a duration'],
    ['--ttl', '-5m', 'is not a duration'],
    ['--ttl', '99999w', 'is not a duration'],
    ['--idle', 'soon', 'is not a duration'],
    ['--max-uses', '0', 'is not a number of requests'],
    ['--max-uses', '1.5', 'is not a number of requests'],
    ['--max-uses', '1e3', 'is not a number of requests'],
    ['--max-uses', '1000000000', 'is not a number of requests'],
    ['--purpose', ' ', '--purpose is empty'],
    ['--purpose', 'a\u001b[2Jb', 'has control characters'],
    ['--purpose', 'x'.repeat(201), 'longer than 200 characters'],
    ['--purpose', '', '--purpose is empty'],
    ['--agent', 'nobody', 'There is no agent nobody'],
  ])('is not created with %s %j', async (option, value, said) => {
    const at = await withAgent();
    const made = await create(at, `${option}=${value}`);
    expect(made).toMatchObject({ exit: 2, stdout: '' });
    expect(made.stderr).toContain(said);
    expect(await leases(at)).toEqual([]);
  });

  test('stores its purpose without surrounding spaces, which do not count towards the maximum length', async () => {
    const at = await withAgent();
    const purpose = 'x'.repeat(200);
    expect(await create(at, `--purpose= ${purpose} `)).toMatchObject({ exit: 0 });
    expect(await leases(at)).toMatchObject([{ purpose }]);
  });

  test('uses the shortest maximum of config, provider and grant, and names its source', async () => {
    const config = {
      leases: { default_ttl: '10m', max_ttl: '8h' },
      providers: { github: { lease: { default_ttl: '3m', max_ttl: '2h' } } },
    };
    const at = await withAgent(config);
    const lasting = async (grants: readonly string[], ...ttl: readonly string[]) => {
      const args = ['lease', 'create', '--agent', 'ci', '--grant', ...grants, '--purpose', 'x', ...ttl];
      const { expires_in, capped_by } = (await at.json(args)) as {
        expires_in: number;
        capped_by: string | null;
      };
      return [expires_in, capped_by];
    };
    const [config_, provider, grant] = [
      'leases.max_ttl of the config',
      'the provider github',
      'the grant github',
    ];
    expect(await lasting(['work'])).toEqual([600, null]);
    expect(await lasting(['work'], '--ttl', '7h')).toEqual([25_200, null]);
    expect(await lasting(['work'], '--ttl', '9h')).toEqual([28_800, config_]);
    expect(await lasting(['github'])).toEqual([180, null]);
    expect(await lasting(['work', 'github'], '--ttl', '9h')).toEqual([7_200, provider]);
    await at.run(['grant', 'set', 'github', '--lease-ttl', '4m', '--max-lease-ttl', '1h']);
    expect(await lasting(['github'])).toEqual([240, null]);
    expect(await lasting(['github', 'work'])).toEqual([240, null]);
    expect(await lasting(['github'], '--ttl', '9h')).toEqual([3_600, grant]);
    await at.run(['grant', 'set', 'github', '--max-lease-ttl', '3h']);
    expect(await lasting(['github'], '--ttl', '9h')).toEqual([7_200, provider]);
    const told = await at.run(leaseCreate('ci', ['github'], '--ttl', '9h'));
    expect(told.stderr).toContain('It lasts 2h instead of 9h, the maximum of the provider github.');
    expect((await at.run(['grant', 'set', 'github', '--max-lease-ttl', 'none'])).stdout).not.toContain(
      'maximum lease ttl',
    );
  });

  test('that exceeds the lifetime of its grant is created with a warning', async () => {
    const at = await withAgent();
    await at.grant('short', { access_token: 'x-0123456789', expires_in: 300 }, ['--provider', 'acme']);
    const make = (grant: string, ttl: string) =>
      at.run(['lease', 'create', '--agent', 'ci', '--grant', grant, '--purpose', 'x', '--ttl', ttl]);
    expect((await make('short', '15m')).stderr).toMatch(
      /The lease outlives the token of short, which ends in \d .+ and cannot be refreshed\./,
    );
    expect((await make('short', '1m')).stderr).not.toContain('outlives');
    await at.grant(
      'renewable',
      { access_token: 'x-0123456789', refresh_token: 'y-0123456789', expires_in: 300 },
      ['--provider', 'acme'],
    );
    expect((await make('renewable', '15m')).stderr).not.toContain('outlives');
    await at.run(['grant', 'set', 'work', '--expires', '10m']);
    expect((await make('work', '15m')).stderr).toContain(
      'The lease outlives the grant work, which ends in 10 min.',
    );
    await at.run(['grant', 'revoke', 'work', '--local']);
    expect((await make('work', '15m')).stderr).toContain('The grant work is revoked');
  });

  test('can be renewed within its maximum, is never shortened, and can get more requests', async () => {
    const at = await withAgent({ leases: { max_ttl: '1h' } });
    await create(at, '--ttl', '30m', '--max-uses', '2');
    const [{ id } = { id: '' }] = await leases(at);
    const renewed = await at.run(['lease', 'renew', id.slice(0, 8), '--ttl', '2h', '--uses', '5']);
    expect(renewed.stdout).toMatch(/^Renewed the lease .+ It ends in 60 min, or after 7 requests\.\n$/);
    expect(renewed.stderr).toContain(
      'It lasts 1h instead of 2h, the maximum of leases.max_ttl of the config.',
    );
    await at.run(['lease', 'renew', id, '--ttl', '1m']);
    expect((await leases(at))[0]?.expires_in).toBeGreaterThan(3_500);
    await create(at);
    const free = (await leases(at)).find((lease) => lease.id !== id);
    expect(await at.run(['lease', 'renew', free!.id, '--uses', '5'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('no maximum of uses'),
    });
    expect((await audit(at)).filter(({ event }) => event === 'lease.renewed')).toHaveLength(2);
  });

  test('can be revoked by ID, by agent or by grant, permanently', async () => {
    const at = await withAgent();
    await at.run(['agent', 'create', 'other', '--everything']);
    await create(at);
    await create(at);
    await at.run(['lease', 'create', '--agent', 'other', '--grant', 'work', '--purpose', 'theirs']);
    await at.run(['lease', 'create', '--agent', 'other', '--grant', 'github', '--purpose', 'not work']);
    const [first] = await leases(at, '--agent', 'ci');
    expect((await at.run(['lease', 'revoke', first!.id])).stdout).toContain('Revoked one lease');
    expect(await at.run(['lease', 'revoke', first!.id])).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('Nothing changed'),
    });
    expect(await at.run(['lease', 'renew', first!.id])).toMatchObject({
      exit: 4,
      stderr: expect.stringContaining('was revoked'),
    });
    expect((await at.run(['lease', 'revoke', '--grant', 'work'])).stdout).toContain('Revoked 2 leases');
    expect((await leases(at)).map(({ purpose }) => purpose)).toEqual(['not work']);
    expect((await at.run(['lease', 'revoke', '--agent', 'other'])).stdout).toContain('Revoked one lease');
    expect(await leases(at)).toEqual([]);
    expect((await at.run(['lease', 'list'])).stdout).toContain('4 ended leases hidden; --all shows them.');
    expect((await leases(at, '--all')).map(({ state }) => state)).toEqual(Array(4).fill('revoked'));
    for (const args of [[], ['x', '--agent', 'ci'], ['--agent', 'ci', '--grant', 'work']])
      expect(await at.run(['lease', 'revoke', ...args])).toMatchObject({ exit: 2 });
    expect(await at.run(['lease', 'revoke', 'ffff'])).toMatchObject({ exit: 2 });
  });
});

describe('a grant with an expiry', () => {
  test('takes a new expiry from --expires or --ttl, but not beyond its maximum', async () => {
    const at = await withAgent();
    expect(await at.run(['grant', 'set', 'work'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('sidekey grant set work --expires 30d'),
    });
    await at.run(['grant', 'set', 'work', '--expires', '1h', '--max-ttl', '30d']);
    expect((await at.run(['grant', 'set', 'work', '--ttl', '10d'])).stdout).toMatch(/\n *expires +in 10 d /);
    for (const option of ['--ttl', '--expires']) {
      const refused = await at.run(['grant', 'set', 'work', option, '60d']);
      expect(refused.exit).toBe(2);
      expect(refused.stderr).toContain('The expiry is later than the maximum of 30d from now.');
    }
    expect((await at.run(['grant', 'show', 'work'])).stdout).toMatch(/\n *expires +in 10 d /);
    await at.run(['grant', 'set', 'work', '--ttl', '40d', '--max-ttl', 'none']);
    expect((await at.run(['grant', 'show', 'work'])).stdout).toMatch(/\n *expires +in 40 d /);
    expect(await at.run(['grant', 'set', 'work', '--expires', '9d', '--max-ttl', '8d'])).toMatchObject({
      exit: 2,
    });
    expect((await at.run(['grant', 'set', 'work', '--expires', 'none'])).stdout).toMatch(
      /\n *expires +no end\n/,
    );
    const changes = (await audit(at)).filter(({ event }) => event === 'grant.changed');
    expect(changes.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/^expires_at "20.+" \(was null\), max_ttl 2592000 \(was null\)$/),
      expect.stringMatching(/^expires_at "20.+" \(was "20.+"\), default_ttl 864000 \(was null\)$/),
      expect.stringMatching(/, default_ttl 3456000 \(was 864000\), max_ttl null \(was 2592000\)$/),
      expect.stringMatching(/^expires_at null \(was "20.+"\)$/),
    ]);
  });

  test('is refused with a separate error code after its expiry, by the proxy and by explain', async () => {
    const at = await withAgent({ domains: { 'helpdesk.acme.test:8443': { grant: 'work' } } });
    const explain = () => at.run(['explain', 'https://helpdesk.acme.test:8443/', '--agent', 'ci']);
    const store = await openSqliteStore(at.at('data', 'sidekey.db'), { now: Date.now });
    const work = (await store.grants.find({})).find(({ name }) => name === 'work');
    await store.grantPolicies.set(work?.id ?? '', { expiresAt: 1 });
    await store.close();
    const ended = await explain();
    expect(ended.stdout).toContain('grant_expired');
    expect(ended.stdout).toContain('sidekey grant set work --ttl 30d');
    const [, listed] = (await at.json(['grant', 'list'])) as object[];
    expect(listed).toMatchObject({ name: 'work', state: 'expired' });
    expect((await at.run(['grant', 'list'])).stdout).toMatch(
      /\nwork expired .+ ago\.\n {2}→ sidekey grant set work --ttl 30d\n$/,
    );
    await at.run(['agent', 'bind', 'ci', '--remove', '--all']);
    expect((await explain()).stdout).toContain('sidekey agent bind ci --grant work');
  });
});

test('lease lifetimes in the config are validated', async () => {
  const at = await home();
  await writeFile(at.configFile, stringify({ version: 1, leases: { default_ttl: 15, max_tll: '1d' } }));
  const { exit, stderr } = await at.run(['lease', 'list']);
  expect(exit).toBe(2);
  expect(stderr).toContain('leases.default_ttl');
  expect(stderr).toContain('did you mean max_ttl');
});
