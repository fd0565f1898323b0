import { decodeJwt, decodeProtectedHeader } from 'jose';
import { describe, expect, test } from 'vitest';
import { homeWithProvider, grantsOf, type Answer } from '../../support/provider-home.ts';

const codes = {
  device_code: 'the-device-code',
  user_code: 'WDJB-MJHT',
  verification_uri: 'https://desk.acme.test/activate',
  expires_in: 600,
  interval: 0.01,
};
const desk = (url: string) => ({
  device_authorization_endpoint: `${url}/device`,
  client_id: 'desk',
  flows: ['device_code'],
  dpop: true,
});
const tokens =
  (type: object): Answer =>
  ({ path }) =>
    path === '/device' ? [200, codes] : [200, { access_token: 'access', refresh_token: 'refresh', ...type }];

describe('connect, for a provider whose tokens must be bound to a DPoP key', () => {
  test('sends the token endpoint a proof for exactly that request', async () => {
    const at = await homeWithProvider(tokens({ token_type: 'DPoP' }), desk);
    const ran = await at.run(['connect', 'desk']);
    expect(ran.exit, ran.stderr).toBe(0);
    const [begun, asked] = at.asked;
    expect(begun?.headers['dpop']).toBeUndefined();
    const proof = String(asked?.headers['dpop']);
    expect(decodeProtectedHeader(proof)).toMatchObject({ typ: 'dpop+jwt', alg: 'ES256' });
    expect(decodeJwt(proof)).toEqual({
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
      htm: 'POST',
      htu: `${at.url}/token`,
      iat: expect.any(Number),
    });
  });

  test.each([
    ['has the token type Bearer', { token_type: 'Bearer' }],
    ['has no token type', {}],
  ])('stores nothing if the response %s', async (_what, type) => {
    const at = await homeWithProvider(tokens(type), desk);
    const ran = await at.run(['connect', 'desk']);
    expect(ran).toMatchObject({ exit: 5, stdout: '' });
    expect(ran.stderr).toContain('The Desk gave a token that is bound to no key (token_type is not DPoP)');
    expect(ran.stderr).toContain('take dpop out of its definition');
    expect(await grantsOf(at)).toEqual([]);
  });

  test('requests a bound token in place of an imported token', async () => {
    const at = await homeWithProvider(tokens({ token_type: 'DPoP' }), desk);
    const input = '{"access_token":"of-elsewhere","refresh_token":"refresh-1","expires_in":3600}';
    const ran = await at.run(['connect', 'desk', '--import'], { input });
    expect(ran.exit, ran.stderr).toBe(0);
    expect(at.asked).toMatchObject([
      { form: { refresh_token: 'refresh-1' }, headers: { dpop: expect.any(String) } },
    ]);
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({ dpop: { token_bound: true } });
  });

  test('stores nothing if an imported token is not bound to a key', async () => {
    const at = await homeWithProvider(tokens({ token_type: 'Bearer' }), desk);
    const ran = await at.run(['connect', 'desk', '--import'], { input: 'refresh-1' });
    expect(ran).toMatchObject({ exit: 5, stderr: expect.stringContaining('bound to no key') });
    expect(await grantsOf(at)).toEqual([]);
  });

  test('refuses a token that is bound to the key of another tool', async () => {
    const at = await homeWithProvider(tokens({ token_type: 'DPoP' }), desk);
    const input = '{"access_token":"a","refresh_token":"r","token_type":"DPoP"}';
    const ran = await at.run(['connect', 'desk', '--import'], { input });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('bound to the key of the tool') });
  });
});

describe('a DPoP provider definition', () => {
  test.each([
    [{ dpop: 'yes' }, 'must be true, false or { algorithm'],
    [{ dpop: true, inject: { header: 'X-Api-Key' } }, 'goes with inject: bearer'],
    [{ dpop: true, flows: ['aws_role'] }, 'does not go with the flow aws_role'],
  ])('%j is refused', async (provider, message) => {
    const at = await homeWithProvider(tokens({}), (url) => ({ ...desk(url), ...provider }));
    const ran = await at.run(['provider', 'show', 'desk']);
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining(message) });
  });

  test('shows how its tokens are sent', async () => {
    const at = await homeWithProvider(tokens({}), desk);
    expect((await at.run(['provider', 'show', 'desk'])).stdout).toMatch(
      /carried as +Authorization: DPoP …, with a proof for each request/,
    );
  });
});
