import { generateKeyPairSync } from 'node:crypto';
import { decodeJwt } from 'jose';
import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { askTokenEndpoint, type TokenQuestion } from '../../../../src/grants/oauth/token-endpoint.ts';
import { createNonces, newDpopKey } from '../../../../src/proxy/schemes/dpop-proof.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const now = Date.UTC(2027, 0, 1);
const key = newDpopKey('ES256');
const question: TokenQuestion = {
  endpoint: 'https://acme.test:8443/token?tenant=1#f',
  client: null,
  dialect: plainDialect,
  grantType: 'some_grant',
  parameters: {},
  secrets: [],
};
const tokens = { access_token: 'access', token_type: 'DPoP' };
const wanting = (nonce: string | null, status = 400, error = 'use_dpop_nonce') =>
  Response.json({ error }, { status, headers: nonce === null ? {} : { 'DPoP-Nonce': nonce } });

async function asked(
  responses: readonly Response[],
  over: Partial<TokenQuestion> = {},
  nonces = createNonces(),
) {
  const { fetch, asked } = fakeEndpoint(() => responses[asked.length - 1] ?? Response.json(tokens));
  const answer = await askTokenEndpoint(
    { ...question, ...over },
    { fetch, now: () => now, proofKey: key, nonces },
  );
  const claims = asked.map(({ headers }) => decodeJwt(String(headers['dpop'])));
  return { answer, claims, asked, nonces };
}

describe('a token request with a DPoP proof', () => {
  test('has a proof for method, time and URL, without query and fragment', async () => {
    const { answer, claims } = await asked([]);
    expect(answer).toMatchObject({ kind: 'tokens', accessToken: 'access', isBound: true });
    expect(claims).toEqual([
      { jti: expect.any(String), htm: 'POST', htu: 'https://acme.test:8443/token', iat: now / 1000 },
    ]);
  });

  test.each([400, 401])('is repeated with the nonce of a %i response', async (status) => {
    const { answer, claims } = await asked([wanting('n-1', status)]);
    expect(answer.kind).toBe('tokens');
    expect(claims.map(({ nonce }) => nonce)).toEqual([undefined, 'n-1']);
    expect(claims[0]?.jti).not.toBe(claims[1]?.jti);
  });

  test('is sent at most twice, and then fails as transient', async () => {
    const { answer, claims } = await asked([wanting('n-1'), wanting('n-2'), wanting('n-3')]);
    expect(claims).toHaveLength(2);
    expect(answer).toMatchObject({ kind: 'later', reason: expect.stringContaining('use_dpop_nonce') });
  });

  test.each([
    ['the nonce is missing', null],
    ['the nonce is malformed', 'a"b'],
    ['the nonce is too long', 'n'.repeat(2_000)],
  ])('is not repeated when %s', async (_what, nonce) => {
    expect((await asked([wanting(nonce)])).claims).toHaveLength(1);
  });

  test('is not repeated after another error', async () => {
    const { answer, claims } = await asked([wanting('n-1', 400, 'invalid_grant')]);
    expect(claims).toHaveLength(1);
    expect(answer).toMatchObject({ kind: 'error', error: 'invalid_grant' });
  });

  test('has the last nonce of that server, from any response', async () => {
    const nonces = createNonces();
    const given = Response.json(tokens, { headers: { 'DPoP-Nonce': 'n-1' } });
    await asked([given], {}, nonces);
    expect((await asked([], {}, nonces)).claims[0]?.['nonce']).toBe('n-1');
    const other = await asked([], { endpoint: 'https://other.test/token' }, nonces);
    expect(other.claims[0]).not.toHaveProperty('nonce');
  });

  test('has a new client assertion each time, because an assertion is valid for one request', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const clientSecret = privateKey.export({ type: 'pkcs8', format: 'pem' });
    const client = { clientId: 'robot', clientSecret, auth: 'private_key_jwt' } as const;
    const { asked: sent } = await asked([wanting('n-1')], { client });
    const ids = sent.map(({ form }) => decodeJwt(form['client_assertion'] ?? '').jti);
    expect(new Set(ids).size).toBe(2);
  });

  test('accepts a token that is not bound, and reports it', async () => {
    const { answer } = await asked([Response.json({ ...tokens, token_type: 'Bearer' })]);
    expect(answer).toMatchObject({ kind: 'tokens', accessToken: 'access' });
    expect(answer).not.toHaveProperty('isBound');
  });
});

test('a token request without a DPoP proof refuses a bound token', async () => {
  const { fetch, asked: sent } = fakeEndpoint(() => Response.json(tokens));
  const answer = await askTokenEndpoint(question, { fetch, now: () => now });
  expect(answer).toMatchObject({ kind: 'error', error: 'unsupported_token_type' });
  expect(sent[0]?.headers).not.toHaveProperty('dpop');
});
