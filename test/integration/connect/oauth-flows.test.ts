import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../src/config/provider-dialect.ts';
import {
  pollForTokens,
  requestDeviceAuthorization,
  type DeviceAuthorization,
  type DeviceRequest,
} from '../../../src/grants/oauth/device-code.ts';
import { renew } from '../../../src/grants/oauth/renewal.ts';
import { startOAuthServer, type OAuthServer } from '../../support/oauth-server.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';

/** A real authorization server, and the way to it through the dial guard. */
async function setUp() {
  const server = await startOAuthServer();
  const { fetch } = testUpstreamClient();
  const client = { clientId: server.clientId, clientSecret: server.clientSecret, auth: 'basic' } as const;
  return { server, client, io: { fetch, now: Date.now } };
}

describe('client credentials, at a real authorization server', () => {
  test('get a token for the client', async () => {
    const { server, client, io } = await setUp();
    const request = { kind: 'client_credentials', dialect: plainDialect, client, parameters: {} } as const;
    const endpoint = `${server.issuer}/token`;
    expect(await renew({ ...request, endpoint, scope: 'read' }, io)).toMatchObject({
      kind: 'renewed',
      refreshToken: null,
      scope: 'read',
    });
    const wrong = { ...client, clientSecret: 'not the secret' };
    expect(await renew({ ...request, endpoint, client: wrong, scope: null }, io)).toMatchObject({
      kind: 'refused',
      error: 'invalid_client',
    });
  });
});

/** Asks for a device's consent, and lets a person do something before each question. */
async function waited(
  person: (server: OAuthServer, code: DeviceAuthorization, round: number) => Promise<void>,
) {
  const { server, client, io } = await setUp();
  const request: DeviceRequest = {
    deviceEndpoint: `${server.issuer}/device/auth`,
    endpoint: `${server.issuer}/token`,
    client,
    dialect: plainDialect,
    scopes: ['openid', 'offline_access', 'read'],
  };
  const begun = await requestDeviceAuthorization(request, io);
  if (begun.kind !== 'authorization') throw new Error(JSON.stringify(begun));
  let round = 0;
  return {
    begun,
    outcome: await pollForTokens(begun, request, {
      ...io,
      pause: () => person(server, begun, (round += 1)),
    }),
  };
}

describe('the device flow, at a real authorization server', () => {
  test('shows a code, and gets tokens after a person typed the code', async () => {
    const { begun, outcome } = await waited(async (server, { userCode }, round) => {
      if (round === 3) await server.approve(userCode);
    });
    expect(begun).toMatchObject({
      userCode: expect.stringMatching(/^[A-Z0-9-]{8,}$/),
      verificationUri: expect.stringMatching(/^https:\/\/api\.acme\.test:\d+\/device$/),
      verificationUriComplete: expect.stringContaining(begun.userCode),
      intervalMs: 5_000,
    });
    expect(outcome).toMatchObject({
      kind: 'tokens',
      accessToken: expect.any(String),
      refreshToken: expect.any(String),
      scopes: ['openid', 'offline_access', 'read'],
    });
  });

  test('reports that a person declined', async () => {
    const { outcome } = await waited((server, { userCode }) => server.deny(userCode));
    expect(outcome).toEqual({ kind: 'error', error: 'access_denied', description: 'alice said no' });
  });
});
