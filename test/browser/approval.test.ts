import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startApprovalProxy } from '../support/approval-proxy.ts';
import { browserProgram, findChromium, type BrowserPage } from '../support/chromium.ts';

const chromium = await findChromium();
const why = chromium === null ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : '';
/** Folder for screenshots of the pages; empty: no screenshots. */
const pictures = process.env['SIDEKEY_PICTURES'] ?? '';

async function picture(page: BrowserPage, name: string): Promise<void> {
  if (pictures === '') return;
  for (const isDark of [false, true]) {
    await page.darkened(isDark);
    await writeFile(join(pictures, `${name}-${isDark ? 'dark' : 'light'}.png`), await page.screenshot());
  }
}

/** The page of a request that waits. */
async function opened(request: string, fields: readonly string[] = [], body = '') {
  const place = await startApprovalProxy();
  const client = await place.send(request, fields, body);
  const { message } = await place.told();
  const browser = await browserProgram(chromium ?? '', []);
  spawn(browser.program, [message.link ?? ''], { stdio: 'ignore' });
  const page = await browser.page();
  await page.shows('Yes, once');
  return { ...place, client, page };
}

const click = (page: BrowserPage, value: string) =>
  page.evaluate(`document.querySelector('button[value="${value}"]').click()`);

describe.skipIf(chromium === null)(`the approval page, in a real browser${why}`, () => {
  test('describes the waiting request and allows it with one click', { timeout: 60_000 }, async () => {
    const reason =
      'Sidekey-Reason: The ticket is a duplicate of 4711, and the customer asked to have it removed.';
    const body = '{\n  "reason": "duplicate",\n  "notify": ["carol@acme.test"]\n}';
    const { client, page, seen } = await opened('DELETE /api/v2/tickets/7', [reason], body);
    const text = await page.shows('left, until');
    expect(text).toContain('May a caller without a token send this request?');
    expect(text).toContain('The ticket is a duplicate of 4711');
    expect(text).toContain('carol@acme.test');
    const colorOf = (value: string) =>
      page.evaluate(`getComputedStyle(document.querySelector('button[value="${value}"]')).backgroundColor`);
    expect(await colorOf('once')).not.toBe(await colorOf('deny'));
    await picture(page, 'asked');
    await page.evaluate('scrollTo(0, 9999)');
    await picture(page, 'asked-end');
    // The style was taken, and nothing was refused by the page's own policy.
    expect(await page.evaluate('getComputedStyle(document.querySelector("form div")).display')).toBe('grid');
    await click(page, 'once');
    await page.shows('This one request was let through.');
    await picture(page, 'allowed');
    expect((await client.response()).status).toBe(200);
    expect(seen).toEqual(['DELETE /api/v2/tickets/7']);
    await page.evaluate('location.href = location.href');
    await page.shows('Already allowed');
    expect(page.complaints.filter((each) => each.includes('Content Security Policy'))).toEqual([]);
  });

  test('refuses the request with a click on no', { timeout: 60_000 }, async () => {
    const { client, page, seen } = await opened('DELETE /tickets/7');
    await click(page, 'deny');
    await page.shows('The request was refused.');
    await picture(page, 'refused');
    expect((await client.response()).headers['sidekey-error']).toBe('approval_denied');
    expect(seen).toEqual([]);
  });

  test(
    'shows hostile agent text without layout changes or script execution',
    { timeout: 60_000 },
    async () => {
      const path = `/${'<b>x</b>/'.repeat(60)}"onload="document.title='taken'`;
      const reason = `Sidekey-Reason: ${'<script>document.title="taken"</script><style>main{display:none}</style>'.repeat(20)}`;
      const { page } = await opened(`DELETE ${path}`, [reason]);
      await picture(page, 'hostile');
      await page.evaluate('scrollTo(0, 9999)');
      await picture(page, 'hostile-end');
      expect(await page.evaluate('document.title')).toBe(
        'May a caller without a token send this request? · Sidekey',
      );
      expect(await page.evaluate('document.scripts.length')).toBe(0);
      expect(await page.evaluate('document.querySelectorAll("button").length')).toBe(4);
      const fits = 'document.documentElement.scrollWidth <= document.documentElement.clientWidth';
      expect(await page.evaluate(fits)).toBe(true);
    },
  );
});
