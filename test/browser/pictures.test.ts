import { mkdir, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { browsers } from '../support/browsers.ts';
import type { BrowserPage } from '../support/chromium.ts';
import { click, goTo, openedPages } from '../support/opened-pages.ts';

/*
 * The pictures of the README. `npm run pictures` writes them to docs/pictures; without that, this only checks
 * that the pages can be shown with such content.
 */

const folder = new URL('../../docs/pictures/', import.meta.url);
const isWritten = process.env['SIDEKEY_README_PICTURES'] === 'yes';

const requests = [
  ['claude', 'GET', 'api.github.com', '/repos/acme/shop/pulls', 200, 142, 'github'],
  ['claude', 'POST', 'api.github.com', '/repos/acme/shop/issues/7/comments', 201, 233, 'github'],
  ['nightly', 'POST', 'slack.com', '/api/chat.postMessage', 200, 188, 'slack'],
  ['claude', 'GET', 'gmail.googleapis.com', '/gmail/v1/users/me/messages', 200, 97, 'gmail'],
  ['nightly', 'GET', 'api.stripe.com', '/v1/invoices', 200, 310, 'stripe'],
  ['claude', 'POST', 'api.linear.app', '/graphql', 200, 121, 'linear'],
] as const;

const [, why, open] = browsers[0]!;

describe.skipIf(open === null)(`the pictures of the README${why}`, { timeout: 60_000 }, () => {
  it('show requests as they pass, and a request that waits for a person', async () => {
    const { page, call, sidekey, upstream } = await openedPages(open);
    const { audit } = sidekey.proxy.state;
    const grants = new Map<string, string>();
    for (const name of new Set(requests.map((each) => each[6])))
      grants.set(name, (await sidekey.grant([upstream.authority], { name })).id);
    for (let round = 0; round < 4; round += 1) {
      for (const [agent, method, host, path, status, duration, name] of requests) {
        const exchange = crypto.randomUUID();
        const same = { exchange, agent, method, host, path, grant: grants.get(name) };
        await audit.append({ event: 'access', ...same, outcome: 'allow' });
        await audit.append({ event: 'outcome', ...same, outcome: 'ok', status, duration_ms: duration });
      }
    }
    await audit.append({
      event: 'denied',
      agent: 'nightly',
      method: 'DELETE',
      host: 'api.github.com',
      path: '/repos/acme/shop',
      code: 'rule_denied',
      status: 403,
    });
    const take = async (name: string) => {
      const picture = await (page as BrowserPage).screenshot();
      expect(picture.length).toBeGreaterThan(10_000);
      if (!isWritten) return;
      await mkdir(folder, { recursive: true });
      await writeFile(new URL(`${name}.png`, folder), picture);
    };
    await (page as BrowserPage).resized(1_280, 800);
    await goTo(page, 'now', '/v1/invoices');
    await take('now');

    const { text } = (await call('GET /v2/config')).body;
    const tag = (await call('GET /v2/config')).headers.get('etag') ?? '';
    const ruled = (text as string).replace(/grant: desk/, 'grant: desk\n    default: approve');
    await call('PUT /v2/config', { body: { text: ruled }, headers: { 'if-match': tag } });
    const sent = call('POST /v2/requests', {
      body: {
        url: `https://${upstream.authority}/v1/refunds`,
        method: 'POST',
        body: '{"charge": "ch_3Qk", "amount": 4200}',
        grant: 'desk',
        agent: 'ci',
        reason: 'customer asked for a refund, ticket 7',
      },
    });
    await goTo(page, 'approvals', 'ticket 7');
    await take('approvals');
    await page.evaluate(click('Yes, once'));
    expect((await sent).body.status).toBe(200);
  });
});
