import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { home, type Home } from '../../support/command-line.ts';
import { requestBody } from '../../support/request-body.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

type Answer = (form: URLSearchParams, response: ServerResponse) => void;

/** A home with a grant of a provider whose token endpoint answers like this. */
async function homeWithProvider(answer: Answer): Promise<Home> {
  const upstream = await startUpstream((request: IncomingMessage, response) => {
    response.setHeader('content-type', 'application/json');
    void requestBody(request).then((body) => answer(new URLSearchParams(body), response));
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: {
      desk: { token_endpoint: `${upstream.url}/token`, client_id: 'sidekey', audience: [upstream.authority] },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant(
    'desk',
    { access_token: 'access-0', refresh_token: 'refresh-0', expires_in: 3600, scope: 'read' },
    ['--provider', 'desk'],
  );
  return at;
}

const event = async (at: Home) => {
  const { stdout } = await at.run(['audit', 'tail', '-n', '1', '--json']);
  return JSON.parse(stdout) as unknown;
};

describe('grant refresh', () => {
  test('gets a new token even if the current token is valid, and keeps the rotated refresh token', async () => {
    const used: (string | null)[] = [];
    const at = await homeWithProvider((form, response) => {
      used.push(form.get('refresh_token'));
      const next = used.length;
      response.end(
        JSON.stringify({
          access_token: `access-${next}`,
          refresh_token: `refresh-${next}`,
          token_type: 'Bearer',
          expires_in: 7200,
        }),
      );
    });
    const first = await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(first).toMatchObject({ exit: 0, stderr: '' });
    expect(first.stdout).toBe('Refreshed desk.\n  scopes   read\n  expires  in 2 h\n');
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({
      renewed: true,
      revision: 3,
    });
    expect(used).toEqual(['refresh-0', 'refresh-1']);
    expect(await event(at)).toMatchObject({ event: 'grant.refreshed', outcome: 'ok', provider: 'desk' });
  });

  test('keeps a token that is not due, and names the flag that forces a refresh', async () => {
    let asked = 0;
    const at = await homeWithProvider((_form, response) => {
      asked += 1;
      response.end('{"access_token":"access-1","token_type":"Bearer","expires_in":1}');
    });
    expect(await at.run(['grant', 'refresh', 'desk'])).toEqual({
      exit: 0,
      stdout:
        'desk is not due for a refresh, so it was left as it is.\n  scopes   read\n  expires  in 60 min\n',
      stderr: '  → sidekey grant refresh desk --force\n',
    });
    expect(await at.json(['grant', 'refresh', 'desk'])).toMatchObject({ renewed: false, revision: 1 });
    expect(asked).toBe(0);
  });

  test('gets a new token if the current token has expired', async () => {
    const at = await homeWithProvider((_form, response) => {
      response.end('{"access_token":"access-1","token_type":"Bearer","expires_in":3600}');
    });
    await at.grant('ended', { access_token: 'a', refresh_token: 'r', expires_at: Date.now() - 60_000 }, [
      '--provider',
      'desk',
    ]);
    expect(await at.json(['grant', 'refresh', 'ended'])).toMatchObject({ renewed: true, revision: 2 });
  });

  test('reports a permanent refusal, after which the grant needs a new consent', async () => {
    const at = await homeWithProvider((_form, response) => {
      response.statusCode = 400;
      response.end('{"error":"invalid_grant","error_description":"token was revoked"}');
    });
    const ran = await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(ran).toMatchObject({ exit: 4, stdout: '' });
    expect(ran.stderr).toMatch(
      /The grant "desk" needs a new consent: .+\n {2}→ sidekey grant import desk .+ --replace/,
    );
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({ state: 'reauth_required' });
    expect(await event(at)).toMatchObject({ event: 'grant.reauth_required' });
    expect(await at.run(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ exit: 4 });
  });

  test('reports a temporary failure with its reason, and keeps the current token', async () => {
    const at = await homeWithProvider((_form, response) => {
      response.statusCode = 503;
      response.end('{}');
    });
    const ran = await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(ran).toMatchObject({ exit: 5, stdout: '' });
    expect(ran.stderr).toMatch(/^sidekey: The token of the grant "desk" could not be refreshed: .*503/);
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({ state: 'active', revision: 1 });
  });

  test('refuses a credential without refresh, with a reason', async () => {
    const at = await home();
    await at.grant('key', { type: 'api_key', value: 'secret' });
    const ran = await at.run(['grant', 'refresh', 'key']);
    expect(ran).toMatchObject({ exit: 2, stdout: '' });
    expect(ran.stderr).toContain(
      'key cannot be refreshed: credentials of the type api_key are not refreshed.',
    );
  });
});
