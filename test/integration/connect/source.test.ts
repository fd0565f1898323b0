/** Grants whose credential is not stored, but asked from a source. */
import { execFile, execFileSync } from 'node:child_process';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { freePort } from '../../support/free-port.ts';
import { startAuthorizedApi } from '../../support/authorized-api.ts';
import { home, program } from '../../support/command-line.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { upstreamCa } from '../../support/upstream.ts';

/**
 * An API that takes the tokens that `isGood` names, and a home with its provider and a folder for programs.
 */
async function desk(isGood: (authorization: string) => boolean, provider: object = {}) {
  const { asked, upstream, settings } = await startAuthorizedApi(isGood, provider);
  const at = await home({ proxy: { listen: `127.0.0.1:${await freePort()}` }, ...settings });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await mkdir(at.at('bin'));
  const env = { PATH: `${at.at('bin')}:${process.env['PATH']}` };
  return {
    at,
    upstream,
    asked,
    env,
    connect: (...args: readonly string[]) => at.run(['connect', 'desk', ...args], { env }),
    /** Puts a program of the shell on the path. */
    program: async (name: string, code: string) => {
      await writeFile(at.at('bin', name), `#!/bin/sh\n${code}\n`);
      await chmod(at.at('bin', name), 0o755);
    },
    audit: async () => readFile(at.at('config', '..', 'data', 'audit.jsonl'), 'utf8'),
  };
}

describe('connect --from', () => {
  test('verifies the secret from the source, and stores only the source', async () => {
    const { at, connect, program, asked, env } = await desk(
      (authorization) => authorization === 'Bearer the-token-of-gh',
    );
    await program('gh', 'echo the-token-of-gh');
    const ran = await connect('--from', 'gh');
    expect(ran).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('accepts the credential (HTTP 200)'),
    });
    expect(asked).toEqual(['Bearer the-token-of-gh']);
    for (const [name] of await at.everything()) {
      const content = await readFile(at.at(name)).catch(() => Buffer.alloc(0));
      expect(`${name} ${content.includes('the-token-of-gh') && !name.startsWith('bin/')}`).toBe(
        `${name} false`,
      );
    }
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({
      type: 'source',
      state: 'active',
      source: 'gh',
      renewed_by: 'source',
      fingerprint: null,
      next: { what: 'refresh_on_use' },
    });
    const shown = await at.run(['grant', 'show', 'desk']);
    expect(shown.stdout).toMatch(/source +gh\n/);
    expect(shown.stdout).toContain('a request asks the source, where no value is in memory');
    expect((await at.run(['grant', 'list'])).stdout).toContain('as its source says');
    const explained = await at.run(
      [
        'explain',
        `https://${((await at.json(['grant', 'show', 'desk'])) as { audience: string[] }).audience[0]}/a`,
      ],
      { env },
    );
    expect(explained.stdout.replace(/\s+/g, ' ')).toContain(
      'the source gh is asked before the request is sent',
    );
    expect(asked).toHaveLength(1);
  });

  test('stores nothing if the provider refuses the secret', async () => {
    const { at, connect, program } = await desk(() => false);
    await program('gh', 'echo another-token');
    expect(await connect('--from', 'gh')).toMatchObject({
      exit: 5,
      stderr: expect.stringContaining('nothing was stored'),
    });
    expect(await at.json(['grant', 'list'])).toEqual([]);
  });

  test('reports which helper failed, and the next step', async () => {
    const { at, connect, program, asked } = await desk(() => true);
    await program('gh', 'echo "no oauth token" >&2; exit 1');
    const ran = await connect('--from', 'gh');
    expect(ran).toMatchObject({ exit: 5 });
    expect(ran.stderr).toContain('gh ended with exit code 1: no oauth token.\n  → gh auth login');
    expect(await at.json(['grant', 'list'])).toEqual([]);
    expect(asked).toEqual([]);
  });

  test('skips the verification with --no-verify', async () => {
    const { at, connect, program, asked } = await desk(() => true);
    await program('gh', `touch ${at.at('ran')}`);
    expect(await connect('--from', 'gh', '--no-verify')).toMatchObject({ exit: 0 });
    expect([...(await at.everything()).keys()]).not.toContain('ran');
    expect(asked).toEqual([]);
  });

  test('cannot be combined with a literal secret or another flow', async () => {
    const { connect } = await desk(() => true);
    const ran = await connect('--from', 'ghp_0123456789abcdefghijklmnopqrstuvwxyz');
    expect(ran).toMatchObject({ exit: 2 });
    expect(ran.stderr).not.toContain('ghp_');
    expect(await connect('--from', 'gh', '--token')).toMatchObject({ exit: 2 });
    expect(await connect('--from', 'gh', '--source-form', 'xml')).toMatchObject({ exit: 2 });
    expect(await connect('--from', 'gh', '--source-ttl', 'soon')).toMatchObject({ exit: 2 });
  });
});

