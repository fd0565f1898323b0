import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { parse, stringify } from 'yaml';
import { describe, expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';
import { acmeHome, visit } from '../../support/connect-home.ts';

/** A definition of one's own beside the config: a shop, whose hosts are each customer's. */
const shop = {
  title: 'Shop',
  category: 'commerce',
  docs: ['https://example.com/docs'],
  settings: { shop: { description: 'the name before .shop.test', example: 'my-shop' } },
  authorization_endpoint: 'https://{shop}.shop.test/authorize',
  token_endpoint: 'https://{shop}.shop.test/token',
  client_auth: 'post',
  audience: ['{shop}.shop.test'],
  client_registration: {
    url: 'https://example.com/apps',
    steps: ['Create an app with the redirect URI {redirect_uri}.', 'Copy the client id.'],
  },
  token: { label: 'access token', parts: { token: { label: 'access token' } } },
};

async function shopHome(over: object = {}) {
  const at = await home();
  await mkdir(at.at('config', 'providers'));
  await writeFile(at.at('config', 'providers', 'shop.yaml'), stringify({ ...shop, ...over }));
  return at;
}

describe('a missing requirement is reported before any consent', () => {
  test('the provider', async () => {
    expect(await (await home()).run(['connect'])).toMatchObject({
      exit: 2,
      stderr:
        'sidekey: connect needs the name of a provider.\n  → sidekey connect github --token, for example; "sidekey provider list" shows all providers\n',
    });
  });

  test('an unknown provider, with a similar name', async () => {
    const ran = await (await home()).run(['connect', 'gihtub']);
    expect(ran).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('There is no provider gihtub; did you mean github?'),
    });
  });

  test('a setting, with its option', async () => {
    const ran = await (await shopHome()).run(['connect', 'shop', '--no-browser']);
    expect(ran).toMatchObject({ exit: 2, stdout: '' });
    expect(ran.stderr).toBe(
      'sidekey: Shop needs to know: shop (the name before .shop.test).\n' +
        '  → with your own value instead of the example: sidekey connect shop --set shop=my-shop\n',
    );
  });

  test('a client, with the steps and the redirect URI to register', async () => {
    const at = await shopHome();
    const ran = await at.run(['connect', 'shop', '--set', 'shop=acme']);
    expect(ran).toMatchObject({ exit: 2, stdout: '' });
    expect(ran.stderr).toBe(
      [
        'Saved settings.shop of providers.shop in config/sidekey.yaml.',
        'sidekey: You need an OAuth client of your own at Shop: providers.shop has no client_id.',
        '  → sidekey connect shop --token',
        '  → 1. Open https://example.com/apps',
        '    2. Create an app with the redirect URI http://127.0.0.1:8765/callback.',
        '    3. Copy the client id.',
        '  → sidekey connect shop --client-id ID --client-secret env:SHOP_CLIENT_SECRET --redirect-uri http://127.0.0.1:8765/callback',
        '',
      ].join('\n'),
    );
    const own = await at.run(['connect', 'shop', '--redirect-uri', 'https://example.com/cb']);
    expect(own.stderr).toContain('with the redirect URI https://example.com/cb.');
    const quoted = await at.run(['connect', 'shop', '--redirect-uri', 'https://example.com/cb?a=$(id)&b']);
    expect(quoted.stderr).toContain(" --redirect-uri 'https://example.com/cb?a=$(id)&b' --paste\n");
  });

  test('a missing secret, unless the secret is available', async () => {
    const at = await acmeHome();
    const ran = await at.run(['connect', 'acme', '--no-browser'], { env: { ACME_SECRET: '' } });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('env:ACME_SECRET is empty') });
    expect(ran.stderr).not.toContain('code_challenge');
  });

  test('a consent in a browser, if the provider has no browser flow', async () => {
    const at = await shopHome({ authorization_endpoint: undefined });
    const ran = await at.run(['connect', 'shop', '--set', 'shop=acme', '--paste']);
    expect(ran.exit).toBe(2);
    expect(ran.stderr).toContain('sidekey: Shop gives no consent in a browser.\n');
    expect(ran.stderr).toContain(
      '→ sidekey connect shop --token\n  → sidekey connect shop --client-credentials\n',
    );
  });

  test('an existing grant of another provider with that name', async () => {
    const at = await acmeHome();
    await at.grant('acme', { type: 'api_key', value: 'x' }, ['--provider', 'github']);
    const ran = await at.run(['connect', 'acme', '--no-browser']);
    expect(ran).toMatchObject({
      exit: 2,
      stderr:
        'sidekey: There is a grant acme already, of the provider github.\n' +
        '  → call this one by another name: --name NAME\n',
    });
  });

  test.each([
    [['--name', 'a b'], 'The name of the grant is not valid.'],
    [['--user', 'a:b'], 'The name of the user is not valid.'],
    [['--state', 'x'], '--state belongs to --print-url or --finish.'],
  ])('%j', async (args, sentence) => {
    expect(await (await acmeHome()).run(['connect', 'acme', ...args])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining(sentence),
    });
  });
});

