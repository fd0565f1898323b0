import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { onTestFinished, describe, expect, test } from 'vitest';
import { program } from '../../support/command-line.ts';
import { acmeHome, alice, secret, visit, type AcmeHome } from '../../support/connect-home.ts';

const free = ['--no-browser', '--port', '0'];

/** A command that waits for its answer, and the address that it waits at, with the state of it. */
async function waiting(at: AcmeHome, args: readonly string[] = free) {
  const command = at.begin(['connect', 'acme', ...args]);
  const consentUrl = await command.consentUrl();
  const asked = new URL(consentUrl).searchParams;
  const callback = new URL(asked.get('redirect_uri') ?? '');
  callback.searchParams.set('state', asked.get('state') ?? '');
  return { command, consentUrl, callback };
}

const failed = async (at: AcmeHome) =>
  JSON.parse(
    (await at.run(['audit', 'query', '--event', 'grant.connected', '--json'])).stdout.trim() || 'null',
  ) as unknown;

describe('a consent that fails', () => {
  test('is reported in the terminal and in the browser, recorded, and stores nothing', async () => {
    const at = await acmeHome();
    const { command, consentUrl } = await waiting(at);
    const page = await visit(await at.consent(consentUrl, { ...alice, decision: 'deny' }));
    const ran = await command.done;
    expect(ran).toMatchObject({ exit: 5, stdout: '' });
    const sentence = /sidekey: (.*)\n/.exec(ran.stderr)?.[1] ?? 'nothing was said';
    expect(sentence).toContain('said no to the consent');
    expect(page.status).toBe(400);
    expect(page.body).toContain(sentence.replaceAll('"', '&quot;'));
    expect(await at.json(['grant', 'list'])).toEqual([]);
    expect(await failed(at)).toMatchObject({ outcome: 'failed', code: 'consent_declined', provider: 'acme' });
  });

  test('has its error text escaped on the page', async () => {
    const at = await acmeHome();
    const { command, callback } = await waiting(at);
    callback.searchParams.set('error', 'server_error');
    callback.searchParams.set('error_description', '<script>alert(1)</script>');
    const page = await visit(callback);
    expect(page.body).not.toContain('<script');
    expect((await command.done).exit).toBe(5);
  });

  test.each([[free], [['--paste', '--port', '0']], [['--print-url']]])(
    'does not begin if the token endpoint is at a blocked address: %j',
    async (args) => {
      const at = await acmeHome();
      const config = await readFile(at.configFile, 'utf8');
      await writeFile(at.configFile, config.replace('127.0.0.1/32', '10.0.0.1/32'));
      const ran = await at.run(['connect', 'acme', ...args]);
      expect(ran).toMatchObject({ exit: 2, stdout: '' });
      expect(ran.stderr).toMatch(
        /resolves to 127\.0\.0\.1, which is not a public address and is not listed\.\n/,
      );
      expect(ran.stderr).toContain('upstream.private_addresses');
      expect(ran.stderr).not.toContain('/authorize');
    },
  );

  test('stops waiting at the time limit', async () => {
    const at = await acmeHome();
    const ran = await at.run(['connect', 'acme', ...free, '--timeout', '80ms']);
    expect(ran).toMatchObject({ exit: 1, stdout: '' });
    expect(ran.stderr).toContain('sidekey: No answer came within 80ms. Nothing was stored.\n');
    expect(await failed(at)).toMatchObject({ outcome: 'failed', code: 'consent_missing' });
  });

  test('creates no grant if the provider refuses the code', async () => {
    const at = await acmeHome();
    const { command, callback } = await waiting(at);
    callback.searchParams.set('code', 'stolen');
    callback.searchParams.set('iss', at.helpdesk.issuer);
    const page = await visit(callback);
    expect(page.body).toContain('Acme Helpdesk is not connected');
    expect(page.body).not.toContain('stolen');
    expect(await command.done).toMatchObject({ exit: 5, stderr: expect.stringContaining('invalid_grant') });
  });

  test('stops at Ctrl-C, and frees the port', async () => {
    const at = await acmeHome();
    const child = spawn(process.execPath, [program, 'connect', 'acme', ...free, '--config', at.configFile], {
      cwd: at.folder,
      env: { PATH: process.env['PATH'], HOME: at.folder, ACME_SECRET: secret },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stderr = '';
    const shown = Promise.withResolvers<void>();
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      if (stderr.includes('code_challenge')) shown.resolve();
    });
    const ended = once(child, 'close');
    await shown.promise;
    child.kill('SIGINT');
    expect(await ended).toEqual([1, null]);
    expect(stderr).toContain(
      'sidekey: Stopped before an answer came. Nothing was stored.\n  → run the command again\n',
    );
  });
});

