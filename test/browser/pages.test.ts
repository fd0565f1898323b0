import { describe, expect, it } from 'vitest';
import type { BrowserPage } from '../support/chromium.ts';
import { browsers, type Page } from '../support/browsers.ts';
import { examined } from '../support/examined.ts';
import { grantRecord } from '../support/grant-record.ts';
import { oauth2Credential } from '../support/oauth2-credential.ts';
import { click, confirm, goTo, openedPages, submit } from '../support/opened-pages.ts';
import type { TestSidekey } from '../support/sidekey.ts';

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

  test.each([
    ['now', 'Token refreshes'],
    ['accounts', 'theirs'],
    ['approvals', 'No approval is in force.'],
    ['agents', 'no token, on this machine'],
    ['rules', 'What would happen to a request?'],
    ['audit', 'agent.added'],
    ['people', 'Link to sign in'],
  ])('show the view %s within 390 pixels and accessibly', async (name, text) => {
    const { page } = await openedPages(open);
    await goTo(page, name, text);
    await looked(page, name);
    expect(page.complaints.filter((each) => each.includes('Content Security Policy'))).toEqual([]);
    expect(await page.evaluate('document.cookie')).toBe('');
  });

  test('show the way to sign in after signing out', async () => {
    const { page, url } = await openedPages(open);
    await page.evaluate(click('Sign out'));
    await page.shows('Sign in to Sidekey');
    await looked(page, 'signed-out');
    expect(await page.address()).toBe(`${url}/`);
  });

  test('show people in pages', async () => {
    const { page, sidekey } = await openedPages(open);
    const person = {
      role: 'user',
      user: null,
      disabledAt: null,
      createdAt: 1,
      identity: null,
      generation: 0,
    };
    for (let n = 0; n < 200; n += 1)
      await sidekey.proxy.state.store.people.insert({ ...person, name: `person-${n}` });
    // The 201st by name, after alice.
    expect(await goTo(page, 'people', 'Show more')).not.toContain('person-99');
    await page.evaluate(click('Show more'));
    await page.shows('person-99');
    await page.lacks('Show more');
  });

  test('show the grants by state, with those that need attention first', async () => {
    const { page, call, sidekey, mine } = await openedPages(open);
    await call('POST /v2/grants/theirs/revoke', { body: { local: true } });
    await sidekey.proxy.state.grants.setState(mine, 'reauth_required', 'the consent was withdrawn');
    const text = await goTo(page, 'accounts', 'theirs');
    expect(text).toMatch(/mine\s+reauth required[^]*theirs\s+revoked[^]*desk\s+active/);
    const overview = await goTo(page, 'health', 'Needs attention');
    expect(overview).toMatch(/1 active, 1 revoked, 1 reauth_required/);
    expect(overview).toMatch(/mine[^]*consent/);
    await looked(page, 'attention');
    await goTo(page, `accounts/${mine.id}`, 'Replace the key');
    const link = `[...document.querySelectorAll('a')].find((it) => it.textContent === 'Replace the key').hash`;
    expect(await page.evaluate(link)).toBe(`#connect/${mine.provider}/mine`);
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
    // By its name too.
    await goTo(page, 'accounts/stale', 'None yet.');
    await goTo(page, `accounts/${id}`, 'it was down');
    await looked(page, 'account');
    await page.evaluate(click('Try the renewal again'));
    await page.shows('The token of the grant "stale" could not be refreshed');
  });
});

const [, why, chromium] = browsers[0]!;

/** Stores accounts with the names `account-0000` and so on. */
async function addAccounts({ proxy }: TestSidekey, count: number): Promise<void> {
  const names = Array.from({ length: count }, (_, at) => `account-${String(at).padStart(4, '0')}`);
  const records = names.map((name) => grantRecord({ name, refreshable: false }));
  for (let at = 0; at < count; at += 1_000)
    await proxy.state.store.grants.insert(...records.slice(at, at + 1_000));
}

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
    await addAccounts(sidekey, 3_000);
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

  it('read each part of a list once, to the last row, while the scroll position jumps', async () => {
    const { page, sidekey } = await openedPages(chromium);
    await addAccounts(sidekey, 5_000);
    await goTo(page, 'accounts', 'account-0000');
    await page.evaluate(`void (async () => {
      const rows = document.querySelector('.rows');
      let jumps = 0;
      const jump = () => {
        rows.scrollTop = rows.scrollHeight - ((jumps += 1) % 3) * 500;
        rows.dispatchEvent(new Event('scroll'));
      };
      globalThis.reads = [];
      const fetched = globalThis.fetch;
      globalThis.fetch = async (path, init) => {
        const answer = await fetched(path, init);
        if (!path.includes('cursor=')) return answer;
        if (reads.push(path) === 3) return new Response('{"detail":"Out of order."}', { status: 503 });
        const text = await answer.text();
        // The effects of this render are still to run when the page gets the answer.
        jump();
        return new Response(text, answer);
      };
      for (; rows.isConnected; await new Promise(requestAnimationFrame)) jump();
    })()`);
    await page.shows('Out of order.');
    await page.evaluate(click('Try again'));
    // The last row.
    await page.shows('theirs');
    const reads = (await page.evaluate('reads')) as string[];
    expect(reads).toHaveLength(26);
    expect(new Set(reads).size).toBe(25);
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
