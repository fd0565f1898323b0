/** Redirects of token endpoints in each flow; the cases of refreshes are in test/integration/refresh. */
import { expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import {
  authorizationUrl,
  exchangeCode,
  parseCallback,
} from '../../../../src/grants/oauth/authorization-code.ts';
import { beginDeviceConsent } from '../../../../src/grants/oauth/device-consent.ts';
import { movedFailure, repeatedAt } from '../../../../src/grants/oauth/redirect.ts';
import { askTokenEndpoint } from '../../../../src/grants/oauth/token-endpoint.ts';
import { newDpopKey } from '../../../../src/proxy/schemes/dpop-proof.ts';
import { acme } from '../processes.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const now = () => Date.UTC(2027, 0, 1);
const to = (status: number, location: string) => new Response(null, { status, headers: { location } });
const hint =
  'where that is the right address: set providers.acme.token_endpoint to https://acme.test/o/token/';

test('a redirect within the origin gets the same request, with a DPoP proof of its address', async () => {
  const answers = [to(307, '/o/token/?a=1'), Response.json({ access_token: 'new', token_type: 'DPoP' })];
  const { fetch, asked } = fakeEndpoint(() => answers.shift()!);
  let checks = 0;
  const answer = await askTokenEndpoint(
    {
      endpoint: 'https://acme.test/token',
      client: null,
      dialect: plainDialect,
      grantType: 'refresh_token',
      parameters: { refresh_token: 'the-refresh-token' },
      secrets: [],
    },
    { fetch, now, proofKey: newDpopKey('ES256'), beforeSend: async () => void (checks += 1) },
  );
  expect(answer).toMatchObject({ kind: 'tokens', accessToken: 'new', isBound: true });
  const htu = asked.map(({ headers }) => {
    const payload = Buffer.from(headers['dpop']?.split('.')[1] ?? '', 'base64url').toString();
    return (JSON.parse(payload) as { htu: string }).htu;
  });
  expect(asked.map(({ url }) => url)).toEqual(['https://acme.test/token', 'https://acme.test/o/token/?a=1']);
  expect(htu).toEqual(['https://acme.test/token', 'https://acme.test/o/token/']);
  expect(new Set(asked.map(({ method }) => method))).toEqual(new Set(['POST']));
  // The double reads no body, before which the check would run.
  expect(checks).toBe(0);
});

test('the exchange of a code names the address of a redirect', async () => {
  const redirectUri = 'http://127.0.0.1:8378/callback';
  const { state, codeVerifier } = await authorizationUrl({ provider: acme, redirectUri, scopes: [] });
  const { fetch } = fakeEndpoint(to(301, 'https://acme.test/o/token/?code=the-code'));
  const callback = parseCallback(`?code=the-code&state=${state}`);
  const exchange = { provider: acme, callback, state, codeVerifier, redirectUri, fetch, now };
  await expect(exchangeCode(exchange)).rejects.toMatchObject({
    code: 'provider_refused',
    message: expect.stringContaining('redirect (HTTP 301) to https://acme.test/o/token/).'),
    hint: [hint, '; then begin again'],
  });
});

test('a poll of the device flow ends with a redirect, and names its address', async () => {
  const codes = { device_code: 'd', user_code: 'u', verification_uri: 'https://acme.test/', expires_in: 600 };
  const answers = [Response.json(codes), to(302, 'https://acme.test/o/token/')];
  const { fetch, asked } = fakeEndpoint(() => answers.shift()!);
  const provider = { ...acme, deviceAuthorizationEndpoint: 'https://acme.test/device' };
  const { tokens } = await beginDeviceConsent(provider, [], { fetch, now });
  await expect(tokens({ pause: async () => undefined })).rejects.toMatchObject({
    code: 'provider_refused',
    hint,
  });
  expect(asked).toHaveLength(2);
});

test.each([
  [308, '//acme.test:8443/token'],
  [308, 'https://acme.test.evil.test/token'],
  [308, 'https://user@acme.test/token'],
  [308, 'javascript:alert(1)'],
  [308, 'https://['],
  [301, '/token/'],
  [303, '/token/'],
])('a %d to %s is not followed', (status, location) => {
  const redirect = { kind: 'redirect', status, location } as const;
  expect(repeatedAt('https://acme.test/token', redirect)).toBeNull();
  expect(movedFailure('the endpoint', 'https://acme.test/token', redirect).error).toBe('endpoint_moved');
});

test.each([
  ['https://acme.test/o/?code=the-code#part', 'https://acme.test/o/', 'https://acme.test/o/'],
  ['http://acme.test/o/', 'http://acme.test/o/', undefined],
  ['javascript:alert(1)', null, undefined],
])('the failure of a redirect to %s names %s, and %s for the definition', (location, named, movedTo) => {
  const redirect = { kind: 'redirect', status: 301, location } as const;
  const failure = movedFailure('the endpoint', 'https://acme.test/token', redirect);
  const where = named === null ? 'without an address' : `to ${named}`;
  expect(failure.description).toBe(`the endpoint answered with a redirect (HTTP 301) ${where}`);
  expect(failure.movedTo).toBe(movedTo);
});
