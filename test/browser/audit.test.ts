import { describe, expect, it } from 'vitest';
import type { BrowserPage } from '../support/chromium.ts';
import { browsers, type Page } from '../support/browsers.ts';
import { examined } from '../support/examined.ts';
import { click, goTo, openedPages, submit } from '../support/opened-pages.ts';

/** Chromium takes pictures and asks axe; in Firefox the flow alone is tried. */
async function looked(page: Page, name: string): Promise<void> {
  if (page.darkened !== undefined) await examined(page as BrowserPage, name);
}

describe.each(browsers)('the audit and health pages, in %s%s', { timeout: 40_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test('filter the log, show new events, and verify it', async () => {
    const { page, call, upstream } = await openedPages(open);
    await goTo(page, 'audit', 'ticket 7');
    await looked(page, 'audit');
    await page.evaluate(submit('Filter', { agent: 'ci' }));
    await page.lacks('person.created');
    await page.shows('ticket 7');
    await page.evaluate(submit('Filter', { agent: '', by: 'nobody' }));
    await page.shows('No event fits.');
    await looked(page, 'audit-empty');
    await page.evaluate(click('Remove the conditions'));
    await page.shows('person.created');
    await page.evaluate(submit('Filter', { since: '2040-01-01T00:00' }));
    await page.lacks('ticket 7');
    await page.evaluate(submit('Filter', { since: '2020-01-01T00:00', code: 'not_allowed' }));
    await page.shows('No event fits.');
    const [host = '', port = ''] = upstream.authority.split(':');
    await page.evaluate(submit('Filter', { code: '', event: 'access', host, port }));
    await page.shows('ticket 7');
    const sent = { url: `https://${upstream.authority}/y`, grant: 'desk', reason: 'ticket 8' };
    await call('POST /v2/requests', { body: sent });
    const text = await page.shows('ticket 8');
    expect(text).not.toContain('agent.added');
    expect(text.indexOf('ticket 8')).toBeLessThan(text.indexOf('ticket 7'));
    await page.evaluate(click('Verify the log'));
    await page.shows('none edited, removed or cut off.');
  });

  test('show one request with its credential, caller, timing and events', async () => {
    const { page, call, sidekey, upstream } = await openedPages(open);
    const config = (await call('GET /v2/config')).body.text as string;
    const tag = (await call('GET /v2/config')).headers.get('etag') ?? '';
    await call('PUT /v2/config', {
      body: { text: config.replace(/grant: desk/, 'grant: desk\n    default: approve') },
      headers: { 'if-match': tag },
    });
    const sent = call('POST /v2/requests', {
      body: { url: `https://${upstream.authority}/held`, grant: 'desk', agent: 'ci', reason: 'ticket 9' },
    });
    await goTo(page, 'approvals', 'ticket 9');
    await page.evaluate(click('Yes, once'));
    expect((await sent).body.status).toBe(200);
    const { exchange } = (await sidekey.audit()).find(({ path }) => path === '/held')!;
    const text = await goTo(page, `audit/${exchange}`, 'for Sidekey and the service');
    expect(text).toMatch(/ok 200/);
    expect(text).toContain(`GET ${upstream.authority.split(':')[0]}/held`);
    expect(text).toMatch(/until a person answered/);
    expect(text).toContain('a person said yes');
    expect(text).toMatch(/Reason\s+ticket 9/);
    await looked(page, 'audit-request');
    await goTo(page, 'audit/none', 'The log has no such request.');
  });

  test('list a problem with the button that mends it, and what each check found', async () => {
    const { page, sidekey, mine } = await openedPages(open);
    await goTo(page, 'health', 'Nothing needs attention: everything works.');
    await sidekey.proxy.state.grants.setState(mine, 'reauth_required', 'the consent was withdrawn');
    await goTo(page, 'passkeys', 'You have no passkeys yet.');
    const text = await goTo(page, 'health', 'Needs attention');
    expect(text).toMatch(/mine[^]*consent/);
    expect(text).toMatch(/store\s+ok[^]*3 grants, 2 agents/);
    await looked(page, 'health');
  });
});
