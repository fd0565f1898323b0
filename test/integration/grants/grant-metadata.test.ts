import { rename, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home, type Home } from '../../support/command-line.ts';
import { acmeHome } from '../../support/connect-home.ts';

const metadataOf = async (at: Home, name: string) =>
  ((await at.json(['grant', 'show', name])) as { settings: { metadata: object } }).settings.metadata;

const set = (at: Home, ...args: readonly string[]) => at.run(['grant', 'set', 'work', ...args]);

describe('the metadata of a grant', () => {
  test('can be added and removed by key, and is shown', async () => {
    const at = await home();
    await at.grant('work', { api_key: 'key' });
    await set(at, '--label', 'prod');
    const { stdout } = await set(at, '--meta', 'team=infra', '--meta', 'ticket=https://a.test/?x=1, y');
    expect(stdout).toMatch(/metadata +team=infra, ticket=https:\/\/a\.test\/\?x=1, y\n/);
    expect(await set(at, '--meta', 'team=web', '--meta', 'ticket=')).toMatchObject({ exit: 0 });
    expect(await metadataOf(at, 'work')).toEqual({ team: 'web' });
    expect((await at.run(['grant', 'show', 'work'])).stdout).toMatch(/metadata +team=web\n/);
    await set(at, '--label', 'other');
    expect(await metadataOf(at, 'work')).toEqual({ team: 'web' });
    const audited = await at.run(['audit', 'query', '--event', 'grant.changed']);
    expect(audited.stdout).toContain('metadata');
    expect(audited.stdout).not.toMatch(/team|infra|web/);
    await set(at, '--meta', 'team=');
    expect(await metadataOf(at, 'work')).toEqual({});
  });

  test.each(['team', '=infra', 'a b=c', 'team=a\nb', 'team=\u001b[2J', `team=${'x'.repeat(257)}`])(
    'cannot be set to %j',
    async (text) => {
      const at = await home();
      await at.grant('work', { api_key: 'key' });
      expect(await set(at, '--meta', text)).toMatchObject({
        exit: 2,
        stderr: expect.stringContaining('--meta is not KEY=VALUE'),
      });
      expect(await metadataOf(at, 'work')).toEqual({});
    },
  );

  test('can be passed to connect, and remains when the credential is replaced', async () => {
    const at = await home();
    const connect = ['connect', 'openai', '--token', '--no-verify', '--replace'];
    const input = 'sk-0123456789';
    expect(await at.run([...connect, '--meta', 'team=infra'], { input })).toMatchObject({ exit: 0 });
    expect(await at.run([...connect, '--meta', 'cost=7'], { input })).toMatchObject({ exit: 0 });
    expect(await metadataOf(at, 'openai')).toEqual({ team: 'infra', cost: '7' });
    const wrong = await at.run(['connect', 'anthropic', '--token', '--no-verify', '--meta', 'team'], {
      input,
    });
    expect(wrong.exit).toBe(2);
    expect(await at.json(['grant', 'list'])).toHaveLength(1);
  });

  test('cannot be combined with --print-url', async () => {
    const at = await acmeHome();
    expect(await at.run(['connect', 'acme', '--print-url', '--meta', 'team=infra'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('--print-url and --meta do not go together'),
    });
  });
});

describe('grants without the master key', () => {
  test.each([
    ['missing', null],
    ['of another store', Buffer.alloc(32, 9).toString('base64')],
  ])('are listed only with names and states if the key is %s', async (_what, key) => {
    const at = await home();
    await at.grant('work', { access_token: 'a', refresh_token: 'r', scope: 'read:org', expires_in: 3_600 });
    await set(at, '--meta', 'team=infra', '--expires', '3d');
    const open = [{ name: 'work', state: 'active', scopes: ['read:org'] }];
    expect(await at.json(['grant', 'list'])).toMatchObject(open);
    await rename(at.at('data', 'master.key'), at.at('moved'));
    if (key !== null) await writeFile(at.at('data', 'master.key'), `${key}\n`, { mode: 0o600 });

    const listed = await at.run(['grant', 'list']);
    expect(listed).toMatchObject({
      exit: 0,
      stderr: expect.stringMatching(/^Only names and states are shown, because .*key.*\n {2}→ ./),
    });
    expect(listed.stdout).toMatch(
      /^NAME +PROVIDER +USER +STATE +EXPIRES\nwork +acme +default +active +in 3 d/,
    );
    expect(await at.json(['grant', 'list'])).toMatchObject([
      { name: 'work', state: 'active', scopes: null, account: null },
    ]);
    const shown = await at.run(['grant', 'show', 'work']);
    expect(shown.exit).not.toBe(0);
    const { stdout } = await at.run(['status']);
    expect(stdout).toMatch(/✗ key /);
    expect(stdout).toMatch(/✓ grants +1 active \(all that can be read without the master key\)\n/);
    for (const text of [listed.stdout, listed.stderr, shown.stdout, shown.stderr, stdout])
      expect(text).not.toMatch(/infra|read:org/);

    await rename(at.at('moved'), at.at('data', 'master.key'));
    expect(await at.json(['grant', 'list'])).toMatchObject(open);
    expect(await metadataOf(at, 'work')).toEqual({ team: 'infra' });
  });
});
