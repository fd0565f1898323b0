import { describe, expect, it } from 'vitest';
import { createApprovalLinks } from '../../src/agents/approvals/announce.ts';
import { type Open, browsers, type Page } from '../support/browsers.ts';
import type { BrowserPage } from '../support/chromium.ts';
import { curl } from '../support/curl.ts';
import { examined } from '../support/examined.ts';
import { click, goTo, openedPages } from '../support/opened-pages.ts';

const hostile = '<img src=x onerror=alert(1)>';

/** Chromium takes pictures and asks axe; in Firefox the flow alone is tried. */
async function looked(page: Page, name: string): Promise<void> {
  if (page.darkened !== undefined) await examined(page as BrowserPage, name);
}

/** The page of approvals, with a rule that requires one. `ask` sends a request that waits. */
async function opened(open: Open) {
  const at = await openedPages(open);
  const { page, call, sidekey, upstream } = at;
  const { body, headers } = await call('GET /v2/config');
  const rules = '[{ name: payments, outcome: approve, json: { $.amount: { max: 9 } } }]';
  const text = (body.text as string).replace(/grant: desk/, `grant: desk\n    rules: ${rules}`);
  const match = { 'if-match': headers.get('etag') ?? '' };
  expect((await call('PUT /v2/config', { body: { text }, headers: match })).status).toBe(200);
  await goTo(page, 'approvals', 'No request waits.');
  const ask = (name: string) =>
    call('POST /v2/requests', {
      body: {
        method: 'POST',
        url: `https://${upstream.authority}/${name}?secret=1`,
        grant: 'desk',
        body: `{"amount": 5, "for": "${name}"}`,
        reason: hostile,
      },
    });
  const questions = () => sidekey.proxy.state.store.approvals.waiting(Date.now());
  return { ...at, ask, questions };
}

/** Label and effect of each answer on a page. */
const labelled = (button: string) =>
  `[...document.querySelectorAll('${button}')].map((it) => it.innerText.trim().split(/\\n+/))`;

const title = (page: Page) => page.evaluate('document.title');
const focused = `document.activeElement.textContent`;
const press = (key: string) =>
  `void document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: '${key}', bubbles: true }))`;

