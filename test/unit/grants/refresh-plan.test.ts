import { expect, test } from 'vitest';
import { SidekeyError } from '../../../src/errors.ts';
import { planRefresh } from '../../../src/grants/refresh-plan.ts';
import { acme, oauth2 } from './house.ts';

test('takes everything from the provider definition', async () => {
  expect(await planRefresh(oauth2(), acme, 'acme')).toEqual({
    kind: 'ask',
    request: {
      endpoint: 'https://helpdesk.acme.test/token',
      client: { clientId: 'sidekey', clientSecret: 'client-secret-of-acme', auth: 'basic' },
      refreshToken: 'refresh-1',
    },
  });
});

test('takes everything from the credential, with or without a definition', async () => {
  const credential = oauth2({ clientId: 'c', clientSecret: 's', tokenEndpoint: 'https://other.test/token' });
  for (const provider of [undefined, acme, { ...acme, clientAuth: 'none' as const }]) {
    expect(await planRefresh(credential, provider, 'acme')).toMatchObject({
      request: {
        endpoint: 'https://other.test/token',
        client: { clientId: 'c', clientSecret: 's', auth: 'basic' },
      },
    });
  }
});

test.each([
  ['another token endpoint', { tokenEndpoint: 'https://other.test/token' }],
  ['another client', { clientId: 'other' }],
])('the secret of the provider does not go with %s', async (_what, own) => {
  expect(await planRefresh(oauth2(own), acme, 'acme')).toMatchObject({
    request: { client: { clientSecret: null, auth: 'none' } },
  });
});

test('a public client sends no secret', async () => {
  expect(
    await planRefresh(oauth2(), { ...acme, clientSecret: null, clientAuth: 'none' }, 'acme'),
  ).toMatchObject({
    request: { client: { clientId: 'sidekey', clientSecret: null, auth: 'none' } },
  });
});

test('the definition says how the client authenticates', async () => {
  expect(await planRefresh(oauth2(), { ...acme, clientAuth: 'post' }, 'acme')).toMatchObject({
    request: { client: { auth: 'post' } },
  });
});

test.each([
  [oauth2(), undefined, 'set providers.acme.token_endpoint'],
  [oauth2(), { ...acme, tokenEndpoint: null }, 'set providers.acme.token_endpoint'],
  [oauth2(), { ...acme, clientId: null }, 'set providers.acme.client_id'],
  [oauth2({ refreshToken: null }), acme, 'add the grant again with --replace'],
])('names what is missing: %#', async (credential, provider, hint) => {
  expect(await planRefresh(credential, provider, 'acme')).toMatchObject({ kind: 'impossible', hint });
});

test('a secret that is missing is no fault', async () => {
  const missing = new SidekeyError('secret_missing', 'ACME_SECRET is not set.', { hint: 'set ACME_SECRET' });
  const provider = { ...acme, clientSecret: () => Promise.reject(missing) };
  expect(await planRefresh(oauth2(), provider, 'acme')).toEqual({
    kind: 'impossible',
    reason: 'ACME_SECRET is not set.',
    hint: 'set ACME_SECRET',
  });
});
