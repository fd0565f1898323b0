import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { findLogins } from '../../../src/operations/find-logins.ts';
import { parseConfig } from '../../../src/config/load.ts';
import type { Providers } from '../../../src/config/providers.ts';
import { tempFolder } from '../../support/temp-folder.ts';

let providers: Providers;
beforeAll(async () => {
  ({ providers } = await parseConfig('version: 1', '/nowhere/sidekey.yaml', { env: {} }));
});

/** Finds the logins of a machine with these variables and files; `gh` is not there. */
async function find(env: NodeJS.ProcessEnv, files: Readonly<Record<string, string>> = {}) {
  const home = await tempFolder();
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(home, name)), { recursive: true });
    await writeFile(join(home, name), text);
  }
  const found = await findLogins({ env, home, folder: join(home, 'work') }, providers);
  return found.map(({ provider, place, input }) => [provider, place.replaceAll(`${home}/`, ''), input]);
}

/** A credentials file of aws, with more lines in the profile default. */
function keys(more = ''): string {
  return `[other]\naws_access_key_id = NO\n[default]\r\naws_access_key_id=AKIA1\r\naws_secret_access_key = s/1\n${more}[last]\naws_access_key_id = NO\n`;
}

describe('the logins of a machine', () => {
  test('include variables, only the first for each provider', async () => {
    expect(
      await find({ OPENAI_API_KEY: 'sk-1', GITHUB_TOKEN: 'ghp_1', GH_TOKEN: 'ghp_2', OTHER: 'x' }),
    ).toEqual([
      ['github', 'GITHUB_TOKEN in the environment', 'ghp_1'],
      ['openai', 'OPENAI_API_KEY in the environment', 'sk-1'],
    ]);
  });

  test('exclude placeholders of Sidekey, empty values, and OAuth tokens that expire', async () => {
    const placeholder = providers
      .environment('openai')
      .find(({ name }) => name === 'OPENAI_API_KEY')?.placeholder;
    expect(placeholder).toEqual(expect.any(String));
    expect(
      await find({ OPENAI_API_KEY: placeholder!, ANTHROPIC_API_KEY: '', CLAUDE_CODE_OAUTH_TOKEN: 'oauth' }),
    ).toEqual([]);
  });

  test('include those of .env in the folder, after the variables', async () => {
    const files = { 'work/.env': 'OPENAI_API_KEY="sk-2"\nexport STRIPE_API_KEY=sk_test_1\n' };
    expect(await find({ OPENAI_API_KEY: 'sk-1' }, files)).toEqual([
      ['openai', 'OPENAI_API_KEY in the environment', 'sk-1'],
      ['stripe', 'STRIPE_API_KEY in work/.env', 'sk_test_1'],
    ]);
  });

  test('include the default profile of aws, and no temporary session', async () => {
    const input = '{"access_key_id":"AKIA1","secret_access_key":"s/1"}';
    expect(await find({}, { '.aws/credentials': keys() })).toEqual([
      ['aws', 'the profile default in .aws/credentials', input],
    ]);
    expect(await find({}, { '.aws/credentials': keys('aws_session_token = x\n') })).toEqual([]);
    const variables = { AWS_ACCESS_KEY_ID: 'AKIA2', AWS_SECRET_ACCESS_KEY: 's/2' };
    expect((await find(variables)).map(([provider]) => provider)).toEqual(['aws']);
    expect(await find({ ...variables, AWS_SESSION_TOKEN: 'x' })).toEqual([]);
  });

  test('include those of docker and .netrc', async () => {
    const auth = Buffer.from('alice:dckr:pat').toString('base64');
    const files = {
      '.docker/config.json': JSON.stringify({ auths: { 'https://index.docker.io/v1/': { auth } } }),
      '.netrc':
        'machine github.com login me password ghp_3\nmachine elsewhere.test login a password b\nmachine api.heroku.com\n  login x\n  password HRKU-1\n',
    };
    expect(await find({}, files)).toEqual([
      ['dockerhub', 'the login of docker in .docker/config.json', '{"username":"alice","token":"dckr:pat"}'],
      ['github', 'the entry of github.com in .netrc', 'ghp_3'],
      ['heroku', 'the entry of api.heroku.com in .netrc', 'HRKU-1'],
    ]);
  });

  test.each(['', '{', '[]', '{"auths":[]}', '{"auths":{"https://index.docker.io/v1/":{}}}', '\0'])(
    'are empty for damaged files: %j',
    async (text) => {
      const names = ['.docker/config.json', '.netrc', '.aws/credentials', 'work/.env'];
      expect(await find({}, Object.fromEntries(names.map((name) => [name, text])))).toEqual([]);
    },
  );

  test('include the login of gh, which runs once for lists at the same time', async () => {
    const folder = await tempFolder();
    await writeFile(join(folder, 'gh'), '#!/bin/sh\necho run >> "$RUNS"\necho gho_1\n', { mode: 0o700 });
    const env = { PATH: `${folder}:${process.env['PATH']}`, RUNS: join(folder, 'runs') };
    const login = [['github', 'the login of gh', 'gho_1']];
    expect(await Promise.all([find(env), find(env)])).toEqual([login, login]);
    expect(await readFile(env.RUNS, 'utf8')).toBe('run\n');
    expect(await find(env)).toEqual(login);
    expect(await readFile(env.RUNS, 'utf8')).toBe('run\nrun\n');
  });
});
