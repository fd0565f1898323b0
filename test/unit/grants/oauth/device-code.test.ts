import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import {
  pollForTokens,
  requestDeviceAuthorization,
  type DeviceAuthorization,
  type DeviceOutcome,
  type DeviceRequest,
} from '../../../../src/grants/oauth/device-code.ts';
import { fakeEndpoint } from './fake-endpoint.ts';

const start = Date.UTC(2027, 0, 1);
const request: DeviceRequest = {
  deviceEndpoint: 'https://acme.test/device',
  endpoint: 'https://acme.test/token',
  client: { clientId: 'sidekey', clientSecret: null, auth: 'none' },
  dialect: plainDialect,
  scopes: ['read', 'write'],
};
const codes = {
  device_code: 'the-device-code',
  user_code: 'WDJB-MJHT',
  verification_uri: 'https://acme.test/activate',
  expires_in: 600,
};

async function begin(body: object | string = codes, changes: Partial<DeviceRequest> = {}, status = 200) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const { fetch, asked } = fakeEndpoint(() => new Response(text, { status }));
  const begun = await requestDeviceAuthorization({ ...request, ...changes }, { fetch, now: () => start });
  return { begun, asked };
}

describe('the device authorization request', () => {
  test('conforms to RFC 8628 §3.1', async () => {
    const { asked } = await begin();
    expect(asked).toMatchObject([
      {
        url: 'https://acme.test/device',
        method: 'POST',
        redirect: 'manual',
        headers: { accept: 'application/json' },
        form: { client_id: 'sidekey', scope: 'read write' },
      },
    ]);
    expect((await begin(codes, { scopes: [] })).asked[0]?.form).not.toHaveProperty('scope');
  });

  test('authenticates a client with a secret, as at the token endpoint', async () => {
    const post = { clientId: 'sidekey', clientSecret: 's3cret', auth: 'post' } as const;
    expect((await begin(codes, { client: post })).asked[0]?.form).toMatchObject({ client_secret: 's3cret' });
    const { asked } = await begin(codes, { client: { ...post, auth: 'basic' } });
    expect(asked[0]?.headers['authorization']).toBe(`Basic ${btoa('sidekey:s3cret')}`);
  });

  test('has the form of the provider’s dialect', async () => {
    const dialect = {
      ...plainDialect,
      clientIdParameter: 'client_key',
      scopeSeparator: ',',
      scopeParameter: 'user_scope',
      tokenHeaders: { 'user-agent': 'sidekey' },
    };
    const { asked } = await begin(codes, { dialect });
    expect(asked[0]?.form).toEqual({ client_key: 'sidekey', user_scope: 'read,write' });
    expect(asked[0]?.headers).toMatchObject({ 'user-agent': 'sidekey' });
  });

  test('is not sent without TLS', async () => {
    const { begun, asked } = await begin(codes, { deviceEndpoint: 'http://acme.test/device' });
    expect(begun).toMatchObject({ kind: 'error', error: 'endpoint_invalid' });
    expect(asked).toEqual([]);
  });
});

describe('the device authorization response', () => {
  test('conforms to RFC 8628 §3.2', async () => {
    const complete = 'https://acme.test/activate?user_code=WDJB-MJHT';
    const { begun } = await begin({ ...codes, verification_uri_complete: complete, interval: 7 });
    expect(begun).toEqual({
      kind: 'authorization',
      deviceCode: 'the-device-code',
      userCode: 'WDJB-MJHT',
      verificationUri: 'https://acme.test/activate',
      verificationUriComplete: complete,
      expiresAt: start + 600_000,
      intervalMs: 7_000,
    });
  });

  test('has an interval of five seconds by default, and bounded times', async () => {
    expect((await begin()).begun).toMatchObject({ intervalMs: 5_000, verificationUriComplete: null });
    const { begun } = await begin({ ...codes, interval: 1e9, expires_in: 1e9 });
    expect(begun).toMatchObject({ intervalMs: 120_000, expiresAt: start + 3_600_000 });
    const silent = await begin({ ...codes, expires_in: 0 });
    expect(silent.begun).toMatchObject({ expiresAt: start + 900_000 });
  });

  test('is read in the forms of Google and GitHub', async () => {
    const { verification_uri: url, ...rest } = codes;
    expect((await begin({ ...rest, verification_url: url, interval: '5' })).begun).toMatchObject({
      verificationUri: url,
    });
    const form = new URLSearchParams({ ...codes, expires_in: '600' }).toString();
    expect((await begin(form)).begun).toMatchObject({ userCode: 'WDJB-MJHT', expiresAt: start + 600_000 });
  });

  test.each([
    ['an http page', { ...codes, verification_uri: 'http://acme.test/activate' }],
    ['a page with user information', { ...codes, verification_uri: 'https://google.com@evil.test/' }],
    ['no verification URI', { ...codes, verification_uri: 17 }],
    ['a user code with control characters', { ...codes, user_code: 'A\u001b[2J' }],
    ['a user code over the length limit', { ...codes, user_code: 'A'.repeat(65) }],
    ['no device code', { ...codes, device_code: '' }],
    ['nothing', {}],
    ['an HTML page', '<html>'],
  ])('with %s is refused', async (_what, body) => {
    expect((await begin(body)).begun).toMatchObject({ kind: 'error', error: 'invalid_response' });
  });

  test('that is an error is reported', async () => {
    const body = { error: 'unauthorized_client', error_description: 'the device flow is switched off' };
    expect((await begin(body, {}, 400)).begun).toEqual({
      kind: 'error',
      error: 'unauthorized_client',
      description: 'the device flow is switched off',
    });
    expect((await begin({}, {}, 503)).begun).toMatchObject({ kind: 'later' });
  });
});

