import { chmod, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { SourceCredential } from '../../../../src/domain/credential.ts';
import { createSources } from '../../../../src/grants/sources/ask.ts';
import { cloudServices } from '../../../../src/grants/sources/cloud-source.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { hintOfText } from '../../../support/hint.ts';

const now = Date.UTC(2027, 0, 1);
const node = process.execPath;

async function sourcesIn(env: NodeJS.ProcessEnv = {}) {
  const folder = await tempFolder();
  const bin = join(folder, 'bin');
  await mkdir(bin);
  const sources = createSources({
    env: { PATH: bin, HOME: folder, ...env },
    cwd: folder,
    platform: process.platform,
    now: () => now,
    fetch: () => fetch,
    services: cloudServices,
    vault: {
      ask: async ({ path }, { isRefused }) => ({
        credential: { type: 'api_key', value: `${path} ${isRefused}` },
        expiresAt: null,
      }),
      check: async ({ server }) => {
        if (server !== null) throw new SidekeyError('source_failed');
      },
    },
  });
  const ask = (from: string, fields: Partial<SourceCredential> = {}) =>
    sources.ask({
      grant: 'id',
      revision: 1,
      credential: { type: 'source', from, form: null, ttlMs: null, ...fields },
      audience: ['*.acme.test', 'git.acme.test:8443'],
      isRefused: false,
      signal: new AbortController().signal,
    });
  return {
    folder,
    ask,
    valueOf: async (from: string, fields?: Partial<SourceCredential>) => (await ask(from, fields)).credential,
    failureOf: (from: string, fields?: Partial<SourceCredential>) =>
      ask(from, fields).then(
        () => null,
        (error: unknown) => error,
      ),
    check: (from: string) => sources.check({ type: 'source', from, form: null, ttlMs: null }),
    /** Puts a program on the path that runs this in Node. */
    program: async (name: string, code: string) => {
      await writeFile(join(bin, name), `#!${node}\n${code}\n`);
      await chmod(join(bin, name), 0o755);
    },
  };
}

/** A helper that answers with its words, its standard input and its variables. */
const echo = (answer: string) =>
  `let input = ''; process.stdin.on('data', (text) => (input += text)).on('end', () => { const argv = process.argv.slice(2); ${answer} });`;

describe('a helper', () => {
  test('returns the token that it prints', async () => {
    const { valueOf, program } = await sourcesIn();
    await program('gh', "console.log('gho_' + process.argv.slice(2).join('_'))");
    expect(await valueOf('gh')).toEqual({ type: 'api_key', value: 'gho_auth_token' });
    expect(await valueOf('gh:ghe.acme.test')).toEqual({
      type: 'api_key',
      value: 'gho_auth_token_--hostname_ghe.acme.test',
    });
  });

  test.each([
    ['docker-credential:x#ghcr.io', 'docker-credential-x', 'get ghcr.io'],
    ['command:docker-credential-x', 'docker-credential-x', 'get git.acme.test:8443'],
    ['command:docker-credential-x get', 'docker-credential-x', 'get git.acme.test:8443'],
  ])('of Docker gets the server on standard input: %s', async (from, name, asked) => {
    const { valueOf, program } = await sourcesIn();
    await program(
      name,
      echo('console.log(JSON.stringify({ Username: argv.join(), Secret: `${argv} ${input}` }))'),
    );
    expect(await valueOf(from)).toEqual({ type: 'basic', username: 'get', password: asked });
  });

  test.each([
    ['git-credential:github.com', 'git', 'credential,fill github.com'],
    ['command:git credential fill', 'git', 'credential,fill git.acme.test:8443'],
    ['command:git-credential-x', 'git-credential-x', 'get git.acme.test:8443'],
  ])('of git gets the host on standard input: %s', async (from, name, asked) => {
    const { valueOf, program } = await sourcesIn();
    const host = '/^protocol=https\\nhost=(.*)\\n\\n$/.exec(input)[1]';
    await program(name, echo(`console.log('username=alice\\npassword=' + argv + ' ' + ${host})`));
    expect(await valueOf(from)).toEqual({ type: 'basic', username: 'alice', password: asked });
  });

  test('is parsed in the configured form', async () => {
    const { valueOf, program } = await sourcesIn();
    await program('mine', echo("console.log(JSON.stringify({ Username: 'alice', Secret: input }))"));
    expect(await valueOf('command:mine get', { form: 'docker' })).toMatchObject({
      password: 'git.acme.test:8443',
    });
    await program('mine', "console.log('the-key\\nuser: alice')");
    expect(await valueOf('command:mine', { form: 'first_line' })).toMatchObject({ value: 'the-key' });
  });

  test('gets the usual variables and the variables of its preset, and no variables of Sidekey or other programs', async () => {
    const env = {
      SIDEKEY_PASSPHRASE: 'secret',
      GITHUB_TOKEN: 'secret',
      AWS_PROFILE: 'dev',
      GH_CONFIG_DIR: '/gh',
      LANG: 'C',
      HTTPS_PROXY: 'http://corp:3128',
    };
    const { valueOf, program } = await sourcesIn(env);
    await program('gh', 'console.log(Object.keys(process.env).sort().join())');
    expect(await valueOf('gh')).toMatchObject({ value: 'GH_CONFIG_DIR,HOME,HTTPS_PROXY,LANG,PATH' });
  });

  test('gets no proxy variables after sidekey env, because these point to Sidekey', async () => {
    const { valueOf, program } = await sourcesIn({
      HTTPS_PROXY: 'http://127.0.0.1:8377',
      SIDEKEY_ENV: 'HTTPS_PROXY',
    });
    await program('gh', 'console.log(Object.keys(process.env).sort().join())');
    expect(await valueOf('gh')).toMatchObject({ value: 'HOME,PATH' });
  });
});

describe('a failure of a helper', () => {
  test('is reported with the helper, its exit code, its first line of output, and a hint', async () => {
    const { failureOf, program } = await sourcesIn();
    await program(
      'gh',
      "console.error('\\nno oauth token found for github.com\\nsecond line'); process.exit(1)",
    );
    expect(await failureOf('gh')).toMatchObject({
      code: 'source_failed',
      message: 'gh ended with exit code 1: no oauth token found for github.com.',
      hint: 'gh auth login',
    });
  });

  test('of Docker is reported with its standard output, as its protocol requires', async () => {
    const { failureOf, program } = await sourcesIn();
    await program(
      'docker-credential-x',
      "console.log('credentials not found in native keychain'); process.exit(1)",
    );
    expect(await failureOf('docker-credential:x#ghcr.io')).toMatchObject({
      message: 'docker-credential-x ended with exit code 1: credentials not found in native keychain.',
      hint: 'docker login',
    });
  });

  test('does not reveal the output of the helper, or words that look like a token', async () => {
    const { failureOf, program } = await sourcesIn();
    await program(
      'gh',
      "console.log('hunter-two-password'); console.error('token hunter-two-password of ghp_0123456789abcdefghij at /home/alice/.config/gh is bad'); process.exit(1)",
    );
    expect(await failureOf('gh')).toMatchObject({
      message: 'gh ended with exit code 1: token [redacted] of [redacted] at /home/alice/.config/gh is bad.',
    });
  });

  test('does not reveal the secrets in the environment of the helper', async () => {
    const { failureOf, program } = await sourcesIn({ BW_SESSION: 'session-of-alice' });
    await program('bw', "console.error('bad: ' + process.env.BW_SESSION); process.exit(1)");
    expect(await failureOf('bw://x')).toMatchObject({
      message: 'bw ended with exit code 1: bad: [redacted].',
    });
  });

  test('does not reveal the output when the helper prints no credential', async () => {
    const { failureOf, program } = await sourcesIn();
    await program('gh', "console.log('hunter2 hunter3')");
    const error = await failureOf('gh');
    expect(error).toMatchObject({ code: 'source_failed', hint: 'gh auth login' });
    expect(String(error)).toMatch(/gh gave no credential/);
    expect(String(error)).not.toMatch(/hunter/);
  });

  test('includes endless output, for which the helper is killed', async () => {
    const { failureOf, program } = await sourcesIn();
    await program(
      'gh',
      "process.stdout.on('error', () => 0); setInterval(() => console.log('x'.repeat(1e5)), 1)",
    );
    expect(await failureOf('gh')).toMatchObject({ message: 'gh printed too much.' });
  });

  test('includes a program that is not installed', async () => {
    const { failureOf } = await sourcesIn();
    expect(await failureOf('pass:x')).toMatchObject({
      message: 'pass cannot be run (ENOENT).',
      hint: 'install pass, or start Sidekey with a PATH that has it',
    });
  });
});

describe('a file', () => {
  test('that is replaced through a link is read again, as in Kubernetes and SPIRE', async () => {
    const { ask, folder } = await sourcesIn();
    const version = async (name: string, text: string) => {
      await mkdir(join(folder, name));
      await writeFile(join(folder, name, 'token'), text, { mode: 0o600 });
      await symlink(name, join(folder, '..data.new'));
      await rename(join(folder, '..data.new'), join(folder, '..data'));
    };
    await version('..1', 'token-1\n');
    await symlink('..data/token', join(folder, 'token'));
    const from = `file:${join(folder, 'token')}`;
    const first = await ask(from);
    expect(first.credential).toMatchObject({ value: 'token-1' });
    expect(first.isCurrent?.()).toBe(true);
    await version('..2', 'token-2\n');
    expect(first.isCurrent?.()).toBe(false);
    const second = await ask(from);
    expect(second.credential).toMatchObject({ value: 'token-2' });
    await writeFile(join(folder, '..2', 'token'), 'token-3\n');
    expect(second.isCurrent?.()).toBe(false);
    await rm(join(folder, 'token'));
    expect(second.isCurrent?.()).toBe(false);
    await expect(ask(from)).rejects.toMatchObject({
      code: 'source_failed',
      message: expect.stringMatching(/cannot be read \(ENOENT\)/),
    });
  });

  test('may contain a token with its expiry', async () => {
    const { ask, folder } = await sourcesIn();
    await writeFile(join(folder, 'token.json'), '{\n "token": "t",\n "expires_in": 60\n}\n', { mode: 0o600 });
    expect(await ask('file:token.json')).toMatchObject({ expiresAt: now + 60_000 });
  });

  test('that other users can read is refused, even in Kubernetes', async () => {
    const { failureOf, folder } = await sourcesIn();
    await writeFile(join(folder, 'token'), 'token-1');
    await chmod(join(folder, 'token'), 0o644);
    expect(await failureOf('file:token')).toMatchObject({
      code: 'source_failed',
      message: 'file:token is open to every user of this machine.',
      hint: hintOfText(/chmod 600 .*defaultMode: 0440/),
    });
  });

  test('without a credential does not reveal its content', async () => {
    const { failureOf, folder } = await sourcesIn();
    await writeFile(join(folder, 'token'), 'hunter2 hunter3', { mode: 0o600 });
    expect(String(await failureOf('file:token'))).toMatch(/holds no credential: (?!.*hunter)/);
  });
});

test('a secret of Vault is fetched, and its server certificate is verified', async () => {
  const { valueOf, check } = await sourcesIn();
  expect(await valueOf('vault:kv/a')).toEqual({ type: 'api_key', value: 'kv/a false' });
  expect(await check('vault:kv/a')).toBeNull();
  expect(await check('vault://other/kv/a')).toMatchObject({ code: 'source_failed' });
});

test('a check of a source reports what is missing, and runs no program', async () => {
  const { check, program, folder } = await sourcesIn();
  await program('gh', `require('fs').writeFileSync(${JSON.stringify(join(folder, 'ran'))}, '')`);
  expect(await check('gh')).toBeNull();
  expect(await check('file:bin/gh')).toMatchObject({ code: 'source_failed' });
  expect(await check('pass:x')).toMatchObject({
    code: 'source_failed',
    message: 'The program pass of the source pass:x is not found.',
  });
  expect(await check(`command:${node} -e 0`)).toBeNull();
  expect(await check('')).toMatchObject({ code: 'input_invalid' });
  await expect(import('node:fs').then(({ existsSync }) => existsSync(join(folder, 'ran')))).resolves.toBe(
    false,
  );
});
