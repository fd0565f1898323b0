import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { acmeHome, visit, type AcmeHome, type BeginOptions } from '../../support/connect-home.ts';

const paste = ['connect', 'acme', '--paste', '--port', '0'];

/** Begins with --paste, and brings the address that alice's browser came to, as it is or changed. */
async function pasting(at: AcmeHome, change: (callback: URL) => string, options?: BeginOptions) {
  const command = at.begin(paste, options);
  const callback = await at.consent(await command.consentUrl());
  command.stdin.write(`${change(callback)}\n`);
  return { command, callback };
}

describe('connect --paste, without a browser on this machine', () => {
  test.each<[what: string, change: (callback: URL) => string]>([
    ['the whole address', (url) => url.href],
    ['the address in quotes', (url) => `"${url.href}"`],
    ['only the query', (url) => url.search],
    ['only the code', (url) => url.searchParams.get('code') ?? ''],
  ])('accepts %s', async (_what, change) => {
    const { command } = await pasting(await acmeHome(), change);
    expect(await command.done).toMatchObject({ exit: 0, stdout: expect.stringContaining('Connected acme.') });
  });

  test('accepts a registered https address without a local listener', async () => {
    const redirectUri = 'https://connect.example.com/callback';
    const at = await acmeHome({ helpdesk: { redirectUris: [redirectUri] } });
    const command = at.begin(['connect', 'acme', '--paste', '--redirect-uri', redirectUri]);
    const callback = await at.consent(await command.consentUrl());
    expect(callback.href).toContain(`${redirectUri}?code=`);
    command.stdin.write(`${callback.href}\n`);
    expect((await command.done).exit).toBe(0);
  });

  test('accepts the consent of a browser on this machine too', async () => {
    const at = await acmeHome();
    const command = at.begin(paste);
    const page = await visit(await at.consent(await command.consentUrl()));
    expect(page.status).toBe(200);
    expect((await command.done).exit).toBe(0);
  });

  test('refuses the callback of another consent', async () => {
    const at = await acmeHome();
    const { command } = await pasting(at, (url) => {
      url.searchParams.set('state', 'another');
      return url.href;
    });
    expect(await command.done).toMatchObject({
      exit: 2,
      stdout: '',
      stderr: expect.stringContaining('What was pasted is the answer to another consent.'),
    });
    expect(await at.json(['grant', 'list'])).toEqual([]);
  });

  test('refuses a bare code if neither PKCE nor state ties the code to this consent', async () => {
    const at = await acmeHome({ provider: { dialect: { pkce: false } } });
    const ran = await at.run(paste, { input: 'the-code-of-another-account\n' });
    expect(ran).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('This provider needs more than the code.'),
    });
    expect(at.helpdesk.tokenRequestCount()).toBe(0);
  });

  test('does not print invalid input', async () => {
    const { command } = await pasting(await acmeHome(), () => 'https://example.com/?password=hunter2');
    const ran = await command.done;
    expect(ran.exit).toBe(2);
    expect(ran.stderr).not.toContain('hunter2');
  });

  test('stops waiting when standard input ends', async () => {
    const at = await acmeHome();
    const ran = await at.run(paste);
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('ended before an answer came') });
  });

  test('prompts again after a wrong answer at a terminal', async () => {
    const at = await acmeHome();
    const { command, callback } = await pasting(at, () => 'https://example.com/', { terminal: true });
    await command.said('neither the address');
    command.stdin.write(`${callback.href}\n`);
    expect((await command.done).exit).toBe(0);
  });

  test('prompts on a terminal without a display, even without --paste', async () => {
    const at = await acmeHome();
    const command = at.begin(['connect', 'acme', '--port', '0'], { terminal: true });
    const callback = await at.consent(await command.consentUrl());
    expect(await command.said('Paste the address')).toContain('No browser was opened: there is no display');
    command.stdin.write(`${callback.href}\n`);
    expect((await command.done).exit).toBe(0);
  });
});

interface Printed {
  readonly consent_url: string;
  readonly state: string;
  readonly expires_at: string;
}

const printed = async (at: AcmeHome, ...args: readonly string[]) =>
  (await at.json(['connect', 'acme', '--print-url', ...args])) as Printed;

