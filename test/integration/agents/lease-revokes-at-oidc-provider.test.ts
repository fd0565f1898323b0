/** `leases: { revoke: token }` at a real authorization server (oidc-provider). */
import { expect, test } from 'vitest';
import { hashToken } from '../../../src/agents/authentication.ts';
import { finishEndedLeases } from '../../../src/operations/lease-end.ts';
import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { startOidcProvider } from '../../support/oidc-provider.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { addAgent, leaseRecord } from '../../support/rights.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';

const clientId = 'app';
const now = Date.now();
const hour = 3_600_000;

/** Starts the server with a public client, and issues the tokens of one grant. */
async function startServer() {
  const { provider, upstream } = await startOidcProvider({
    settings: {
      clients: [
        {
          client_id: clientId,
          token_endpoint_auth_method: 'none',
          application_type: 'native',
          grant_types: ['authorization_code', 'refresh_token'],
          redirect_uris: ['http://127.0.0.1/callback'],
        },
      ],
      features: { revocation: { enabled: true } },
      clientAuthMethods: ['none'],
      rotateRefreshToken: true,
      ttl: { AccessToken: 3_600, Grant: 7_200, IdToken: 300, RefreshToken: 7_200 },
    },
  });
  const grant = new provider.Grant({ accountId: 'alice', clientId });
  grant.addOIDCScope('openid offline_access');
  const client = await provider.Client.find(clientId);
  const fields = { accountId: 'alice', client, grantId: await grant.save(), scope: 'openid offline_access' };
  const accessToken = await new provider.AccessToken({ ...fields, gty: 'authorization_code' }).save();
  const refreshToken = await new provider.RefreshToken({ ...fields, gty: 'authorization_code' }).save();
  return { provider, upstream, accessToken, refreshToken };
}

test('the end of a lease ends the access token at oidc-provider, and the grant lives on', async () => {
  const { provider, upstream, accessToken, refreshToken } = await startServer();
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: {
      leases: { revoke: 'token' },
      providers: {
        acme: {
          title: 'Acme',
          token_endpoint: `${upstream.url}/token`,
          revocation_endpoint: `${upstream.url}/token/revocation`,
          client_id: clientId,
          client_auth: 'none',
          audience: [upstream.authority],
        },
      },
    },
  });
  const { state } = sidekey.proxy;
  await addAgent(state.store, 'robot', 'own');
  const lease = leaseRecord({
    agent: 'robot',
    tokenHash: hashToken('leased'),
    grants: null,
    createdAt: now,
    expiresAt: now + hour,
  });
  await state.store.leases.insert(lease);
  const credential = oauth2Credential({
    accessToken,
    refreshToken,
    obtainedAt: now,
    expiresAt: now + hour,
  });
  const wanted = { name: 'acme', user: 'default', provider: 'acme', scopes: ['openid', 'offline_access'] };
  const grant = await state.grants.add(wanted, { credential, audience: [upstream.authority] });
  /** Status of the userinfo endpoint for a request of the agent. */
  const use = async (secret: string) => {
    const fields = [`Proxy-Authorization: Basic ${Buffer.from(`robot:${secret}`).toString('base64')}`];
    const client = await openTunnel(sidekey, upstream.authority, { fields });
    client.send(`GET /me HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    return (await client.response()).status;
  };

  expect(await use('leased')).toBe(200);
  await state.store.leases.revoke({ id: lease.id }, now);
  const { fetch } = testUpstreamClient();
  const config = sidekey.proxy.config();
  await finishEndedLeases({ ...state, config, now: Date.now, withFetch: (go) => go(fetch) });

  expect(await provider.AccessToken.find(accessToken)).toBeUndefined();
  expect(await provider.RefreshToken.find(refreshToken)).toMatchObject({ accountId: 'alice' });
  expect((await sidekey.audit()).findLast(({ event }) => event === 'grant.token_revoked')?.outcome).toBe(
    'ok',
  );
  expect(await use('own')).toBe(200);
  const { grant: after, sealed } = (await state.grants.read(grant.id))!;
  expect(after.state).toBe('active');
  expect(sealed.credential).toMatchObject({ accessToken: expect.not.stringContaining(accessToken) });
});
