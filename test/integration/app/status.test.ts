import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { chmod, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, onTestFinished, test } from 'vitest';
import { stringify } from 'yaml';
import { freePort } from '../../support/free-port.ts';
import { home, type Home } from '../../support/command-line.ts';
import { markedHome, portsOf } from '../../support/marked-home.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { startUpstream } from '../../support/upstream.ts';

interface Told {
  readonly ok: boolean;
  readonly needs: readonly {
    readonly about: string;
    readonly sentence: string;
    readonly hint: string | null;
  }[];
}

const needsOf = async (at: Home) => ((await at.json(['status'])) as Told).needs;

describe('the CA of a running proxy', () => {
  test('follows its files, and status reports that they are missing', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const at = await markedHome({
      proxy: { listen: `127.0.0.1:${await freePort()}` },
      domains: { [upstream.authority]: { grant: 'acme' } },
      providers: { acme: { audience: [upstream.authority] } },
    });
    await at.grant('acme', { type: 'api_key', value: 'key-0123456789' });
    const running = async () => {
      const started = await at.start();
      return { ...started, ports: await portsOf(started) };
    };
    const first = await running();
    await first.stop();
    await rename(at.at('certs'), at.at('first'));
    const second = await running();
    await openTunnel(second.ports, upstream.authority);
    await expect(
      openTunnel({ ...second.ports, caPem: first.ports.caPem }, upstream.authority),
    ).rejects.toThrow();

    await rename(at.at('certs'), at.at('second'));
    const { exit, stdout } = await at.run(['status']);
    expect([exit, stdout]).toEqual([1, expect.stringMatching(/✗ CA .*missing/)]);
    await openTunnel(second.ports, upstream.authority);

    await rename(at.at('first'), at.at('certs'));
    const replaced = { ...second.ports, caPem: first.ports.caPem };
    await expect
      .poll(() => openTunnel(replaced, upstream.authority).then(() => 'trusted', String), { timeout: 10_000 })
      .toBe('trusted');
    expect(await at.run(['status'])).toMatchObject({ stdout: expect.stringMatching(/✓ CA/) as string });
  });
});

