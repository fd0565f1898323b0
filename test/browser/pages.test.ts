import { describe, expect, it } from 'vitest';
import type { BrowserPage } from '../support/chromium.ts';
import { browsers, type Page } from '../support/browsers.ts';
import { curl } from '../support/curl.ts';
import { examined } from '../support/examined.ts';
import { grantRecord } from '../support/grant-record.ts';
import { oauth2Credential } from '../support/oauth2-credential.ts';
import { click, confirm, goTo, openedPages, submit } from '../support/opened-pages.ts';

/** Chromium takes pictures and asks axe; in Firefox the flow alone is tried. */
async function looked(page: Page, name: string): Promise<void> {
  if (page.darkened !== undefined) await examined(page as BrowserPage, name);
}

/** Presses Tab until the focus is on the element with this text. It has to be visible there. */
async function tabTo(page: BrowserPage, text: string): Promise<void> {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.press('Tab');
    const [found, outline] = (await page.evaluate(`(() => {
      const at = document.activeElement;
      return [(at.getAttribute('name') ?? at.textContent).trim(), getComputedStyle(at).outlineStyle];
    })()`)) as readonly string[];
    if (found !== text) continue;
    expect(outline, text).not.toBe('none');
    return;
  }
  throw new Error(`Tab does not lead to ${text}.`);
}

