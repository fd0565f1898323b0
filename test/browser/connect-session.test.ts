import { getRequestListener } from '@hono/node-server';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createPopupApp } from '../../examples/sdk/popup/app.ts';
import { createClient } from '../../src/sdk/client/client.ts';
import { startConnecting } from '../support/connect-session.ts';
import type { BrowserPage } from '../support/chromium.ts';
import { browsers, type Open, type Page } from '../support/browsers.ts';
import { examined } from '../support/examined.ts';
import { consentIn } from '../support/opened-pages.ts';

/** A page of an application, of another origin than Sidekey's. */
async function startApp(): Promise<{ readonly origin: string }> {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(
      `<!doctype html><title>App</title><p>The application ${request.url === '/' ? '' : 'again'}</p>`,
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** The application in a browser, with a session that it began for alice. */
async function inBrowser(open: Open, body: object = {}) {
  const { origin } = await startApp();
  const at = await startConnecting({ returnUrls: [`${origin}/`] });
  const session = await at.session({ return_url: `${origin}/back`, popup_origin: origin, ...body });
  const page = await open!(`${origin}/`);
  await page.shows('The application');
  /** Calls `connect`, and keeps what it reports in `reports`. */
  const connect = () =>
    page.evaluate(`
      globalThis.reports = [];
      import('${at.url}/connect.js').then(({ connect }) => connect({
        sessionToken: '${session.session_token}',
        baseUrl: '${at.url}',
        onSuccess: (result) => reports.push({ success: result }),
        onError: (failure) => reports.push({ failure }),
        onExit: () => reports.push({ exit: true }),
      }));`);
  /** Resolves with what was reported. */
  const reported = async (): Promise<unknown> => {
    for (;;) {
      const found = (await page.evaluate('globalThis.reports')) as readonly unknown[];
      if (found.length > 0) return found;
    }
  };
  return { at, origin, page, session, connect, reported };
}

/** The example of an application with a popup. */
async function startPopupApp(): Promise<{ readonly origin: string }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const at = await startConnecting({ returnUrls: [`${origin}/`] });
  const client = createClient({ baseUrl: at.url, apiKey: await at.key() });
  const listener = getRequestListener(createPopupApp(client, at.url), { overrideGlobalObjects: false });
  server.on('request', (request, response) => void listener(request, response));
  return { origin };
}

/** Leaves out the picture that browsers load by themselves, and that the policy of the pages refuses. */
function complaintsOf({ complaints }: Page): readonly string[] {
  return complaints.filter((each) => !each.includes('favicon'));
}

/** Sends a message to the page that opened this one. */
async function tell(from: Page, message: object): Promise<void> {
  await from.evaluate(`opener.postMessage(${JSON.stringify(message)}, '*')`);
}

describe.each(browsers)('a connect session in %s%s', { timeout: 30_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test('in a popup reports its result to the page that opened it, and closes', async () => {
    const { at, page, session, connect, reported } = await inBrowser(open);
    const opened = page.popup();
    await connect();
    const popup = await opened;
    await popup.shows('asks to use your account');
    await consentIn(popup);
    const [{ success }] = (await reported()) as [{ success: { grantId: string } }];
    expect(success).toMatchObject({
      session: session.id,
      signature: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
    });
    const { body } = await at.call(`GET /v2/connect-sessions/${session.id}`);
    expect(body).toMatchObject({ status: 'connected', grant_id: success.grantId });
    expect(complaintsOf(popup)).toEqual([]);
    expect(complaintsOf(page)).toEqual([]);
  });

  test('in the popup of the example connects the account', async () => {
    const app = await startPopupApp();
    const page = await open!(`${app.origin}/`);
    await page.shows('Not connected yet.');
    const opened = page.popup();
    await page.evaluate(`document.querySelector('#connect').click()`);
    await consentIn(await opened);
    await page.shows('Acme is connected.');
  });

  test('in a popup reports that the person declined', async () => {
    const { page, connect, reported } = await inBrowser(open);
    const opened = page.popup();
    await connect();
    const popup = await opened;
    await popup.shows('asks to use your account');
    await popup.evaluate(`document.querySelector('[value=no]').click()`);
    expect(await reported()).toMatchObject([{ failure: { code: 'consent_declined' } }]);
  });

  test('reports an exit if its popup is closed', async () => {
    const { page, connect, reported } = await inBrowser(open);
    const opened = page.popup();
    await connect();
    const popup = await opened;
    await popup.shows('asks to use your account');
    await popup.evaluate('window.close()').catch(() => undefined);
    expect(await reported()).toEqual([{ exit: true }]);
  });

  test('ignores messages from another origin, window or session', async () => {
    const { at, page, session, connect, reported } = await inBrowser(open);
    const { origin: elsewhere } = await startApp();
    const forged = { type: 'sidekey.connect', session: session.id, status: 'connected', grant_id: 'forged' };
    const opened = page.popup();
    await connect();
    const popup = await opened;
    await popup.shows('asks to use your account');
    await tell(popup, { ...forged, session: 'cs_other' });
    // Another window with a page of Sidekey.
    const second = page.popup();
    await page.evaluate(`void window.open('${at.url}/connect/jwks.json')`);
    const other = await second;
    await other.shows('keys');
    await tell(other, forged);
    await popup.evaluate(`location.assign('${elsewhere}/')`);
    await popup.shows('The application');
    await tell(popup, forged);
    await popup.evaluate(`location.assign('${session.connect_url}')`);
    await popup.shows('asks to use your account');
    await popup.evaluate(`document.querySelector('[value=no]').click()`);
    expect(await reported()).toMatchObject([{ failure: { session: session.id } }]);
  });

  test('sends no message to a page whose origin is not that of the session', async () => {
    const { page, connect, reported } = await inBrowser(open);
    const { origin: elsewhere } = await startApp();
    await page.evaluate(`location.assign('${elsewhere}/elsewhere')`);
    await page.shows('again');
    const opened = page.popup();
    await connect();
    const popup = await opened;
    await popup.shows('asks to use your account');
    await popup.evaluate(`document.querySelector('[value=no]').click()`);
    expect(await reported()).toEqual([{ exit: true }]);
  });

  test('continues in the page if its popup is blocked, and returns to the return address', async () => {
    const { at, origin, page, session, connect } = await inBrowser(open);
    await page.evaluate('window.open = () => null');
    await connect();
    await consentIn(page);
    await page.shows('The application again');
    const address = new URL(await page.address());
    expect(`${address.origin}${address.pathname}`).toBe(`${origin}/back`);
    const { body } = await at.call(`GET /v2/connect-sessions/${session.id}`);
    expect(address.searchParams.get('grant_id')).toBe(body.grant_id);
  });

  test('without a popup returns to the return address', async () => {
    const { page, origin, session } = await inBrowser(open, { popup_origin: undefined });
    await page.evaluate(`location.assign('${session.connect_url}')`);
    await consentIn(page);
    await page.shows('The application again');
    expect(await page.address()).toContain(`${origin}/back?session=${session.id}&grant_id=`);
    expect(complaintsOf(page)).toEqual([]);
  });
});

const [, why, chromium] = browsers[0]!;

describe.skipIf(chromium === null)(`the pages of a connect session${why}`, { timeout: 60_000 }, () => {
  it('fit 390 pixels and are accessible: the start page, the final page and the page of an invalid link', async () => {
    const at = await startConnecting();
    const session = await at.session({ return_url: undefined });
    const page = (await chromium!(session.connect_url)) as BrowserPage;
    await page.shows('asks to use your account');
    await examined(page, 'connect-link');
    await consentIn(page);
    await page.shows('is connected');
    await examined(page, 'connect-end');
    await page.evaluate(`location.assign('${session.connect_url}')`);
    await page.shows('This link is used or too old');
    await examined(page, 'connect-gone');
  });
});