describe('a running proxy', () => {
  test('reads the source at the first request, again after a 401, and records both', async () => {
    let good = 'Bearer token-1';
    const { at, connect, program, env, upstream, asked, audit } = await desk(
      (authorization) => authorization === good,
    );
    await program('pass', `cat ${at.at('value')}; echo x >> ${at.at('count')}`);
    await writeFile(at.at('value'), 'token-1\nuser: alice\n');
    expect(await connect('--from', 'pass:desk')).toMatchObject({ exit: 0 });
    await writeFile(at.at('count'), '');
    const proxy = await at.start({ env });
    const count = async () => (await readFile(at.at('count'), 'utf8')).length / 2;
    expect(await count()).toBe(0);
    const get = async () => {
      const answer = await proxiedGet(proxy.url, `https://${upstream.authority}/a`);
      return 'status' in answer ? answer.status : answer.lost;
    };
    expect(await get()).toBe(200);
    expect(await get()).toBe(200);
    expect(await count()).toBe(1);
    // The token was replaced where it lives.
    good = 'Bearer token-2';
    await writeFile(at.at('value'), 'token-2\n');
    expect(await get()).toBe(200);
    expect(asked.slice(-2)).toEqual(['Bearer token-1', 'Bearer token-2']);
    expect(await count()).toBe(2);
    const lines = await audit();
    expect(lines.match(/from the source pass:desk/g)).toHaveLength(2);
    expect(lines).not.toContain('token-2');
  });

  test('refuses a request if its source fails, with the next step, and reports the failure', async () => {
    const { at, connect, program, env, upstream, asked } = await desk(() => true);
    await program('gh', 'echo "not logged in" >&2; exit 4');
    expect(await connect('--from', 'gh', '--no-verify')).toMatchObject({ exit: 0 });
    const proxy = await at.start({ env });
    expect(await proxiedGet(proxy.url, `https://${upstream.authority}/a`)).toMatchObject({
      status: 502,
      body: expect.stringContaining(
        'The source of the grant \\"desk\\" failed: gh ended with exit code 4: not logged in.","hint":"gh auth login"',
      ),
    });
    expect(asked).toEqual([]);
    const status = await at.run(['status'], { env });
    expect(status.stdout.replace(/\s+/g, ' ')).toContain(
      'gh ended with exit code 4: not logged in. → sidekey grant refresh desk',
    );
    await program('gh', 'echo the-token');
    expect(await at.run(['grant', 'refresh', 'desk'], { env })).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('The source of desk gave a credential. It is not stored.'),
    });
    const { stdout } = await at.run(['status'], { env });
    expect(stdout).not.toContain('exit code 4');
    expect(stdout.replace(/\s+/g, ' ')).toContain('1 active; asked from a source (grant source NAME): desk');
  });

  test('refuses a request outside the audience without reading the source', async () => {
    const { at, program, env, upstream, asked } = await desk(() => true, { audience: ['*.acme.test'] });
    await program('gh', `touch ${at.at('ran')}; echo the-token`);
    await at.grant('desk', { value: 'the-stored-key' }, ['--audience', 'other.acme.test']);
    expect(await at.run(['domain', 'allow', upstream.authority, '--grant', 'desk'])).toMatchObject({
      exit: 0,
    });
    expect(await at.run(['grant', 'source', 'desk', 'gh', '--no-verify'], { env })).toMatchObject({
      exit: 0,
    });
    const proxy = await at.start({ env });
    expect(await proxiedGet(proxy.url, `https://${upstream.authority}/a`)).toMatchObject({
      status: 403,
      body: expect.stringContaining('may go to other.acme.test, not to'),
    });
    expect(asked).toEqual([]);
    expect([...(await at.everything()).keys()]).not.toContain('ran');
  });

  test('reports a source whose program cannot be found', async () => {
    const { at, connect, program } = await desk(() => true);
    await program('gh', 'echo the-token');
    expect(await connect('--from', 'gh')).toMatchObject({ exit: 0 });
    const proxy = await at.start({ env: { PATH: '/nowhere' } });
    const sentence =
      'The running proxy cannot ask the source of the grant "desk": The program gh of the source gh is not found.';
    expect(JSON.parse(await proxy.logged('cannot ask'))).toMatchObject({
      msg: sentence,
      code: 'source_failed',
    });
    expect((await at.run(['status'])).stdout.replace(/\s+/g, ' ')).toContain(sentence);
  });
});