describe.each(browsers)('the operator pages, in %s%s', { timeout: 40_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test('show each view within 390 pixels and accessibly', async () => {
    const { page, url } = await openedPages(open);
    for (const [name, text] of [
      ['now', 'Token refreshes'],
      ['accounts', 'theirs'],
      ['approvals', 'No approval is in force.'],
      ['access', 'Who may call what'],
      ['domains', 'What would happen to a request?'],
      ['audit', 'agent.added'],
      ['people', 'API keys'],
    ] as const) {
      await goTo(page, name, text);
      await looked(page, name);
    }
    expect(page.complaints.filter((each) => each.includes('Content Security Policy'))).toEqual([]);
    expect(await page.evaluate('document.cookie')).toBe('');
    await page.evaluate(click('Sign out'));
    await page.shows('Sign in to Sidekey');
    await looked(page, 'signed-out');
    expect(await page.address()).toBe(`${url}/`);
  });

  test('show the grants by state, with those that need attention first', async () => {
    const { page, call, sidekey, mine } = await openedPages(open);
    await call('POST /v2/grants/theirs/revoke', { body: { local: true } });
    await sidekey.proxy.state.grants.setState(mine, 'reauth_required', 'the consent was withdrawn');
    const text = await goTo(page, 'accounts', 'theirs');
    expect(text).toMatch(/mine\s+reauth required[^]*theirs\s+revoked[^]*desk\s+active/);
    const overview = await goTo(page, 'health', 'Needs attention');
    expect(overview).toMatch(/active\s+1/);
    expect(overview).toMatch(/mine[^]*consent/);
    await looked(page, 'attention');
  });

  test('refresh a grant that could not be refreshed, from the page of its health', async () => {
    const { page, sidekey, upstream } = await openedPages(open);
    const credential = oauth2Credential({ refreshToken: 'r', tokenEndpoint: `${upstream.url}/token` });
    const { id } = await sidekey.grant([upstream.authority], { name: 'stale', credential });
    await sidekey.proxy.state.store.activity.note(id, { failedAt: Date.now(), failure: 'it was down' });
    await goTo(page, 'health', 'stale could not be refreshed');
    await looked(page, 'refresh');
    await page.evaluate(click('Refresh it now'));
    await page.shows('The token of the grant "stale" could not be refreshed');
  });

  test('show the last failure of an account, with a button that tries again', async () => {
    const { page, sidekey, upstream } = await openedPages(open);
    const credential = oauth2Credential({ refreshToken: 'r', tokenEndpoint: `${upstream.url}/token` });
    const { id } = await sidekey.grant([upstream.authority], { name: 'stale', credential });
    await sidekey.proxy.state.store.activity.note(id, { failedAt: Date.now(), failure: 'it was down' });
    await goTo(page, `accounts/${id}`, 'it was down');
    await looked(page, 'account');
    await page.evaluate(click('Try the renewal again'));
    await page.shows('The token of the grant "stale" could not be refreshed');
  });

  test('filter the audit log', async () => {
    const { page, call, upstream } = await openedPages(open);
    await goTo(page, 'audit', 'ticket 7');
    await page.evaluate(submit('Filter', { agent: 'ci' }));
    await page.lacks('person.created');
    await page.shows('ticket 7');
    await page.evaluate(submit('Filter', { agent: '', by: 'nobody' }));
    await page.shows('No event fits.');
    await page.evaluate(submit('Filter', { by: '', since: '2040-01-01T00:00' }));
    await page.lacks('ticket 7');
    await page.evaluate(submit('Filter', { since: '2020-01-01T00:00', code: 'not_allowed' }));
    await page.shows('No event fits.');
    await page.evaluate(
      submit('Filter', { code: '', event: 'outcome', host: upstream.authority.split(':')[0]! }),
    );
    await page.shows('ticket 7');
    const sent = { url: `https://${upstream.authority}/y`, grant: 'desk', reason: 'ticket 8' };
    await call('POST /v2/requests', { body: sent });
    const text = await page.shows('ticket 8');
    expect(text).not.toContain('agent.added');
    expect(text.indexOf('ticket 8')).toBeLessThan(text.indexOf('ticket 7'));
    await page.evaluate(click('Verify the log'));
    await page.shows('none edited, removed or cut off.');
    await looked(page, 'audit-filtered');
  });

  test('show which agent may call which domain, disable an agent and end a lease', async () => {
    const { page, call, upstream } = await openedPages(open);
    await call('PUT /v2/domains/bob.example.com', { body: { action: 'grant', grant: 'theirs' } });
    await goTo(page, 'access', 'bob.example.com');
    const rows = async () =>
      page.evaluate(
        `[...document.querySelectorAll('.wide tr')].map((it) => [...it.cells].map((cell) => cell.textContent))`,
      );
    expect(await rows()).toEqual([
      ['Domain', 'ci', 'other', 'no token, on this machine'],
      [upstream.authority, 'yes: desk', '–', 'yes: desk'],
      ['bob.example.com', '–', 'yes: bob/theirs', 'yes: bob/theirs'],
    ]);
    await looked(page, 'access-matrix');
    await page.shows('nightly report');
    await page.evaluate(click('End'));
    await page.shows('No lease is active.');
    expect((await call('GET /v2/leases')).body.data).toEqual([]);
    await page.evaluate(click('Disable'));
    await page.shows('disabled');
    expect(await rows()).toContainEqual([upstream.authority, '–', '–', 'yes: desk']);
    expect((await call('GET /v2/agents/ci')).body.state).toBe('disabled');
  });

  test('change the domain map after showing the difference', async () => {
    const { page, call } = await openedPages(open);
    await goTo(page, 'domains', 'Change the map');
    await page.evaluate(submit('Show the change', { host: 'api.example.com', action: 'tunnel' }));

    const text = await page.shows('This would change');
    expect(text).toContain('+   api.example.com: tunnel');
    expect((await call('GET /v2/domains')).body.data).toHaveLength(2);
    await looked(page, 'domains-change');
    await page.evaluate(click('Write it'));
    await page.shows('api.example.com\ttunnel');
    expect((await call('GET /v2/domains')).body.data).toHaveLength(3);
    await page.evaluate(submit('Explain', { url: 'https://other.example.com/' }));
    await page.shows('Open domains');
  });

  test('answer a waiting request', async () => {
    const { page, call, sidekey, upstream } = await openedPages(open);
    const config = (await call('GET /v2/config')).body.text as string;
    const ruled = config.replace(/grant: desk/, 'grant: desk\n    default: approve');
    const tag = (await call('GET /v2/config')).headers.get('etag') ?? '';
    expect(
      (await call('PUT /v2/config', { body: { text: ruled }, headers: { 'if-match': tag } })).status,
    ).toBe(200);
    await goTo(page, 'approvals', 'No request waits.');
    const sent = call('POST /v2/requests', {
      body: { url: `https://${upstream.authority}/y`, grant: 'desk', reason: '<img src=x onerror=alert(1)>' },
    });
    const text = await page.shows('Yes, once');
    expect(text).toContain('<img src=x onerror=alert(1)>');
    await looked(page, 'approvals-waiting');
    await page.evaluate(click('Yes, once'));
    expect((await sent).body.status).toBe(200);
    await page.shows('No request waits.');
    expect((await sidekey.audit()).find(({ event }) => event === 'approval.allowed')?.reason).toContain(
      'alice',
    );
    expect(await page.evaluate('document.images.length')).toBe(0);
  });

  test('answer proposals after showing the difference of the config file', async () => {
    const { page, call, sidekey } = await openedPages(open);
    await goTo(page, 'approvals', 'No request waits.');
    const reason = '<img src=x onerror=alert(1)>';
    const own = 'http://sidekey.internal/proposals';
    const propose = (proposal: object) =>
      curl('-x', sidekey.url, '--json', JSON.stringify({ ...proposal, reason }), own);
    expect((await propose({ domain: { host: 'api.example.net', action: 'tunnel' } })).status).toBe(202);
    expect((await propose({ grant: { provider: 'github', scopes: ['repo'] } })).status).toBe(202);

    await page.shows('a grant of github');
    const text = await page.shows('the domain api.example.net');
    expect(text).toContain(reason);
    expect(text).toContain('+  api.example.net: tunnel');
    expect(text).toContain('sidekey connect github');
    await looked(page, 'proposals');
    expect(await page.evaluate('document.images.length')).toBe(0);
    await page.evaluate(click('Yes, for good'));
    await page.lacks('the domain api.example.net');
    expect((await call('GET /v2/domains')).body.data).toHaveLength(3);
    await page.evaluate(click('No'));
    await page.shows('No request waits.');
    expect((await sidekey.audit()).map(({ event, reason: by }) => `${event} ${by}`)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^proposal\.accepted .*api\.example\.net.*alice/),
        expect.stringMatching(/^proposal\.declined .*github.*alice/),
      ]),
    );
  });
});

