import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';

const text = `# Ours.
version: 1
proxy: { listen: 127.0.0.1:0 } # any port

domains:
  # what the team uses
  api.github.com: { grant: work }   # reviewed in May
  "*.example.net": deny
limits: { client_connections: 20 }
`;

const where = (place: string, line: number) => `${place} (config/sidekey.yaml:${line})`;

async function homeWith(content: string) {
  const at = await home();
  await writeFile(at.configFile, content);
  return at;
}

describe('sidekey domain, editing the map of domains', () => {
  test('changes one line and leaves every other byte unchanged', async () => {
    const at = await homeWith(text);
    const added = await at.run(['domain', 'allow', 'API.Example.com.', '--grant', 'work']);
    expect(added).toMatchObject({
      exit: 0,
      stdout: 'Added api.example.com to config/sidekey.yaml: grant work.\n',
    });
    await at.run(['domain', 'tunnel', 'registry.example.org']);
    await at.run(['domain', 'deny', 'api.github.com']);
    expect(await at.run(['domain', 'remove', '*.example.net'])).toMatchObject({
      exit: 0,
      stdout: 'Removed *.example.net from config/sidekey.yaml.\n',
    });
    expect(await readFile(at.configFile, 'utf8')).toBe(
      text
        .replace('{ grant: work }', 'deny')
        .replace(
          '  "*.example.net": deny\n',
          '  api.example.com: { grant: work }\n  registry.example.org: tunnel\n',
        ),
    );
    const events = (await at.run(['audit', 'query', '--event', 'domain.*', '--json'])).stdout
      .trim()
      .split('\n');
    expect(events.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { event: 'domain.changed', host: 'api.example.com', reason: 'grant work' },
      { event: 'domain.changed', host: 'registry.example.org', reason: 'tunnel' },
      { event: 'domain.changed', host: 'api.github.com', reason: 'deny' },
      { event: 'domain.changed', host: '*.example.net', reason: 'removed' },
    ]);
  });

  test('writes and records nothing if the entry exists', async () => {
    const at = await homeWith(text);
    await at.run(['domain', 'deny', 'other.example.org']);
    const before = await at.everything();
    const ran = await at.run(['domain', 'allow', 'api.github.com', '--grant', 'work', '--json']);
    expect(JSON.parse(ran.stdout)).toMatchObject({ change: 'unchanged', domain: 'api.github.com' });
    expect(await at.everything()).toEqual(before);
  });

  test('warns about a missing grant', async () => {
    const at = await homeWith(text);
    const ran = await at.run(['domain', 'allow', 'new.example.com', '--grant', 'other']);
    expect(ran.exit).toBe(0);
    expect(ran.stderr).toContain('There is no grant other yet');
    expect(ran.stderr).toContain('→ sidekey connect PROVIDER --name other');
  });

  test('names a grant with a similar name, and a revoked grant', async () => {
    const at = await homeWith(text);
    await at.grant('desk', { type: 'api_key', value: 'secret' }, ['--provider', 'github']);
    const near = await at.run(['domain', 'allow', 'new.example.com', '--grant', 'dsk']);
    expect(near.stderr).toContain('There is no grant dsk yet (did you mean desk?)');
    await at.run(['grant', 'revoke', 'desk']);
    const revoked = await at.run(['domain', 'allow', 'uploads.github.com', '--grant', 'desk']);
    expect(revoked.stderr).toContain('The grant "desk" was revoked.');
    expect(revoked.stderr).not.toContain('audience');
  });

  test('warns about a host outside the audience of the credential, and explains how to allow the host', async () => {
    const at = await homeWith(text);
    await at.grant('work', { type: 'api_key', value: 'secret' }, ['--provider', 'github']);
    const fits = await at.run(['domain', 'allow', 'uploads.github.com', '--grant', 'work']);
    expect(fits).toMatchObject({ exit: 0, stderr: '' });
    const ran = await at.run(['domain', 'allow', '*.example.com', '--grant', 'work']);
    expect(ran.exit).toBe(0);
    expect(ran.stderr).toBe(
      [
        'Note: The credential of work may be sent to api.github.com, uploads.github.com, github.com, ghcr.io, npm.pkg.github.com, *.githubcopilot.com only; requests to other hosts are refused (policy_violation).',
        "  → sidekey connect github --name work --token --allowed-domains '*.example.com' --widen --replace",
        '',
      ].join('\n'),
    );
  });

  test('warns about no host that a row of mints of another entry of the grant names', async () => {
    const row = 'mints: [{ name: one, path: /token, member: token, goes_to: [stream.example.com] }]';
    const at = await homeWith(
      text.replace('\nlimits', `\n  api.example.com: { grant: work, ${row} }\nlimits`),
    );
    await at.grant('work', { type: 'api_key', value: 'secret' }, ['--provider', 'github']);
    const fits = await at.run(['domain', 'allow', 'stream.example.com', '--grant', 'work']);
    expect(fits).toMatchObject({ exit: 0, stderr: '' });
    const ran = await at.run(['domain', 'allow', '*.example.com', '--grant', 'work']);
    expect(ran.stderr).toContain('requests to other hosts are refused');
  });

  test('refuses an invalid host, and a host that is not in the map', async () => {
    const at = await homeWith(text);
    const before = await at.everything();
    expect(await at.run(['domain', 'allow', 'https://x.example.com/a', '--grant', 'work'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('is a URL; write the host alone'),
    });
    expect(await at.run(['domain', 'remove', 'x.example.com'])).toMatchObject({
      exit: 2,
      stderr: 'sidekey: x.example.com is not in the map of config/sidekey.yaml.\n  → sidekey domain list\n',
    });
    expect(await at.everything()).toEqual(before);
  });

  test('lists three grants of an entry, and how many more it has', async () => {
    const at = await homeWith(text);
    for (const user of ['a', 'b', 'c', 'd', 'e'])
      await at.grant('work', { type: 'api_key', value: 'secret' }, ['--provider', 'github', '--user', user]);
    expect((await at.run(['domain', 'list'])).stdout).toContain(
      'work (user a): active, work (user b): active, work (user c): active and 2 more\n',
    );
  });

  test('lists what each entry does, and its grant', async () => {
    const at = await homeWith(text);
    expect((await at.run(['domain', 'list'])).stdout).toBe(
      [
        'DOMAIN          ACTION      GRANT NOW',
        'api.github.com  grant work  MISSING',
        '*.example.net   refused     -',
        '',
        'Unlisted hosts are refused (proxy.unmatched: deny).',
        '',
      ].join('\n'),
    );
    await at.grant('work', { type: 'api_key', value: 'secret' }, ['--provider', 'github']);
    expect(await at.json(['domain', 'list'])).toMatchObject([
      {
        domain: 'api.github.com',
        action: 'grant',
        grant: 'work',
        grants: [{ name: 'work', state: 'active' }],
      },
      { domain: '*.example.net', action: 'deny', origin: 'domains["*.example.net"] (config/sidekey.yaml:8)' },
    ]);
  });

  test('shows the number of rules of an entry, or each rule as written in the file', async () => {
    const at = await homeWith(`version: 1
domains:
  api.example.com:
    grant: work
    mode: report
    rules:
      - { methods: [GET], paths: [/v1/**] }
      - { policy: writes }
  '*.example.org': { grant: work, default: approve }
  example.net: tunnel
policies:
  writes:
    - name: slow
      methods: [POST]
      query: { state: [open] }
      times: [{ from: 09:00, to: 17:30, weekdays: [mon-fri], zone: UTC }]
      clients: [10.0.0.0/8]
      require_reason: true
      limits: [{ rate: 60/1m, per: agent }]
      max_response: 1kB
`);
    const listed = await at.run(['domain', 'list']);
    expect(listed.stdout.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['DOMAIN', 'ACTION', 'RULES', 'GRANT NOW'],
      ['api.example.com', 'grant work', '2 rules, else deny (only reported)', 'MISSING'],
      ['*.example.org', 'grant work', 'no rule, else approve', 'MISSING'],
      ['example.net', 'tunnel (blind, no credential)', '-', '-'],
      [''],
      ['Unlisted hosts are refused (proxy.unmatched: deny).'],
      [''],
    ]);
    const one = await at.run(['domain', 'list', 'api.example.com']);
    expect(one.stdout.split('\n').map((line) => line.trim().split(/ {2,}/))).toEqual([
      ['api.example.com'],
      ['entry', where('domains["api.example.com"]', 3)],
      ['action', 'grant work'],
      ['grant now', 'MISSING'],
      ['leaks', 'removed from error pages and echo endpoints'],
      ['other credentials', 'in header fields and the query: recorded'],
      ['rules', '2 rules, else deny (only reported)'],
      [''],
      ['RULE', 'OUTCOME', 'NAME', 'REQUESTS'],
      [
        '1',
        'allow',
        '-',
        `methods GET; paths /v1/**, from ${where('domains["api.example.com"].rules[0]', 7)}`,
      ],
      [
        '2',
        'allow',
        'slow',
        `methods POST; query state=open; times mon tue wed thu fri 09:00-17:30 UTC; clients 10.0.0.0/8; with a reason; at most 60 requests every 1 min per agent; responses of at most 1000 bytes, from ${where('policies.writes[0]', 13)}`,
      ],
      ['else', 'deny', '-', `what no rule matches, from ${where('domains["api.example.com"].rules', 6)}`],
      [''],
    ]);
    expect((await at.run(['domain', 'list', '--rules'])).stdout).toContain(one.stdout.trimEnd());
    for (const within of ['a.b.example.org', '*.b.example.org'])
      expect((await at.run(['domain', 'list', within])).stdout).toMatch(/^\*\.example\.org\n/);
    expect(await at.run(['domain', 'list', 'nowhere.example.com'])).toMatchObject({ exit: 2 });
    expect(await at.run(['domain', 'list', 'https://x/'])).toMatchObject({ exit: 2 });
    expect(await at.json(['domain', 'list'])).toMatchObject([
      {
        mode: 'report',
        default: 'deny',
        rules: [
          { name: null, outcome: 'allow', conditions: { methods: ['GET'], paths: ['/v1/**'] } },
          {
            name: 'slow',
            origin: 'policies.writes[0] (config/sidekey.yaml:13)',
            conditions: {
              methods: ['POST'],
              query: { state: ['open'] },
              times: ['mon tue wed thu fri 09:00-17:30 UTC'],
              clients: ['10.0.0.0/8'],
            },
            require_reason: true,
            limits: [{ per: 'agent', requests: 60, period_ms: 60_000, burst: 60 }],
            max_response: 1_000,
          },
        ],
      },
      { mode: 'enforce', default: 'approve', rules: [] },
      { action: 'tunnel' },
    ]);
  });
});
