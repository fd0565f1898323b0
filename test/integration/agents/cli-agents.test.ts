import { userInfo } from 'node:os';
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home, type Home } from '../../support/command-line.ts';

const key = { api_key: 'key-secret-0123456789' };

async function withGrants(): Promise<Home> {
  const at = await home();
  await at.grant('work', key, ['--provider', 'acme', '--user', 'alice']);
  await at.grant('work', key, ['--provider', 'acme', '--user', 'bob']);
  await at.grant('github', key, ['--provider', 'github']);
  return at;
}

const reaches = async (at: Home, name: string) =>
  ((await at.json(['agent', 'show', name])) as { reaches: { name: string; user: string }[] }).reaches.map(
    ({ name: grant, user }) => `${user}/${grant}`,
  );
const tokenIn = (line: string) => /:(sidekey_(?:agent|lease)_[\w-]{43})@/.exec(line)?.[1] ?? '';

describe('an agent', () => {
  test('has no binding by default, and the output shows the command that adds a binding', async () => {
    const at = await withGrants();
    const added = await at.run(['agent', 'create', 'ci']);
    expect(added.stdout).toMatch(/^HTTPS_PROXY=http:\/\/ci:sidekey_agent_[\w-]{43}@127\.0\.0\.1:PORT\n$/);
    expect(added.stderr).toContain('ci reaches nothing: no grant is bound to it.');
    expect(added.stderr).toContain('→ sidekey agent bind ci --grant github');
    await at.grant('work', key, ['--provider', 'acme', '--user', 'auth0|1']);
    for (const [name, user, grant] of [
      ['bobs', 'bob', 'bob/work'],
      ['carols', 'carol', 'github'],
      ['ones', 'auth0|1', "'auth0|1/work'"],
    ] as const) {
      const ofUser = await at.run(['agent', 'create', name, '--for', user]);
      expect(ofUser.stderr).toContain(`→ sidekey agent bind ${name} --grant ${grant}\n`);
    }
    expect(await reaches(at, 'ci')).toEqual([]);
  });

  test('can be bound by grant, provider, user and label, and unbound again', async () => {
    const at = await withGrants();
    await at.run(['agent', 'create', 'ci', '--grant', 'alice/work']);
    expect(await reaches(at, 'ci')).toEqual(['alice/work']);
    expect((await at.run(['agent', 'bind', 'ci', '--user', 'bob'])).stdout).toBe(
      'ci reaches grant alice/work, user bob.\n',
    );
    expect(await reaches(at, 'ci')).toEqual(['alice/work', 'bob/work']);
    expect(await at.run(['agent', 'bind', 'ci', '--user', 'bob'])).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('Nothing changed.'),
    });
    await at.run(['agent', 'bind', 'ci', '--remove', '--grant', 'alice/work', '--user', 'bob']);
    await at.run(['agent', 'bind', 'ci', '--label', 'prod']);
    expect(await reaches(at, 'ci')).toEqual([]);
    await at.run(['grant', 'set', 'github', '--label', 'prod']);
    expect(await reaches(at, 'ci')).toEqual(['default/github']);
    await at.run(['agent', 'bind', 'ci', '--provider', 'acme']);
    expect(await reaches(at, 'ci')).toEqual(['default/github', 'alice/work', 'bob/work']);
    await at.run(['agent', 'set', 'ci', '--for', 'bob']);
    expect(await reaches(at, 'ci')).toEqual(['bob/work']);
    await at.run(['agent', 'set', 'ci', '--no-for']);
    const all = await at.run(['agent', 'bind', 'ci', '--everything']);
    expect(all.stderr).toContain('The agent ci may use all grants in the domain map, of every user.');
    expect(all.stderr).toContain('sidekey agent bind ci --remove --everything');
    expect((await at.run(['agent', 'list'])).stderr).toContain('The agent ci may use all grants');
    expect(await at.run(['agent', 'bind', 'ci', '--all'])).toMatchObject({
      exit: 2,
      stderr: 'sidekey: --all needs --remove.\n  → sidekey agent bind AGENT --everything\n',
    });
    // A name without an agent may be a misplaced token, so no hint repeats it.
    const token = `sidekey_agent_${'t'.repeat(43)}`;
    expect((await at.run(['agent', 'bind', token, '--all'])).stderr).not.toContain('sidekey_agent_');
    expect((await at.run(['agent', 'bind', token, '--everything'])).stderr).toBe(
      'sidekey: There is no agent of that name.\n  → sidekey agent list\n',
    );
    expect((await at.run(['agent', 'bind', 'ci', '--grant', 'g'.repeat(2_049)])).stderr).toContain(
      'sidekey: --grant is longer than 2048 characters.\n',
    );
    expect((await at.run(['agent', 'bind', 'ci', '--remove', '--all'])).stdout).toBe('ci reaches nothing.\n');
  });

  test('can be limited to hosts without a credential, and keeps these hosts when its grants are unbound', async () => {
    const at = await withGrants();
    const created = await at.run(['agent', 'create', 'ci', '--egress', 'PyPI.org', '*.npmjs.org:8443']);
    expect(created.stderr).toContain('It reaches: egress pypi.org, egress *.npmjs.org:8443.');
    expect(created.stderr).toContain('ci reaches nothing: no grant is bound to it.');
    const bound = (await at.run(['agent', 'show', 'ci', '--json'])).stdout;
    expect(JSON.parse(bound)).toMatchObject({
      bindings: [
        { kind: 'egress', value: '*.npmjs.org:8443' },
        { kind: 'egress', value: 'pypi.org' },
      ],
      reaches: [],
    });
    await at.run(['agent', 'bind', 'ci', '--remove', '--egress', '*.npmjs.org:8443']);
    await at.run(['agent', 'bind', 'ci', '--everything']);
    expect((await at.run(['agent', 'bind', 'ci', '--remove', '--all'])).stdout).toBe(
      'ci reaches egress pypi.org.\n',
    );
    const change = async (...args: readonly string[]) =>
      (await at.run(['agent', 'bind', 'ci', ...args])).stdout;
    // Without a list it could use all hosts.
    expect(await change('--remove', '--egress', 'pypi.org')).toBe('ci reaches egress none.\n');
    expect(await change('--egress', 'pypi.org')).toBe('ci reaches egress pypi.org.\n');
    expect(await change('--remove', '--egress', 'pypi.org')).toBe('ci reaches egress none.\n');
    expect(await change('--remove', '--egress', 'none')).toBe('ci reaches nothing.\n');
    expect(await at.run(['agent', 'bind', 'ci', '--egress', 'https://pypi.org/'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('A host of --egress is a URL'),
    });
    const ofLease = [
      '--agent',
      'ci',
      '--grant',
      'github',
      '--egress',
      'pypi.org',
      '--purpose',
      'x',
      '--json',
    ];
    expect((await at.run(['lease', 'create', ...ofLease])).exit).toBe(4);
    await at.run(['agent', 'bind', 'ci', '--grant', 'github']);
    const made = await at.run(['lease', 'create', ...ofLease]);
    const { id, egress } = JSON.parse(made.stdout) as { id: string; egress: unknown };
    expect(egress).toEqual(['pypi.org']);
    expect((await at.run(['lease', 'show', id])).stdout).toMatch(/egress +pypi\.org/);
  });

  test('cannot be bound to a missing grant or to a grant of another user', async () => {
    const at = await withGrants();
    await at.run(['agent', 'create', 'ci']);
    for (const [args, code, said] of [
      [['--grant', 'githb'], 4, 'did you mean github?'],
      [['--grant', 'work'], 2, '--grant alice/work'],
      [['--grant', 'eve/work'], 4, 'has no grant work'],
      [['--provider', 'githb'], 2, 'did you mean github'],
      [['--user', 'a b'], 2, 'is not valid'],
      [[], 2, 'names no grants'],
    ] as const) {
      const ran = await at.run(['agent', 'bind', 'ci', ...args]);
      expect(ran, args.join(' ')).toMatchObject({ exit: code, stdout: '' });
      expect(ran.stderr).toContain(said);
    }
    expect(await at.run(['agent', 'bind', 'c', '--user', 'bob'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('did you mean ci?'),
    });
    expect(await at.run(['agent', 'create', 'other', '--grant', 'none'])).toMatchObject({
      exit: 4,
      stdout: '',
    });
    expect(await at.json(['agent', 'list'])).toHaveLength(1);
  });

  test('can be unbound from a removed grant by the ID that agent show prints', async () => {
    const at = await withGrants();
    await at.run(['agent', 'create', 'ci', '--grant', 'github']);
    await at.run(['grant', 'remove', 'github', '--local']);
    const { stdout } = await at.run(['agent', 'show', 'ci']);
    const [, id = ''] = /grant ([0-9a-f-]{36}) \(removed\)/.exec(stdout) ?? [];
    expect((await at.run(['agent', 'bind', 'ci', '--remove', '--grant', id])).stdout).toBe(
      'ci reaches nothing.\n',
    );
  });

  test('can have several labelled tokens, and a new token replaces an old token at once or after a grace period', async () => {
    const at = await withGrants();
    const first = tokenIn((await at.run(['agent', 'create', 'ci', '--expires', '90d'])).stdout);
    const laptop = await at.run(['agent', 'rotate', 'ci', '--token-label', 'laptop']);
    expect(laptop.stderr).toContain('It replaces no other token');
    const rotated = await at.run(['agent', 'rotate', 'ci', '--overlap', '1h']);
    expect(rotated.stderr).toContain('The previous token will end in 1h.');
    expect(new Set([first, tokenIn(laptop.stdout), tokenIn(rotated.stdout)]).size).toBe(3);
    const tokens = async () =>
      (
        (await at.json(['agent', 'show', 'ci'])) as {
          tokens: { label: string; live: boolean; expires_at: string | null; revoked_at: string | null }[];
        }
      ).tokens;
    const hour = (await tokens())[0]?.expires_at ?? '';
    expect(Date.parse(hour) - Date.now()).toBeLessThanOrEqual(3_600_000);
    expect((await tokens()).map(({ label, live }) => `${label} ${live}`)).toEqual([
      'main true',
      'laptop true',
      'main true',
    ]);
    expect((await at.run(['agent', 'rotate', 'ci'])).stderr).toContain('The 2 previous tokens ended.');
    expect((await tokens()).map(({ live }) => live)).toEqual([false, true, false, true]);
    expect((await at.run(['agent', 'remove', 'ci', '--token-label', 'laptop'])).stdout).toBe(
      'Revoked the token laptop of ci.\n',
    );
    expect((await tokens()).map(({ live }) => live)).toEqual([false, false, false, true]);
    expect(await at.run(['agent', 'remove', 'ci', '--token-label', 'laptop'])).toMatchObject({ exit: 2 });
    const shown = await at.run(['agent', 'show', 'ci']);
    expect(shown.stdout).toMatch(/laptop +\d+ s ago +revoked \d+ s ago|laptop +in 0 s/);
    const secrets = [first, tokenIn(laptop.stdout), tokenIn(rotated.stdout)];
    const rest = shown.stdout + (await readFile(at.at('data', 'audit.jsonl'), 'utf8'));
    for (const secret of secrets) expect(rest).not.toContain(secret);
  });

  test('is refused if a token is passed as the label, and the output omits the token', async () => {
    const at = await withGrants();
    await at.run(['agent', 'create', 'ci']);
    const token = 'sidekey_agent_0123456789012345678901234567890123456789012';
    for (const args of [
      ['agent', 'rotate', 'ci', '--token-label', token],
      ['agent', 'show', token],
      ['lease', 'list', token],
      ['lease', 'revoke', token],
    ]) {
      const ran = await at.run(args);
      expect(ran).toMatchObject({ exit: 2, stdout: '' });
      expect(ran.stderr).not.toContain('0123456789');
    }
  });

  test('can be disabled and enabled, and the audit log names the person', async () => {
    const at = await withGrants();
    await at.run([
      'agent',
      'create',
      'ci',
      '--grant',
      'github',
      '--agent-label',
      'nightly',
      '--for',
      'alice',
    ]);
    expect((await at.run(['agent', 'set', 'ci', '--disable'])).stdout).toContain('The agent ci is disabled');
    expect((await at.run(['agent', 'set', 'ci', '--disable'])).stdout).toBe(
      'The agent ci is already disabled.\n',
    );
    expect(await at.json(['agent', 'list'])).toMatchObject([
      { name: 'ci', state: 'disabled', acts_for: 'alice', labels: ['nightly'] },
    ]);
    expect(
      await at.run(['lease', 'create', '--agent', 'ci', '--grant', 'github', '--purpose', 'x']),
    ).toMatchObject({ exit: 2, stderr: expect.stringContaining('sidekey agent set ci --enable') });
    expect(await at.json(['agent', 'set', 'ci', '--enable', '--no-for'])).toEqual({
      name: 'ci',
      acts_for: null,
      labels: ['nightly'],
      state: 'enabled',
      changed: true,
    });
    await at.run(['agent', 'set', 'ci', '--for', 'alice']);
    expect(await at.run(['agent', 'set', 'ci', '--enable', '--disable'])).toMatchObject({ exit: 2 });
    await at.run(['agent', 'bind', 'ci', '--user', 'bob']);
    await at.run(['agent', 'bind', 'ci', '--remove', '--user', 'bob']);
    await at.run(['agent', 'set', 'ci', '--no-agent-label']);
    await at.run(['agent', 'rotate', 'ci']);
    await at.run(['agent', 'remove', 'ci', '--token-label', 'main']);
    await at.run(['agent', 'remove', 'ci']);
    const lines = (await readFile(at.at('data', 'audit.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map(
        (line) =>
          JSON.parse(line) as {
            event: string;
            agent?: string;
            client?: string;
            by?: string;
            reason?: string;
          },
      )
      .filter(({ agent }) => agent === 'ci');
    expect(lines.map(({ event }) => event)).toEqual([
      'agent.added',
      'agent.disabled',
      'agent.changed',
      'agent.enabled',
      'agent.changed',
      'agent.bound',
      'agent.unbound',
      'agent.changed',
      'agent.rotated',
      'agent.token_revoked',
      'agent.removed',
    ]);
    expect(lines[0]?.reason).toMatch(/^grant [0-9a-f-]{36}$/);
    expect(lines[5]?.reason).toBe('user bob');
    for (const { by, client } of lines) expect([by, client]).toEqual([userInfo().username, 'cli']);
  });
});
