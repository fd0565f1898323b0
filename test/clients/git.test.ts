import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { clientEnvironment, findClient, type ClientRun } from '../support/client-program.ts';
import { startGitHost, type GitHost } from '../support/git-host.ts';
import { startSidekey, type TestSidekey } from '../support/sidekey.ts';
import { tempFolder } from '../support/temp-folder.ts';

const git = await findClient('git', ['--version']);
const token = 'token-of-the-forge-0123456789';
const password = `x-access-token:${token}`;
const basic = `Basic ${Buffer.from(password).toString('base64')}`;

interface House {
  readonly host: GitHost;
  readonly sidekey: TestSidekey;
  readonly folder: string;
  /** Runs git in a folder of the house; all that it says of its requests goes to a file, secrets included. */
  readonly run: (cwd: string, ...args: readonly string[]) => Promise<ClientRun>;
  readonly url: string;
  /** A clone of the repository, with an author. */
  readonly clone: (name: string, ...options: readonly string[]) => Promise<string>;
  readonly commit: (work: string, file: string, content: Buffer | string) => Promise<void>;
}

/** A forge with one repository that has one commit, and a proxy that has its token. */
async function house({ http2 = false, paths = gitPaths } = {}): Promise<House> {
  const folder = await tempFolder();
  const root = join(folder, 'repositories');
  await mkdir(join(root, 'acme'), { recursive: true });
  const local = { GIT_CONFIG_NOSYSTEM: '1', HOME: folder };
  await git.succeed(['init', '--bare', '-b', 'main', join(root, 'acme', 'widgets.git')], {
    cwd: folder,
    env: local,
  });
  const host = await startGitHost({ root, authorization: basic, http2 });
  const sidekey = await startSidekey({
    domains: { [host.authority]: { grant: 'forge' } },
    config: {
      providers: {
        forge: {
          audience: [host.authority],
          inject: [{ paths, as: { basic: 'x-access-token' } }, { as: 'own' }],
        },
      },
    },
  });
  await sidekey.grant([host.authority], {
    name: 'forge',
    provider: 'forge',
    credential: { type: 'api_key', value: token },
  });
  const env = {
    ...clientEnvironment(sidekey),
    HOME: folder,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_TRACE_CURL: join(folder, 'trace'),
    GIT_TRACE_REDACT: '0',
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@acme.test',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@acme.test',
  };
  const run = (cwd: string, ...args: readonly string[]) => git.succeed(args, { cwd, env });
  const url = `${host.url}/acme/widgets.git`;
  const at: House = {
    host,
    sidekey,
    folder,
    run,
    url,
    async clone(name, ...options) {
      await run(folder, 'clone', '-q', ...options, url, name);
      return join(folder, name);
    },
    async commit(work, file, content) {
      await writeFile(join(work, file), content);
      await run(work, 'add', file);
      await run(work, 'commit', '-q', '-m', file);
    },
  };
  const first = await at.clone('first');
  await run(first, 'checkout', '-q', '-b', 'main');
  await at.commit(first, 'README', 'widgets');
  await run(first, 'push', '-q', 'origin', 'main');
  return at;
}

const gitPaths = ['/*/*/info/refs', '/*/*/git-upload-pack', '/*/*/git-receive-pack'];

/** Every file of git's own house, as text: clones, configs, the trace. */
async function everything(folder: string): Promise<string> {
  const texts: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) texts.push(await readFile(join(entry.parentPath, entry.name), 'latin1'));
  }
  return texts.join('\n');
}