describe('settings given on the command line', () => {
  test('are saved in the config file, and recorded without their values', async () => {
    const at = await acmeHome({ provider: { client_id: undefined, client_secret: undefined } });
    const text = await readFile(at.configFile, 'utf8');
    const client = ['--client-id', 'sidekey', '--client-secret', 'env:ACME_SECRET'];
    const command = at.begin(['connect', 'acme', '--no-browser', '--port', '0', ...client]);
    await visit(await at.consent(await command.consentUrl()));
    expect((await command.done).exit).toBe(0);
    const kept = '    client_id: sidekey\n    client_secret: env:ACME_SECRET\n    client_auth: basic\n';
    const domains = `\ndomains:\n  ${at.authority}: { grant: acme }\n`;
    expect(await readFile(at.configFile, 'utf8')).toBe(`${text}${kept}${domains}`);
    expect(await at.json(['audit', 'query', '--event', 'provider.changed'])).toMatchObject({
      provider: 'acme',
      outcome: 'allow',
      reason: 'client_id, client_secret, client_auth',
    });
  });

  test('are refused without being printed if they contain a literal secret', async () => {
    const at = await acmeHome();
    const text = await readFile(at.configFile, 'utf8');
    const ran = await at.run(['connect', 'acme', '--client-secret', 'hunter2']);
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('is not a reference to a secret') });
    expect(ran.stderr).not.toContain('hunter2');
    expect(await readFile(at.configFile, 'utf8')).toBe(text);
  });

  test('resolve the path of a secret from the working directory', async () => {
    const at = await acmeHome();
    await writeFile(at.at('secret.txt'), 'client-secret-0123456789', { mode: 0o600 });
    await at.run(['connect', 'acme', '--print-url', '--client-secret', 'file:secret.txt']);
    expect(await readFile(at.configFile, 'utf8')).toContain(`client_secret: file:${at.folder}/secret.txt\n`);
  });

  test('save the redirect URI together with the client', async () => {
    const at = await acmeHome();
    const redirectUri = 'https://example.com/cb';
    const ran = await at.run([
      'connect',
      'acme',
      '--print-url',
      '--client-id',
      'x',
      '--redirect-uri',
      redirectUri,
      '--json',
    ]);
    expect(JSON.parse(ran.stdout)).toMatchObject({ redirect_uri: redirectUri });
    expect(await at.json(['connect', 'acme', '--print-url'])).toMatchObject({ redirect_uri: redirectUri });
  });

  test.each([
    ['shop', '--set takes NAME=VALUE.'],
    ['shap=x', 'Shop has no setting shap; did you mean shop?'],
    ['shop=evil.test/', 'sidekey: --set shop is not of the form label'],
    ['shop=x@evil.test', 'sidekey: --set shop is not of the form label'],
  ])('--set %s is refused, and changes nothing', async (setting, sentence) => {
    const at = await shopHome();
    const before = await readFile(at.configFile, 'utf8');
    const ran = await at.run(['connect', 'shop', '--set', setting]);
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining(sentence) });
    expect(await readFile(at.configFile, 'utf8')).toBe(before);
  });

  test.each([
    [['api-key', '--set', 'host=desk.acme.test:70000'], '--set host is not of the form host'],
    [
      ['acme', '--client-id', 'x', '--client-secret', 'env:NOT_SET'],
      '--client-secret: env:NOT_SET is not set.',
    ],
  ])(
    'a refused value (connect %j) is named by its option, not by a line that no file has',
    async (words, says) => {
      const at = await acmeHome();
      const before = await readFile(at.configFile, 'utf8');
      const ran = await at.run(['connect', ...words]);
      expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining(`sidekey: ${says}`) });
      expect(ran.stderr).not.toContain('sidekey.yaml');
      expect(await readFile(at.configFile, 'utf8')).toBe(before);
    },
  );

  test('the host of a setting may have a port', async () => {
    const at = await acmeHome();
    const words = ['connect', 'api-key', '--name', 'desk', '--set', 'host=desk.acme.test:8443', '--token'];
    expect(await at.run(words, { input: 'key-0123456789' })).toMatchObject({ exit: 0 });
    const { domains } = parse(await readFile(at.configFile, 'utf8')) as { domains: object };
    expect(Object.keys(domains)).toEqual(['desk.acme.test:8443']);
  });
});
