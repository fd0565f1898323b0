import { describe, expect, test } from 'vitest';
import { begin } from '../../support/connect-home.ts';
import { homeWithProvider, grantsOf, type Answer } from '../../support/provider-home.ts';

const device = (url: string) => ({
  device_authorization_endpoint: `${url}/device`,
  client_id: 'desk',
  flows: ['device_code'],
  scopes: ['read'],
});

describe('connect --device', () => {
  const codes = {
    device_code: 'the-device-code',
    user_code: 'WDJB-MJHT',
    verification_uri: 'https://desk.acme.test/activate',
    verification_uri_complete: 'https://desk.acme.test/activate?user_code=WDJB-MJHT',
    expires_in: 600,
    interval: 0.01,
  };
  /** Says `authorization_pending` once, and then this. */
  const then =
    (status: number, body: object, begun: object = codes): Answer =>
    ({ path }, count) =>
      path === '/device'
        ? [200, begun]
        : count === 2
          ? [400, { error: 'authorization_pending' }]
          : [status, body];

  test('shows the address and the code, waits, and stores the grant', async () => {
    const tokens = { access_token: 'access', refresh_token: 'refresh', expires_in: 3600, scope: 'read' };
    const at = await homeWithProvider(then(200, tokens), device);
    const ran = await at.run(['connect', 'desk']);
    expect(ran.exit, ran.stderr).toBe(0);
    expect(ran.stderr).toContain(
      'On any device, go to:\n\n  https://desk.acme.test/activate\n\nand type the code:\n\n  WDJB-MJHT\n',
    );
    expect(ran.stderr).toContain('https://desk.acme.test/activate?user_code=WDJB-MJHT');
    expect(ran.stderr).toContain('Waiting for The Desk; the code ends in 10 min.');
    expect(ran.stderr + ran.stdout).not.toContain('the-device-code');
    expect(await grantsOf(at)).toMatchObject([{ state: 'active', scopes: ['read'], refreshable: true }]);
    expect(at.asked.map(({ path, form }) => [path, form['scope'] ?? form['device_code']])).toEqual([
      ['/device', 'read'],
      ['/token', 'the-device-code'],
      ['/token', 'the-device-code'],
    ]);
  });

  test('prints the instructions for programs as one line of JSON', async () => {
    const at = await homeWithProvider(then(200, { access_token: 'access' }), device);
    const { stderr, stdout } = await at.run(['connect', 'desk', '--device', '--json']);
    expect(JSON.parse(stderr.split('\n')[0] ?? '')).toEqual({
      provider: 'desk',
      verification_uri: codes.verification_uri,
      verification_uri_complete: codes.verification_uri_complete,
      user_code: 'WDJB-MJHT',
      expires_at: expect.stringMatching(/Z$/),
    });
    expect(JSON.parse(stdout)).toMatchObject({ provider: 'desk', scopes: ['read'] });
  });

  test.each([
    ['a person refuses', then(400, { error: 'access_denied' }), 5, /Consent was refused at The Desk/],
    ['nobody answers', then(400, { error: 'expired_token' }), 1, /Nobody gave consent at The Desk in time/],
    [
      'the code expires',
      then(400, { error: 'authorization_pending' }, { ...codes, expires_in: 0.05 }),
      1,
      /Nobody gave consent/,
    ],
    [
      'the provider does not want it',
      then(401, { error: 'invalid_client' }),
      5,
      /gave no token \(invalid_client\)/,
    ],
    [
      'it cannot begin',
      (() => [
        400,
        { error: 'unauthorized_client', error_description: 'not for this client' },
      ]) satisfies Answer,
      5,
      /unauthorized_client: not for this client/,
    ],
    ['the provider is away', (() => [503, {}]) satisfies Answer, 5, /HTTP 503/],
  ])('reports the failure if %s, and stores nothing', async (_what, answer, exit, message) => {
    const at = await homeWithProvider(answer, device);
    const ran = await at.run(['connect', 'desk']);
    expect(ran).toMatchObject({ exit, stdout: '', stderr: expect.stringMatching(message) });
    expect(await grantsOf(at)).toEqual([]);
  });

  test('ends when the device code expires', async () => {
    const at = await homeWithProvider(then(400, { error: 'authorization_pending' }), device);
    const ran = await begin(['connect', 'desk', '--timeout', '1s', '--config', at.configFile], at.folder)
      .done;
    expect(ran).toMatchObject({ exit: 1, stderr: expect.stringContaining('No answer came within 1s') });
  });

  test.each([
    [
      'no such way',
      { token_endpoint: 'https://desk.acme.test/token', client_id: 'desk' },
      /on another device/,
    ],
    ['no client', { device_authorization_endpoint: 'https://desk.acme.test/device' }, /has no client_id/],
  ])('fails before any consent if the provider has %s', async (_what, provider, message) => {
    const at = await homeWithProvider(
      () => [500, {}],
      () => provider,
    );
    const ran = await at.run(['connect', 'desk', '--device']);
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringMatching(message) });
    expect(at.asked).toEqual([]);
  });
});
