/** The example application: a page with React, built by Vite, and a server with FastAPI. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'vite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { python } from '../support/aws/python.ts';
import { browsers } from '../support/browsers.ts';
import { startConnecting } from '../support/connect-session.ts';
import { click, confirm, consentIn } from '../support/opened-pages.ts';
import { packagesMissing } from '../support/python-program.ts';
import { tempFolder } from '../support/temp-folder.ts';

const root = join(import.meta.dirname, '../..');
const app = join(root, 'examples/sdk/app');
const absent = packagesMissing({ name: 'CI', command: python, env: {} }, 'fastapi', 'httpx', 'uvicorn');
const whyNot = absent === false ? '' : ` (skipped: ${absent})`;

/** Starts the server of the application on a free port, and returns its origin. */
async function startServer(env: Readonly<Record<string, string>>): Promise<string> {
  const args = ['-m', 'uvicorn', '--app-dir', join(app, 'server'), '--port', '0', 'main:app'];
  const child = spawn(python, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PYTHONPATH: join(root, 'src/sdk/python'), PYTHONDONTWRITEBYTECODE: '1', ...env },
  });
  const closed = once(child, 'close');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  const lines: string[] = [];
  return new Promise((resolve, reject) => {
    void closed.then(() => reject(new Error(lines.join('\n'))));
    createInterface(child.stderr).on('line', (line) => {
      lines.push(line);
      const [, origin] = /running on (http:\S+)/.exec(line) ?? [];
      if (origin !== undefined) resolve(origin);
    });
  });
}

/** Starts Sidekey and the application, with alice as a person and a rule for the helpdesk. */
async function startApp() {
  const web = await tempFolder();
  await build({
    root: join(app, 'web'),
    logLevel: 'error',
    build: { outDir: web, emptyOutDir: true },
    resolve: { alias: { '@sidekey/connect/react': join(root, 'src/sdk/connect/react.ts') } },
  });
  const later = 'http://127.0.0.1:1/';
  const at = await startConnecting({ returnUrls: [later] });
  const { call, sidekey, helpdesk, url } = at;
  const origin = await startServer({
    SIDEKEY_API_URL: url,
    SIDEKEY_API_KEY: await at.key(),
    HELPDESK_URL: helpdesk.issuer,
    WEB_FOLDER: web,
  });
  const config = await readFile(sidekey.configFile, 'utf8');
  await writeFile(sidekey.configFile, config.replace(later, `${origin}/`));
  await sidekey.proxy.reload();
  const { host } = new URL(helpdesk.issuer);
  await call(`PUT /v2/domains/${host}`, { body: { action: 'grant', grant: 'acme' } });
  await call('POST /v2/people', { body: { name: 'alice', role: 'user' } });
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
  return { origin, signInUrl: url + path };
}

describe.each(browsers)('the example application in %s%s', { timeout: 120_000 }, (_name, _why, open) => {
  it.skipIf(open === null || absent !== false)(
    `connects an account, calls with it, and cannot after the person has ended it in the wallet${whyNot}`,
    async () => {
      const { origin, signInUrl } = await startApp();
      const page = await open!(`${origin}/`);
      await page.shows('No account is connected.');
      await page.evaluate(click('Show my tickets'));
      await page.shows('grant_missing');
      const popup = page.popup();
      await page.evaluate(click('Connect Acme'));
      await consentIn(await popup);
      await page.shows('acme is active');
      await page.evaluate(click('Show my tickets'));
      expect(await page.shows('tickets\n')).toMatch(/[1-9]\d* tickets\n/);

      const wallet = await open!(signInUrl);
      await wallet.shows('This link works once');
      await wallet.evaluate(click('Sign in'));
      await wallet.shows('alice@acme.test');
      await wallet.evaluate(`void document.querySelector('main a[href^="#wallet/"]').click()`);
      await wallet.shows('Keep only these scopes');
      await wallet.evaluate(click('End it here and at the service'));
      await wallet.evaluate(confirm);
      await wallet.shows('revoked');

      await page.evaluate(click('Show my tickets'));
      await page.shows('acme is revoked');
      await page.shows('grant_revoked');
    },
  );
});
