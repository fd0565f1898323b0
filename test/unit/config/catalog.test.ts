import { createHook } from 'node:async_hooks';
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkProvider, openCatalog } from '../../../src/config/catalog.ts';
import { loadConfig } from '../../../src/config/load.ts';
import {
  packedProvidersFile,
  renderPackedProviders,
  renderProvidersPage,
} from '../../../tools/config-files.ts';
import { packageRoot, shippedFile } from '../../../src/lib/package-files.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const promised = ['acme', 'airtable', 'anthropic', 'api-key', 'asana', 'auth0', 'bitbucket', 'box', 'cloudflare', 'datadog', 'digitalocean', 'discord', 'docusign', 'dropbox', 'figma', 'gemini', 'github', 'github-app', 'gitlab', 'gmail', 'google', 'google-calendar', 'google-drive', 'hubspot', 'huggingface', 'intercom', 'jira', 'linear', 'linkedin', 'mailgun', 'microsoft', 'mistral', 'netlify', 'notion', 'okta', 'openai', 'pagerduty', 'plaid', 'quickbooks', 'reddit', 'replicate', 'salesforce', 'sendgrid', 'sentry', 'shopify', 'slack', 'spotify', 'stripe', 'telegram', 'trello', 'twilio', 'twitch', 'vercel', 'x', 'xero', 'youtube', 'zendesk', 'zoom']; // prettier-ignore

/** Suffixes below which anybody can register a host: an audience must not cover all of them. */
const everybodys = ['amazonaws.com', 'azurewebsites.net', 'cloudfront.net', 'github.io', 'herokuapp.com', 'vercel.app', 'netlify.app', 'pages.dev', 'workers.dev', 'web.app', 'run.app', 'appspot.com', 'googleusercontent.com', 'onrender.com', 'fly.dev']; // prettier-ignore

describe('the shipped catalog', async () => {
  const catalog = await openCatalog();

  test('is the same for every config of a process, whatever the settings of another config', async () => {
    const before = JSON.stringify(catalog.get('shopify')?.definition);
    const other = await openCatalog();
    const filled = other.get('shopify', { shop: 'acme-9' })?.definition;
    expect(JSON.stringify(filled)).toContain('acme-9');
    expect(JSON.stringify((await openCatalog()).get('shopify')?.definition)).toBe(before);
    expect(before).not.toContain('acme-9');
  });

  test('is listed once in a process', async () => {
    const types: string[] = [];
    const hook = createHook({ init: (_id, type) => void types.push(type) }).enable();
    const { names } = await openCatalog();
    hook.disable();
    expect(names).toEqual(catalog.names);
    expect(types.filter((type) => type.startsWith('FSREQ'))).toEqual([]);
  });

  test('contains at least eighty providers, with everything that the README promises', () => {
    expect(catalog.names.length).toBeGreaterThanOrEqual(80);
    expect(catalog.names).toEqual(expect.arrayContaining(promised));
  });

  test.each(catalog.names)(
    '%s is consistent, and its audience has no wildcard over public suffixes',
    (name) => {
      const entry = catalog.get(name);
      if (entry === undefined) throw new Error(name);
      expect(checkProvider(entry)).toEqual([]);
      for (const key of ['title', 'category', 'docs'] as const) expect(entry.definition[key]).toBeDefined();
      const { audience, client_secret: secret, client_id: client, ...definition } = entry.definition;
      // `checkProvider` compares the requested scopes with this list.
      if ((definition.scopes ?? []).length > 0) expect(definition.known_scopes).toBeDefined();
      if (definition.flows?.includes('authorization_code') === true && name !== 'acme') {
        expect(definition.client_registration).toBeDefined();
      }
      expect(secret).toBeUndefined();
      if (name !== 'acme') expect(client).toBeUndefined();
      // A signature is valid for one host and does not reveal its key.
      if (definition.inject?.every(({ as }) => as.kind === 'aws_sigv4') === true) return;
      for (const { wildcard, host } of audience) {
        expect(wildcard && everybodys.some((suffix) => host === suffix || suffix.endsWith(`.${host}`))).toBe(
          false,
        );
      }
    },
  );

  test('matches the page of providers; otherwise run npm run pages', async () => {
    const page = await readFile(join(packageRoot, 'docs', 'providers.md'), 'utf8');
    expect(page).toBe(await renderProvidersPage());
  });

  test('matches the list of packed providers; otherwise run npm run pages', async () => {
    expect(await readFile(shippedFile(packedProvidersFile), 'utf8')).toBe(await renderPackedProviders());
  });
});

