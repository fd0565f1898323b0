/**
 * The flow against a real authorization server, over the way out that the proxy has, with a person who
 * consents.
 */
import { describe, expect, onTestFinished, test } from 'vitest';
import { consentAs, type Person } from '../../../examples/helpdesk/consent.ts';
import { startHelpdesk } from '../../../examples/helpdesk/helpdesk.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import {
  authorizationUrl,
  type CodeExchange,
  exchangeCode,
  parseCallback,
} from '../../../src/grants/oauth/authorization-code.ts';
import { refreshToken } from '../../../src/grants/oauth/refresh.ts';
import { revoke } from '../../../src/grants/oauth/revocation.ts';
import { defaultLimits } from '../../../src/proxy/policy/limits.ts';
import { createUpstreamClient } from '../../../src/proxy/upstream/client.ts';
import { aProvider } from '../../support/provider.ts';

const alice: Person = { user: 'alice@acme.test', password: 'demo1234' };
const redirectUri = 'http://127.0.0.1/callback';

/** The helpdesk as a provider, a flow that has begun there, and what alice's browser came back with. */
async function consented(change: Partial<Provider> = {}, person: Person = alice) {
  const helpdesk = await startHelpdesk();
  onTestFinished(() => helpdesk.close());
  const { issuer, host, port, clientId, clientSecret } = helpdesk;
  const client = createUpstreamClient({
    ca: [helpdesk.caCertificate],
    resolve: new Map([['helpdesk.acme.test', '127.0.0.1']]),
    privateAddresses: ['127.0.0.1/32'],
    limits: defaultLimits,
    ownPorts: () => [],
  });
  onTestFinished(() => client.close());
  const provider = aProvider({
    authorizationEndpoint: `${issuer}/authorize`,
    tokenEndpoint: `${issuer}/token`,
    revocationEndpoint: `${issuer}/revoke`,
    issuer,
    clientId,
    clientSecret: async () => clientSecret,
    clientAuth: 'basic',
    ...change,
  });
  const scopes = ['openid', 'read:tickets'];
  const begun = await authorizationUrl({ provider, redirectUri, scopes });
  const connection = { issuer, ca: helpdesk.caCertificate, connectTo: { host, port } };
  const address = await consentAs(new URL(begun.url), person, connection);
  const io = { fetch: client.fetch, now: Date.now };
  const exchange: CodeExchange = {
    ...io,
    ...begun,
    provider,
    redirectUri,
    scopes,
    callback: parseCallback(address.href),
  };
  const facts = {
    client: { clientId, clientSecret, auth: provider.clientAuth },
    dialect: provider.dialect,
  };
  return { helpdesk, exchange, io, facts, address };
}

describe('a consent at the helpdesk', () => {
  test('becomes tokens that are refreshed, until they are revoked', async () => {
    const { exchange, io, facts } = await consented();
    const { credential, scopes } = await exchangeCode(exchange);
    expect(scopes).toEqual(['openid', 'read:tickets']);
    const { tokenEndpoint: endpoint, revocationEndpoint } = exchange.provider;
    const request = { ...facts, endpoint: endpoint ?? '', scopes };
    const refreshed = await refreshToken({ ...request, refreshToken: credential.refreshToken ?? '' }, io);
    if (refreshed.kind !== 'renewed') throw new Error(refreshed.kind);
    const { accessToken, refreshToken: next } = refreshed;
    expect(next).not.toBe(credential.refreshToken);

    const last = { ...facts, endpoint: revocationEndpoint, accessToken, refreshToken: next };
    expect(await revoke(last, io)).toEqual({ kind: 'revoked' });
    expect(await revoke(last, io)).toEqual({ kind: 'revoked' });
    expect(await refreshToken({ ...request, refreshToken: next ?? '' }, io)).toMatchObject({
      kind: 'refused',
      ends: 'grant',
    });
  });

  test('can be pasted as a bare code, only once', async () => {
    const { exchange, address } = await consented({ clientAuth: 'post' });
    const callback = parseCallback(address.searchParams.get('code') ?? '');
    const pasted = { ...exchange, callback, acceptBareCode: true };
    // Somebody else's flow: its verifier is not that of this code.
    await expect(exchangeCode({ ...pasted, codeVerifier: 'x'.repeat(43) })).rejects.toMatchObject({
      code: 'provider_refused',
      message: expect.stringContaining('invalid_grant'),
    });
    expect((await exchangeCode(pasted)).credential.refreshToken).toEqual(expect.any(String));
    await expect(exchangeCode(pasted)).rejects.toMatchObject({
      message: expect.stringContaining('invalid_grant'),
    });
  });

  test('is reported as refused if the person declines', async () => {
    const { helpdesk, exchange } = await consented({}, { ...alice, decision: 'deny' });
    await expect(exchangeCode(exchange)).rejects.toMatchObject({
      code: 'consent_declined',
      message: expect.stringMatching(/^You, or the provider "acme", said no to the consent \(access_denied/),
    });
    expect(helpdesk.tokenRequestCount('authorization_code')).toBe(0);
  });

  test('with another state or issuer sends no token request', async () => {
    const { helpdesk, exchange } = await consented();
    for (const other of [
      { ...exchange, state: 'x'.repeat(43) },
      { ...exchange, provider: { ...exchange.provider, issuer: 'https://other.test' } },
    ]) {
      await expect(exchangeCode(other)).rejects.toMatchObject({ code: 'bad_request' });
    }
    expect(helpdesk.tokenRequestCount('authorization_code')).toBe(0);
  });

  test('is useless without the client secret, for tokens and for revocation', async () => {
    const { exchange, io, facts } = await consented({ clientSecret: async () => 'another-secret' });
    await expect(exchangeCode(exchange)).rejects.toMatchObject({
      code: 'provider_refused',
      message: expect.stringContaining('invalid_client'),
    });
    const client = { ...facts.client, clientSecret: 'another-secret' };
    const endpoint = exchange.provider.revocationEndpoint;
    expect(
      await revoke({ ...facts, client, endpoint, accessToken: null, refreshToken: 'no-such-token' }, io),
    ).toMatchObject({ kind: 'failed', reason: expect.stringContaining('invalid_client'), passing: false });
  });
});
