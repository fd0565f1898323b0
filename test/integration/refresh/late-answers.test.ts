/**
 * A token endpoint that answers after `refresh_timeout`: real proxies keep the grant, also through a stop.
 */
import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { parseCallback } from '../../../src/grants/oauth/authorization-code.ts';
import { exchangeOnce } from '../../../src/operations/connect/consent.ts';
import { defaultLimits } from '../../../src/proxy/policy/limits.ts';
import { home } from '../../support/command-line.ts';
import { aProvider } from '../../support/provider.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { startTokenServer } from '../../support/token-server.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';

/** A provider that answers when the test says so, and a home with a grant of it whose token has ended. */
async function lateDesk() {
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const { promise: rotated, resolve: noteRotation } = Promise.withResolvers<void>();
  const server = await startTokenServer({
    expiresIn: 3_600,
    onRotated() {
      noteRotation();
      return answered;
    },
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [server.authority]: { grant: 'desk' } },
    limits: { refresh_timeout: '2s' },
    providers: {
      desk: {
        token_endpoint: `${server.url}/token/desk`,
        client_id: 'sidekey',
        audience: [server.authority],
      },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const { accessToken, refreshToken } = server.consent('desk');
  const ended = { access_token: accessToken, refresh_token: refreshToken, expires_at: Date.now() - 1_000 };
  await at.grant('desk', ended, ['--provider', 'desk']);
  return { at, server, answer, rotated };
}

test('a late answer is stored once for two proxies, whose callers were refused meanwhile', async () => {
  const { at, server, answer } = await lateDesk();
  const [one, other] = [await at.start(), await at.start()];
  const get = (proxy: { readonly url: string }) => proxiedGet(proxy.url, `${server.url}/items`);
  const refused = await Promise.all([get(one), get(other)]);
  expect(refused).toMatchObject([{ status: 502 }, { status: 502 }]);
  expect(server.requests).toHaveLength(1);
  answer();
  await expect.poll(() => get(one), { timeout: 10_000 }).toMatchObject({ status: 200 });
  expect(await get(other)).toMatchObject({ status: 200 });
  expect(server.requests).toHaveLength(1);
  expect(server.reuses).toEqual([]);
});

test('a late answer during a stop is stored, and the next process uses it', async () => {
  const { at, server, answer, rotated } = await lateDesk();
  const proxy = await at.start();
  expect(await proxiedGet(proxy.url, `${server.url}/items`)).toMatchObject({ status: 502 });
  await rotated;
  const stopped = proxy.stop();
  answer();
  expect((await stopped).exit).toBe(0);
  const next = await at.start();
  expect(await proxiedGet(next.url, `${server.url}/items`)).toMatchObject({ status: 200 });
  expect(server.requests).toHaveLength(1);
});

test('a late answer to a code is awaited, because the code cannot be sent twice', async () => {
  const { url } = await startUpstream((request, response) => {
    request.resume();
    setTimeout(() => response.end('{"access_token":"first","token_type":"Bearer"}'), 400);
  });
  const { fetch } = testUpstreamClient();
  const provider = aProvider({ clientId: 'sidekey', tokenEndpoint: `${url}/token` });
  const flow = { provider, state: 's', codeVerifier: 'v', redirectUri: 'http://127.0.0.1/callback' };
  const callback = parseCallback('?code=c&state=s');
  const limits = { ...defaultLimits, refresh_timeout: 100 };
  const state = { config: { limits }, now: Date.now } as unknown as Parameters<typeof exchangeOnce>[1];
  const { credential } = await exchangeOnce({ ...flow, callback, fetch }, state);
  expect(credential).toMatchObject({ accessToken: 'first' });
});