describe('connect --print-url, and --finish in another process', () => {
  test('prints the address, and for a program the data that belongs to the address', async () => {
    const at = await acmeHome();
    const before = Date.now();
    const begun = await printed(at, '--user', 'alice');
    const asked = new URL(begun.consent_url).searchParams;
    expect(begun).toEqual({
      provider: 'acme',
      name: 'acme',
      user: 'alice',
      consent_url: expect.stringContaining(`https://${at.authority}/authorize?`),
      state: asked.get('state'),
      redirect_uri: 'http://127.0.0.1:8765/callback',
      expires_at: expect.stringMatching(/Z$/),
    });
    const left = Date.parse(begun.expires_at) - before;
    expect(left).toBeGreaterThanOrEqual(3_600_000);
    expect(left).toBeLessThan(3_660_000);
  });

  test('prints each step once for a person', async () => {
    const at = await acmeHome();
    const { stderr } = await at.run(['connect', 'acme', '--print-url']);
    expect(stderr).toMatch(
      /^Open this .+\nCopy the address of that page\. Within 60 min, run:\n {2}→ sidekey /,
    );
  });

  test('needs only the callback address to finish with the original options', async () => {
    const at = await acmeHome();
    const begun = await printed(at, '--name', 'desk', '--user', 'alice', '--scope', 'read:tickets');
    const callback = await at.consent(begun.consent_url);
    const ran = await at.run(['connect', '--finish', callback.href, '--meta', 'team=infra', '--json']);
    expect(ran.exit, ran.stderr).toBe(0);
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({
      settings: { metadata: { team: 'infra' } },
    });
    expect(JSON.parse(ran.stdout)).toMatchObject({
      name: 'desk',
      user: 'alice',
      scopes: ['read:tickets'],
      domains: [at.authority],
    });
    expect(await at.json(['audit', 'query', '--event', 'grant.connected'])).toMatchObject({ user: 'alice' });
  });

  test('can be finished with the code and the state, and from standard input', async () => {
    const at = await acmeHome();
    const first = await printed(at);
    const code = (await at.consent(first.consent_url)).searchParams.get('code') ?? '';
    const ran = await at.run(['connect', '--finish', code, '--state', first.state]);
    expect(ran.exit, ran.stderr).toBe(0);
    const second = await printed(at, '--replace');
    const { href } = await at.consent(second.consent_url);
    const again = await at.run(['connect', 'acme', '--finish', '-'], { input: `${href}\n` });
    expect(again.stdout).toContain('Connected acme again.');
    expect(await at.json(['grant', 'show', 'acme'])).toMatchObject({ grant_type: 'authorization_code' });
  });

  test('can be finished only once', async () => {
    const at = await acmeHome();
    const { href } = await at.consent((await printed(at)).consent_url);
    expect((await at.run(['connect', '--finish', href])).exit).toBe(0);
    const again = await at.run(['connect', '--finish', href]);
    expect(again).toMatchObject({
      exit: 2,
      stdout: '',
      stderr:
        'sidekey: No consent is waiting for that answer: it is finished, or it timed out.\n' +
        '  → begin again: sidekey connect PROVIDER --print-url\n',
    });
    expect(at.helpdesk.tokenRequestCount('authorization_code')).toBe(1);
  });

  test('expires', async () => {
    const at = await acmeHome();
    const { href } = await at.consent((await printed(at, '--timeout', '1ms')).consent_url);
    const ran = await at.run(['connect', '--finish', href]);
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('or it timed out') });
    expect(at.helpdesk.tokenRequestCount('authorization_code')).toBe(0);
  });

  test('refuses an address with an unknown state', async () => {
    const at = await acmeHome();
    const { href } = await at.consent((await printed(at)).consent_url);
    const other = new URL(href);
    other.searchParams.set('state', 'another');
    for (const args of [[other.href], [href, '--state', 'another'], ['a-code-alone']]) {
      expect(await at.run(['connect', '--finish', ...args])).toMatchObject({ exit: 2, stdout: '' });
    }
    // The pending consent still exists after these attempts.
    expect((await at.run(['connect', '--finish', href])).exit).toBe(0);
  });

  test('reports and records a denial, and ends the session', async () => {
    const at = await acmeHome();
    const begun = await printed(at);
    const denied = `http://127.0.0.1/callback?error=access_denied&state=${begun.state}`;
    const ran = await at.run(['connect', '--finish', denied]);
    expect(ran).toMatchObject({ exit: 5, stderr: expect.stringContaining('said no to the consent') });
    expect(await at.json(['audit', 'query', '--event', 'grant.connected'])).toMatchObject({
      outcome: 'failed',
      code: 'consent_declined',
    });
    expect((await at.run(['connect', '--finish', denied])).exit).toBe(2);
  });

  test('sends no code to a provider whose definition changed in between', async () => {
    const at = await acmeHome();
    const { href } = await at.consent((await printed(at)).consent_url);
    await at.run(['connect', 'acme', '--client-id', 'another', '--print-url']);
    const ran = await at.run(['connect', '--finish', href]);
    expect(ran).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('was changed since the consent began'),
    });
    expect(at.helpdesk.tokenRequestCount('authorization_code')).toBe(0);
  });

  test('seals the session, so that the store has no state or verifier in plain text', async () => {
    const at = await acmeHome();
    const begun = await printed(at);
    const files = await readdir(at.folder, { recursive: true, withFileTypes: true });
    for (const file of files.filter((each) => each.isFile())) {
      const content = await readFile(join(file.parentPath, file.name));
      expect(content.includes(begun.state), file.name).toBe(false);
    }
  });
});
