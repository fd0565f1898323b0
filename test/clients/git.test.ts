import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startGitHost, type GitHost } from '../support/git-host.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { createSecret } from './support/secret.ts';
import { missing, openStage, type Performed, type Stage } from './support/stage.ts';

interface Setup extends Stage {
  readonly host: GitHost;
  /** The only `Authorization` that the host lets in. */
  readonly basic: string;
  /** Runs lines of the shell in which `$URL` is that of the repository. */
  readonly run: (...lines: readonly string[]) => Promise<Performed>;
  /** Traces of git and curl for each request, including secrets. */
  readonly trace: () => Promise<string>;
  readonly env: Readonly<Record<string, string>>;
}

/** Puts a first commit into the repository, and leaves the clone that it was made in. */
const first = [
  'git clone -q $URL first',
  'cd first',
  'git checkout -q -b main',
  'printf widgets >README',
  'git add README',
  'git commit -q -m README',
  'git push -q origin main',
  'cd ..',
];

/** A forge with one repository that is empty, and a Sidekey that has its token. */
async function setup({ http2 = false } = {}): Promise<Setup> {
  const root = await tempFolder();
  await mkdir(join(root, 'acme'));
  execFileSync('git', ['init', '-q', '--bare', '-b', 'main', join(root, 'acme', 'widgets.git')]);
  const secret = createSecret();
  const basic = secret.basic('x-access-token');
  const host = await startGitHost({ root, authorization: basic, http2, hold: secret.hold });
  const stage = await openStage(secret, {
    // Any grant of the provider.
    domains: { [host.authority]: { grant: 'forge' } },
    provider: 'forge',
    inject: [
      {
        paths: ['/*/*/info/refs', '/*/*/git-upload-pack', '/*/*/git-receive-pack'],
        as: { basic: 'x-access-token' },
      },
      { as: 'own' },
    ],
    definition: { environment: { FORGE_TOKEN: 'forge_sidekeyPlaceholder000000000000' } },
    audience: host.authority,
  });
  const trace = join(stage.room, 'trace');
  const env = {
    URL: `${host.url}/acme/widgets.git`,
    GIT_CONFIG_NOSYSTEM: '1',
    // A confined command writes no settings of its person.
    GIT_CONFIG_GLOBAL: join(stage.room, 'gitconfig'),
    GIT_TRACE_CURL: trace,
    GIT_TRACE_CURL_NO_DATA: '1',
    GIT_TRACE_REDACT: '0',
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@acme.test',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@acme.test',
  };
  return {
    ...stage,
    host,
    basic,
    env,
    run: (...lines) => stage.script(lines, { env }),
    trace: () => readFile(trace, 'latin1'),
  };
}

const absent = missing('git', '--version');

