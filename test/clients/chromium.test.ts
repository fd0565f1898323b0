import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { findChromium } from '../support/chromium.ts';
import { missing, packageMissing, programs, stage } from './support/stage.ts';

const chromium = await findChromium();
const absent =
  packageMissing('playwright-core') ||
  missing('sh', '-c', 'command -v certutil') ||
  (chromium === null ? 'there is no Chromium here' : false);
const certutil = promisify(execFile);

test.skipIf(absent)(
  'a page in Chromium, driven by Playwright, is loaded with the token, which the browser never has',
  { timeout: 120_000 },
  async () => {
    const { perform, upstream, home, room, seen } = await stage((request, response) => {
      request.resume();
      response.writeHead(200, { 'Content-Type': 'text/html' }).end('<p>hello from upstream</p>');
    });
    // The one thing that no variable can say to it: as docs/clients.md has it.
    const folder = join(room, '.pki', 'nssdb');
    await mkdir(folder, { recursive: true });
    await home.program(['run', '--config', home.configFile, '--', 'true']);
    const store = ['-d', `sql:${folder}`];
    await certutil('certutil', [...store, '-N', '--empty-password']);
    const ca = home.at('ca.pem');
    await home.program(['ca', 'export', '--output', ca]);
    await certutil('certutil', [...store, '-A', '-t', 'C,,', '-n', 'Sidekey', '-i', ca]);
    const script = `${programs}chromium.mjs`;
    const ran = await perform([process.execPath, script, `${upstream.url}/page`, chromium ?? '']);
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('hello from upstream') });
    expect(seen.map(({ path }) => path)).toContain('/page');
  },
);
