import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { acmeHome, alice, visit, type AcmeHome, type BeginOptions } from '../../support/connect-home.ts';

const free = ['--no-browser', '--port', '0'];

interface Grant {
  readonly id: string;
  readonly scopes: readonly string[];
}

/** The whole way: the command, alice in front of the browser, and the page that she sees at last. */
async function connected(at: AcmeHome, args: readonly string[] = [], options?: BeginOptions) {
  const command = at.begin(['connect', 'acme', ...free, '--json', ...args], options);
  const consentUrl = await command.consentUrl();
  const page = await visit(await at.consent(consentUrl, alice));
  const ran = await command.done;
  expect(ran.exit, ran.stderr).toBe(0);
  return { consentUrl, page, ran, result: JSON.parse(ran.stdout) as Record<string, unknown> & Grant };
}

const events = async (at: AcmeHome, ...args: readonly string[]) =>
  (await at.run(['audit', 'query', '--json', ...args])).stdout
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('connect, with a browser on this machine', () => {
  test('stores the grant, allows its host, and shows the success in the browser', async () => {
    const at = await acmeHome();
    const command = at.begin(['connect', 'acme', ...free]);
    const page = await visit(await at.consent(await command.consentUrl()));
    const ran = await command.done;
    expect(ran.exit).toBe(0);
    const rows = ran.stdout.replace(/[0-9a-f-]{36}/, 'ID').replace(/in \d+ (s|min)/, 'in TIME');
    expect(rows).toBe(
      [
        'Connected acme.',
        '  id        ID',
        '  provider  acme: Acme Helpdesk',
        '  user      default',
        '  account   alice',
        '  state     active',
        '  check     not verified: acme has no request to check with',
        '  scopes    openid read:tickets',
        '  expires   in TIME, and is renewed before',
        `  audience  ${at.authority}`,
        `  domains   ${at.authority} (added to config/sidekey.yaml)`,
        'The first call, with a path of the API:',
        `  → sidekey fetch https://${at.authority}/`,
        '',
      ].join('\n'),
    );
    expect(page.status).toBe(200);
    expect(page.body).toContain('<h1>Acme Helpdesk is connected</h1>');
    expect(page.body).toContain('You may close this window.');
    expect(await readFile(at.configFile, 'utf8')).toMatch(
      new RegExp(`\ndomains:\n  ${at.authority}: \\{ grant: acme \\}\n$`),
    );
    expect(await at.json(['grant', 'show', 'acme'])).toMatchObject({ state: 'active', refreshable: true });
    expect(await events(at)).toMatchObject([
      { event: 'key.created' },
      { event: 'store.created' },
      { event: 'grant.connecting', provider: 'acme', user: 'default' },
      { event: 'grant.connected', outcome: 'allow', provider: 'acme', user: 'default' },
      { event: 'domain.changed', outcome: 'allow', host: at.authority, reason: 'grant acme' },
    ]);
    expect(await at.run(['audit', 'verify'])).toMatchObject({ exit: 0 });
  });

  test('stores a grant that is refreshed with the client of the config', async () => {
    const at = await acmeHome();
    await connected(at);
    expect((await at.run(['grant', 'refresh', 'acme', '--force'])).stdout).toContain('Refreshed acme.');
    expect(at.helpdesk.tokenRequestCount('refresh_token')).toBe(1);
  });

  test('ends on a page that loads nothing, is not cached, and sends no referrer', async () => {
    const { page } = await connected(await acmeHome());
    expect(page.headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': expect.stringMatching(
        /^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/,
      ),
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
    expect(page.body).not.toMatch(/<script|<link|<img|https?:|code=|state=/);
  });

  test('prints the consent address for a program first, then the grant', async () => {
    const at = await acmeHome();
    const { consentUrl, ran, result } = await connected(at, ['--user', 'alice', '--name', 'desk']);
    expect(JSON.parse(ran.stderr)).toEqual({ provider: 'acme', consent_url: consentUrl });
    expect(result).toMatchObject({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      name: 'desk',
      user: 'alice',
      provider: 'acme',
      scopes: ['openid', 'read:tickets'],
      ungranted_scopes: [],
      expires_at: expect.stringMatching(/^20/),
      audience: [at.authority],
      domains: [at.authority],
      replaced: false,
      warnings: [],
    });
  });

  test('keeps the grant type and the client ID over a refresh', async () => {
    const at = await acmeHome();
    await connected(at);
    await at.json(['grant', 'refresh', 'acme', '--force']);
    expect(await at.json(['grant', 'show', 'acme'])).toMatchObject({
      grant_type: 'authorization_code',
      client_id: 'sidekey',
    });
    const { stdout } = await at.run(['grant', 'show', 'acme']);
    expect(stdout).toMatch(/grant type +authorization code\n +client id +sidekey\n/);
  });

  test('uses PKCE, and returns to the numeric loopback address', async () => {
    const { consentUrl } = await connected(await acmeHome());
    const asked = Object.fromEntries(new URL(consentUrl).searchParams);
    expect(asked).toMatchObject({
      response_type: 'code',
      client_id: 'sidekey',
      scope: 'openid read:tickets',
      code_challenge_method: 'S256',
      redirect_uri: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/callback$/),
    });
    expect(asked['state']?.length).toBeGreaterThan(40);
  });

  test('requests all scopes when repeated with more scopes, and keeps the grant ID', async () => {
    const at = await acmeHome();
    const first = await connected(at);
    const again = await connected(at, ['--scope', 'write:tickets']);
    expect(new URL(again.consentUrl).searchParams.get('scope')).toBe('write:tickets openid read:tickets');
    expect(again.result).toMatchObject({ id: first.result.id, replaced: true, domains: [] });
    expect(again.result.scopes.toSorted()).toEqual(['openid', 'read:tickets', 'write:tickets']);
    expect(await at.json(['grant', 'list'])).toHaveLength(1);
    expect(await events(at, '--event', 'grant.connected')).toMatchObject([
      { grant: first.result.id },
      { grant: first.result.id, reason: 'replaced; account alice' },
    ]);
  });

  test('activates a revoked grant again, and does not request the revoked scopes', async () => {
    const at = await acmeHome();
    const first = await connected(at, ['--scope', 'read:tickets,write:tickets']);
    await at.run(['grant', 'revoke', 'acme']);
    const again = await connected(at);
    expect(new URL(again.consentUrl).searchParams.get('scope')).toBe('openid read:tickets');
    expect(again.result).toMatchObject({ id: first.result.id, state: 'active' });
  });

  test('stores several accounts of one provider side by side', async () => {
    const at = await acmeHome();
    const first = await connected(at);
    const second = await connected(at, ['--name', 'second']);
    expect(second.result.id).not.toBe(first.result.id);
    expect(second.result).toMatchObject({ name: 'second', domains: [] });
    expect(second.result['warnings']).toEqual([`${at.authority} already uses the grant acme; not changed.`]);
  });

  test('reports scopes that were requested and not granted', async () => {
    const at = await acmeHome();
    const { result, page } = await connected(at, ['--scope', 'openid read:tickets admin:tickets']);
    expect(result).toMatchObject({
      scopes: ['openid', 'read:tickets'],
      ungranted_scopes: ['admin:tickets'],
      warnings: ['Asked for admin:tickets too; the provider did not grant it.'],
    });
    expect(page.body).toContain('Asked for admin:tickets too; the provider did not grant it.');
  });

  test('uses a redirect URI unchanged if the provider requires the full URI', async () => {
    const at = await acmeHome();
    const { consentUrl } = await connected(at, ['--redirect-uri', 'http://localhost/callback']);
    expect(new URL(consentUrl).searchParams.get('redirect_uri')).toMatch(
      /^http:\/\/localhost:\d+\/callback$/,
    );
  });
});

