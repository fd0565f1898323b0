import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { commandName } from '../../src/lib/command-name.ts';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import type { BrowserPage } from '../support/chromium.ts';
import { browsers, type Open } from '../support/browsers.ts';
import { examined } from '../support/examined.ts';
import { click } from '../support/opened-pages.ts';
import { startService } from '../support/service.ts';
import { startUpstream } from '../support/upstream.ts';

/** An operator, signed in at a service without grants that has seen no request. */
async function emptyService(open: Open) {
  const upstream = await startUpstream((_request, response) => void response.end('{}'));
  const service = await startService({ domains: { [upstream.authority]: { grant: 'desk' } } });
  await service.call('POST /v2/people', { body: { name: 'alice', role: 'operator' } });
  const { path } = await makeSignInLink({ ...service.sidekey.proxy.state, now: Date.now }, 'alice');
  const page = await open!(service.url + path);
  await page.shows('This link works once');
  await page.evaluate(click('Sign in'));
  return { ...service, page, upstream };
}

describe.each(browsers)('the first run, in %s%s', { timeout: 60_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test('shows three steps, and the first request turns them into the live view without a click or a reload', async () => {
    vi.stubEnv('npm_command', 'start');
    onTestFinished(() => void vi.unstubAllEnvs());
    const { page, call, sidekey, upstream } = await emptyService(open);
    const text = await page.shows('Watch its requests');
    expect(text).toMatch(/Connect an account[^]*Run an agent[^]*Watch its requests/);
    // `npx sidekey`, unless `sidekey` is on the PATH.
    expect(text).toContain(`\n${commandName()} run -- claude\n`);
    expect(text).not.toContain('Over time');
    if (page.darkened !== undefined) await examined(page as BrowserPage, 'first-run');
    await page.evaluate('void (window.isSameDocument = true)');
    const token_data = { api_key: 'ghp_0123456789abcdef0123456789abcdef0123' };
    await call('POST /v2/users/alice/tokens', {
      body: { integration_key: 'gh', provider: 'github', token_type: 'api_key', token_data },
    });
    await page.shows('One account is connected.');
    expect(await page.evaluate(`document.querySelectorAll('.steps .done').length`)).toBe(1);
    await sidekey.grant([upstream.authority], { name: 'desk' });
    const body = { url: `https://${upstream.authority}/first`, grant: 'desk', reason: 'try it' };
    await call('POST /v2/requests', { body });
    await page.shows('/first');
    const live = await page.shows('desk');
    expect(live).not.toContain('Watch its requests');
    await page.shows('Over time');
    expect(await page.evaluate('window.isSameDocument')).toBe(true);
  });
});
