import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { acmeHome } from '../support/connect-home.ts';
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

async function atConsent(args: readonly string[] = []) {
  const at = await acmeHome();
  const browser = await browserProgram(chromium ?? '', ['helpdesk.acme.test']);
  const command = at.begin(['connect', 'acme', '--port', '0', '--browser', browser.program, ...args], {
    env: { PATH: process.env['PATH'] ?? '' },
  });
  const page = await browser.page();
  await page.shows('Sign in');
  await page.evaluate(`
    document.querySelector('[name=email]').value = 'alice@acme.test';
    document.querySelector('[name=password]').value = 'demo1234';
    document.querySelector('form').requestSubmit();
  `);
  await page.shows('Sidekey');
  return { at, command, page };
}

describe.skipIf(chromium === null)(`connect, in a real browser${why}`, () => {
  test('opens the browser and ends on a page that shows the result', { timeout: 60_000 }, async () => {
    const { at, command, page } = await atConsent();
    await page.shows('Read helpdesk tickets');
    await picture(page, 'consent');
    await page.evaluate(`document.querySelector('button[value=allow]').click()`);
    const text = await page.shows('You may close this window.');
    expect(text).toContain('Acme Helpdesk is connected');
    expect(text).toContain('The grant is called acme.');
    const ran = await command.done;
    expect(ran.exit, ran.stderr).toBe(0);
    expect(ran.stderr).toContain('Opening Acme Helpdesk in your browser.');
    await picture(page, 'done');
    // The style was taken, and nothing was refused by the page's own policy.
    expect(await page.evaluate('getComputedStyle(document.body).display')).toBe('grid');
    expect(page.complaints.filter((each) => each.includes('Content Security Policy'))).toEqual([]);
    expect(await at.json(['grant', 'show', 'acme'])).toMatchObject({ state: 'active' });
  });

  test('shows a denial in the browser too', { timeout: 60_000 }, async () => {
    const { command, page } = await atConsent();
    await page.shows('Read helpdesk tickets');
    await page.evaluate(`document.querySelector('button[value=deny]').click()`);
    const text = await page.shows('You may close this window.');
    const ran = await command.done;
    expect(ran.exit).toBe(5);
    expect(text).toContain(/sidekey: (.*)\n/.exec(ran.stderr)?.[1] ?? 'nothing was said');
    await picture(page, 'denied');
  });
});
