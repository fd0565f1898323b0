import { describe, expect, it } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { browsers } from '../support/browsers.ts';
import { browserProgram, type BrowserPage, findChromium } from '../support/chromium.ts';
import { home } from '../support/command-line.ts';
import { examined } from '../support/examined.ts';
import { startService } from '../support/service.ts';

const chromium = await findChromium();
const why = chromium === null ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : '';

it.skipIf(chromium === null)(
  `sidekey open shows the dashboard to the person at the machine, without a click${why}`,
  { timeout: 60_000 },
  async () => {
    const pages = `127.0.0.1:${await freePort()}`;
    const at = await home({ admin: { listen: pages } });
    await at.start();
    const browser = await browserProgram(chromium!, []);
    const env = { PATH: process.env['PATH'] ?? '', SUDO_USER: 'alice' };
    const running = at.run(['open', '--browser', browser.program], { env });
    const page = await browser.page();
    await page.shows('alice (operator)');
    expect(await running).toMatchObject({
      exit: 0,
      stdout: `Opened http://${pages} in your browser, signed in as alice.\n`,
    });
    expect(new URL(await page.address()).pathname).toBe('/');
  },
);

describe.each(browsers)('a link of sidekey open, in %s%s', { timeout: 60_000 }, (_name, _why, open) => {
  it.skipIf(open === null)('leaves no secret in the history, and signs in once', async () => {
    const { call, sidekey, url } = await startService();
    await call('POST /v2/people', { body: { name: 'alice', role: 'operator' } });
    const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice', 'open');
    const page = await open!(url + path);
    await page.shows('alice (operator)');
    const secret = path.split('#')[1]!;
    expect(await page.address()).not.toContain(secret);

    const again = await open!(url + path);
    expect(await again.shows('You are not signed in')).toContain('This link was used before');
    expect(await again.address()).toBe(`${url}/sign-in/open`);
    if (again.darkened !== undefined) await examined(again as BrowserPage, 'open-again');
    expect(
      [...page.complaints, ...again.complaints].filter((each) => each.includes('Security Policy')),
    ).toEqual([]);
  });
});
