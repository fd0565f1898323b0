import { expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { requestClientCredentials } from '../../../../src/grants/oauth/assertions.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const now = Date.UTC(2027, 0, 1);
const request = {
  endpoint: 'https://acme.test/token',
  client: { clientId: 'robot', clientSecret: 'robot-secret-value', auth: 'post' },
  dialect: plainDialect,
  scope: 'read write',
  parameters: { audience: 'https://api.acme.test' },
} as const;

test('the request conforms to RFC 6749 §4.4.2, with the configured parameters', async () => {
  const { fetch, asked } = fakeEndpoint(() => Response.json({ access_token: 'token', expires_in: 60 }));
  expect(await requestClientCredentials(request, { fetch, now: () => now })).toMatchObject({
    kind: 'tokens',
    accessToken: 'token',
    expiresAt: now + 60_000,
  });
  expect(asked.map(({ form }) => form)).toEqual([
    {
      grant_type: 'client_credentials',
      client_id: 'robot',
      client_secret: 'robot-secret-value',
      scope: 'read write',
      audience: 'https://api.acme.test',
    },
  ]);
});

test('the request names no scope if no scope is configured', async () => {
  const { fetch, asked } = fakeEndpoint(() => Response.json({ access_token: 'token' }));
  await requestClientCredentials({ ...request, scope: null, parameters: {} }, { fetch, now: () => now });
  expect(asked[0]?.form).not.toHaveProperty('scope');
});

test('a refusal is reported without the secret', async () => {
  const { fetch } = fakeEndpoint(() =>
    Response.json(
      { error: 'invalid_client', error_description: 'robot-secret-value is wrong' },
      { status: 401 },
    ),
  );
  expect(await requestClientCredentials(request, { fetch, now: () => now })).toEqual({
    kind: 'error',
    error: 'invalid_client',
    description: '[redacted] is wrong',
  });
});
