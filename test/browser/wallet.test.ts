import { describe, expect, it } from 'vitest';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { allGrants } from '../support/all-grants.ts';
import type { BrowserPage } from '../support/chromium.ts';
import { browsers, type Open } from '../support/browsers.ts';
import { startConnecting } from '../support/connect-session.ts';
import { examined } from '../support/examined.ts';
import { click, confirm, consentIn, goTo, openedPages, submit } from '../support/opened-pages.ts';

const scopes = ['openid', 'email', 'read:tickets', 'write:tickets'];

/**
 * A browser in which alice is signed in, with an account that she connected at a real authorization server.
 */
async function connected(open: Open) {
  const at = await startConnecting();
  const { call, sidekey, url } = at;
  const browser = at.browser();
  await browser.open(await browser.consent((await at.session({ name: 'desk', scopes })).connect_url));
  await call('POST /v2/people', { body: { name: 'alice', role: 'user' } });
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
  const page = await open!(url + path);
  await page.shows('This link works once');
  await page.evaluate(click('Sign in'));
  await page.shows('alice@acme.test');
  await page.evaluate(`void document.querySelector('main a[href^="#wallet/"]').click()`);
  await page.shows('Keep only these scopes');
  const grant = async () => (await call('GET /v2/grants/desk')).body;
  const uncheck = (scope: string) =>
    page.evaluate(`void (document.querySelector('[type=checkbox][name="${scope}"]').checked = false)`);
  return { ...at, page, grant, uncheck };
}