describe.skipIf(git.missing !== false)(`git${git.missing === false ? '' : ` (${git.missing})`}`, () => {
  test.each([{ http2: false }, { http2: true }])(
    'clones, fetches and pushes with a token that it never sees (%j)',
    async (options) => {
      const at = await house(options);
      const one = await at.clone('one');
      const two = await at.clone('two');
      await at.commit(one, 'one', '1');
      await at.run(one, 'push', '-q');
      await at.run(two, 'fetch', '-q');
      await at.run(two, 'merge', '-q', '--ff-only', 'origin/main');
      expect(await readFile(join(two, 'one'), 'utf8')).toBe('1');
      const listed = await at.run(two, 'ls-remote', at.url);
      expect(listed.stdout).toContain('refs/heads/main');

      expect(at.host.seen.map(({ status }) => status)).not.toContain(401);
      for (const { headers, version } of at.host.seen) {
        expect(headers['authorization']).toBe(basic);
        expect(version).toBe(options.http2 ? '2.0' : '1.1');
      }
      const all = await everything(at.folder);
      expect(all).toContain('git-upload-pack');
      expect(all).not.toContain(token);
      expect(all).not.toContain(basic.slice('Basic '.length));
      expect(all).not.toMatch(/authorization:/i);
    },
  );

  // Chunked over HTTP/2, git 2.39 with libcurl 7.88 waits for itself now and then, also without a proxy.
  test.each([
    { http2: false, postBuffer: 65_536 },
    { http2: true, postBuffer: 16 << 20 },
  ])('pushes and clones a large file, streamed or whole (%j)', async ({ http2, postBuffer }) => {
    const at = await house({ http2 });
    const work = await at.clone('work');
    const large = randomBytes(5 << 20);
    await at.commit(work, 'large', large);
    await at.run(work, '-c', `http.postBuffer=${postBuffer}`, 'push', '-q');
    const push = at.host.seen.findLast(({ target }) => target.endsWith('git-receive-pack'));
    expect(push?.bytes).toBeGreaterThan(5 << 20);
    if (!http2) {
      expect(push?.headers['transfer-encoding']).toBe('chunked');
      expect(push?.headers['content-length']).toBeUndefined();
    }
    const again = await at.clone('again');
    expect(large.equals(await readFile(join(again, 'large')))).toBe(true);
    await at.run(at.folder, 'clone', '-q', '--depth', '1', at.url, 'shallow');
    expect((await at.run(join(at.folder, 'shallow'), 'rev-list', '--count', 'HEAD')).stdout).toBe('1\n');
  });

  test('pushes with Expect: 100-continue', async () => {
    const at = await house();
    const work = await at.clone('work');
    await at.commit(work, 'large', randomBytes(2 << 20));
    await at.run(work, '-c', 'http.extraHeader=Expect: 100-continue', 'push', '-q');
    const push = at.host.seen.findLast(({ target }) => target.endsWith('git-receive-pack'));
    expect(push?.status).toBe(200);
    expect(await readFile(join(at.folder, 'trace'), 'latin1')).toMatch(/HTTP\/1\.1 100 Continue/);
  });

  test('compresses long negotiations, which the server reads', async () => {
    const at = await house();
    const work = await at.clone('work');
    for (let each = 0; each < 40; each += 1)
      await at.run(work, 'commit', '-q', '--allow-empty', '-m', `${each}`);
    for (let each = 0; each < 40; each += 1) await at.run(work, 'branch', `b${each}`, `HEAD~${each}`);
    await at.run(work, 'push', '-q', '--all');
    await at.run(at.folder, '-c', 'protocol.version=0', 'clone', '-q', at.url, 'other');
    const first = join(at.folder, 'first');
    await at.commit(first, 'more', 'more');
    await at.run(first, '-c', 'protocol.version=0', 'fetch', '-q');
    const encodings = at.host.seen.map(({ headers }) => headers['content-encoding']);
    expect(encodings).toContain('gzip');
    expect(at.host.seen.every(({ status }) => status === 200)).toBe(true);
  });

  test('speaks version 2 of its protocol, over few connections', async () => {
    const at = await house();
    const before = at.host.connections();
    const work = await at.clone('work');
    for (const name of ['a', 'b', 'c']) {
      await at.commit(work, name, name);
      await at.run(work, 'push', '-q');
    }
    const versions = at.host.seen.map(({ headers }) => headers['git-protocol']);
    expect(versions).toContain('version=2');
    expect(at.host.connections() - before).toBeLessThanOrEqual(1);
  });

  test('is refused at once, and asks nobody, where the service refuses the token', async () => {
    const at = await house();
    await at.sidekey.proxy.state.grants.add(
      { name: 'wrong', user: 'default', provider: 'forge', scopes: [] },
      { credential: { type: 'api_key', value: 'another' }, audience: [at.host.authority] },
    );
    const env = { ...clientEnvironment(at.sidekey), GIT_TERMINAL_PROMPT: '0', GIT_CONFIG_NOSYSTEM: '1' };
    const ran = await git.run(['-c', 'http.extraHeader=Sidekey-Grant: wrong', 'ls-remote', at.url], {
      cwd: at.folder,
      env,
    });
    expect(ran.exit).not.toBe(0);
    expect(ran.stderr).toContain('terminal prompts disabled');
  });

  test('each request is in the audit file before it leaves, by its path and without its query', async () => {
    const at = await house();
    const lines = (await at.sidekey.audit()).filter(({ event }) => event === 'access');
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