describe.skipIf(absent)('git', { timeout: 120_000 }, () => {
  test('clones and pushes with a placeholder in Basic, as in CI', async () => {
    const at = await setup();
    const ran = await at.run(
      'basic=$(printf "x:%s" "$FORGE_TOKEN" | base64 -w0)',
      'git config --global http.extraHeader "Authorization: Basic $basic"',
      ...first,
      'printf %s "$FORGE_TOKEN"',
    );
    expect(ran.stdout).toMatch(/^forge_sidekey\w{12}0{11}$/);
    expect(at.host.seen.length).toBeGreaterThan(2);
    for (const { headers } of at.host.seen) expect(headers['authorization']).toBe(at.basic);
  });

  test.each([{ http2: false }, { http2: true }])(
    'clones, fetches and pushes without seeing the token (%j)',
    async (options) => {
      const at = await setup(options);
      const ran = await at.run(
        ...first,
        'git clone -q $URL one',
        'git clone -q $URL two',
        'cd one',
        'printf 1 >one',
        'git add one',
        'git commit -q -m one',
        'git push -q',
        'cd ../two',
        'git fetch -q',
        'git merge -q --ff-only origin/main',
        'git ls-remote $URL',
      );
      expect(await readFile(join(at.room, 'two', 'one'), 'utf8')).toBe('1');
      expect(ran.stdout).toContain('refs/heads/main');
      for (const program of ['git clone', 'git push', 'git-remote-https', 'send-pack']) {
        expect(ran.lookedInto).toContainEqual(expect.stringContaining(program));
      }

      expect(at.host.seen.map(({ status }) => status)).not.toContain(401);
      for (const { headers, version } of at.host.seen) {
        expect(headers['authorization']).toBe(at.basic);
        expect(version).toBe(options.http2 ? '2.0' : '1.1');
      }
      // The trace has the fields themselves, not replacements of their secrets.
      const trace = await at.trace();
      expect(trace).toMatch(/proxy-authorization: basic [a-z0-9]/i);
      expect(trace).toContain('git-upload-pack');
      expect(trace).not.toMatch(/(?<!proxy-)authorization:/i);
    },
  );

  // Chunked over HTTP/2, git 2.39 with libcurl 7.88 waits for itself now and then, also without a proxy.
  test.each([
    { http2: false, postBuffer: 65_536 },
    { http2: true, postBuffer: 16 << 20 },
  ])('pushes and clones a large file, streamed or whole (%j)', async ({ http2, postBuffer }) => {
    const at = await setup({ http2 });
    const large = randomBytes(5 << 20);
    await writeFile(join(at.room, 'large'), large);
    const ran = await at.run(
      ...first,
      'git clone -q $URL work',
      'cd work',
      'cp ../large .',
      'git add large',
      'git commit -q -m large',
      `git -c http.postBuffer=${postBuffer} push -q`,
      'cd ..',
      'git clone -q $URL again',
      'git clone -q --depth 1 $URL shallow',
      'git -C shallow rev-list --count HEAD',
    );
    const push = at.host.seen.findLast(({ target }) => target.endsWith('git-receive-pack'));
    expect(push?.bytes).toBeGreaterThan(5 << 20);
    if (!http2) {
      expect(push?.headers['transfer-encoding']).toBe('chunked');
      expect(push?.headers['content-length']).toBeUndefined();
    }
    expect(large.equals(await readFile(join(at.room, 'again', 'large')))).toBe(true);
    expect(ran.stdout).toBe('1\n');
  });

  test('pushes with Expect: 100-continue', async () => {
    const at = await setup();
    await writeFile(join(at.room, 'large'), randomBytes(2 << 20));
    await at.run(
      ...first,
      'cd first',
      'cp ../large .',
      'git add large',
      'git commit -q -m large',
      'git -c "http.extraHeader=Expect: 100-continue" push -q',
    );
    const push = at.host.seen.findLast(({ target }) => target.endsWith('git-receive-pack'));
    expect(push?.status).toBe(200);
    expect(await at.trace()).toMatch(/HTTP\/1\.1 100 Continue/);
  });

  test('compresses long negotiations in a form that the server reads', async () => {
    const at = await setup();
    await at.run(
      ...first,
      'git clone -q $URL work',
      'cd work',
      'for each in $(seq 40); do git commit -q --allow-empty -m $each; done',
      'for each in $(seq 0 39); do git branch b$each HEAD~$each; done',
      'git push -q --all',
      'cd ..',
      'git -c protocol.version=0 clone -q $URL other',
      'cd first',
      'printf more >more',
      'git add more',
      'git commit -q -m more',
      'git -c protocol.version=0 fetch -q',
    );
    const encodings = at.host.seen.map(({ headers }) => headers['content-encoding']);
    expect(encodings).toContain('gzip');
    expect(at.host.seen.every(({ status }) => status === 200)).toBe(true);
  });

  test('uses version 2 of its protocol over few connections', async () => {
    const at = await setup();
    await at.run(
      ...first,
      'cd first',
      'for name in a b c; do printf $name >$name; git add $name; git commit -q -m $name; git push -q; done',
    );
    const versions = at.host.seen.map(({ headers }) => headers['git-protocol']);
    expect(versions).toContain('version=2');
    expect(at.host.connections()).toBeLessThanOrEqual(2);
  });

  test('fails at once without a prompt if the service refuses the token', async () => {
    const at = await setup();
    await at.home.grant('wrong', { type: 'api_key', value: 'another' }, [
      '--provider',
      'forge',
      '--audience',
      at.host.authority,
    ]);
    const wanting = ['-c', 'http.extraHeader=Sidekey-Grant: wrong'];
    const ran = await at.perform(['git', ...wanting, 'ls-remote', at.env['URL'] ?? ''], { env: at.env });
    expect(ran.exit).not.toBe(0);
    expect(ran.stderr).toContain('terminal prompts disabled');
  });

  test('writes each request to the audit file before sending it, with its path and without its query', async () => {
    const at = await setup();
    await at.run(...first);
    const lines = await at.accesses();
    expect(lines).toHaveLength(at.host.seen.length);
    expect(new Set(lines.map(({ path }) => path))).toEqual(
      new Set(at.host.seen.map(({ target }) => target.split('?', 1)[0])),
    );
    for (const { grant, credential } of lines) {
      expect(grant).toBeDefined();
      expect(credential).toMatch(/^[0-9a-f]{16}$/);
    }
  });
});
