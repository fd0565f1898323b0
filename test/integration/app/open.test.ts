import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { describe, expect, test } from 'vitest';
import { freePort } from '../../support/free-port.ts';
import { openSignedIn } from '../../../src/cli/open.ts';
import { createOutput } from '../../../src/cli/output.ts';
import { peerOwnerOfCommand } from '../../../src/lib/os.ts';
import { systemTimers } from '../../../src/lib/timers.ts';
import { callerAtMachine } from '../../../src/operations/caller.ts';
import type { Changing } from '../../../src/operations/operation.ts';
import { home, program } from '../../support/command-line.ts';
import { hasPseudoTerminal, runInTerminal } from '../../support/pseudo-terminal.ts';
import { recordingBrowser } from '../../support/recording-browser.ts';
import { startService } from '../../support/service.ts';

const me = userInfo().username.replaceAll(/[^\w.-]+/g, '_');

/** A home whose proxy and pages have known addresses. */
async function openHome() {
  const pages = `http://127.0.0.1:${await freePort()}`;
  const listen = `127.0.0.1:${await freePort()}`;
  const at = await home({ proxy: { listen }, admin: { listen: new URL(pages).host } });
  const events = async () =>
    (await at.run(['audit', 'query', '--json'])).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; reason?: string; by?: string });
  return { ...at, pages, events };
}

