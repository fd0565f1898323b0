import { describe, expect, it } from 'vitest';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { browsers, type Open, type Page } from '../support/browsers.ts';
import type { BrowserPage } from '../support/chromium.ts';
import { startConnecting } from '../support/connect-session.ts';
import { examined } from '../support/examined.ts';
import { click, consentIn, goTo, submit } from '../support/opened-pages.ts';
import { startUpstream } from '../support/upstream.ts';

const machineKey = 're_key-of-the-machine-0123456789';

/** The page of a service with the sample company, a key of the machine, and a local API with a key. */
async function opened(open: Open, role = 'operator') {
  const upstream = await startUpstream((request, response) => {
    response.statusCode = request.headers.authorization === 'Bearer good-key-0123456789' ? 200 : 401;
    response.end('{}');
  });
  const { authority } = upstream;
  const desk = { title: 'Local Desk', audience: [authority], probe: { url: `https://${authority}/me` } };
  const env = { HOME: '/nowhere', INIT_CWD: '/nowhere', RESEND_API_KEY: machineKey };
  const at = await startConnecting({ providers: { desk }, env });
  const { call, sidekey, url } = at;
  const user = role === 'user' ? { user: 'alice' } : {};
  await call('POST /v2/people', { body: { name: 'pat', role, ...user } });
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'pat');
  const page = await open!(url + path);
  await page.shows('This link works once');
  await page.evaluate(`document.querySelector('button').click()`);
  await page.shows('Sign out');
  await page.evaluate(`
    globalThis.answers = [];
    const fetched = globalThis.fetch;
    globalThis.fetch = async (...call) => {
      const answer = await fetched(...call);
      answers.push(await answer.clone().text());
      return answer;
    };
    undefined;`);
  return { ...at, page, authority };
}

const answersOf = async (page: Page) => ((await page.evaluate('answers')) as readonly string[]).join('\n');

