import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home } from '../support/command-line.ts';

const text = `# Ours.
version: 1
proxy: { listen: 127.0.0.1:0 } # any port

domains:
  # what the team uses
  api.github.com: { grant: work }   # reviewed in May
  "*.example.net": deny
limits: { connections: 20 }
`;

async function homeWith(content: string) {
  const at = await home();
  await writeFile(at.configFile, content);
  return at;
}

describe('the map of domains, edited from the command line', () => {
  test('changes one line and leaves every other byte as it was', async () => {
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

  test('writes and records nothing where it says so already', async () => {
    const at = await homeWith(text);
    await at.run(['domain', 'deny', 'other.example.org']);
    const before = await at.everything();
    const ran = await at.run(['domain', 'allow', 'api.github.com', '--grant', 'work', '--json']);
    expect(JSON.parse(ran.stdout)).toMatchObject({ change: 'unchanged', domain: 'api.github.com' });
    expect(await at.everything()).toEqual(before);
  });

  test('points out a grant that is not there', async () => {
    const at = await homeWith(text);
    const ran = await at.run(['domain', 'allow', 'new.example.com', '--grant', 'other']);
    expect(ran.exit).toBe(0);
    expect(ran.stderr).toContain('There is no grant other yet');
    expect(ran.stderr).toContain('→ sidekey grant add other --provider PROVIDER < token.json');
  });

  test('points out a host that the credential may not be sent to, and how it may', async () => {
    const at = await homeWith(text);
    await at.grant('work', { type: 'api_key', value: 'secret' }, ['--provider', 'github']);
    const fits = await at.run(['domain', 'allow', 'uploads.github.com', '--grant', 'work']);
    expect(fits).toMatchObject({ exit: 0, stderr: '' });
    const ran = await at.run(['domain', 'allow', '*.example.com', '--grant', 'work']);
    expect(ran.exit).toBe(0);
    expect(ran.stderr).toBe(
      [
        'Note: The credential of work may be sent to api.github.com, uploads.github.com alone; what goes elsewhere is refused (policy_violation).',
        "  → sidekey grant add work --provider github --replace --audience api.github.com uploads.github.com '*.example.com' < token.json",
        '',
      ].join('\n'),
    );
  });

  test('refuses what is no host, and what is not in the map', async () => {
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

  test('lists what each entry does, and with which grant', async () => {
    const at = await homeWith(text);
    expect((await at.run(['domain', 'list'])).stdout).toBe(
      [
        'DOMAIN          ACTION      GRANT NOW',
        'api.github.com  grant work  MISSING',
        '*.example.net   refused     -',
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
});
