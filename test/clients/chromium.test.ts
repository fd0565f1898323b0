import { expect, test } from 'vitest';
import { findChromium } from '../support/chromium.ts';
import { missing, packageMissing, programs, stage } from './support/stage.ts';

const chromium = await findChromium();
const absent =
  packageMissing('playwright-core') ||
  missing('sh', '-c', 'command -v certutil') ||
  (chromium === null ? 'there is no Chromium here' : false);

test.skipIf(absent)(
  'Chromium, driven by Playwright, loads a page with the token without seeing it',
  { timeout: 120_000 },
  async () => {
    const { perform, upstream, home, seen } = await stage((request, response) => {
      request.resume();
      response.writeHead(200, { 'Content-Type': 'text/html' }).end('<p>hello from upstream</p>');
    });
    await home.program(['run', '--config', home.configFile, '--', 'true']);
    // No variable names a CA to Chromium.
    const installed = await home.program(['ca', 'install', '--store', 'browsers', '--yes'], {
      env: { HOME: home.at('user') },
    });
    expect(installed).toMatchObject({ exit: 0, stdout: expect.stringContaining('Installed in Chromium') });
    const script = `${programs}chromium.mjs`;
    const ran = await perform([process.execPath, script, `${upstream.url}/page`, chromium ?? ''], {
      // Chromium takes a store of certificates only if it may write it.
      flags: ['--write', home.at('user/.pki')],
    });
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('hello from upstream') });
    expect(seen.map(({ path }) => path)).toContain('/page');
  },
);
