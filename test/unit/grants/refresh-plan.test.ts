import { describe, expect, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import type { OAuth2Credential, Renewal } from '../../../src/grants/credential.ts';
import type { Provider } from '../../../src/grants/provider.ts';
import { planRefresh, type PlanParts } from '../../../src/grants/refresh-plan.ts';
import { acme, oauth2 } from './processes.ts';

const parts: PlanParts = {
  providers: (name) => (name === 'acme' ? acme : undefined),
  readSecret: (reference) => Promise.resolve(`the secret of ${reference}`),
  registry: { read: () => Promise.resolve(null) },
};

/** The plan for a credential of the provider acme, as it is defined. */
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

describe('with a refresh token', () => {
  test('everything comes from the provider definition', async () => {
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
      },
    });
  });

  test('the provider may take it elsewhere than it issues tokens; one that came with an endpoint of its own goes there', async () => {
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

  test('everything comes from the credential, with or without a definition', async () => {
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
  ])('the secret of the provider does not go with %s', async (_what, own) => {
    expect(await plan(oauth2(own))).toMatchObject({
      request: { client: { clientSecret: null, auth: 'none' } },
    });
  });

  test('a public client sends no secret', async () => {
    expect(await plan(oauth2(), { ...acme, clientSecret: null, clientAuth: 'none' })).toMatchObject({
      request: { client: { clientId: 'sidekey', clientSecret: null, auth: 'none' } },
    });
  });

  test.each(['post', 'private_key_jwt'] as const)(
    'the definition says how the client authenticates: %s',
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
  ])('names what is missing: %#', async (credential, provider, hint) => {
    expect(await plan(credential, provider)).toMatchObject({ kind: 'impossible', hint });
  });

  test('names what is missing where the definition is gone', async () => {
    expect(await planRefresh({ provider: 'gone', credential: oauth2(), scopes: [] }, parts)).toMatchObject({
      kind: 'impossible',
      hint: 'set providers.gone.token_endpoint',
    });
  });

  test('a secret that is missing is no fault', async () => {
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

/** A credential that renews itself this way. */
const renewing = (renewal: Renewal, fields: Partial<OAuth2Credential> = {}) =>
  oauth2({ refreshToken: null, renewal, ...fields });

describe('with client credentials', () => {
  const renewal: Renewal = {
    kind: 'client_credentials',
    scope: 'read write',
    parameters: { audience: 'https://api.acme.test' },
  };

  test('the client asks for itself', async () => {
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

  test('a client without a secret cannot (RFC 6749 §4.4)', async () => {
    expect(await plan(renewing(renewal), { ...acme, clientSecret: null })).toEqual({
      kind: 'impossible',
      reason: 'the provider "acme" has no client secret',
      hint: 'set providers.acme.client_secret',
    });
  });

  test('a refresh token that is there too is not used', async () => {
    expect(await plan(renewing(renewal, { refreshToken: 'left over' }))).toMatchObject({
      request: { kind: 'client_credentials' },
    });
  });
});

describe('with assertions', () => {
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

  test('the subject is the issuer, and the audience the token endpoint, where none is named', async () => {
    expect(await plan(renewing(renewal))).toMatchObject({
      request: { subject: 'robot@acme.test', audience: 'https://helpdesk.acme.test/token' },
    });
    const named = { ...renewal, subject: 'alice@acme.test', audience: 'https://acme.test' };
    expect(await plan(renewing(named))).toMatchObject({
      request: { subject: 'alice@acme.test', audience: 'https://acme.test' },
    });
  });

  test('the client of people’s consent is not named beside them, unless it is the issuer', async () => {
    expect(await plan(renewing(renewal))).toMatchObject({ request: { client: null } });
    expect(await plan(renewing({ ...renewal, issuer: 'sidekey' }))).toMatchObject({
      request: { client: { clientId: 'sidekey' } },
    });
  });

  test('a client that is there for them alone is named', async () => {
    expect(await plan(renewing(renewal), forRobots)).toMatchObject({
      request: { client: { clientId: 'sidekey', clientSecret: 'client-secret-of-acme' } },
    });
    expect(await plan(renewing(renewal), { ...forRobots, clientId: null })).toMatchObject({
      request: { client: null },
    });
  });
});

describe('with an exchange', () => {
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

  test('a token that is referred to is read each time, and one that is kept is not', async () => {
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

  test('a token that is missing is no fault', async () => {
    const missing = new SidekeyError('secret_missing', 'file:/run/token is empty.', { hint: 'put it there' });
    const readSecret = () => Promise.reject(missing);
    expect(await plan(renewing(renewal), acme, { readSecret })).toEqual({
      kind: 'impossible',
      reason: 'file:/run/token is empty.',
      hint: 'put it there',
    });
  });

  test('names no client where there is none', async () => {
    expect(await plan(renewing(renewal), { ...acme, clientId: null })).toMatchObject({
      request: { client: null },
    });
  });
});

test('an installation of a GitHub App needs no client', async () => {
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