describe('a grant that another command added meanwhile', () => {
  test('of another provider remains unchanged, and the browser and the audit file report this', async () => {
    const at = await acmeHome();
    const { command, consentUrl } = await waiting(at);
    await at.grant('acme', { type: 'api_key', value: 'x' }, ['--provider', 'github']);
    const page = await visit(await at.consent(consentUrl));
    const ran = await command.done;
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining('There is a grant acme already') });
    expect(page.body).toContain('There is a grant acme already');
    expect(await at.json(['grant', 'show', 'acme'])).toMatchObject({ provider: 'github', revision: 1 });
    expect(await failed(at)).toMatchObject({ outcome: 'failed', code: 'already_exists' });
  });
});

describe('another request at the callback address does not end the wait', () => {
  const otherRequests: readonly (readonly [
    what: string,
    status: number,
    ask: (callback: URL) => Parameters<typeof visit>,
  ])[] = [
    ['another state', 400, (url) => [changed(url, { state: 'x', code: 'y' })]],
    ['no state', 400, (url) => [changed(url, { state: null, code: 'y' })]],
    ['the state twice', 400, (url) => [`${url.href}&state=x&code=y`]],
    ['a denial without the state', 400, (url) => [changed(url, { state: null, error: 'access_denied' })]],
    ['another path', 404, (url) => [Object.assign(new URL(url), { pathname: '/' })]],
    [
      'the path with more behind it',
      404,
      (url) => [Object.assign(new URL(url), { pathname: '/callback/x' })],
    ],
    ['a POST', 405, (url) => [changed(url, { code: 'y' }), { method: 'POST' }]],
    ['a HEAD', 405, (url) => [changed(url, { code: 'y' }), { method: 'HEAD' }]],
    [
      'a Host of another site',
      404,
      (url) => [changed(url, { code: 'y' }), { headers: { host: 'evil.example.com' } }],
    ],
    [
      'a Host of another site with the port',
      404,
      (url) => [changed(url, { code: 'y' }), { headers: { host: `evil.example.com:${url.port}` } }],
    ],
    [
      'the Host localhost',
      404,
      (url) => [changed(url, { code: 'y' }), { headers: { host: `localhost:${url.port}` } }],
    ],
  ];

  test.each(otherRequests)('%s', async (_what, status, ask) => {
    const at = await acmeHome();
    const { command, consentUrl, callback } = await waiting(at);
    const answer = await visit(...ask(callback));
    expect(answer.status).toBe(status);
    expect(answer.headers['content-security-policy']).toContain("default-src 'none'");
    const page = await visit(await at.consent(consentUrl));
    expect(page.status).toBe(200);
    expect((await command.done).exit).toBe(0);
  });

  test('with an absolute target that names another host', async () => {
    const at = await acmeHome();
    const { command, consentUrl, callback } = await waiting(at);
    const target = changed(callback, { code: 'y' });
    const answer = await visit(callback, { path: target.href.replace('127.0.0.1', 'evil.example.com') });
    expect(answer.status).toBe(404);
    await visit(await at.consent(consentUrl));
    expect((await command.done).exit).toBe(0);
  });

  test('and is reported once when repeated', async () => {
    const at = await acmeHome();
    const { command, consentUrl, callback } = await waiting(at);
    for (const code of ['a', 'b', 'c']) await visit(changed(callback, { state: 'x', code }));
    await visit(await at.consent(consentUrl));
    expect((await command.done).stderr.split('it was ignored')).toHaveLength(2);
  });
});

describe('the callback port', () => {
  test('is reported as busy before the consent if another program uses it', async () => {
    const at = await acmeHome();
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    onTestFinished(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const ran = await at.run(['connect', 'acme', '--no-browser', '--port', String(port)]);
    expect(ran).toMatchObject({ exit: 1, stdout: '' });
    expect(ran.stderr).toBe(
      `sidekey: The port ${port} of 127.0.0.1 is in use by another program.\n` +
        '  → name another with --port, or end that program; --paste needs no port\n',
    );
  });

  test.each([
    ['--port', 'eighty', '--port is not a port.'],
    ['--port', '70000', '--port is not a port.'],
    ['--redirect-uri', 'http://example.com/callback', 'plain http'],
    ['--redirect-uri', 'https://example.com/callback', 'no answer arrives here'],
    ['--redirect-uri', 'javascript:alert(1)', 'a scheme that no provider sends a browser to'],
    ['--timeout', 'soon', '--timeout is not a duration.'],
    ['--scope', ' , ', '--scope contains an invalid scope.'],
    ['--scope', 'read"tickets', '--scope contains an invalid scope.'],
  ])('%s %s is refused before any consent', async (option, value, sentence) => {
    const ran = await (await acmeHome()).run(['connect', 'acme', '--no-browser', option, value]);
    expect(ran).toMatchObject({ exit: 2, stdout: '' });
    expect(ran.stderr).toContain(sentence);
    expect(ran.stderr).not.toContain('code_challenge');
  });
});

/** A copy of an address with other parameters; null takes one away. */
function changed(url: URL, parameters: Readonly<Record<string, string | null>>): URL {
  const copy = new URL(url);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null) copy.searchParams.delete(name);
    else copy.searchParams.set(name, value);
  }
  return copy;
}