const [, why, chromium] = browsers[0]!;

// Firefox has no authenticator for tests, and its buttons take no keys while no window is active.
describe.skipIf(chromium === null)(`the operator pages, in a real browser${why}`, { timeout: 40_000 }, () => {
  it('can be used with the keyboard only: Tab, Enter, Space and Escape', async () => {
    const { page, call } = await openedPages(chromium);
    await page.shows('Token refreshes');
    await tabTo(page as BrowserPage, 'Accounts');
    await page.press!('Enter');
    await page.shows('theirs');
    await tabTo(page as BrowserPage, 'desk');
    await page.press!('Enter');
    await page.shows('Who used it, when, for what');
    await tabTo(page as BrowserPage, 'End it here and at the service');
    await page.press!('Enter');
    await page.shows('Programs lose this access at once.');
    await page.press!('Escape');
    await page.lacks('Programs lose this access at once.');
    expect((await call('GET /v2/grants/desk')).body.state).toBe('active');
    await page.press!(' ');
    await page.shows('Programs lose this access at once.');
    await page.press!('Enter');
    await page.shows('revoked');
    expect((await call('GET /v2/grants/desk')).body.state).toBe('revoked');
  });

  it('list thousands of accounts with few elements, and find one by its name', async () => {
    const { page, sidekey } = await openedPages(chromium);
    const names = Array.from({ length: 3_000 }, (_, at) => `account-${String(at).padStart(4, '0')}`);
    const records = names.map((name) => grantRecord({ name, refreshable: false }));
    for (let at = 0; at < records.length; at += 1_000)
      await sidekey.proxy.state.store.grants.insert(...records.slice(at, at + 1_000));
    const rows = async () => page.evaluate(`document.querySelectorAll('.row').length`);
    await goTo(page, 'accounts', 'account-0000');
    expect(await rows()).toBeLessThan(80);
    await page.evaluate(`void (async () => {
      while (!document.body.innerText.includes('account-0599')) {
        document.querySelector('.rows').scrollTop = 1e6;
        await new Promise(requestAnimationFrame);
      }
    })()`);
    await page.shows('account-0599');
    expect(await rows()).toBeLessThan(80);
    await looked(page, 'accounts-many');
    await page.evaluate(`void (() => {
      const field = document.querySelector('input[type=search]');
      field.value = 'account-25';
      field.dispatchEvent(new Event('input', { bubbles: true }));
    })()`);
    expect(await page.shows('account-2500')).not.toContain('account-2499');
    expect(await rows()).toBeLessThan(80);
  });

  it('sign in with a passkey that was added before', async () => {
    const { page, sidekey } = await openedPages(chromium, 'user', 'localhost');
    await page.authenticator!();
    await goTo(page, 'passkeys', 'You have no passkeys yet.');
    const add = (label: string) => page.evaluate(submit('Add a passkey', { label }));
    await add('laptop');
    await page.shows('laptop');
    await add('again');
    await page.shows('This device has a passkey of yours already.');
    await looked(page, 'passkeys');
    await page.evaluate(click('Sign out'));
    await page.shows('Sign in to Sidekey');
    await page.evaluate(click('Sign in with a passkey'));
    await page.shows('Sign out');
    await goTo(page, 'passkeys', 'laptop');
    expect((await sidekey.audit()).findLast(({ event }) => event === 'person.signed_in')).toMatchObject({
      by: 'alice',
      reason: 'by a passkey',
    });
    await page.evaluate(click('Remove'));
    await page.evaluate(confirm);
    await page.shows('You have no passkeys yet.');
    await page.evaluate(click('Sign out'));
    await page.shows('Sign in to Sidekey');
    await page.evaluate(click('Sign in with a passkey'));
    await page.shows('This passkey signs nobody in here.');
  });
});
