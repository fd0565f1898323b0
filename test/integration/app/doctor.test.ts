import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { certificateOf, startCertificateUpstream } from '../../support/certificate-grants.ts';
import { home } from '../../support/command-line.ts';
import { findChromium } from '../../support/chromium.ts';
import { curlMissing } from '../../support/curl.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

interface Report {
  readonly ok: boolean;
  readonly checks: Readonly<Record<string, { readonly ok: boolean } & Readonly<Record<string, unknown>>>>;
  readonly clients: readonly {
    readonly name: string;
    readonly library: string | null;
    readonly verdict: string;
  }[];
  readonly needs: readonly {
    readonly about: string;
    readonly sentence: string;
    readonly hint: string | null;
  }[];
}

const path = `${dirname(process.execPath)}:${process.env['PATH']}`;

test.skipIf(curlMissing)(
  'correctly configured programs pass, and no user file is created or changed (curl)',
  async () => {
    const at = await home();
    const before = await at.everything();
    const report = (await at.json(['doctor', '--only', 'curl', 'node'], { env: { PATH: path } })) as Report;
    expect(report).toMatchObject({
      ok: true,
      clients: [
        { name: 'curl', verdict: 'works' },
        { name: 'node', library: 'fetch', verdict: 'works' },
        { name: 'node', library: 'https', verdict: 'works' },
      ],
      needs: [],
    });
    expect(await at.everything()).toEqual(before);
  },
);

test.skipIf(curlMissing)(
  'a program whose settings bypass the proxy or its CA is reported with the setting (curl)',
  async () => {
    const at = await home();
    const env = { PATH: path, HOME: at.folder };
    await writeFile(at.at('.curlrc'), 'noproxy = "*"\n');
    expect(await at.run(['doctor', '--only', 'curl'], { env })).toMatchObject({
      exit: 1,
      stdout: expect.stringMatching(/curl bypasses the proxy.*\n {2}→ A file ~\/\.curlrc/),
    });
    await writeFile(at.at('other.pem'), upstreamCa);
    await writeFile(at.at('.curlrc'), `cacert = "${at.at('other.pem')}"\n`);
    expect(await at.run(['doctor', '--only', 'curl'], { env })).toMatchObject({
      exit: 1,
      stdout: expect.stringMatching(
        /does not trust its CA, though CURL_CA_BUNDLE names it.*\n {2}→ A file ~\/\.curlrc/,
      ),
    });
  },
);

test('a program that is not installed is not reported as a fault', async () => {
  const at = await home();
  const report = (await at.json(['doctor', '--only', 'curl'], { env: { PATH: at.folder } })) as Report;
  expect(report).toMatchObject({ ok: true, clients: [{ name: 'curl', verdict: 'absent' }] });
  const { stdout } = await at.run(['doctor', '--only', 'php'], { env: { PATH: at.folder } });
  expect(stdout).toMatch(/^not installed: PHP \(curl\)$/m);
});

test('an unknown client name is refused, and the message lists the known names', async () => {
  const at = await home();
  expect(await at.run(['doctor', '--only', 'crul'])).toMatchObject({
    exit: 2,
    stderr: 'sidekey: There is no client crul; did you mean curl?\n  → sidekey doctor --only NAME\n',
  });
  const { stderr } = await at.run(['doctor', '--only', 'nosuch']);
  expect(stderr).toContain('no client nosuch.\n  → one of curl, wget');
});

/** All checks, and no program to be asked. */
async function look(at: Awaited<ReturnType<typeof home>>, ...args: readonly string[]): Promise<Report> {
  return (await at.json(['doctor', ...args], { env: { PATH: at.at('nothing-here') } })) as Report;
}

