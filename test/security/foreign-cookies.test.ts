import { once } from 'node:events';
import { get, type IncomingMessage, request } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { routes } from '../../src/api/routes.ts';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { redirectTarget, type RedirectTarget } from '../../src/operations/connect/redirect.ts';
import { openLoopback } from '../../src/cli/connect/browser/receive-code.ts';
import { browserOf } from '../../src/sdk/client/open-browser.ts';
import { startConnecting } from '../support/connect-session.ts';
import { cookieFieldOf, foreignCookies } from '../support/foreign-cookies.ts';
import { startWithIssuer } from '../support/open-id-server.ts';
import { startService } from '../support/service.ts';

/** Cookies have no port (RFC 6265 §8.5): every server on the host gets and sets them. */

async function withSession() {
  const service = await startService();
  const { call, sidekey, url } = service;
  await call('POST /v2/people', { body: { name: 'alice', role: 'operator' } });
  const own = { origin: url, 'sec-fetch-site': 'same-origin' };
  const signIn = async (headers: Readonly<Record<string, string>> = {}) => {
    const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
    return call(`POST ${path}`, { key: null, headers: { ...own, ...headers } });
  };
  const session = (await signIn()).body.session as string;
  return { ...service, own, signIn, session };
}

const answered = () => Promise.resolve({ kind: 'done', title: 'Done', says: [] } as const);

/** Sends a request with a field that `fetch` does not take. */
async function statusOf(address: string, cookie: string): Promise<number | undefined> {
  const sent = get(address, { headers: { cookie: Buffer.from(cookie).toString('latin1') }, agent: false });
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  answer.resume();
  return answer.statusCode;
}

test('no route accepts the secret of a session, or a key, as a cookie', async () => {
  const { call, own, session, key } = await withSession();
  const secrets = [session, await key()];
  const names = ['sidekey', '__Host-sidekey', 'sidekey-session', 'authorization', 'x-api-key'];
  const cookie = names.flatMap((name) => secrets.map((secret) => `${name}=${secret}`)).join('; ');
  for (const { method, path } of routes) {
    const target = `${method.toUpperCase()} ${path.replace(/\{\w+\}/g, 'x')}`;
    const { status } = await call(target, { key: null, headers: { ...own, cookie } });
    expect([401, 429], target).toContain(status);
  }
  const { status } = await call('GET /v2/me', { key: null, headers: { authorization: `Bearer ${session}` } });
  expect(status).toBe(200);
});

test('no step of a sign-in or of a connect session sets a cookie', async () => {
  const { signIn, call, own } = await withSession();
  const signedIn = await signIn();
  const authorization = `Bearer ${signedIn.body.session}`;
  const out = await call('POST /sign-out', { key: null, headers: { ...own, authorization } });
  const { browser } = await startWithIssuer();
  const alice = browser();
  const begun = await alice.open('POST /sign-in/oidc', { body: { return_to: '/' } });
  const ended = await alice.signIn();
  const at = await startConnecting();
  const person = at.browser();
  const pressed = await person.press((await at.session()).connect_url);
  const connected = await person.open(await person.consent((await at.session()).connect_url));
  const answers = [signedIn, out, begun, ended, pressed, connected];
  expect(answers.map(({ status }) => status)).toEqual([200, 204, 200, 200, 303, 200]);
  for (const { headers } of answers) expect(headers.getSetCookie()).toEqual([]);
});

describe.each(Object.entries(foreignCookies))('cookies %s', (_kind, cookies) => {
  const cookie = cookieFieldOf(cookies);

  test('do not prevent a browser from using the pages, its session or a new sign-in', async () => {
    const { url, session, signIn, call } = await withSession();
    const authorization = `Bearer ${session}`;
    expect(await statusOf(`${url}/`, cookie)).toBe(200);
    const sent = request(`${url}/v2/me`, { agent: false, headers: { authorization } });
    sent.setHeader('cookie', Buffer.from(cookie).toString('latin1')).end();
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    answer.resume();
    expect(answer.statusCode).toBe(200);
    const again = await signIn({ cookie: Buffer.from(cookie).toString('latin1') });
    const fresh = { authorization: `Bearer ${again.body.session}` };
    expect((await call('GET /v2/me', { key: null, headers: fresh })).status).toBe(200);
  });

  test('do not prevent a browser from using the addresses that commands open', async () => {
    const target = redirectTarget({ port: '0' });
    const loopback = await openLoopback(target as Extract<RedirectTarget, { kind: 'loopback' }>);
    onTestFinished(() => loopback.close());
    const launch = loopback.expect({
      launched: async () => 'https://login.example.com/',
      callback: { state: 's', answered },
    });
    expect(await statusOf(launch, cookie)).toBe(302);
    expect(await statusOf(`${loopback.redirectUri}?code=c&state=s`, cookie)).toBe(200);

    const opened = Promise.withResolvers<string>();
    const start = (_program: string, args: readonly string[]) => {
      opened.resolve(args.at(-1) ?? '');
      return { unref() {}, once: () => undefined as never };
    };
    const open = browserOf({ platform: 'linux', env: { DISPLAY: ':0' }, start });
    await open!('https://login.example.com/');
    expect(await statusOf(await opened.promise, cookie)).toBe(303);
  });
});