describe('connect with the allowed-domains map', () => {
  test('keeps a denied domain, and reports the denial', async () => {
    const at = await acmeHome();
    const text = `${await readFile(at.configFile, 'utf8')}domains:\n  ${at.authority}: deny\n`;
    await writeFile(at.configFile, text);
    const { result } = await connected(at);
    expect(result).toMatchObject({
      domains: [],
      warnings: [`${at.authority} is already set to refused; not changed.`],
    });
    expect(await readFile(at.configFile, 'utf8')).toBe(text);
  });

  test('does not change the map with --no-domains', async () => {
    const at = await acmeHome();
    const text = await readFile(at.configFile, 'utf8');
    expect((await connected(at, ['--no-domains'])).result).toMatchObject({ domains: [], warnings: [] });
    expect(await readFile(at.configFile, 'utf8')).toBe(text);
  });

  test('adds the hosts of --allowed-domains instead of the suggested hosts', async () => {
    const at = await acmeHome({ provider: { audience: ['*.acme.test:8443', 'tickets.acme.test'] } });
    const text = `${await readFile(at.configFile, 'utf8')}domains:\n  tickets.acme.test: deny\n`;
    await writeFile(at.configFile, text);
    const hosts = ['--allowed-domains', 'Tickets.acme.test.,eu.acme.test:8443'];
    expect((await connected(at, hosts)).result).toMatchObject({
      domains: ['tickets.acme.test', 'eu.acme.test:8443'],
      audience: ['*.acme.test:8443', 'tickets.acme.test'],
    });
    expect(await readFile(at.configFile, 'utf8')).toBe(
      text.replace(
        'tickets.acme.test: deny\n',
        'tickets.acme.test: { grant: acme }\n  eu.acme.test:8443: { grant: acme }\n',
      ),
    );
  });

  test('adds no host beyond the audience, and starts no consent', async () => {
    const at = await acmeHome();
    const ran = await at.run(['connect', 'acme', ...free, '--allowed-domains', 'evil.example.com']);
    expect(ran).toMatchObject({ exit: 2, stdout: '' });
    expect(ran.stderr).toBe(
      `sidekey: evil.example.com is beyond what the provider acme names: ${at.authority}.\n` +
        '  → if its credential is intended for these hosts, add --widen\n',
    );
  });

  test('adds a host beyond the audience only with a flag, a warning and an audit record', async () => {
    const at = await acmeHome();
    const wide = ['--allowed-domains', 'tickets.example.com', '--widen'];
    const first = await connected(at, wide);
    expect(first.result).toMatchObject({
      audience: [at.authority, 'tickets.example.com'],
      domains: ['tickets.example.com'],
      warnings: [
        'The credential may now also be sent to tickets.example.com, which the provider acme does not name.',
      ],
    });
    expect(await events(at, '--event', 'grant.connected')).toMatchObject([
      { reason: 'account alice; widened to tickets.example.com' },
    ]);
    // An audience that was widened once stays so in a new consent, without another option.
    const again = await connected(at, ['--allowed-domains', 'tickets.example.com', '--replace']);
    expect(again.result).toMatchObject({ audience: [at.authority, 'tickets.example.com'], warnings: [] });
  });

  test('still stores the grant if the map cannot be written', async () => {
    const at = await acmeHome();
    const command = at.begin(['connect', 'acme', ...free, '--json']);
    const url = await command.consentUrl();
    await writeFile(at.configFile, `${await readFile(at.configFile, 'utf8')}domains: no map\n`);
    await visit(await at.consent(url));
    const ran = await command.done;
    expect(ran.exit).toBe(0);
    expect(JSON.parse(ran.stdout)).toMatchObject({
      state: 'active',
      domains: [],
      warnings: [expect.stringMatching(/^The allowed-domains map is as it was: /)],
    });
  });
});