test('reachable, untrusted and unreachable upstreams are distinguished', async () => {
  const upstream = await startUpstream((request, response) => {
    expect(request.headers.authorization).toBeUndefined();
    response.end();
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1', 'other.acme.test': '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: {
      [upstream.authority]: 'tunnel',
      [`other.acme.test:${upstream.port}`]: 'tunnel',
      'api.acme.test:1': 'tunnel',
      '*.acme.example': 'tunnel',
      'denied.example': 'deny',
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const { checks, needs } = await look(at);
  expect(checks['upstreams']).toMatchObject({
    ok: false,
    hosts: {
      [upstream.authority]: { status: 200, error: null },
      [`other.acme.test:${upstream.port}`]: { status: null, error: 'upstream_tls' },
      'api.acme.test:1': { status: null, error: 'upstream_unreachable' },
    },
  });
  expect(Object.keys(checks['upstreams']!['hosts'] as object)).toHaveLength(3);
  expect(needs.filter(({ about }) => about === 'upstreams')).toHaveLength(2);
  expect((await look(at, '--offline')).checks).not.toHaveProperty('upstreams');
});

test('an upstream that requires the client certificate of a grant is not contacted without the certificate', async () => {
  const upstream = await startCertificateUpstream();
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [upstream.authority]: { grant: 'payments' } },
    providers: { bank: { audience: [upstream.authority], inject: 'client_certificate' } },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const { certificate, privateKey } = certificateOf('agents');
  await at.run(['grant', 'import', 'payments', '--provider', 'bank'], { input: certificate + privateKey });
  const { checks } = await look(at);
  expect(checks['upstreams']).toMatchObject({ ok: true, hosts: {} });
  expect(upstream.connections()).toBe(0);
});

test('a clock that differs much from the clocks of the upstreams is reported', async () => {
  const upstream = await startUpstream((_request, response) => {
    response.setHeader('Date', new Date(Date.now() + 600_000).toUTCString());
    response.end();
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [upstream.authority]: 'tunnel' },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const { ok, needs } = await look(at);
  expect(ok).toBe(false);
  expect(needs).toMatchObject([
    {
      about: 'clock',
      sentence: expect.stringMatching(/^The clock is \d+ s behind that of the upstreams\.$/),
    },
  ]);
});

test('files that other users can read or write are reported with the command that corrects them', async () => {
  const at = await home();
  await at.grant('desk', { type: 'api_key', value: 'some-token' });
  expect((await look(at)).checks['permissions']).toMatchObject({ ok: true });
  const store = at.at('data', 'sidekey.db');
  await chmod(store, 0o644);
  expect((await look(at)).needs).toContainEqual({
    about: 'permissions',
    sentence: expect.stringMatching(/^Others may read .*sidekey\.db, which holds the store\.$/),
    hint: expect.stringMatching(/^chmod 600 /),
  });
  await chmod(at.configFile, 0o666);
  expect((await look(at)).needs).toContainEqual({
    about: 'config',
    sentence: expect.stringMatching(/sidekey\.yaml is writable by others \(mode 666\)/),
    hint: `chmod go-w ${at.configFile}`,
  });
});

test('an invalid config is the first finding, and programs are still checked', async () => {
  const at = await home({ proxi: {} });
  await mkdir(join(at.folder, 'nothing-here'), { recursive: true });
  const report = await look(at);
  expect(report).toMatchObject({ ok: false, checks: { config: { ok: false } } });
  expect(report.clients.every(({ verdict }) => verdict === 'absent')).toBe(true);
});

test('a stopped proxy is not reported as a fault, because sidekey run starts a proxy', async () => {
  const at = await home();
  expect((await look(at)).checks['proxy']).toMatchObject({ ok: true });
});

test.skipIf((await findChromium()) === null)(
  'a browser that does not trust the CA is noted with the command that adds the CA, not as a fault (chromium)',
  async () => {
    const at = await home();
    const { exit, stdout } = await at.run(['doctor', '--only', 'chromium'], {
      env: { PATH: path, HOME: at.folder },
    });
    expect(stdout).toMatch(/^- +Chromium +does not trust the CA$/m);
    expect(stdout).toContain('ignores the CA variables.\n  → sidekey ca install --store browsers\n');
    expect([exit, stdout]).toEqual([0, expect.stringContaining('No problem found in Sidekey.')]);
  },
);

test('a stopped proxy is marked with a dash instead of a tick, and the exit code is 0', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const at = await home({ proxy: { listen: `127.0.0.1:${port}` } });
  const { exit, stdout } = await at.run(['doctor', '--offline'], { env: { PATH: at.folder } });
  expect(exit).toBe(0);
  expect(stdout).toMatch(/^- +proxy +not running at .*; "sidekey run" starts its own$/m);
});
