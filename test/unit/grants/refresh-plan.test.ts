import { describe, expect, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import type { OAuth2Credential, Renewal } from '../../../src/domain/credential.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import { planRefresh, type PlanParts } from '../../../src/grants/refresh-plan.ts';
import { acme, oauth2 } from './processes.ts';

const parts: PlanParts = {
  providers: (name) => (name === 'acme' ? acme : undefined),
  readSecret: (reference) => Promise.resolve(`the secret of ${reference}`),
  registry: { read: () => Promise.resolve(null) },
};

/** The plan for a credential of the provider acme with this definition. */
function plan(
  credential: OAuth2Credential,
  provider: Provider | undefined = acme,
  more: Partial<PlanParts> = {},
) {
  return planRefresh(
    { provider: 'acme', credential, scopes: ['read:tickets'] },
    { ...parts, providers: () => provider, ...more },
  );
}

describe('a refresh plan with a refresh token', () => {
  test('takes all values from the provider definition', async () => {
    expect(await plan(oauth2())).toEqual({
      kind: 'ask',
      login: null,
      proofKey: null,
      request: {
        kind: 'refresh_token',
        endpoint: 'https://helpdesk.acme.test/token',
        client: { clientId: 'sidekey', clientSecret: 'client-secret-of-acme', auth: 'basic' },
        dialect: acme.dialect,
        refreshToken: 'refresh-1',
        scopes: ['read:tickets'],
        resource: 'https://helpdesk.acme.test',
      },
    });
  });

  test('uses the refresh endpoint of the provider, unless the credential has its own token endpoint', async () => {
    const refreshEndpoint = 'https://helpdesk.acme.test/refresh';
    const elsewhere = { ...acme, dialect: { ...acme.dialect, refreshEndpoint } };
    expect(await plan(oauth2(), elsewhere)).toMatchObject({
      request: { endpoint: refreshEndpoint, client: { clientSecret: 'client-secret-of-acme' } },
    });
    expect(
      await plan(oauth2({ tokenEndpoint: 'https://other.test/token', clientId: 'c' }), elsewhere),
    ).toMatchObject({
      request: { endpoint: 'https://other.test/token', client: { clientSecret: null } },
    });
  });

  test('takes all values from the credential, with or without a definition', async () => {
    const credential = oauth2({
      clientId: 'c',
      clientSecret: 's',
      tokenEndpoint: 'https://other.test/token',
    });
    for (const provider of [acme, { ...acme, clientAuth: 'none' as const }]) {
      expect(await plan(credential, provider)).toMatchObject({
        request: {
          endpoint: 'https://other.test/token',
          client: { clientId: 'c', clientSecret: 's', auth: 'basic' },
        },
      });
    }
    expect(await planRefresh({ provider: 'gone', credential, scopes: [] }, parts)).toMatchObject({
      request: {
        endpoint: 'https://other.test/token',
        client: { clientId: 'c', clientSecret: 's', auth: 'basic' },
        dialect: { scopeSeparator: ' ', tokenBody: 'form' },
      },
    });
  });

  test.each([
    ['another token endpoint', { tokenEndpoint: 'https://other.test/token' }],
    ['another client', { clientId: 'other' }],
  ])('omits the client secret of the provider with %s', async (_what, own) => {
    expect(await plan(oauth2(own))).toMatchObject({
      request: { client: { clientSecret: null, auth: 'none' } },
    });
  });

  test('omits the client secret for a public client', async () => {
    expect(await plan(oauth2(), { ...acme, clientSecret: null, clientAuth: 'none' })).toMatchObject({
      request: { client: { clientId: 'sidekey', clientSecret: null, auth: 'none' } },
    });
  });

  test.each(['post', 'private_key_jwt'] as const)(
    'uses the client authentication of the definition: %s',
    async (clientAuth) => {
      expect(await plan(oauth2(), { ...acme, clientAuth })).toMatchObject({
        request: { client: { auth: clientAuth } },
      });
    },
  );

  test.each([
    [oauth2(), { ...acme, tokenEndpoint: null }, 'set providers.acme.token_endpoint'],
    [oauth2(), { ...acme, clientId: null }, 'set providers.acme.client_id'],
    [oauth2({ refreshToken: null }), acme, 'add the grant again with --replace'],
  ])('is refused with the name of the missing setting: %#', async (credential, provider, hint) => {
    expect(await plan(credential, provider)).toMatchObject({ kind: 'impossible', hint });
  });

  test('is refused with the name of the missing setting when the definition was removed', async () => {
    expect(await planRefresh({ provider: 'gone', credential: oauth2(), scopes: [] }, parts)).toMatchObject({
      kind: 'impossible',
      hint: 'set providers.gone.token_endpoint',
    });
  });

  test('is refused with a hint when the client secret is missing', async () => {
    const missing = new SidekeyError('secret_missing', 'ACME_SECRET is not set.', {
      hint: 'set ACME_SECRET',
    });
    const provider = { ...acme, clientSecret: () => Promise.reject(missing) };
    expect(await plan(oauth2(), provider)).toEqual({
      kind: 'impossible',
      reason: 'ACME_SECRET is not set.',
      hint: 'set ACME_SECRET',
    });
  });
});

/** A credential with this renewal. */
const renewing = (renewal: Renewal, fields: Partial<OAuth2Credential> = {}) =>
  oauth2({ refreshToken: null, renewal, ...fields });

describe('a refresh plan with client credentials', () => {
  const renewal: Renewal = {
    kind: 'client_credentials',
    scope: 'read write',
    parameters: { audience: 'https://api.acme.test' },
  };

  test('uses the credentials of the client', async () => {
    expect(await plan(renewing(renewal))).toEqual({
      kind: 'ask',
      login: null,
      proofKey: null,
      request: {
        ...renewal,
        endpoint: 'https://helpdesk.acme.test/token',
        client: { clientId: 'sidekey', clientSecret: 'client-secret-of-acme', auth: 'basic' },
        dialect: acme.dialect,
      },
    });
  });

  test('is refused for a client without a secret (RFC 6749 §4.4)', async () => {
    expect(await plan(renewing(renewal), { ...acme, clientSecret: null })).toEqual({
      kind: 'impossible',
      reason: 'the provider "acme" has no client secret',
      hint: 'set providers.acme.client_secret',
    });
  });

  test('ignores a refresh token', async () => {
    expect(await plan(renewing(renewal, { refreshToken: 'left over' }))).toMatchObject({
      request: { kind: 'client_credentials' },
    });
  });
});

describe('a refresh plan with assertions', () => {
  const renewal: Renewal = {
    kind: 'jwt_bearer',
    key: { privateKey: 'PEM', keyId: 'k1', algorithm: 'RS256' },
    issuer: 'robot@acme.test',
    subject: null,
    audience: null,
    scope: 'read',
    parameters: {},
  };
  const forRobots: Provider = { ...acme, flows: ['jwt_bearer'] };

  test('uses the issuer as subject and the token endpoint as audience by default', async () => {
    expect(await plan(renewing(renewal))).toMatchObject({
      request: { subject: 'robot@acme.test', audience: 'https://helpdesk.acme.test/token' },
    });
    const named = { ...renewal, subject: 'alice@acme.test', audience: 'https://acme.test' };
    expect(await plan(renewing(named))).toMatchObject({
      request: { subject: 'alice@acme.test', audience: 'https://acme.test' },
    });
  });

  test('omits the client of interactive consents, unless it is the issuer', async () => {
    expect(await plan(renewing(renewal))).toMatchObject({ request: { client: null } });
    expect(await plan(renewing({ ...renewal, issuer: 'sidekey' }))).toMatchObject({
      request: { client: { clientId: 'sidekey' } },
    });
  });

  test('includes a client that is configured for assertions only', async () => {
    expect(await plan(renewing(renewal), forRobots)).toMatchObject({
      request: { client: { clientId: 'sidekey', clientSecret: 'client-secret-of-acme' } },
    });
    expect(await plan(renewing(renewal), { ...forRobots, clientId: null })).toMatchObject({
      request: { client: null },
    });
  });
});

describe('a refresh plan with a token exchange', () => {
  const renewal: Renewal = {
    kind: 'token_exchange',
    subjectToken: { reference: 'file:/run/token' },
    subjectTokenType: 'urn:ietf:params:oauth:token-type:jwt',
    actorToken: { value: 'the actor' },
    actorTokenType: 'urn:ietf:params:oauth:token-type:access_token',
    requestedTokenType: null,
    scope: null,
    parameters: {},
  };

  test('reads a referenced token each time, but never a stored token', async () => {
    expect(await plan(renewing(renewal))).toMatchObject({
      request: {
        subjectToken: 'the secret of file:/run/token',
        actorToken: 'the actor',
        isKept: false,
      },
    });
    const kept = { ...renewal, subjectToken: { value: 'kept' } };
    expect(await plan(renewing(kept))).toMatchObject({ request: { subjectToken: 'kept', isKept: true } });
    const actorRead = { ...kept, actorToken: { reference: 'env:ACTOR' } };
    expect(await plan(renewing(actorRead))).toMatchObject({
      request: { actorToken: 'the secret of env:ACTOR', isKept: false },
    });
  });

  test('is refused with a hint when a token is missing', async () => {
    const missing = new SidekeyError('secret_missing', 'file:/run/token is empty.', { hint: 'put it there' });
    const readSecret = () => Promise.reject(missing);
    expect(await plan(renewing(renewal), acme, { readSecret })).toEqual({
      kind: 'impossible',
      reason: 'file:/run/token is empty.',
      hint: 'put it there',
    });
  });

  test('has no client when none is configured', async () => {
    expect(await plan(renewing(renewal), { ...acme, clientId: null })).toMatchObject({
      request: { client: null },
    });
  });
});

test('a refresh plan for an installation of a GitHub App has no client', async () => {
  const renewal: Renewal = {
    kind: 'github_installation',
    key: { privateKey: 'PEM', keyId: null, algorithm: 'RS256' },
    appId: '17',
    installationId: '42',
  };
  expect(await plan(renewing(renewal), { ...acme, clientId: null })).toEqual({
    kind: 'ask',
    login: null,
    proofKey: null,
    request: { ...renewal, endpoint: 'https://helpdesk.acme.test/token' },
  });
});
