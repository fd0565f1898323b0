import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import {
  credentialVariables,
  environmentIndexFile,
  formIndexFile,
  openCatalog,
} from '../../../src/config/catalog.ts';
import { renderEnvironmentIndex, renderFormIndex } from '../../../tools/config-files.ts';
import { environmentReferences, loadConfig } from '../../../src/config/load.ts';
import { readForm } from '../../../src/proxy/placeholders/codes.ts';
import { shippedFile } from '../../../src/lib/package-files.ts';
import { tempFolder } from '../../support/temp-folder.ts';

async function configOf(config: object, own: Readonly<Record<string, object>> = {}) {
  const folder = await tempFolder();
  await mkdir(join(folder, 'providers'), { mode: 0o700 });
  for (const [name, definition] of Object.entries(own))
    await writeFile(join(folder, 'providers', `${name}.yaml`), stringify(definition), { mode: 0o600 });
  await writeFile(join(folder, 'sidekey.yaml'), stringify({ version: 1, ...config }));
  return loadConfig(join(folder, 'sidekey.yaml'), { env: {} });
}
const named = async (name: string, config: object, own?: Readonly<Record<string, object>>) =>
  credentialVariables((await configOf(config, own)).providers).find((one) => one.name === name)?.environment;

test('the index of variables matches the catalog; otherwise run npm run pages', async () => {
  await expect(readFile(shippedFile(environmentIndexFile), 'utf8')).resolves.toBe(
    await renderEnvironmentIndex(),
  );
});

test('the index of forms matches the catalog; otherwise run npm run pages', async () => {
  await expect(readFile(shippedFile(formIndexFile), 'utf8')).resolves.toBe(await renderFormIndex());
});

test('the forms of credentials include those of the config file and of provider files of the user', async () => {
  const token = { label: 'key', prefixes: [{ prefix: 'acme_', label: 'a key' }] };
  const definition = { audience: ['api.acme.test'], inject: { header: 'X-Acme-Key' }, token };
  const own = { title: 'Corp', category: 'code', docs: ['https://corp.test/'], audience: ['api.corp.test'] };
  const { providers } = await configOf(
    { providers: { acme: definition } },
    { corp: { ...own, token: { label: 'key', prefixes: [{ prefix: 'corp-', label: 'a key' }] } } },
  );
  const { prefixes, fields } = providers.forms();
  expect(prefixes).toEqual(expect.arrayContaining(['acme_', 'corp-', 'ghp_', 'xoxb-', 'AKIA']));
  expect(prefixes).not.toContain('key');
  expect(fields).toEqual(expect.arrayContaining(['x-acme-key', 'x-api-key', 'dd-application-key']));
  expect(fields).not.toContain('plaid-client-id');
});

describe('credential variables of the shipped providers', () => {
  test('have the form that their program accepts: the CLI of Copilot refuses classic tokens', async () => {
    const form = (await named('github', {}))?.find(
      ({ name }) => name === 'COPILOT_GITHUB_TOKEN',
    )?.placeholder;
    // github_pat_, 22 characters, _ and 59 characters
    expect(form).toMatch(/^github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}$/);
    expect(readForm(form ?? '')).not.toBeNull();
  });

  test('are named by at least forty providers', async () => {
    const found = credentialVariables((await configOf({})).providers);
    expect(found.length).toBeGreaterThanOrEqual(40);
    expect(found.flatMap(({ environment }) => environment.map(({ name }) => name))).toEqual(
      expect.arrayContaining(['GITHUB_TOKEN', 'OPENAI_API_KEY', 'ANTHROPIC_API_KEY', 'SLACK_BOT_TOKEN']),
    );
  });

  test('have placeholders with the prefix of a credential of their provider', async () => {
    const catalog = await openCatalog();
    for (const name of catalog.names) {
      const definition = catalog.get(name)?.definition;
      const { parts } = definition?.token ?? { parts: [] };
      const starts = parts.find(({ secret }) => secret)?.prefixes ?? [];
      const wrongKind = starts.filter((start) => start.wrongKind).map(({ prefix }) => prefix);
      for (const placeholder of Object.values(definition?.environment ?? {})) {
        if (placeholder === null) continue;
        expect(
          wrongKind.filter((prefix) => placeholder.startsWith(prefix) && !startsRight(placeholder, starts)),
          name,
        ).toEqual([]);
      }
    }
  });
});

/** True when the longest prefix that matches is one of the right kind. */
function startsRight(
  text: string,
  starts: readonly { readonly prefix: string; readonly wrongKind: boolean }[],
) {
  const fitting = starts.filter(({ prefix }) => text.startsWith(prefix));
  return fitting.toSorted((a, b) => b.prefix.length - a.prefix.length)[0]?.wrongKind === false;
}

describe('credential variables of configured providers', () => {
  const audience = ['api.company.example'];

  test('are read from the config or the provider file', async () => {
    const environment = { COMPANY_TOKEN: 'cp-placeholder', OTHER: null };
    const wanted = [
      { name: 'COMPANY_TOKEN', placeholder: 'cp-placeholder' },
      { name: 'OTHER', placeholder: null },
    ];
    const token = { label: 'key' };
    expect(await named('company', { providers: { company: { audience, token, environment } } })).toEqual(
      wanted,
    );
    const file = {
      title: 'C',
      category: 'generic',
      docs: ['https://c.example/'],
      audience,
      token,
      environment,
    };
    expect(await named('company', {}, { company: file })).toEqual(wanted);
    // A provider file with the name of a shipped provider replaces it.
    expect(await named('github', {}, { github: file })).toEqual(wanted);
  });

  test('include the client secret of a provider file', async () => {
    const file = { title: 'C', category: 'generic', docs: ['https://c.example/'], audience };
    const client = {
      token_endpoint: 'https://c.example/token',
      client_id: 'x',
      client_secret: 'env:COMPANY_SECRET',
    };
    expect(await named('company', {}, { company: { ...file, ...client } })).toEqual([
      { name: 'COMPANY_SECRET', placeholder: null, isClientSecret: true },
    ]);
  });

  test('include the client secret and the variables of the shipped provider', async () => {
    const found = await named('github', {
      providers: { github: { client_secret: 'env:GITHUB_APP_SECRET' } },
    });
    expect(found?.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['GITHUB_APP_SECRET', 'GITHUB_TOKEN']),
    );
  });

  test.each([
    [{ 'A-B': null }, 'is not a name of an environment variable'],
    [{ A: 'ghp_16C7e42F292c6912E7710c838347Ae178B4a' }, 'it must be seen to be no secret'],
    [{ A: ' placeholder' }, 'spaces around it'],
    [{ A: 'placeholder\u00e9' }, 'other than ASCII'],
    [{ A: true }, 'environment.A'],
  ])('are refused when they are invalid: %j', async (environment, said) => {
    const company = { audience, token: { label: 'key' }, environment };
    await expect(configOf({ providers: { company } })).rejects.toThrow(said);
  });
});

test('every env: reference of the config is listed', async () => {
  const config = await configOf({
    key: { source: 'env', name: 'MASTER' },
    upstream: { proxy: { url: 'http://p.example:3128', user: 'u', password: 'env:CORP' } },
    approvals: { webhook: { url: 'https://hooks.example/', secret: 'env:HOOK' } },
  });
  expect(environmentReferences(config)).toEqual(['CORP', 'HOOK', 'MASTER']);
  expect(environmentReferences(await configOf({}))).toEqual([]);
});