describe('status', () => {
  test('reports a fresh folder as not set up, and changes nothing in the folder', async () => {
    const at = await home({ proxy: { listen: `127.0.0.1:${await freePort()}` } });
    const before = await at.everything();
    const ran = await at.run(['status']);
    expect(ran.exit).toBe(1);
    expect(ran.stdout).toMatch(/✓ config +config\/sidekey\.yaml, valid/);
    expect(ran.stdout).toMatch(/✗ proxy +not running at http:\/\/127\.0\.0\.1:\d+ \(ECONNREFUSED\)/);
    expect(ran.stdout).toMatch(/✓ store +data\/sidekey\.db, not created yet/);
    expect(ran.stdout).toMatch(/Needs attention:\n {2}No proxy answers at .+\n {4}→ sidekey start\n\n/);
    expect(ran.stdout).toMatch(/\nNothing is connected yet\.\n {2}→ sidekey init\n$/);
    expect(await at.everything()).toEqual(before);
  });

  test('reports another Sidekey on its port, and so does start', async () => {
    const port = await freePort();
    const other = await home({ proxy: { listen: `127.0.0.1:${port}` } });
    await other.start();
    const at = await home({ proxy: { listen: `127.0.0.1:${port}` } });
    await at.run(['agent', 'create', 'ci']);
    const ran = await at.run(['status']);
    expect(ran.exit).toBe(1);
    expect(ran.stdout).toContain(`✗ proxy    another Sidekey serves at http://127.0.0.1:${port}`);
    // Its report opens with another key.
    expect(ran.stdout).toMatch(/✓ grants +none/);
    expect(await other.run(['status'])).toMatchObject({ exit: 0 });
    expect((await at.program(['start'])).stderr).toContain(`Another Sidekey serves at 127.0.0.1:${port}.`);
  });

  test('reports a deleted store as missing instead of not yet created', async () => {
    const at = await home();
    await at.grant('desk', { type: 'api_key', value: 'secret' });
    for (const name of ['sidekey.db', 'sidekey.db-wal', 'sidekey.db-shm'])
      await rm(at.at('data', name), { force: true });
    const { stdout } = await at.run(['status']);
    expect(stdout).toMatch(/✗ store +data\/sidekey\.db, missing/);
    expect(stdout).toMatch(/✓ key +data\/master\.key, exists, but no store uses it/);
    expect(stdout).toContain('Its grants are lost');
    expect(stdout.match(/✗/g)).toHaveLength(1);
  });

  test('reports a missing key once, and does not claim that a Sidekey serves', async () => {
    const port = await freePort();
    const other = await home({ proxy: { listen: `127.0.0.1:${port}` } });
    await other.start();
    const at = await home({ proxy: { listen: `127.0.0.1:${port}` } });
    await at.grant('desk', { type: 'api_key', value: 'secret' });
    await at.run(['ca', 'export']);
    await rm(at.at('data', 'master.key'));
    const { stdout } = await at.run(['status']);
    expect(stdout.match(/✗ \w+/g)).toEqual(['✗ proxy', '✗ key']);
    expect(stdout).toContain('not known whether it is this one');
    expect(stdout.match(/→/g)).toHaveLength(1);
  });

  test('names each missing grant once, with the command that connects its provider', async () => {
    const domains = { 'api.github.com': 'github', 'uploads.github.com': 'github', 'a.test': 'desk' };
    const at = await home({
      domains: Object.fromEntries(Object.entries(domains).map(([host, grant]) => [host, { grant }])),
    });
    expect(await needsOf(at)).toMatchObject([
      {
        sentence: 'api.github.com, uploads.github.com use the grant github, which does not exist.',
        hint: 'sidekey connect github',
      },
      { sentence: expect.stringContaining('a.test uses'), hint: 'sidekey connect PROVIDER --name desk' },
    ]);
  });

  test('counts a grant past its expiry as expired, and names the command to change the expiry', async () => {
    const at = await home();
    await at.grant('desk', { type: 'api_key', value: 'secret' });
    await at.run(['grant', 'set', 'desk', '--expires', '1h']);
    const database = new DatabaseSync(at.at('data', 'sidekey.db'));
    database.exec('update grant_policies set expires_at = 1');
    database.close();
    expect((await at.run(['status'])).stdout).toMatch(/✗ grants +1 expired/);
    const needs = (await needsOf(at)).filter(({ about }) => about === 'grants');
    expect(needs).toEqual([
      {
        about: 'grants',
        sentence: expect.stringContaining('desk expired'),
        hint: 'sidekey grant set desk --ttl 30d',
        remedies: [{ operation: 'grant.change', input: { grant: 'desk', ttl: '30d' } }],
      },
    ]);
    const elsewhere = await at.program(['status'], { env: { TZ: 'Asia/Kathmandu' } });
    expect(elsewhere.stdout).toContain('desk expired at 1970-01-01 05:30:00 GMT+5:30.');
  });

  test('reports a revoked grant in one line', async () => {
    const at = await home({
      domains: { 'helpdesk.acme.test:8443': { grant: 'desk' }, 'acme.test': { grant: 'desk' } },
    });
    const hosts = ['--audience', 'helpdesk.acme.test:8443', 'acme.test'];
    await at.grant('desk', { type: 'api_key', value: 'secret' }, ['--provider', 'acme', ...hosts]);
    await at.run(['grant', 'revoke', 'desk', '--local']);
    const needs = (await needsOf(at)).filter(({ about }) => about !== 'proxy');
    expect(needs.map(({ sentence }) => sentence)).toEqual([expect.stringContaining('desk was revoked')]);
  });

  test.skipIf(process.getuid?.() === 0)(
    'reports an audit log that cannot be written (not as root)',
    async () => {
      const at = await home();
      await at.run(['agent', 'create', 'ci']);
      await chmod(at.at('data', 'audit.jsonl'), 0o400);
      const needs = (await needsOf(at)).filter(({ about }) => about === 'audit');
      const sentence = expect.stringContaining(
        'cannot be written (EACCES): every request is refused',
      ) as string;
      expect(needs).toEqual([expect.objectContaining({ sentence })]);
    },
  );

  test('reports a healthy running proxy', async () => {
    const [port, pages] = [await freePort(), await freePort()];
    const at = await home({
      proxy: { listen: `127.0.0.1:${port}` },
      admin: { listen: `127.0.0.1:${pages}` },
      domains: { 'helpdesk.acme.test:8443': { grant: 'desk' } },
    });
    await at.grant('desk', { type: 'api_key', value: 'secret' });
    await at.start();
    const ran = await at.run(['status']);
    expect(ran).toMatchObject({ exit: 0, stderr: '' });
    expect(ran.stdout).toMatch(
      new RegExp(
        [
          String.raw`^✓ config   config/sidekey\.yaml, valid`,
          `✓ proxy    serving at http://127.0.0.1:${port}, pages at http://127.0.0.1:${pages}`,
          String.raw`✓ store    data/sidekey\.db, 1 grant, 0 agents`,
          String.raw`✓ key      [0-9a-f]{16} \(data/master\.key\)`,
          String.raw`✓ CA       certs/ca\.crt, Sidekey CA [0-9a-f]{8}, expires \d{4}-\d\d-\d\d`,
          String.raw`✓ domains  1\. Unlisted hosts are refused \(proxy\.unmatched: deny\)\.`,
          '✓ grants   1 active',
          String.raw`✓ audit    data/audit\.jsonl, \d+ bytes, last event \d+ s ago, keeps 400d or 2GiB`,
          String.raw`✓ runs     (?:not )?confined.*\n$`,
        ].join('\n'),
      ),
    );
    expect(await at.run(['status', '--health'])).toEqual({
      exit: 0,
      stdout: `The proxy serves at http://127.0.0.1:${port}.\n`,
      stderr: '',
    });
  });

  test('names unusable grants and domains, with the command that fixes each', async () => {
    const at = await home({
      domains: {
        'helpdesk.acme.test:8443': { grant: 'old' },
        'other.example.com': { grant: 'old' },
        'api.example.com': { grant: 'missing' },
      },
    });
    await at.grant('old', { access_token: 'a', expires_at: Math.round(Date.now() / 1_000) - 60 });
    await at.grant('unused', { type: 'api_key', value: 'secret' });
    await at.run(['grant', 'revoke', 'unused']);
    expect(await needsOf(at)).toEqual([
      {
        about: 'domains',
        sentence: 'other.example.com is not within the audience of old: helpdesk.acme.test:8443.',
        hint: 'sidekey connect acme --name old --allowed-domains other.example.com --widen --replace',
      },
      {
        about: 'domains',
        sentence: 'api.example.com uses the grant missing, which does not exist.',
        hint: 'sidekey connect PROVIDER --name missing',
      },
      {
        about: 'grants',
        sentence: 'old has expired, and there is no refresh token.',
        hint: 'sidekey connect acme --name old',
      },
    ]);
  });

  test('reports each fault separately', async () => {
    const at = await home();
    await at.grant('desk', { type: 'api_key', value: 'secret' });
    await chmod(at.at('data', 'master.key'), 0o644);
    expect(await needsOf(at)).toMatchObject([
      { about: 'key', sentence: expect.stringContaining('can be used by other users') },
    ]);
    await writeFile(at.at('data', 'sidekey.db'), 'not a database');
    expect(await needsOf(at)).toMatchObject([{ about: 'store' }]);
    await writeFile(at.configFile, stringify({ version: 1, proxi: {}, proxy: { listen: '127.0.0.1:0' } }));
    expect(await needsOf(at)).toMatchObject([
      { about: 'config', sentence: expect.stringContaining('config/sidekey.yaml:2:1: proxi') },
      { about: 'store' },
    ]);
    expect(await at.run(['status'])).toMatchObject({ exit: 1, stderr: '' });
  });

  test.each([
    [
      'an unknown key',
      (text: string) => `${text}proxi: { authentication: required }\n`,
      /:\d+:1: proxi: is not a key/,
    ],
    [
      'an invalid value',
      (text: string) => text.replace('4m', 'soon'),
      /:\d+:\d+: tokens\.refresh_before_expiry: is not a duration/,
    ],
    [
      'YAML that is broken',
      (text: string) => `${text}limits: { client_connections: [\n`,
      /sidekey\.yaml:\d+:\d+: /,
    ],
    ['a repeated section', (text: string) => `${text}domains: {}\n`, /sidekey\.yaml:\d+:\d+: /],
  ])('reports the position of the mistake for a running proxy whose file has %s', async (_, spoil, place) => {
    const port = await freePort();
    const at = await home({
      proxy: { listen: `127.0.0.1:${port}` },
      tokens: { refresh_before_expiry: '4m' },
      domains: { 'helpdesk.acme.test:8443': { grant: 'desk' } },
    });
    await at.grant('desk', { type: 'api_key', value: 'secret' });
    await at.start();
    const good = await readFile(at.configFile, 'utf8');
    await writeFile(at.configFile, spoil(good));
    const ran = await at.run(['status']);
    expect(ran).toMatchObject({ exit: 1, stderr: '' });
    expect(ran.stdout).toMatch(
      /^✗ config +config\/sidekey\.yaml, not valid: the proxy that runs keeps the config that it had\n/,
    );
    expect(ran.stdout).toContain(`serving at http://127.0.0.1:${port}`);
    expect(ran.stdout).toMatch(/✓ store +data\/sidekey\.db, 1 grant/);
    expect(ran.stdout).toMatch(/✓ grants +1 active/);
    expect(ran.stdout).toMatch(place);
    expect(await at.run(['status', '--health'])).toMatchObject({ exit: 0 });
    await writeFile(at.configFile, good);
    expect(await at.run(['status'])).toMatchObject({ exit: 0 });
  });

  test('omits findings that depend on the invalid part of the config', async () => {
    const at = await home();
    await at.grant('desk', { type: 'api_key', value: 'secret' });
    await writeFile(at.configFile, 'version: 1\nstore: elsewhere\nproxy: { listen: nowhere }\n');
    const told = (await at.json(['status'])) as Record<string, unknown>;
    expect(told).toMatchObject({
      ok: false,
      config: { ok: false, error: 'config_invalid', not_known: ['proxy', 'store'] },
      audit: { ok: true },
    });
    expect(Object.keys(told)).toEqual(['ok', 'config', 'audit', 'needs']);
    expect(await at.run(['status', '--health'])).toMatchObject({ exit: 2 });
    await writeFile(at.configFile, '{ version: 1, proxy: [ }');
    expect(Object.keys((await at.json(['status'])) as object)).toEqual(['ok', 'config', 'needs']);
  });

  test('does not mistake another server for the proxy, and does not wait for a silent server', async () => {
    const other = createServer((_request, response) => response.end('{"status":"fine"}'));
    const silent = createTcpServer();
    const ports = await Promise.all(
      [other, silent].map(async (server) => {
        await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
        onTestFinished(() => void server.close());
        return (server.address() as AddressInfo).port;
      }),
    );
    const [stranger, mute] = await Promise.all(
      ports.map((port) => home({ proxy: { listen: `127.0.0.1:${port}` } })),
    );
    expect(await stranger?.run(['status', '--health'])).toMatchObject({
      exit: 1,
      stdout: expect.stringMatching(/^What answers at .+ is not Sidekey\.\n$/),
    });
    expect(await mute?.run(['status'])).toMatchObject({
      exit: 1,
      stdout: expect.stringContaining('(no answer within 1000 ms)'),
    });
  });
});
