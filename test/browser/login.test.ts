import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createClient } from '../../src/sdk/client/client.ts';
import { browserProgram, findChromium } from '../support/chromium.ts';
import { home } from '../support/command-line.ts';
import { startWithIssuer } from '../support/open-id-server.ts';
import { click } from '../support/opened-pages.ts';
import { upstreamHost } from '../support/upstream.ts';

const chromium = await findChromium();
const why = chromium === null ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : '';

test.skipIf(chromium === null)(
  `sidekey login creates a key for the person who signs in at the issuer, and logout revokes it${why}`,
  { timeout: 60_000 },
  async () => {
    const { server, sidekey, url } = await startWithIssuer();
    const at = await home();
    const browser = await browserProgram(chromium ?? '', [upstreamHost]);
    const words = ['login', url, '--port', '0', '--browser', browser.program];
    const running = at.run(words, { env: { PATH: process.env['PATH'] ?? '' } });
    const page = await browser.page();
    const button = `Sign in with ${new URL(server.issuer).host}`;
    await page.shows(button);
    await page.evaluate(click(button));
    await page.shows('wants to act as alice (operator)');
    await page.evaluate(click('Allow'));
    await page.shows('The command line is signed in as alice');
    const ran = await running;
    expect(ran.exit, ran.stderr).toBe(0);
    expect(ran.stdout).toContain('as alice (operator)');

    const file = join(at.folder, 'config', 'login.json');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const { key } = JSON.parse(await readFile(file, 'utf8')) as { key: string };
    expect(ran.stdout + ran.stderr).not.toContain(key);
    const client = createClient({ baseUrl: url, apiKey: key });
    expect(await client.getMe({})).toMatchObject({ role: 'operator' });
    expect(
      (await sidekey.audit()).some(({ event, by }) => event === 'api_key.created' && by === 'alice'),
    ).toBe(true);

    const out = await at.run(['logout']);
    expect(out.exit, out.stderr).toBe(0);
    await expect(client.getMe({})).rejects.toMatchObject({ code: 'api_auth_required' });
    await expect(stat(file)).rejects.toThrow('ENOENT');
    expect((await at.run(['logout'])).stderr).toContain('sidekey login URL');
  },
);