describe.each(browsers)('the page of approvals, in %s%s', { timeout: 60_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test('shows a waiting request with its body and the answers of its link, and takes an answer', async () => {
    const { page, ask, questions, sidekey, url } = await opened(open);
    expect(await title(page)).toBe('Approvals · Sidekey');
    const sent = ask('invoice-7');
    const text = await page.shows('Yes, once');
    expect(await title(page)).toBe('(1) Approvals · Sidekey');
    expect(text).toContain(hostile);
    expect(text).toMatch(/May .* send this request\?[^]* left; then it is refused/);
    expect(text).toContain('{"amount": 5, "for": "invoice-7"}');
    expect(await page.evaluate(`document.querySelector('mark').textContent`)).toBe('"amount": 5');
    await looked(page, 'approvals-waiting');
    const answers = await page.evaluate(labelled('.answers > div'));
    const [question] = await questions();
    const link = url + createApprovalLinks(sidekey.proxy.state.vault).pathFor(question!);
    const linked = await (await fetch(link)).text();
    const buttons = Array.from(linked.matchAll(/<b>([^<]*)<\/b><span>([^<]*)/g), ([, ...words]) => words);
    expect(answers).toEqual(buttons);
    expect(answers).toHaveLength(4);

    await page.evaluate(click('Yes, once'));
    expect((await sent).body.status).toBe(200);
    await page.shows('No request waits.');
    expect(await title(page)).toBe('Approvals · Sidekey');
    expect(await page.shows('Allowed')).toMatch(/Allowed\s+.*\/invoice-7\s+alice.*, once/);
    expect((await sidekey.audit()).find(({ event }) => event === 'approval.allowed')?.reason).toContain(
      'alice',
    );
    expect(await page.evaluate('document.images.length')).toBe(0);
    await looked(page, 'approvals-history');
  });

  test('keeps the focus on a button while nothing changes', async () => {
    const { page, ask } = await opened(open);
    const sent = ask('a');
    await page.shows('Yes, once');
    await page.evaluate(`void (() => {
      globalThis.unchanged = 0;
      const fetched = fetch;
      globalThis.fetch = async (path, init) => {
        const answer = await fetched(path, init);
        if (path.startsWith('/v2/approvals?') && answer.status === 304) globalThis.unchanged += 1;
        return answer;
      };
      [...document.querySelectorAll('button')].find((it) => it.textContent === 'No').focus();
    })()`);
    await expect.poll(() => page.evaluate('globalThis.unchanged'), { timeout: 30_000 }).toBeGreaterThan(1);
    expect(await page.evaluate(focused)).toBe('No');
    await page.evaluate(`void document.activeElement.click()`);
    await page.shows('No request waits.');
    expect((await sent).body.code).toBe('approval_denied');
  });

  test('is used with the keyboard, and no single key allows a request', async () => {
    const { page, ask, questions } = await opened(open);
    void ask('first');
    await page.shows('/first');
    void ask('second');
    await page.shows('/second');
    expect(await title(page)).toBe('(2) Approvals · Sidekey');
    await page.evaluate(press('j'));
    expect(await page.evaluate(focused)).toContain('/first');
    await page.evaluate(press('j'));
    expect(await page.evaluate(focused)).toContain('/second');
    await page.evaluate(press('k'));
    for (const key of ['y', 'Y', 'o', ' ']) await page.evaluate(press(key));
    await page.evaluate(press('Enter'));
    await page.shows('All approvals');
    expect(await page.shows('/first')).not.toContain('/second');
    expect(await questions()).toHaveLength(2);
    await looked(page, 'approval');
    await page.evaluate(click('No'));
    expect(await page.shows('Refused by alice')).not.toContain('Yes, once');
  });

  test('refuses a yes right after the requests above have moved', async () => {
    const { page, call, ask, questions } = await opened(open);
    void ask('first');
    await page.shows('/first');
    void ask('second');
    await page.shows('/second');
    await page.evaluate(`void new MutationObserver((_all, observer) => {
      const cards = document.querySelectorAll('[data-request]');
      if (cards.length !== 1) return;
      observer.disconnect();
      cards[0].querySelector('button').click();
    }).observe(document.body, { childList: true, subtree: true })`);
    const [first] = await questions();
    await call(`POST /v2/approvals/${first!.id}`, { body: { answer: 'deny' } });
    await page.shows('The list has just changed: look, and press again.');
    expect(await questions()).toHaveLength(1);
  });

  test('refuses a yes to a proposal right after a request above it has moved it', async () => {
    const { page, ask, sidekey } = await opened(open);
    const proposal = { domain: { host: 'api.example.net', action: 'tunnel' }, reason: 'a visit' };
    await curl('-x', sidekey.url, '--json', JSON.stringify(proposal), 'http://sidekey.internal/proposals');
    await page.shows('the domain api.example.net');
    await page.evaluate(`void new MutationObserver((_all, observer) => {
      if (document.querySelector('[data-request]') === null) return;
      observer.disconnect();
      [...document.querySelectorAll('button')].find((it) => it.textContent === 'Yes, for good').click();
    }).observe(document.body, { childList: true, subtree: true })`);
    void ask('first');
    await page.shows('The list has just changed: look, and press again.');
    await page.shows('the domain api.example.net');
  });

  test('is not read for longer than eight hours after its last use, so that its session ends', async () => {
    const { page, ask, questions } = await opened(open);
    await page.evaluate(`void (() => {
      const now = Date.now;
      Date.now = () => now() + 9 * 3_600_000;
      setInterval(() => { turns += 1; }, 2_000);
    })()`);
    void ask('late');
    await expect.poll(async () => (await questions()).length, { timeout: 30_000 }).toBe(1);
    await page.evaluate('void (globalThis.turns = 0)');
    await expect.poll(() => page.evaluate('turns'), { timeout: 30_000 }).toBeGreaterThan(2);
    expect(await page.evaluate('document.body.innerText')).not.toContain('/late');
    await page.evaluate(press('j'));
    await page.shows('/late');
  });

  test('notifies only after a click, and names neither path nor query', async () => {
    const { page, ask } = await opened(open);
    await page.evaluate(`void (() => {
      globalThis.shown = [];
      globalThis.Notification = class extends EventTarget {
        static permission = 'granted';
        static requestPermission = async () => 'granted';
        constructor(title, { body }) { super(); shown.push([title, body]); }
      };
    })()`);
    void ask('first');
    await page.shows('/first');
    expect(await page.evaluate('shown')).toEqual([]);
    const edges = `['.bar', '.bar button'].map((it) => document.querySelector(it).getBoundingClientRect().right)`;
    const [bar, button] = (await page.evaluate(edges)) as number[];
    expect(button, 'the button ends where the bar does').toBeCloseTo(bar!);
    await page.evaluate(click('Notify me'));
    await page.lacks('Notify me');
    void ask('second');
    await page.shows('/second');
    expect(await page.evaluate('shown')).toEqual([
      ['Sidekey: a request waits for you', expect.stringMatching(/: POST [a-z.]+:\d+$/)],
    ]);
  });

  test('answers proposals after showing the difference of the config file', async () => {
    const { page, call, sidekey } = await openedPages(open);
    await goTo(page, 'approvals', 'No request waits.');
    const reason = '<img src=x onerror=alert(1)>';
    const own = 'http://sidekey.internal/proposals';
    const propose = (proposal: object) =>
      curl('-x', sidekey.url, '--json', JSON.stringify({ ...proposal, reason }), own);
    expect((await propose({ domain: { host: 'api.example.net', action: 'tunnel' } })).status).toBe(202);
    expect((await propose({ grant: { provider: 'github', scopes: ['repo'] } })).status).toBe(202);

    await page.shows('an account of github');
    const text = await page.shows('the domain api.example.net');
    expect(text).toContain(reason);
    expect(text).toContain('+  api.example.net: tunnel');
    expect(text).toContain('sidekey connect github');
    await looked(page, 'proposals');
    expect(await page.evaluate('document.images.length')).toBe(0);
    // A yes right after the second proposal has moved the first is refused.
    const accept = `void [...document.querySelectorAll('button')].find((it) => it.textContent === 'Yes, for good')?.click()`;
    await expect
      .poll(async () => {
        await page.evaluate(accept);
        return (await call('GET /v2/domains')).body.data;
      })
      .toHaveLength(3);
    await page.lacks('the domain api.example.net');
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