describe.each(browsers)('the page Connect in %s%s', { timeout: 120_000 }, (name, _why, open) => {
  const test = it.skipIf(open === null);

  test('stores a pasted key after its verification, and shows what was verified', async () => {
    const { page, call, authority } = await opened(open);
    await goTo(page, 'connect', 'Local Desk');
    await goTo(page, 'connect/desk', 'Verify and store');
    await page.evaluate(submit('Verify and store', { token: 'bad-key-0123456789' }));
    await page.shows('401');
    expect(await page.evaluate(`document.querySelector('[type=password]').value`)).toBe('');
    await page.evaluate(submit('Verify and store', { token: 'good-key-0123456789' }));
    const text = await page.shows('Local Desk is connected');
    expect(text).toContain(`Used for requests to\n${authority}`);
    expect((await call('GET /v2/grants')).body.data).toMatchObject([{ name: 'desk', user: 'default' }]);
    expect(await answersOf(page)).not.toMatch(/good-key|bad-key/);
    if (name === 'Chromium') await examined(page as BrowserPage, 'connect-result');
  });

  test('connects an account by a consent in a popup, lets its hosts use it, and offers it to a new agent', async () => {
    const { page, call, helpdesk } = await opened(open);
    const host = `helpdesk.acme.test:${helpdesk.port}`;
    const said = `You sign in at ${host}. Its tokens are sent only to ${host}. Requests to ${host} use the account from then on, unless a rule decides about them.`;
    await goTo(page, 'connect/acme', said);
    await page.evaluate(
      `void document.querySelectorAll('main details').forEach((each) => (each.open = true))`,
    );
    if (name === 'Chromium') await examined(page as BrowserPage, 'connect-consent');
    const popup = page.popup();
    await page.evaluate(click('Continue to Acme Helpdesk'));
    await page.shows('Finish in the other window.');
    if (name === 'Chromium') await examined(page as BrowserPage, 'connect-waiting');
    await consentIn(await popup, 'allow');
    const text = await page.shows('Acme Helpdesk is connected');
    expect(text).toContain(`Used for requests to\n${host}`);
    expect(text).not.toMatch(/Let requests to|Finish in/);
    expect((await call('GET /v2/grants')).body.data).toMatchObject([{ name: 'acme', provider: 'acme' }]);
    await page.evaluate(
      `void [...document.querySelectorAll('a')].find((it) => it.textContent === 'Create an agent').click()`,
    );
    await page.shows('Create the agent');
    expect(await page.evaluate(`document.querySelector('[name=which]').value`)).toBe('acme');
    await page.evaluate(submit('Create the agent', { name: 'bot' }));
    await page.shows('The token of the agent bot.');
    expect((await call('GET /v2/agents/bot')).body.reaches).toMatchObject([{ name: 'acme' }]);
  });

  test('changes no decision about a host by a consent, and offers to change it', async () => {
    const { page, call, helpdesk } = await opened(open);
    const host = `helpdesk.acme.test:${helpdesk.port}`;
    await call(`PUT /v2/domains/*.acme.test:${helpdesk.port}`, { body: { action: 'deny' } });
    await goTo(page, 'connect/acme', 'Continue to Acme Helpdesk');
    const popup = page.popup();
    await page.evaluate(click('Continue to Acme Helpdesk'));
    await consentIn(await popup, 'allow');
    await page.shows('Acme Helpdesk is connected');
    const { body } = await call(`GET /v2/domains/${host}`);
    expect(body).toMatchObject([{ action: 'deny' }]);
    const primary = `[...document.querySelectorAll('main :is(button, a.button):not(.quiet)')].map((it) => it.textContent)`;
    expect(await page.evaluate(primary)).toEqual([`Let requests to ${host} use it`]);
    await page.evaluate(click(`Let requests to ${host} use it`));
    await page.shows(`Used for requests to\n${host}`);
    expect(await page.evaluate(primary)).toEqual(['Create an agent']);
  });

  test('returns to the service if the person declines, or closes the popup', async () => {
    const { page, call } = await opened(open);
    await goTo(page, 'connect/acme', 'Continue to Acme Helpdesk');
    const asked = page.popup();
    await page.evaluate(click('Continue to Acme Helpdesk'));
    await consentIn(await asked, 'deny');
    await page.shows('said no to the consent');
    const canceled = page.popup();
    await page.evaluate(click('Continue to Acme Helpdesk'));
    await (await canceled).shows('asks to use your account');
    await page.evaluate(click('Cancel'));
    await page.shows('The window was closed');
    await page.lacks('Finish in the other window.');
    const second = page.popup();
    await page.evaluate(click('Continue to Acme Helpdesk'));
    const popup = await second;
    await popup.shows('asks to use your account at Acme Helpdesk (acme).');
    // Only the popup may report the end of its session.
    const session = new URL(await popup.address()).pathname.split(/[/.]/)[2];
    const end = { type: 'sidekey.connect', status: 'connected', grant_id: crypto.randomUUID() };
    await page.evaluate(`postMessage(${JSON.stringify({ ...end, session })}, '*')`);
    await popup.evaluate(`opener.postMessage(${JSON.stringify({ ...end, session: 'other' })}, '*')`);
    void popup.evaluate('close()').catch(() => {});
    await page.shows('The window was closed');
    expect((await call('GET /v2/grants')).body.data).toEqual([]);
  });

  test('connects a key of the machine without its value', async () => {
    const { page, call } = await opened(open);
    const text = await goTo(page, 'connect', 'Keys found where Sidekey runs');
    expect(text).toContain('RESEND_API_KEY in the environment');
    await goTo(page, 'connect/resend', 'Use this key');
    await page.evaluate(click('Use this key'));
    await page.shows('Resend is connected');
    expect((await call('GET /v2/grants')).body.data).toMatchObject([{ name: 'resend' }]);
    expect(await answersOf(page)).not.toContain(machineKey);
  });

  test('shows the steps to a client with the redirect URI', async () => {
    const { page, url } = await opened(open);
    const text = await goTo(page, 'connect/slack', 'Register it once');
    expect(text).toContain(`${url}/connect/callback`);
    if (name === 'Chromium') await examined(page as BrowserPage, 'connect-service');
  });

  test('finds services by their name and category, and moves in the grid by arrow keys', async () => {
    const { page } = await opened(open);
    await goTo(page, 'connect', 'Local Desk');
    if (name === 'Chromium') await examined(page as BrowserPage, 'connect');
    const shown = () => page.evaluate(`document.querySelectorAll('[aria-label=Services] a').length`);
    expect(await shown()).toBeGreaterThan(100);
    await page.evaluate(`{
      const field = document.querySelector('[type=search]');
      field.value = 'google';
      field.dispatchEvent(new Event('input', { bubbles: true }));
    }`);
    await page.lacks('Local Desk');
    const press = (key: string) =>
      page.evaluate(
        `document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: '${key}', bubbles: true, cancelable: true }))`,
      );
    const focused = () => page.evaluate(`document.activeElement.textContent`);
    await page.evaluate(`document.querySelector('[type=search]').focus()`);
    await press('ArrowDown');
    const first = await focused();
    await press('ArrowRight');
    expect(await focused()).not.toBe(first);
    await press('ArrowLeft');
    expect(await focused()).toBe(first);
    await page.evaluate(`{
      const field = document.querySelector('[type=search]');
      field.value = 'no such service';
      field.dispatchEvent(new Event('input', { bubbles: true }));
    }`);
    await page.shows('No service fits');
  });
});
