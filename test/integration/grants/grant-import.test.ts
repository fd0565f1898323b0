import { chmod, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';

const many = [
  {
    name: 'work',
    provider: 'acme',
    accessToken: 'access-1',
    refreshToken: 'refresh-1',
    clientId: 'c',
    expiresIn: 60,
  },
  { name: 'github', user: 'alice', apiKey: 'key-2' },
];

describe('grant import', () => {
  test('stores each credential of an array, with names in camelCase', async () => {
    const at = await home();
    const ran = await at.run(['grant', 'import', '--json'], { input: JSON.stringify(many) });
    expect(ran.exit).toBe(0);
    expect(JSON.parse(ran.stdout)).toMatchObject([
      { name: 'work', provider: 'acme', type: 'oauth2', refreshable: true },
      { name: 'github', provider: 'github', user: 'alice', type: 'api_key' },
    ]);
  });

  test.each([
    [[...many, { name: 'slack', acces_token: 'x' }], 'Entry 3 (slack): The field "acces_token" is not known'],
    [[...many, { name: 'nosuch', value: 'x' }], 'Entry 3 (nosuch): '],
    [[...many, { value: 'x' }], 'Entry 3: The provider of the credential is missing.'],
    [[...many, 'x'], 'Entry 3: This is not an object.'],
    [[...many, { name: 7, value: 'x' }], 'Entry 3: "name" must be a string.'],
    [[...many, many[0]], 'The name work is twice in the input.'],
    [[many[1], { name: 'old', provider: 'acme', value: 'x' }], 'There is a grant old already.'],
    [[], 'The array is empty.'],
  ])('stores nothing of %j', async (input, sentence) => {
    const at = await home();
    await at.grant('old', { api_key: 'before' });
    const ran = await at.run(['grant', 'import'], { input: JSON.stringify(input) });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining(sentence) });
    expect(await at.json(['grant', 'list'])).toMatchObject([{ name: 'old' }]);
  });

  test('refuses one name and one audience for several credentials', async () => {
    const at = await home();
    const input = JSON.stringify(many);
    for (const args of [['x'], ['--audience', 'api.acme.test']])
      expect((await at.run(['grant', 'import', ...args], { input })).stderr).toContain(
        'is for one credential',
      );
    expect(await at.json(['grant', 'list'])).toEqual([]);
  });

  test('reads a bare token from a file, for the provider of its name', async () => {
    const at = await home();
    await writeFile(at.at('token'), 'Bearer ghp_0123456789\n');
    await chmod(at.at('token'), 0o644);
    const ran = await at.run(['grant', 'import', 'github', '--file', at.at('token')]);
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringMatching(/^Stored github\.\n/) });
    expect(ran.stderr).toContain('every user of this machine can read');
    const missing = await at.run(['grant', 'import', 'github', '--file', at.at('nothing')]);
    expect(missing).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('The file of --file cannot be read (ENOENT).'),
    });
  });
});