const title = 'title: Corp\ncategory: code\ndocs: [https://corp.test/docs]\n';

describe('an invalid provider file is refused', () => {
  test.each([
    ['with an unknown key', 'corp.yaml', `${title}audience: [corp.test]\ntoken_url: x\n`, /5:1: token_url/],
    ['without an audience', 'corp.yaml', title, /1:1: audience: is missing/],
    [
      'with a key twice',
      'corp.yaml',
      `title: Corp\n${title}audience: [corp.test]\n`,
      /2:1: title: is here twice/,
    ],
    ['with another kind of file', 'corp.yml', `${title}audience: [corp.test]\n`, /NAME\.yaml/],
  ])('%s', async (_, file, text, message) => {
    const own = join(await tempFolder(), 'providers');
    await mkdir(own);
    await writeFile(join(own, file), text);
    await expect(openCatalog({ own })).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(message),
    });
  });

  test('in the shipped catalog, when that provider is read', async () => {
    const shipped = join(await tempFolder(), 'providers');
    await cp(shippedFile('providers'), shipped, { recursive: true });
    await writeFile(join(shipped, 'corp.yaml'), title);
    const catalog = await openCatalog({ shipped });
    expect(catalog.get('acme')?.definition.title).toBe('Acme Helpdesk (sample)');
    expect(() => catalog.get('corp')).toThrow(/audience: is missing/);
  });

  test('when the folder is missing', async () => {
    await expect(openCatalog({ shipped: join(await tempFolder(), 'none') })).rejects.toMatchObject({
      code: 'config_missing',
    });
  });
});

describe('provider files of the user', () => {
  test('replace shipped ones of the same name, and may refer to a secret', async () => {
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

  test('need only an audience', async () => {
    const folder = await tempFolder();
    await mkdir(join(folder, 'providers'), { mode: 0o700 });
    const file = join(folder, 'sidekey.yaml');
    await writeFile(file, 'version: 1\n', { mode: 0o600 });
    await writeFile(join(folder, 'providers', 'corp.yaml'), 'audience: [corp.test]\n', { mode: 0o600 });
    const { providers } = await loadConfig(file, { env: {} });
    expect(providers.get('corp')).toMatchObject({ title: 'corp', category: 'generic', docs: [] });
  });

  test('are optional', async () => {
    const catalog = await openCatalog({ own: join(await tempFolder(), 'none') });
    expect(catalog.names).toContain('acme');
  });
});

describe('a placeholder for a value that differs between customers', () => {
  const file = `${title}settings:\n  shop: { description: the name of the shop, example: my-shop }\naudience: ['{shop}.corp.test']\ntoken_endpoint: https://{shop}.corp.test/token\n`;

  async function corp(values?: Record<string, string>) {
    const own = join(await tempFolder(), 'providers');
    await mkdir(own);
    await writeFile(join(own, 'corp.yaml'), file);
    return (await openCatalog({ own })).get('corp', values);
  }

  test('is replaced by the configured value', async () => {
    const entry = await corp({ shop: 'acme' });
    expect(entry?.problems).toEqual([]);
    expect(entry?.definition.token_endpoint).toBe('https://acme.corp.test/token');
    expect(entry?.definition.audience.map(({ text }) => text)).toEqual(['acme.corp.test']);
  });

  test('leaves the endpoint undefined until the value is configured', async () => {
    expect((await corp())?.settings).toEqual([
      { name: 'shop', description: 'the name of the shop', example: 'my-shop', value: null },
    ]);
  });

  test.each(['evil.test/', 'a.b', 'x@evil.test', '', '-', 'a b', 'a\\b', '{shop}'])(
    'is refused with a value that changes the host: %j',
    async (shop) => {
      const entry = await corp({ shop });
      expect(entry?.problems).toHaveLength(1);
      expect(entry?.definition.token_endpoint).toBe('https://my-shop.corp.test/token');
    },
  );

  test('is refused when its name is misspelt', async () => {
    expect((await corp({ shopp: 'acme' }))?.problems[0]?.message).toMatch(/did you mean shop\?/);
  });
});

test('a folder of provider files that cannot be read is named, with a hint how to fix it', async () => {
  const folder = join(await tempFolder(), 'providers');
  await symlink(folder, folder);
  await expect(openCatalog({ own: folder })).rejects.toMatchObject({
    code: 'config_missing',
    message: `The folder ${folder} cannot be read (ELOOP).`,
    hint: expect.stringContaining('SIDEKEY_HOME') as string,
  });
});