describe.each(browsers)('the accounts of a person, in %s%s', { timeout: 120_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test("lists only that person's accounts, with who used them, when, for what and why", async () => {
    const { page, call, upstream, mine } = await openedPages(open, 'user');
    const body = { url: `https://${upstream.authority}/pay`, agent: 'bot', reason: 'invoice 12' };
    await call('PUT /v2/domains/' + upstream.authority, { body: { action: 'grant', grant: mine.id } });
    await call('POST /v2/agents', { body: { name: 'bot', grants: ['alice/mine'] } });
    expect((await call('POST /v2/requests', { body: { ...body, method: 'POST' } })).body.status).toBe(200);
    const text = await goTo(page, 'wallet', 'Used once this week, by bot.');
    expect(text).not.toContain('sidekey ');
    expect(text).toContain('Your accounts');
    expect(text).not.toContain('theirs');
    expect(text).not.toContain('Overview');
    await page.evaluate(`void document.querySelector('main a[href="#connect"]').click()`);
    await goTo(page, 'connect/resend', 'Verify and store');
    await goTo(page, 'wallet', 'Used once this week, by bot.');
    await page.evaluate(`void document.querySelector('main a[href^="#wallet/"]').click()`);
    await page.shows('Who used it, when, for what');
    await page.shows('invoice 12');
    const rows = await page.evaluate(
      `[...document.querySelectorAll('tbody tr')].map((it) => [...it.cells].map((cell) => cell.textContent))`,
    );
    expect(rows).toContainEqual([
      expect.stringMatching(/now|second/),
      'bot',
      `POST ${upstream.authority.replace(/:.*/, '')}/pay`,
      '200',
      'invoice 12',
    ]);
  });

  test('show every name of the account, and no picture from elsewhere', async () => {
    const { page, grant } = await connected(open);
    const { account, account_details: details } = await grant();
    expect([account, details.sub]).toEqual(['alice@acme.test', expect.any(String)]);
    const text = await page.shows('also known as');
    expect(text).toContain('alice@acme.test');
    expect(text).toContain(`id ${details.sub}`);
    expect(await page.evaluate('document.images.length')).toBe(0);
    if (page.darkened !== undefined) await examined(page as BrowserPage, 'wallet');
  });

  test('can be given another expiry, up to the maximum', async () => {
    const { page, call, grant } = await connected(open);
    await call('PATCH /v2/grants/desk', { body: { max_ttl: '30d' } });
    await page.evaluate('location.reload()');
    await page.shows('at most 30 days');
    await page.evaluate(submit('Set the end', { expires: '60d' }));
    await page.shows('later than the maximum');
    expect((await grant()).settings.expires_at).toBe(null);
    await page.evaluate(submit('Set the end', { expires: '20d' }));
    await page.shows('in 20 days');
    const end = Date.parse((await grant()).settings.expires_at);
    expect(Math.round((end - Date.now()) / 86_400_000)).toBe(20);
  });

  test('lose the scopes that are deselected', async () => {
    const { page, grant, uncheck } = await connected(open);
    await uncheck('write:tickets');
    await page.evaluate(click('Keep only these scopes'));
    expect(await page.shows('(was openid')).not.toMatch(/^it may\n.*write:tickets/m);
    expect((await grant()).scopes.toSorted()).toEqual(['email', 'openid', 'read:tickets']);
  });

  test('lose scopes through a new consent if the provider cannot reduce a token', async () => {
    const { page, helpdesk, grant, uncheck } = await connected(open);
    helpdesk.failTokenEndpoint(() => ({ status: 400, body: { error: 'invalid_scope' } }));
    await uncheck('write:tickets');
    await page.evaluate(`void (() => {
      globalThis.early = 0;
      const fetched = globalThis.fetch;
      globalThis.fetch = async (...call) => {
        const answer = await fetched(...call);
        if (document.body.innerText.includes('End it and consent again')) early += 1;
        return answer;
      };
    })()`);
    await page.evaluate(click('Keep only these scopes'));
    await page.shows('stay as they are');
    expect(await page.evaluate('early'), 'offers before the refusal').toBe(0);
    helpdesk.failTokenEndpoint(null);
    await page.evaluate(click('End it and consent again'));
    const popup = page.popup();
    await page.evaluate(confirm);
    const text = await (await popup).shows('asks to use your account');
    expect(text).toContain('read:tickets');
    expect(text).not.toContain('write:tickets');
    expect((await grant()).state).toBe('revoked');
  });

  test('are connected again in a popup, and the page stays', async () => {
    const { page, grant, sidekey } = await connected(open);
    const { id } = await grant();
    const { grants, store } = sidekey.proxy.state;
    await grants.setState((await allGrants(store))[0]!, 'reauth_required', 'gone');
    await page.evaluate('location.reload()');
    await page.shows('Programs cannot use it');
    await page.evaluate('void (globalThis.isSame = true)');
    const declined = page.popup();
    await page.evaluate(click('Reconnect'));
    await consentIn(await declined, 'deny');
    await page.shows('said no to the consent');
    const popup = page.popup();
    await page.evaluate(click('Reconnect'));
    // The sample company knows its user by now.
    const again = await popup;
    await again.shows('asks to use your account');
    await again.evaluate(`document.querySelector('[value=yes]').click()`);
    await again.shows('to use your Acme account?');
    await again.evaluate(`document.querySelector('[value=allow]').click()`);
    await page.lacks('Programs cannot use it');
    expect(await grant()).toMatchObject({ id, state: 'active' });
    expect(await page.evaluate('isSame')).toBe(true);
  });

  test('show which window to finish in until the last one is closed', async () => {
    const { page } = await connected(open);
    const first = page.popup();
    await page.evaluate(click('Consent again'));
    const declined = await first;
    const second = page.popup();
    await page.evaluate(submit('Ask for more', { scopes: 'write:tickets' }));
    await (await second).shows('asks to use your account');
    await consentIn(declined, 'deny');
    await page.shows('said no to the consent');
    await page.shows('Finish in the other window.');
    await page.evaluate(click('Cancel'));
    await page.lacks('Finish in the other window.');
  });

  test('can be revoked here and at the provider', async () => {
    const { page, grant, sidekey, helpdesk } = await connected(open);
    const asked: string[] = [];
    helpdesk.requests.on('request', ({ method, url }) => asked.push(`${method} ${url}`));
    await page.evaluate(click('End it here and at the service'));
    await page.evaluate(confirm);
    await page.shows('revoked');
    expect((await grant()).state).toBe('revoked');
    expect((await sidekey.audit()).findLast(({ event }) => event === 'grant.revoked')).toMatchObject({
      by: 'alice',
    });
    expect(asked).toContain('POST /revoke');
  });
});
