import { mkdir, readFile, rm } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';

const oauth = {
  access_token: 'access-secret-0123456789',
  refresh_token: 'refresh-secret-0123456789',
  expires_in: 3600,
  scope: 'read:tickets write:tickets',
};

describe('grants at the command line', () => {
  test('are stored, and are shown without their secrets', async () => {
    const at = await home();
    const added = await at.run(['grant', 'import', 'work', '--provider', 'acme'], {
      input: JSON.stringify(oauth),
    });
    expect(added).toMatchObject({ exit: 0 });
    expect(added.stdout).toMatch(/^Stored work\.\n/);
    expect(added.stdout).toMatch(/expires +in 60 min/);
    expect(added.stdout).toMatch(/audience +helpdesk\.acme\.test:8443/);
    expect(added.stderr).toContain('→ sidekey domain allow helpdesk.acme.test:8443 --grant work');

    expect((await at.run(['grant', 'list'])).stdout).toBe(
      [
        'NAME  PROVIDER  USER     STATE   SCOPES                      TOKEN EXPIRES  LAST USED',
        'work  acme      default  active  read:tickets write:tickets  in 60 min      never',
        '',
      ].join('\n'),
    );
    const shown = await at.json(['grant', 'show', 'work']);
    expect(shown).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      name: 'work',
      user: 'default',
      provider: 'acme',
      type: 'oauth2',
      state: 'active',
      state_reason: null,
      scopes: ['read:tickets', 'write:tickets'],
      expires_at: expect.stringMatching(/^\d{4}-.+Z$/),
      expires_in: expect.any(Number),
      refreshable: true,
      ends_soon: false,
      parent: null,
      minted: [],
      renewed_by: 'refresh_token',
      source: null,
      dpop: null,
      grant_type: null,
      client_id: 'sidekey-public',
      obtained_at: expect.stringMatching(/^\d{4}-.+Z$/),
      refresh_due_at: expect.stringMatching(/^\d{4}-.+Z$/),
      refresh_token_dies_at: null,
      consent_ends_at: null,
      used_at: null,
      refreshed_at: null,
      failed_at: null,
      failure: null,
      lacked_scopes: null,
      next: { what: 'refresh_on_use', at: expect.stringMatching(/^\d{4}-.+Z$/) },
      account: null,
      account_details: {},
      revision: 1,
      created_at: expect.any(String),
      updated_at: expect.any(String),
      audience: ['helpdesk.acme.test:8443'],
      fingerprint: expect.stringMatching(/^[0-9a-f]{16}$/),
      domains: [],
      settings: {
        expires_at: null,
        default_ttl: null,
        max_ttl: null,
        default_lease_ttl: null,
        max_lease_ttl: null,
        labels: [],
        metadata: {},
      },
      reached_by: { agents: [], active_leases: [] },
    });
  });

  test('report an empty list without creating a file', async () => {
    const at = await home();
    const before = await at.everything();
    const ran = await at.run(['grant', 'list']);
    expect(ran).toEqual({
      exit: 0,
      stdout: 'There are no grants yet.\n  → sidekey connect PROVIDER\n',
      stderr: '',
    });
    expect(await at.json(['grant', 'list'])).toEqual([]);
    expect(await at.everything()).toEqual(before);
  });

  test('are replaced under the same ID, and become active again', async () => {
    const at = await home();
    await at.grant('work', oauth);
    const before = (await at.json(['grant', 'show', 'work'])) as Record<string, unknown>;
    await at.run(['grant', 'revoke', 'work']);
    await at.grant('work', { type: 'api_key', value: 'another-secret' }, [
      '--provider',
      'stripe',
      '--replace',
    ]);
    expect(await at.json(['grant', 'show', 'work'])).toMatchObject({
      id: before['id'],
      type: 'api_key',
      provider: 'stripe',
      state: 'active',
      state_reason: null,
      audience: ['api.stripe.com', 'files.stripe.com'],
    });
  });

  test('of several users are selected with --user', async () => {
    const at = await home();
    for (const user of ['alice', 'bob'])
      await at.grant('work', oauth, ['--provider', 'acme', '--user', user]);
    const ambiguous = await at.run(['grant', 'show', 'work']);
    expect(ambiguous).toMatchObject({ exit: 2, stdout: '' });
    expect(ambiguous.stderr).toBe(
      'sidekey: Several users have a grant work: alice, bob.\n  → name the user: --user alice\n',
    );
    expect(await at.json(['grant', 'show', 'work', '--user', 'bob'])).toMatchObject({ user: 'bob' });
    expect(await at.run(['grant', 'remove', 'work', '--user', 'carol'])).toMatchObject({
      exit: 4,
      stderr: expect.stringContaining('The user carol has no grant work; alice, bob have.'),
    });
  });

  test('fail with exit code 4 and a similar name if they do not exist', async () => {
    const at = await home();
    await at.grant('github-work', { type: 'api_key', value: 'secret' }, ['--provider', 'github']);
    for (const command of ['show', 'refresh', 'revoke', 'remove']) {
      expect(await at.run(['grant', command, 'github-wrok'])).toMatchObject({
        exit: 4,
        stderr: 'sidekey: There is no grant github-wrok; did you mean github-work?\n  → sidekey grant list\n',
      });
    }
  });

  test('can be revoked, then removed, and the audit log records both', async () => {
    const at = await home({ domains: { 'helpdesk.acme.test:8443': { grant: 'work' } } });
    await at.grant('work', oauth);
    const revoked = await at.run(['grant', 'revoke', 'work', '--local']);
    expect(revoked.exit).toBe(0);
    expect(revoked.stderr).toContain('The provider was not told.');
    expect(await at.json(['grant', 'show', 'work'])).toMatchObject({
      state: 'revoked',
      domains: ['helpdesk.acme.test:8443'],
    });
    expect(await at.json(['grant', 'revoke', 'work'])).toMatchObject({ changed: false });
    const removed = await at.run(['grant', 'remove', 'work']);
    expect(removed).toMatchObject({
      exit: 0,
      stdout: 'Removed work: Sidekey no longer sends its credential.\n',
    });
    expect(removed.stderr).toContain('→ sidekey domain remove helpdesk.acme.test:8443');
    const events = (await readFile(at.at('data', 'audit.jsonl'), 'utf8')).trim().split('\n');
    expect(events.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual([
      'key.created',
      'store.created',
      'grant.added',
      'grant.revoked',
      'grant.removed',
    ]);
    expect(await at.run(['audit', 'verify'])).toMatchObject({ exit: 0 });
  });

  test('get another audience only with a flag, and with a warning', async () => {
    const at = await home();
    const ran = await at.run(
      [
        'grant',
        'import',
        'work',
        '--provider',
        'acme',
        '--audience',
        'HELPDESK.acme.test:8443',
        'other.example.com',
      ],
      { input: JSON.stringify(oauth) },
    );
    expect(ran.exit).toBe(0);
    expect(ran.stderr).toContain(
      'may now also be sent to other.example.com, which the provider acme does not name.',
    );
    expect(await at.json(['grant', 'show', 'work'])).toMatchObject({
      audience: ['helpdesk.acme.test:8443', 'other.example.com'],
    });
    expect(
      await at.run(['grant', 'import', 'x', '--provider', 'acme', '--audience', 'https://x/'], {
        input: JSON.stringify(oauth),
      }),
    ).toMatchObject({ exit: 2, stderr: expect.stringContaining('is a URL; write the host alone') });
  });

  test('with an unusable refresh token are refused, or accepted with a warning if there is a token', async () => {
    const at = await home();
    const add = ['grant', 'import', 'g', '--provider', 'google', '--no-verify'];
    const alone = await at.run(add, { input: '{"refresh_token":"refresh-secret"}' });
    expect(alone).toMatchObject({ exit: 2, stdout: '' });
    expect(alone.stderr).toContain('the client that it belongs to is unknown');
    const both = await at.run(add, { input: '{"refresh_token":"refresh-secret","access_token":"access"}' });
    expect(both.exit).toBe(0);
    expect(both.stderr).toContain('The access token works until it expires.');
  });
});

test('a change is not made if its audit record fails', async () => {
  const at = await home();
  await at.grant('work', oauth);
  await at.run(['agent', 'create', 'ci']);
  const audit = at.at('data', 'audit.jsonl');
  await rm(audit);
  // A folder where the file should be: whoever runs this, it cannot be written.
  await mkdir(audit);
  const kept = async () => {
    const all = await at.everything();
    return ['data/sidekey.db', 'config/sidekey.yaml'].map((name) => all.get(name));
  };
  const before = await kept();
  const input = JSON.stringify(oauth);
  for (const args of [
    ['grant', 'import', 'new', '--provider', 'acme'],
    ['grant', 'import', 'work', '--provider', 'acme', '--replace'],
    ['grant', 'revoke', 'work'],
    ['grant', 'remove', 'work'],
    ['agent', 'create', 'new'],
    ['agent', 'remove', 'ci'],
    ['domain', 'allow', 'example.com', '--grant', 'work'],
  ]) {
    const ran = await at.run(args, { input });
    expect(ran, args.join(' ')).toMatchObject({ exit: 1, stdout: '' });
    expect(ran.stderr).toContain('audit.jsonl');
  }
  expect(await kept()).toEqual(before);
});
