/**
 * A definition that took half of where tokens go from the catalog sent a company's tokens to the public
 * service of the same name, or the other way round. URLs within `dialect` (where tokens are refreshed and
 * revoked) count as well.
 */
import { expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';

const load = (text: string) =>
  parseConfig(`version: 1\nproviders:\n  ${text}\n`, '/x/sidekey.yaml', { env: {}, cwd: '/x' });

const elsewhere = [
  'dialect: { revocation: { url: https://git.corp.test/revoke } }',
  'dialect: { refresh_endpoint: https://git.corp.test/refresh }',
];

test.each(elsewhere)('a built-in provider rejects a partial override: %s', async (line) => {
  await expect(load(`gitlab: { client_id: mine, ${line} }`)).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringContaining('has no audience'),
  });
  // Whole by itself it stands alone, and has nothing of the built-in one.
  const { providers } = await load(`gitlab: { audience: [git.corp.test], ${line} }`);
  expect(providers.get('gitlab')).toMatchObject({ tokenEndpoint: null, audience: ['git.corp.test'] });
});

test.each(elsewhere)('a copy of a provider rejects a partial override: %s', async (line) => {
  await expect(load(`corp: { extends: gitlab, ${line} }`)).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringContaining('a copy keeps its endpoints and its audience'),
  });
});

test('a built-in provider accepts an override of other dialect settings', async () => {
  const { providers } = await load('gitlab: { dialect: { revocation: { auth: basic } } }');
  expect(providers.get('gitlab')).toMatchObject({
    audience: ['gitlab.com'],
    dialect: { revocation: { auth: 'basic' } },
  });
});