const authorization: DeviceAuthorization = {
  kind: 'authorization',
  deviceCode: 'the-device-code',
  userCode: 'WDJB-MJHT',
  verificationUri: 'https://acme.test/activate',
  verificationUriComplete: null,
  expiresAt: start + 60_000,
  intervalMs: 5_000,
};
const says = (error: string) => () => Response.json({ error }, { status: 400 });
const pending = says('authorization_pending');
const good = () => Response.json({ access_token: 'token', refresh_token: 'again', scope: 'read' });
const broken = () => Promise.reject(new Error('the network is away'));

/**
 * Polls a provider with these responses, of which the last repeats. `times`: the times of the requests, in
 * seconds.
 */
async function poll(
  answers: readonly (() => Response | Promise<Response>)[],
  onPause: (round: number) => void = () => undefined,
  signal?: AbortSignal,
): Promise<{ outcome: DeviceOutcome; times: number[]; forms: object[] }> {
  let now = start;
  let round = 0;
  const times: number[] = [];
  const { fetch, asked } = fakeEndpoint(() => {
    times.push((now - start) / 1_000);
    return answers[Math.min(times.length, answers.length) - 1]!();
  });
  const outcome = await pollForTokens(authorization, request, {
    fetch,
    now: () => now,
    signal,
    async pause(ms) {
      now += ms;
      onPause((round += 1));
    },
  });
  return { outcome, times, forms: asked.map(({ form }) => form) };
}

describe('polling', () => {
  test('repeats the request at the interval until the response has tokens', async () => {
    const { outcome, times, forms } = await poll([pending, pending, good]);
    expect(outcome).toMatchObject({
      kind: 'tokens',
      accessToken: 'token',
      refreshToken: 'again',
      scopes: ['read'],
    });
    expect(times).toEqual([5, 10, 15]);
    expect(forms[0]).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
      client_id: 'sidekey',
      device_code: 'the-device-code',
    });
  });

  test('slows down permanently by five seconds after each slow_down (RFC 8628 §3.5)', async () => {
    const slow = says('slow_down');
    expect((await poll([pending, slow, pending, slow, good])).times).toEqual([5, 10, 20, 30, 45]);
  });

  test('continues after failures at growing intervals, then at the original interval', async () => {
    const { outcome, times } = await poll([broken, () => new Response('', { status: 502 }), pending, good]);
    expect(outcome.kind).toBe('tokens');
    expect(times).toEqual([5, 15, 35, 40]);
  });

  test('waits for the time of Retry-After', async () => {
    const headers = { 'retry-after': '25' };
    const busy = () => new Response('', { status: 429, headers });
    expect((await poll([busy, good])).times).toEqual([5, 30]);
  });

  test('ends when the codes expire, with a last request at that time', async () => {
    const { outcome, times } = await poll([pending]);
    expect(outcome).toMatchObject({ kind: 'error', error: 'expired_token' });
    expect(times.at(-1)).toBe(60);
    expect((await poll([broken])).outcome).toMatchObject({ kind: 'error', error: 'expired_token' });
  });

  test.each(['access_denied', 'expired_token', 'invalid_client', 'invalid_grant'])(
    'ends at %s',
    async (error) => {
      const { outcome, times } = await poll([pending, says(error)]);
      expect(outcome).toMatchObject({ kind: 'error', error });
      expect(times).toEqual([5, 10]);
    },
  );

  test('ends when it is aborted, without another request', async () => {
    const controller = new AbortController();
    const stop = (round: number) => {
      if (round === 2) controller.abort();
    };
    const { outcome, times } = await poll([pending], stop, controller.signal);
    expect(outcome).toEqual({ kind: 'aborted' });
    expect(times).toEqual([5]);
  });
});