describe('grant source', () => {
  test('shows the source, and replaces the source after the provider accepts its secret', async () => {
    const { at, connect, program, env, asked } = await desk(
      (authorization) => authorization !== 'Bearer bad',
    );
    await program('gh', 'echo token-of-gh');
    await program('pass', 'echo token-of-pass');
    await connect('--from', 'gh', '--source-ttl', '90s');
    expect(await at.json(['grant', 'source', 'desk'])).toMatchObject({ source: 'gh', ttl: 90, form: null });
    const { id } = (await at.json(['grant', 'show', 'desk'])) as { id: string };
    expect(await at.run(['grant', 'source', 'desk', '--source-form', 'token'], { env })).toMatchObject({
      exit: 0,
    });
    expect(await at.json(['grant', 'source', 'desk'])).toMatchObject({
      source: 'gh',
      ttl: 90,
      form: 'token',
    });
    expect(await at.run(['grant', 'source', 'desk', 'pass:desk'], { env })).toMatchObject({ exit: 0 });
    expect(await at.json(['grant', 'source', 'desk'])).toMatchObject({ id, source: 'pass:desk', ttl: null });
    expect(asked.at(-1)).toBe('Bearer token-of-pass');
    await program('op', 'echo bad');
    expect(await at.run(['grant', 'source', 'desk', 'op://a/b/c'], { env })).toMatchObject({ exit: 5 });
    expect(await at.json(['grant', 'source', 'desk'])).toMatchObject({ source: 'pass:desk' });
  });

  test('replaces a stored credential by a source, and deletes the credential', async () => {
    const { at, program, env, upstream, audit } = await desk(() => true, { audience: ['*.acme.test'] });
    await program('gh', 'echo token-of-gh');
    const host = upstream.authority;
    await at.grant('desk', { value: 'the-stored-key' }, ['--audience', host]);
    const config = await readFile(at.configFile, 'utf8');
    expect(await at.run(['grant', 'source', 'desk'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('has no source'),
    });
    expect(await at.run(['grant', 'source', 'desk', 'gh'], { env })).toMatchObject({ exit: 0 });
    const shown = { type: 'source', source: 'gh', audience: [host] };
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject(shown);
    expect(await readFile(at.configFile, 'utf8')).toBe(config);
    expect(await audit()).toContain('"reason":"replaced; source gh"');
  });
});

/** Documented answers of programs that a test machine rarely has, or that need an account. */
const documented = [
  [
    'gcloud',
    'gcloud',
    `echo '{"configuration":{},"credential":{"access_token":"the-token","token_expiry":"%END%"}}'`,
  ],
  [
    'az:https://graph.microsoft.com',
    'az',
    `echo '{"accessToken":"the-token","expiresOn":"2027-01-01 00:00:00.000000","tokenType":"Bearer"}'`,
  ],
  [
    'op://work/desk/token',
    'op',
    `[ "$1 $2 $3" = "read --no-newline op://work/desk/token" ] && printf the-token`,
  ],
  ['bw://desk', 'bw', `[ "$*" = "--nointeraction get password desk" ] && printf the-token`],
  ['pass:work/desk', 'pass', `[ "$*" = "show work/desk" ] && printf 'the-token\\nuser: alice\\n'`],
  ['keyring:desk', 'secret-tool', `[ "$*" = "lookup service desk" ] && printf the-token`],
  ['sops:desk.yaml#token', 'sops', `[ "$3" = '["token"]' ] && cat "$4"`],
  [
    'docker-credential:x#desk',
    'docker-credential-x',
    `[ "$(cat)" = desk ] && echo '{"ServerURL":"desk","Username":"<token>","Secret":"the-token"}'`,
  ],
] as const;

test.each(documented)('connect --from %s accepts the documented output', async (from, name, code) => {
  const { at, connect, program } = await desk((authorization) => authorization === 'Bearer the-token');
  await program(name, code.replace('%END%', new Date(Date.now() + 3_600_000).toISOString()));
  await writeFile(at.at('desk.yaml'), 'the-token');
  expect(await connect('--from', from)).toMatchObject({ exit: 0 });
});

test('connect --from aws accepts the documented output', async () => {
  const { connect, program } = await desk(
    (authorization) => authorization.startsWith('AWS4-HMAC-SHA256 Credential=ASIAIOSFODNN7EXAMPLE/'),
    { inject: { aws_sigv4: { service: 's3', region: 'eu-west-1' } } },
  );
  const keys = {
    AccessKeyId: 'ASIAIOSFODNN7EXAMPLE',
    SecretAccessKey: 'wJalrXUtnFEMI',
    SessionToken: 'token',
  };
  const end = new Date(Date.now() + 3_600_000).toISOString();
  const answer = JSON.stringify({ Version: 1, ...keys, Expiration: end });
  await program(
    'aws',
    `[ "$*" = "configure export-credentials --format process --profile dev" ] && echo '${answer}'`,
  );
  expect(await connect('--from', 'aws-sso:dev')).toMatchObject({ exit: 0 });
});

function isInstalled(name: string): boolean {
  try {
    return execFileSync('sh', ['-c', `command -v ${name}`]).length > 0;
  } catch {
    return false;
  }
}

describe('the real helper programs', () => {
  test.skipIf(!isInstalled('gh'))('gh prints the token of its login (skipped without gh)', async () => {
    const { at, connect } = await desk((authorization) => authorization === 'Bearer gho_of_alice');
    await mkdir(at.at('.config', 'gh'), { recursive: true });
    const hosts = 'github.com:\n    oauth_token: gho_of_alice\n    user: alice\n';
    await writeFile(at.at('.config', 'gh', 'hosts.yml'), hosts);
    expect(await connect('--from', 'gh')).toMatchObject({ exit: 0 });
    const other = await connect('--from', 'gh:ghe.acme.test', '--name', 'other');
    expect(other.stderr).toMatch(/gh ended with exit code 1: .*\n {2}→ gh auth login/);
  });

  const desktop = ['dbus-run-session', 'gnome-keyring-daemon', 'secret-tool'];
  test.skipIf(!desktop.every(isInstalled))(
    `secret-tool prints the entry of the keyring (skipped without ${desktop.join(', ')})`,
    { timeout: 60_000 },
    async () => {
      const { at, env } = await desk((authorization) => authorization === 'Bearer the-token');
      const script = [
        'set -e',
        'printf test | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1',
        'printf the-token | secret-tool store --label=desk service desk',
        `${process.execPath} ${program} connect desk --from keyring:desk --json --config ${at.configFile}`,
      ].join('\n');
      const home = { HOME: at.folder, XDG_DATA_HOME: at.folder, XDG_RUNTIME_DIR: at.folder };
      const { stdout } = await promisify(execFile)('dbus-run-session', ['--', 'sh', '-c', script], {
        cwd: at.folder,
        env: { ...env, ...home },
      });
      expect(JSON.parse(stdout)).toMatchObject({ name: 'desk', type: 'source', verified: true });
    },
  );

  test.skipIf(!isInstalled('git'))(
    'git prints the password of its credential helper (skipped without git)',
    async () => {
      const basic = `Basic ${Buffer.from('alice:the-password').toString('base64')}`;
      const { at, connect } = await desk((authorization) => authorization === basic);
      await writeFile(at.at('.git-credentials'), 'https://alice:the-password@git.acme.test\n', {
        mode: 0o600,
      });
      await writeFile(at.at('.gitconfig'), '[credential]\n\thelper = store\n');
      expect(await connect('--from', 'git-credential:git.acme.test')).toMatchObject({ exit: 0 });
      const other = await connect('--from', 'git-credential:other.acme.test', '--name', 'other');
      expect(other.stderr).toMatch(/git ended with exit code 128: .*\n {2}→ git credential approve/);
    },
  );
});
