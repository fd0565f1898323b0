import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { browsers, type Page } from '../support/browsers.ts';
import { startConnecting } from '../support/connect-session.ts';
import { foreignCookies } from '../support/foreign-cookies.ts';
import { startWithIssuer } from '../support/open-id-server.ts';
import { click, goTo, openedPages } from '../support/opened-pages.ts';

/** Cookies of an answer. Browsers accept at most 256 KiB of fields. */
const perAnswer = 45;

/** A development server on another port of 127.0.0.1, which records what it gets and sets cookies. */
async function startDevServer(cookies: readonly string[]) {
  const received: IncomingHttpHeaders[] = [];
  const server = createServer({ maxHeaderSize: 1_048_576 }, ({ url: target = '', headers }, response) => {
    const page = Number(URL.parse(target, 'http://x')?.searchParams.get('page'));
    received.push(headers);
    response.setHeader('set-cookie', cookies.slice(page * perAnswer, (page + 1) * perAnswer));
    response.setHeader('content-type', 'text/html');
    response.end(`<p>The development server, page ${page}.</p>`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  /** Opens pages of the server until all cookies are set, and one more, to which the browser sends them. */
  const visit = async (browser: Page) => {
    for (let page = 0; page <= Math.ceil(cookies.length / perAnswer); page += 1) {
      await browser.evaluate(`location.assign('${url}?page=${page}')`);
      await browser.shows(`The development server, page ${page}.`);
    }
  };
  return { received, visit };
}

const kinds = Object.entries(foreignCookies);
const [, heaviest] = kinds.at(-1)!;

describe.each(browsers)('after a visit to another port, %s%s', { timeout: 60_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test('the browser has sent that port nothing that grants access to the API', async () => {
    const { page, call, url, sidekey } = await openedPages(open);
    const { received, visit } = await startDevServer([]);
    await visit(page);
    const session = await secretOf(page, url);
    expect(received.length).toBeGreaterThan(0);
    expect(JSON.stringify(received)).not.toContain(session);
    for (const { host, ...headers } of received as Record<string, string>[]) {
      const own = { ...headers, origin: url, 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' };
      for (const request of ['GET /v2/me', 'GET /v2/grants', 'POST /v2/me/login-codes'])
        expect((await call(request, { key: null, headers: own })).status, `${request} ${host}`).toBe(401);
    }
    expect(sidekey.logged()).not.toContain(session);
    const authorization = `Bearer ${session}`;
    expect((await call('GET /v2/me', { key: null, headers: { authorization } })).status).toBe(200);
  });

  test.each(kinds)('with cookies %s the page keeps working and can sign in again', async (_kind, cookies) => {
    const { page, call, sidekey, url } = await openedPages(open);
    const { visit } = await startDevServer(cookies);
    await visit(page);
    await page.evaluate(`location.assign('${url}/')`);
    await page.shows('Sign out');
    await goTo(page, 'audit', 'person.signed_in');
    await call('POST /v2/people', { body: { name: 'newcomer', role: 'auditor' } });
    await page.shows('newcomer');
    await page.evaluate(click('Sign out'));
    await page.shows('Sign in to Sidekey');
    expect(await page.evaluate('localStorage.length')).toBe(0);
    const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
    await page.evaluate(`location.assign('${url}${path}')`);
    await page.shows('This link works once');
    await page.evaluate(click('Sign in'));
    await page.shows('Sign out');
  });

  test('the browser can sign in at the issuer and open another tab', async () => {
    const { server, url } = await startWithIssuer();
    const button = `Sign in with ${new URL(server.issuer).host}`;
    const page = await open!(`${url}/`);
    await page.shows(button);
    await (await startDevServer(heaviest)).visit(page);
    await page.evaluate(`location.assign('${url}/')`);
    await page.shows(button);
    await page.evaluate(click(button));
    await page.shows('Sign out');
    const opened = page.popup();
    await page.evaluate(`void window.open('${url}/#people')`);
    await (await opened).shows('API keys');
  });

  test('the browser can complete the consent of a connect session', async () => {
    const at = await startConnecting();
    const { id, connect_url: link } = await at.session({ return_url: undefined });
    const page = await open!(link);
    await page.shows('asks to use your account');
    await (await startDevServer(heaviest)).visit(page);
    await page.evaluate(`location.assign('${link}')`);
    await page.shows('asks to use your account');
    await page.evaluate(`document.querySelector('[value=yes]').click()`);
    await page.shows('Sign in');
    await page.evaluate(`
      document.querySelector('[name=email]').value = 'alice@acme.test';
      document.querySelector('[name=password]').value = 'demo1234';
      document.querySelector('form').requestSubmit();
    `);
    await page.shows('to use your Acme account?');
    await page.evaluate(`document.querySelector('[value=allow]').click()`);
    await page.shows('is connected');
    expect((await at.call(`GET /v2/connect-sessions/${id}`)).body).toMatchObject({ status: 'connected' });
  });

  test('the browser can answer an approval link', async () => {
    const { page, url } = await openedPages(open);
    await (await startDevServer(heaviest)).visit(page);
    await page.evaluate(`location.assign('${url}/approve/k7w2m9qd/cut')`);
    await page.shows('This link is not valid');
  });
});

/** Returns the secret of the session, from the storage of the pages. */
async function secretOf(page: Page, url: string): Promise<string> {
  await page.evaluate(`location.assign('${url}/')`);
  await page.shows('Sign out');
  return String(await page.evaluate(`localStorage.getItem('sidekey-session')`));
}
