import { describe, expect, it } from 'vitest';
import { browsers } from '../support/browsers.ts';
import type { BrowserPage } from '../support/chromium.ts';
import { examined } from '../support/examined.ts';
import { startWithIssuer } from '../support/open-id-server.ts';
import { click } from '../support/opened-pages.ts';

describe.each(browsers)('the sign-in at the issuer, in %s%s', { timeout: 40_000 }, (_name, _why, open) => {
  it.skipIf(open === null)(
    'returns to the view that required it, with the session of the person',
    async () => {
      const { account, server, url } = await startWithIssuer();
      const button = `Sign in with ${new URL(server.issuer).host}`;
      const page = await open!(`${url}/#people`);
      await page.shows(button);
      if (page.darkened !== undefined) await examined(page as BrowserPage, 'signed-out-issuer');
      await page.evaluate(click(button));
      expect(await page.shows('API keys')).toContain('alice (operator)');
      expect(await page.address()).toBe(`${url}/#people`);
      expect(page.complaints.filter((each) => each.includes('Content Security Policy'))).toEqual([]);

      await page.evaluate(click('Sign out'));
      await page.shows(button);
      account.claims = {};
      await page.evaluate(click(button));
      const text = await page.shows('You are not signed in');
      expect(text).toContain('has no role in Sidekey');
      if (page.darkened !== undefined) await examined(page as BrowserPage, 'role-missing');
      await page.evaluate(`document.querySelector('a').click()`);
      await page.shows(button);
    },
  );
});
