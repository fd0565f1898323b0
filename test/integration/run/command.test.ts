import { createHash, randomBytes } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { curlMissing } from '../../support/curl.ts';
import { deskToken, runHome } from '../../support/run-command.ts';

const has = (name: string) => {
  try {
    execFileSync(name, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('sidekey run', () => {
  test.skipIf(curlMissing)(
    'lets a program use a credential without access to the credential or to a Sidekey token (curl)',
    async () => {
      const place = await runHome();
      const { exit, stdout, stderr } = await place.run(
        [
          '--',
          'sh',
          '-c',
          `env; tr '\\0' ' ' < /proc/$PPID/cmdline 2>/dev/null; curl -sS ${place.upstream.url}/`,
        ],
        { env: { ACME_KEY: 'mine', GITHUB_TOKEN: 'ghp_of-the-parent', KEPT: 'yes' } },
      );
      expect({ exit, stderr: stderr.split('\n') }).toEqual({
        exit: 0,
        stderr: expect.arrayContaining(['sidekey: 1 request with a credential']),
      });
      expect(place.seen).toEqual([`Bearer ${deskToken}`]);
      expect(stdout).toMatch(/hello$/);
      expect(stdout).toContain('KEPT=yes\n');
      expect(stdout).not.toContain(deskToken);
      expect(stdout).not.toContain('ghp_of-the-parent');
      expect(stderr).toMatch(/^sidekey: removed GITHUB_TOKEN .*sidekey connect github/);
      const [created] = await place.events('lease.created');
      expect(created).toMatchObject({ agent: 'run', reason: expect.stringMatching(/^run: sh \(/) });
    },
  );

  test.skipIf(!has('python3'))('works for a program without support for Sidekey (python3)', async () => {
    const place = await runHome();
    const script = `import urllib.request; print(urllib.request.urlopen('${place.upstream.url}/').read().decode())`;
    expect(await place.run(['--quiet', '--', 'python3', '-c', script])).toMatchObject({
      exit: 0,
      stdout: 'hello\n',
      stderr: '',
    });
    const fetching = `fetch('${place.upstream.url}/').then((r) => r.text()).then(console.log)`;
    expect(await place.run(['--quiet', '--', process.execPath, '-e', fetching])).toMatchObject({
      exit: 0,
      stdout: 'hello\n',
    });
    expect(place.seen).toEqual([`Bearer ${deskToken}`, `Bearer ${deskToken}`]);
  });

  test('returns the exit code, and passes arguments unchanged', async () => {
    const { at, run } = await runHome();
    const words = ['$HOME', '*', "it's", '', '--help', '--', '-n', 'a b'];
    const print = 'printf "<%s>" "$@"; exit 7';
    expect(await run(['--quiet', '--', 'sh', '-c', print, 'sh', ...words])).toMatchObject({
      exit: 7,
      stdout: words.map((word) => `<${word}>`).join(''),
      stderr: '',
    });
    await writeFile(at.at('plain.txt'), 'no program');
    await chmod(at.at('plain.txt'), 0o600);
    const missing = await run(['--', 'no-such-program-anywhere', 'x']);
    expect(missing).toMatchObject({ exit: 127, stderr: expect.stringContaining('Program not found: ') });
    // The system says otherwise where a folder of the PATH may not be looked into.
    await mkdir(at.at('closed'), { mode: 0o000 });
    const env = { PATH: `${at.at('closed')}:${process.env['PATH']}` };
    expect(await run(['--', 'no-such-program-anywhere'], { env })).toMatchObject({ exit: 127 });
    await writeFile(at.at('script'), '#!/no/such/interpreter -x\n', { mode: 0o755 });
    const script = await run(['--', './script']);
    expect(script).toMatchObject({
      exit: 127,
      stderr: expect.stringContaining('needs /no/such/interpreter'),
    });
    const plain = await run(['--', './plain.txt']);
    expect(plain).toMatchObject({ exit: 126, stderr: expect.stringContaining('cannot be run') });
    const asJson = await run(['--json', '--', 'no-such-program-anywhere']);
    expect(JSON.parse(asJson.stderr)).toMatchObject({ error: { code: 'not_found' } });
  });

  test('passes a large binary input and output unchanged', async () => {
    const { run } = await runHome();
    const input = randomBytes(5_000_000);
    const { stdout } = await run(['--quiet', '--', 'cat'], { input });
    expect(digest(Buffer.from(stdout, 'latin1'))).toBe(digest(input));
  });

  test('dies by the same signal as the program, without a core dump', async () => {
    const { run } = await runHome();
    const killed = await run(['--', 'sh', '-c', 'kill -TERM $$']);
    expect(killed).toMatchObject({ exit: null, signal: 'SIGTERM' });
    expect(killed.stderr).toContain('no request came through the proxy');
    expect(await run(['--', 'sh', '-c', 'kill -KILL $$'])).toMatchObject({ signal: 'SIGKILL' });
    expect(await run(['--', 'sh', '-c', 'ulimit -c 0; kill -ABRT $$'])).toMatchObject({
      exit: 134,
      signal: null,
    });
  });

  test('does not start the program if the config is invalid, and leaves no files', async () => {
    const { at, run, events } = await runHome();
    const before = (await events('lease.created')).length;
    await writeFile(at.configFile, 'version: 1\nprxy: {}\n');
    const failed = await run(['--', 'sh', '-c', 'echo began']);
    expect(failed).toMatchObject({ exit: 2, stdout: '', stderr: expect.stringContaining('sidekey.yaml:2') });
    expect(await events('lease.created')).toHaveLength(before);
  });

  test('removes its files, and prints where its log is stored', async () => {
    const { at, run } = await runHome();
    const { stdout } = await run(['--log', 'run.log', '--', 'sh', '-c', 'ls "${SSL_CERT_FILE%/*}"'], {
      env: { TMPDIR: at.folder },
    });
    expect(stdout).toContain('bundle.pem');
    expect(readdirSync(at.folder).filter((name) => name.startsWith('sidekey-run-'))).toEqual([]);
    expect(readdirSync(at.folder)).toContain('run.log');
  });

  test('returns the exit code even if its summary cannot be written', async () => {
    const { start } = await runHome();
    const command = start(['--', 'sh', '-c', 'echo ready=yes; read line; exit 7']);
    await command.told('ready');
    await command.deafen();
    command.write('\n');
    expect(await command.ended).toMatchObject({ exit: 7 });
  });
});
