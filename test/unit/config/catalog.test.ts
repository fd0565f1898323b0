import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkProvider, openCatalog } from '../../../src/config/catalog.ts';
import { renderProvidersPage } from '../../../src/config/generate.ts';
import { packageRoot, shippedFile } from '../../../src/config/locate.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const promised = ['acme', 'airtable', 'anthropic', 'api-key', 'asana', 'auth0', 'bitbucket', 'box', 'cloudflare', 'datadog', 'digitalocean', 'discord', 'docusign', 'dropbox', 'figma', 'gemini', 'github', 'github-app', 'gitlab', 'gmail', 'google', 'google-calendar', 'google-drive', 'hubspot', 'huggingface', 'intercom', 'jira', 'linear', 'linkedin', 'mailgun', 'microsoft', 'mistral', 'netlify', 'notion', 'okta', 'openai', 'pagerduty', 'plaid', 'quickbooks', 'reddit', 'replicate', 'salesforce', 'sendgrid', 'sentry', 'shopify', 'slack', 'spotify', 'stripe', 'telegram', 'trello', 'twilio', 'twitch', 'vercel', 'x', 'xero', 'youtube', 'zendesk', 'zoom']; // prettier-ignore

/** Hosts below which anybody can have one: a credential for all of them would be everybody's. */
const everybodys = ['amazonaws.com', 'azurewebsites.net', 'cloudfront.net', 'github.io', 'herokuapp.com', 'vercel.app', 'netlify.app', 'pages.dev', 'workers.dev', 'web.app', 'run.app', 'appspot.com', 'googleusercontent.com', 'onrender.com', 'fly.dev']; // prettier-ignore

describe('the shipped catalog', async () => {
  const catalog = await openCatalog();

  test('holds eighty providers and more, those among them that are promised', () => {
    expect(catalog.names.length).toBeGreaterThanOrEqual(80);
    expect(catalog.names).toEqual(expect.arrayContaining(promised));
  });

  test.each(catalog.names)('%s fits together, and sends its credential to named hosts only', (name) => {
    const entry = catalog.get(name);
    if (entry === undefined) throw new Error(name);
    expect(checkProvider(entry)).toEqual([]);
    const { audience, client_secret: secret, client_id: client, ...definition } = entry.definition;
    // What each scope is for; which of them are asked for, `checkProvider` holds against this list.
    if ((definition.scopes ?? []).length > 0) expect(definition.known_scopes).toBeDefined();
    if (definition.flows?.includes('authorization_code') === true && name !== 'acme') {
      expect(definition.client_registration).toBeDefined();
    }
    expect(secret).toBeUndefined();
    if (name !== 'acme') expect(client).toBeUndefined();
    // A signature is good at one host, and says nothing of the key that made it.
    if (definition.inject?.every(({ as }) => as.kind === 'aws_sigv4') === true) return;
    for (const { wildcard, host } of audience) {
      expect(wildcard && everybodys.some((suffix) => host === suffix || suffix.endsWith(`.${host}`))).toBe(
        false,
      );
    }
  });

  test('is on the page of providers; else run npm run pages', async () => {
    const page = await readFile(join(packageRoot, 'docs', 'providers.md'), 'utf8');
    expect(page).toBe(await renderProvidersPage());
  });
});

const title = 'title: Corp\ncategory: code\ndocs: [https://corp.test/docs]\n';

describe('a provider file that is broken does not load', () => {
  test.each([
    ['with an unknown key', 'corp.yaml', `${title}audience: [corp.test]\ntoken_url: x\n`, /5:1: token_url/],
    ['without an audience', 'corp.yaml', title, /1:1: audience: is missing/],
    [
      'with a key twice',
      'corp.yaml',
      `title: Corp\n${title}audience: [corp.test]\n`,
      /2:1: title: is here twice/,
    ],
    ['with another kind of file', 'corp.yml', `${title}audience: [corp.test]\n`, /end in \.yaml/],
  ])('%s', async (_, file, text, message) => {
    const own = join(await tempFolder(), 'providers');
    await mkdir(own);
    await writeFile(join(own, file), text);
    await expect(openCatalog({ own })).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(message),
    });
  });

  test('among the shipped ones, when it is asked for', async () => {
    const shipped = join(await tempFolder(), 'providers');
    await cp(shippedFile('providers'), shipped, { recursive: true });
    await writeFile(join(shipped, 'corp.yaml'), title);
    const catalog = await openCatalog({ shipped });
    expect(catalog.get('acme')?.definition.title).toBe('Acme Helpdesk (sample)');
    expect(() => catalog.get('corp')).toThrow(/audience: is missing/);
  });

  test('not there at all', async () => {
    await expect(openCatalog({ shipped: join(await tempFolder(), 'none') })).rejects.toMatchObject({
      code: 'config_missing',
    });
  });
});

describe('files of the user', () => {
  test('go before the shipped ones, and may say where a secret is', async () => {
    const own = join(await tempFolder(), 'providers');
    await mkdir(own);
    await writeFile(
      join(own, 'github.yaml'),
      `${title}audience: [git.corp.test]\nclient_secret: env:GIT_SECRET\n`,
    );
    const catalog = await openCatalog({ own });
    expect(catalog.get('github')?.definition).toMatchObject({
      title: 'Corp',
      client_secret: { kind: 'env' },
    });
  });

  test('need not be there', async () => {
    const catalog = await openCatalog({ own: join(await tempFolder(), 'none') });
    expect(catalog.names).toContain('acme');
  });
});

describe('what differs between customers', () => {
  const file = `${title}settings:\n  shop: { description: the name of the shop, example: my-shop }\naudience: ['{shop}.corp.test']\ntoken_endpoint: https://{shop}.corp.test/token\n`;

  async function corp(values?: Record<string, string>) {
    const own = join(await tempFolder(), 'providers');
    await mkdir(own);
    await writeFile(join(own, 'corp.yaml'), file);
    return (await openCatalog({ own })).get('corp', values);
  }

  test('is filled in', async () => {
    const entry = await corp({ shop: 'acme' });
    expect(entry?.problems).toEqual([]);
    expect(entry?.definition.token_endpoint).toBe('https://acme.corp.test/token');
    expect(entry?.definition.audience.map(({ text }) => text)).toEqual(['acme.corp.test']);
  });

  test('is not known until it is said', async () => {
    expect((await corp())?.settings).toEqual([
      { name: 'shop', description: 'the name of the shop', example: 'my-shop', value: null },
    ]);
  });

  test.each(['evil.test/', 'a.b', 'x@evil.test', '', '-', 'a b', 'a\\b', '{shop}'])(
    'cannot lead elsewhere: %j',
    async (shop) => {
      const entry = await corp({ shop });
      expect(entry?.problems).toHaveLength(1);
      expect(entry?.definition.token_endpoint).toBe('https://my-shop.corp.test/token');
    },
  );

  test('of a misspelt name is refused', async () => {
    expect((await corp({ shopp: 'acme' }))?.problems[0]?.message).toMatch(/did you mean shop\?/);
  });
});
