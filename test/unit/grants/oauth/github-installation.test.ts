import { describe, expect, test } from 'vitest';
import {
  requestInstallationToken,
  type InstallationRequest,
} from '../../../../src/grants/oauth/github-app.ts';
import { fakeEndpoint } from './fake-endpoint.ts';
import { aKey, verified } from '../keys-for-test.ts';

const now = Date.UTC(2027, 0, 1);
const key = aKey();
const request: InstallationRequest = {
  endpoint: 'https://api.github.com/app/installations',
  key,
  appId: 'Iv23liABC',
  installationId: '42',
};
const good = () =>
  Response.json({ token: 'ghs_token', expires_at: '2027-01-01T01:00:00Z', permissions: {} }, { status: 201 });

async function ask(
  answer: () => Response | Promise<Response> = good,
  changes: Partial<InstallationRequest> = {},
) {
  const { fetch, asked, bodies } = fakeEndpoint(answer);
  const outcome = await requestInstallationToken({ ...request, ...changes }, { fetch, now: () => now });
  return { outcome, asked, bodies };
}

describe('the request for an installation token', () => {
  test('is signed by the app for ten minutes, from a minute ago', async () => {
    const { asked, bodies } = await ask();
    expect(asked).toMatchObject([
      {
        url: 'https://api.github.com/app/installations/42/access_tokens',
        method: 'POST',
        redirect: 'manual',
        headers: {
          accept: 'application/vnd.github+json',
          'x-github-api-version': '2022-11-28',
        },
      },
    ]);
    expect(bodies).toEqual([null]);
    const jwt = asked[0]?.headers['authorization']?.replace('Bearer ', '');
    const { payload, header } = await verified(jwt, key, now);
    expect(header).toEqual({ alg: 'RS256', typ: 'JWT' });
    expect(payload).toEqual({ iss: 'Iv23liABC', iat: now / 1000 - 60, exp: now / 1000 + 540 });
  });

  test('is sent to the configured server, at a path with the escaped id', async () => {
    const endpoint = 'https://ghe.acme.test/api/v3/app/installations/';
    const { asked } = await ask(good, { endpoint, installationId: '../1?x' });
    expect(asked[0]?.url).toBe('https://ghe.acme.test/api/v3/app/installations/..%2F1%3Fx/access_tokens');
  });

  test('is not sent without TLS or with an invalid key', async () => {
    const plain = await ask(good, { endpoint: 'http://api.github.com/app/installations' });
    expect(plain).toMatchObject({ outcome: { kind: 'refused', error: 'endpoint_invalid' }, asked: [] });
    const broken = await ask(good, { key: { ...key, privateKey: 'nothing' } });
    expect(broken).toMatchObject({ outcome: { kind: 'refused', error: 'key_invalid' }, asked: [] });
  });
});

describe('the response with an installation token', () => {
  test('is converted to a token with its expiry', async () => {
    expect((await ask()).outcome).toEqual({
      kind: 'renewed',
      accessToken: 'ghs_token',
      refreshToken: null,
      obtainedAt: now,
      expiresAt: now + 3_600_000,
      scope: null,
    });
  });

  test.each([[{ token: 'bad\nline' }], [{ message: 'fine' }]])(
    'without a token is refused: %j',
    async (body) => {
      expect((await ask(() => Response.json(body, { status: 201 }))).outcome).toMatchObject({
        kind: 'later',
      });
    },
  );

  test('of 404 says that the app is not installed there', async () => {
    expect((await ask(() => Response.json({ message: 'Not Found' }, { status: 404 }))).outcome).toEqual({
      kind: 'refused',
      ends: 'grant',
      description: 'Not Found',
    });
  });

  test.each([
    [401, {}, { kind: 'refused', error: 'http_401', description: 'Bad credentials' }],
    [403, {}, { kind: 'refused', error: 'http_403' }],
    [422, {}, { kind: 'refused', error: 'http_422' }],
    [403, { 'retry-after': '60' }, { kind: 'later', retryAfterMs: 60_000 }],
    [403, { 'x-ratelimit-remaining': '0' }, { kind: 'later' }],
    [429, {}, { kind: 'later' }],
    [503, {}, { kind: 'later' }],
    [302, { location: 'https://evil.test' }, { kind: 'refused', error: 'endpoint_moved' }],
  ])('%d %j', async (status, headers, outcome) => {
    const answer = () =>
      Response.json(
        { message: 'Bad credentials' },
        { status, headers: new Headers(Object.entries(headers)) },
      );
    expect((await ask(answer)).outcome).toMatchObject(outcome);
  });

  test('that repeats the app’s JWT is reported without it', async () => {
    const outcome = await requestInstallationToken(request, {
      fetch: async (_url, { headers }) =>
        Response.json({ message: `no ${headers['authorization']}` }, { status: 401 }),
      now: () => now,
    });
    expect(outcome).toMatchObject({ kind: 'refused' });
    expect(JSON.stringify(outcome)).not.toMatch(/eyJ/);
  });

  test('that never comes is a transient failure', async () => {
    const outcome = (await ask(() => Promise.reject(new Error('reset')))).outcome;
    expect(outcome).toEqual({ kind: 'later', reason: 'the connection failed', retryAfterMs: null });
  });
});