/** Sends what the page of a link sends, and returns the status and the answer. */
async function signIn(pages: string, url: string) {
  const { origin, pathname, hash } = new URL(url);
  expect([origin, pathname]).toEqual([pages, '/sign-in/open']);
  const response = await fetch(origin + pathname, {
    method: 'POST',
    headers: { origin, 'sec-fetch-site': 'same-origin', 'content-type': 'application/json' },
    body: JSON.stringify({ secret: hash.slice(1) }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, string> };
}

const visit = (url: string) => fetch(url, { redirect: 'manual' });

describe('sidekey open', () => {
  test('starts a browser without a secret in its arguments and environment, which is signed in once', async () => {
    const at = await openHome();
    await at.start();
    const browser = await recordingBrowser();
    const running = at.run(['open', '--browser', browser.program]);
    const { words, env } = await browser.started;
    expect(words).toEqual([expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/[\w-]{32}$/)]);
    const launch = words[0]!;
    expect((await visit(new URL('/', launch).href)).status).toBe(404);
    const sent = await visit(launch);
    const link = sent.headers.get('location') ?? '';
    expect([sent.status, link]).toEqual([302, expect.stringMatching(/\/sign-in\/open#[\w-]{43}$/)]);
    expect(sent.headers.get('referrer-policy')).toBe('no-referrer');
    const ran = await running;
    expect(ran).toMatchObject({
      exit: 0,
      stdout: `Opened ${at.pages} in your browser, signed in as ${me}.\n`,
    });
    await expect(visit(launch)).rejects.toThrow();

    const secret = new URL(link).hash.slice(1);
    expect(JSON.stringify([words, env, ran])).not.toContain(secret);
    for (const name of await readdir(at.at('data'), { recursive: true })) {
      const content = await readFile(at.at('data', name)).catch(() => Buffer.alloc(0));
      expect(content.includes(secret), name).toBe(false);
    }
    expect(await signIn(at.pages, link)).toMatchObject({
      status: 200,
      body: { session: expect.stringMatching(/^ws_/) },
    });
    expect(await signIn(at.pages, link)).toMatchObject({
      status: 401,
      body: { code: 'api_auth_required', hint: 'for a new one: sidekey open' },
    });
    expect((await at.events()).filter(({ event }) => event.startsWith('person.'))).toMatchObject([
      { event: 'person.created', reason: `${me}, role operator`, by: userInfo().username },
      { event: 'person.linked', reason: me },
      { event: 'person.signed_in', by: me, reason: 'by sidekey open' },
    ]);
  });

  test('with --print prints a link for the person of --as, whose role stays; it outlives a restart once', async () => {
    const at = await openHome();
    const first = await at.start();
    const created = await at.run(['person', 'create', 'auth0|1', '--role', 'auditor']);
    expect(created.stderr).toContain("→ sidekey person link 'auth0|1'\n");
    const link = await at.run(['open', '--as', 'auth0|1', '--print']);
    expect(link).toMatchObject({ exit: 0, stderr: 'Signs in as auth0|1, once, within a minute.\n' });
    const { url, person } = (await at.json(['open', '--as', 'auth0|1', '--print'])) as Record<string, string>;
    expect(person).toBe('auth0|1');
    expect((await signIn(at.pages, url!)).status).toBe(200);
    await first.stop();
    await at.start();
    expect((await signIn(at.pages, url!)).status).toBe(401);
    const { status, body } = await signIn(at.pages, link.stdout.trim());
    expect(status).toBe(200);
    const headers = { authorization: `Bearer ${body['session']}` };
    const whoami = await fetch(`${at.pages}/v2/me`, { headers });
    expect(await whoami.json()).toMatchObject({ name: 'auth0|1', role: 'auditor' });
  });

  test.each([
    [['--as', 'bob'], 'There is no person of that name', 'sidekey person list'],
    [['--as', 'carol'], 'carol is disabled.', 'sidekey person set carol --enable'],
    [[], 'No browser was opened: there is no display', 'sidekey open --print'],
    [
      ['--browser', '/nowhere/browser'],
      'The browser did not open: /nowhere/browser is not there.',
      'sidekey open --print',
    ],
  ])('with %j makes no link, and says why', async (words, sentence, hint) => {
    const at = await openHome();
    await at.start();
    await at.run(['person', 'create', 'carol', '--role', 'operator']);
    await at.run(['person', 'set', 'carol', '--disable']);
    const { exit, stdout, stderr } = await at.run(['open', ...words]);
    expect([exit, stdout]).toEqual([expect.any(Number), '']);
    expect(exit).toBeGreaterThan(0);
    expect(stderr).toContain(`sidekey: ${sentence}`);
    expect(stderr).toContain(`→ ${hint}`);
    expect((await at.events()).some(({ event }) => event === 'person.linked')).toBe(false);
  });

  test('creates nothing and makes no link without a proxy that serves the pages', async () => {
    const at = await openHome();
    const before = await at.everything();
    const silent = await at.run(['open', '--print']);
    expect(silent).toMatchObject({ exit: 6, stdout: '' });
    expect(silent.stderr).toMatch(/No proxy answers at .*\n {2}→ sidekey start\n$/);
    expect(await at.everything()).toEqual(before);

    await at.start();
    const text = await readFile(at.configFile, 'utf8');
    await writeFile(at.configFile, text.replace(new URL(at.pages).host, `127.0.0.1:${await freePort()}`));
    const moved = await at.run(['open', '--print']);
    expect(moved).toMatchObject({ exit: 6, stdout: '' });
    expect(moved.stderr).toContain('The dashboard is not served by a program of yours.');

    await writeFile(at.configFile, text.replace(/admin:\n.*\n/, ''));
    expect((await at.run(['open', '--print'])).stderr).toContain('names no address of the pages');
  });
});

/** Opens the pages of a service, with these parts replaced. */
async function opening(parts: Parameters<typeof openSignedIn>[3]) {
  const { sidekey, url } = await startService();
  const browser = await recordingBrowser();
  const written: string[] = [];
  const stream = { write: (text: string | Uint8Array) => written.push(String(text)) > 0 };
  const now = Date.now;
  const env = { SUDO_USER: 'alice@corp' };
  const output = createOutput({ stdout: stream, stderr: stream, env }, () => false);
  const changing = { ...sidekey.proxy.state, caller: callerAtMachine('root'), env, now, pages: url };
  const running = openSignedIn(
    { output, env, now },
    changing as unknown as Changing,
    { browser: browser.program },
    parts,
  );
  running.catch(() => undefined);
  const launch = (await browser.started).words[0]!;
  const linked = async () => (await sidekey.audit()).filter(({ event }) => event === 'person.linked');
  return { running, launch, linked, written };
}

describe('the address that a browser is started with', () => {
  test('gives a program of another user nothing, and ends', async () => {
    const owners: unknown[] = [];
    const { running, launch, linked, written } = await opening({
      timers: systemTimers,
      async ownerOf(ends) {
        owners.push(await peerOwnerOfCommand(ends));
        return 'other';
      },
    });
    const sent = await visit(launch);
    expect([sent.status, sent.headers.get('location')]).toEqual([404, null]);
    await expect(running).rejects.toMatchObject({
      code: 'consent_missing',
      message: 'A program of another or an unknown user came instead of the browser.',
    });
    expect([owners, await linked(), written]).toEqual([['own'], [], []]);
  });

  test('is closed after 20 seconds', async () => {
    const delays: number[] = [];
    const { promise: fired, resolve: fire } = Promise.withResolvers<void>();
    const after = (ms: number, run: () => void) => {
      delays.push(ms);
      void fired.then(run);
      return () => {};
    };
    const { running, launch, linked } = await opening({ ownerOf: peerOwnerOfCommand, timers: { after } });
    fire();
    await expect(running).rejects.toMatchObject({ message: 'No browser came within 20 seconds.' });
    expect(delays).toEqual([20_000]);
    await expect(visit(launch)).rejects.toThrow();
    expect(await linked()).toEqual([]);
  });

  test('signs in the person who called sudo', async () => {
    const { running, launch, linked } = await opening({});
    expect((await visit(launch)).status).toBe(302);
    await running;
    expect(await linked()).toMatchObject([{ reason: 'alice_at_corp' }]);
  });
});

describe('sidekey start', () => {
  test('with --open opens a browser that is signed in, and a stop ends the wait for it', async () => {
    const at = await openHome();
    const browser = await recordingBrowser();
    const env = { BROWSER: browser.program };
    const { stop } = await at.start({ options: ['--open'], env });
    const [launch = ''] = (await browser.started).words;
    const link = (await visit(launch)).headers.get('location') ?? '';
    expect((await signIn(at.pages, link)).status).toBe(200);
    await stop();

    const other = await recordingBrowser();
    const again = await at.start({ options: ['--open'], env: { BROWSER: other.program } });
    await other.started;
    const { exit, stderr } = await again.stop();
    expect([exit, stderr]).toEqual([0, expect.not.stringContaining('browser')]);
  });

  test.skipIf(!hasPseudoTerminal)(
    'ends its text with the command that opens the dashboard, only on a terminal',
    async () => {
      const at = await openHome();
      const command = [process.execPath, program, 'start', '--config', at.configFile];
      const terminal = runInTerminal(command, { cwd: at.folder });
      await terminal.until((screen) => screen.includes('Ctrl-C stops it.\r\nDashboard: sidekey open\r\n'));
      terminal.signal('SIGTERM');
      await terminal.ended;

      // A journal would show it to readers who cannot use it.
      const child = spawn(command[0]!, command.slice(1), {
        cwd: at.folder,
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (part: string) => {
        text += part;
        if (text.includes('Ctrl-C stops it.\n')) child.kill('SIGTERM');
      });
      await once(child, 'close');
      expect(text).toContain('Ctrl-C stops it.');
      expect(text).not.toContain('sidekey open');
    },
  );
});
