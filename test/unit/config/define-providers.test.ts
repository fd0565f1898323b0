import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import { aProvider } from '../../support/provider.ts';
import { tempFolder } from '../../support/temp-folder.ts';

interface Options {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

async function provider(
  name: string,
  yaml: string,
  { env = {}, cwd = '/x' }: Options = {},
): Promise<Provider> {
  const text = `version: 1\nproviders:\n  ${name}:\n    ${yaml.replaceAll('\n', '\n    ')}\n`;
  const { providers } = await parseConfig(text, join(cwd, 'sidekey.yaml'), { env, cwd });
  const found = providers.get(name);
  if (found === undefined) throw new Error('no such provider');
  return found;
}

test('a configured client extends a built-in provider', async () => {
  const github = await provider('github', 'client_id: mine\nclient_secret: env:MINE\nscopes: [repo]', {
    env: { MINE: 's3cret' },
  });
  expect(github).toMatchObject({
    name: 'github',
    title: 'GitHub',
    tokenEndpoint: 'https://github.com/login/oauth/access_token',
    clientId: 'mine',
    clientAuth: 'post',
    scopes: ['repo'],
    audience: [
      'api.github.com',
      'uploads.github.com',
      'github.com',
      'ghcr.io',
      'npm.pkg.github.com',
      '*.githubcopilot.com',
    ],
  });
  await expect(github.clientSecret?.()).resolves.toBe('s3cret');
});

test('a definition with its own token endpoint or audience inherits nothing from the built-in provider', async () => {
  // Otherwise the company's tokens would be sent to the revocation endpoint of gitlab.com.
  const gitlab = await provider(
    'gitlab',
    'token_endpoint: https://git.corp.test/oauth/token\naudience: [git.corp.test]',
  );
  expect(gitlab).toEqual(
    aProvider({
      name: 'gitlab',
      title: 'gitlab',
      category: 'generic',
      tokenEndpoint: 'https://git.corp.test/oauth/token',
      flows: ['client_credentials'],
      audience: ['git.corp.test'],
    }),
  );
});

test('a client with a secret uses client_secret_basic by default, and a client without a secret does not authenticate', async () => {
  const audience = 'audience: [acme.test]';
  const secret = 'client_secret: env:X';
  expect((await provider('corp', `${audience}\n${secret}`)).clientAuth).toBe('basic');
  expect((await provider('corp', audience)).clientAuth).toBe('none');
  expect((await provider('corp', `${audience}\n${secret}\nclient_auth: post`)).clientAuth).toBe('post');
});

test('a secret is read at each use, relative to the config file', async () => {
  const cwd = await tempFolder();
  const corp = await provider('corp', 'audience: [acme.test]\nclient_secret: file:corp.secret', { cwd });
  const missing = { code: 'secret_missing', message: expect.stringContaining('file:corp.secret') };
  await expect(corp.clientSecret?.()).rejects.toMatchObject(missing);
  await writeFile(join(cwd, 'corp.secret'), 'first\n', { mode: 0o600 });
  await expect(corp.clientSecret?.()).resolves.toBe('first');
  await writeFile(join(cwd, 'corp.secret'), 'second\n');
  await expect(corp.clientSecret?.()).resolves.toBe('second');
});

test('a missing secret is reported with its line of the config', async () => {
  const corp = await provider('corp', 'audience: [acme.test]\nclient_secret: env:CORP');
  await expect(corp.clientSecret?.()).rejects.toMatchObject({
    message: 'sidekey.yaml:5:20: providers.corp.client_secret: env:CORP is not set.',
  });
});
