import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { program } from '../../support/command-line.ts';
import { runHome, withoutConfinement } from '../../support/run-command.ts';

describe('the line printed before the program starts', () => {
  const env = { ANTHROPIC_API_KEY: 'real', SIDEKEY_OWN: 'real' };
  const line =
    'sidekey: removed ANTHROPIC_API_KEY (no anthropic grant → sidekey connect anthropic --from-env ANTHROPIC_API_KEY); removed SIDEKEY_OWN (for Sidekey only)\n';

  test('names the keys removed from the environment, before the output of the program', async () => {
    const { run } = await runHome();
    const ran = await run(['--', 'sh', '-c', 'echo "[$ANTHROPIC_API_KEY]" >&2'], { env });
    expect(withoutConfinement(ran.stderr)).toBe(`${line}[]\nsidekey: no request came through the proxy\n`);
  });

  test('is not printed with --quiet, and is a note in the summary with --json', async () => {
    const { run } = await runHome();
    expect((await run(['--quiet', '--', 'true'], { env })).stderr).toBe('');
    const ran = await run(['--json', '--', 'sh', '-c', 'echo began >&2'], { env });
    const [first, summary = ''] = ran.stderr.split('\n');
    expect(first).toBe('began');
    expect(JSON.parse(summary)).toMatchObject({
      notes: [line.slice('sidekey: '.length).trim(), expect.stringContaining('confined: ')],
    });
  });
});

test('a missing store with an existing audit log is created anew, with a message', async () => {
  const { run, at } = await runHome();
  await run(['--quiet', '--', 'true']);
  const folder = at.at('data');
  for (const name of await readdir(folder)) if (name.startsWith('sidekey.db')) await rm(join(folder, name));
  expect((await run(['--', 'true'])).stderr).toContain(
    'the store is missing, and its audit log exists: a new store without grants was made',
  );
  expect((await run(['--', 'true'])).stderr).not.toContain('the store is missing');
});

// File permissions mean nothing to root.
test.skipIf(process.getuid?.() === 0)(
  'an unreadable audit folder is reported, even without a store',
  async () => {
    const { run, at } = await runHome(undefined, () => ({ audit: { file: '../closed/audit.jsonl' } }));
    await chmod(at.at('closed'), 0);
    onTestFinished(() => chmod(at.at('closed'), 0o700));
    for (const name of await readdir(at.at('data'))) if (name.endsWith('.db')) await rm(at.at('data', name));
    const { exit, stderr } = await run(['--', 'true']);
    expect([exit, stderr]).toEqual([1, expect.stringContaining(at.at('closed'))]);
    expect(stderr).not.toContain('Internal error');
  },
);

const npmMissing = spawnSync('npm', ['--version']).status !== 0;

describe.skipIf(npmMissing)('the environment of the program (npm)', () => {
  const inner = 'sidekey run --quiet --config config/sidekey.yaml -- env -0';

  /** Environments of a call of npm, and of the program that it starts through `sidekey run`. */
  async function started(args: readonly string[], extra: Readonly<Record<string, string>> = {}) {
    const { at } = await runHome();
    const bin = at.at('node_modules', '.bin');
    await mkdir(bin, { recursive: true });
    await writeFile(`${bin}/sidekey`, `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`);
    await chmod(`${bin}/sidekey`, 0o755);
    await writeFile(at.at('package.json'), JSON.stringify({ scripts: { agent: inner } }));
    await writeFile(at.at('.npmrc'), 'fund=false\n');
    const before = { PATH: process.env['PATH'] ?? '', HOME: at.folder, TMPDIR: at.folder, ...extra };
    const stdout = execFileSync('npm', args, {
      cwd: at.folder,
      env: before,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const after = Object.fromEntries(
      stdout
        .split('\0')
        .filter((entry) => entry !== '')
        .map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
    );
    return { before, after, folder: at.folder };
  }
  const viaNpx = (extra?: Readonly<Record<string, string>>) => started(['exec', '--yes', '-c', inner], extra);

  test('contains nothing of npx: no npx settings, no INIT_CWD, and no npx entries in PATH', async () => {
    const { before, after } = await viaNpx();
    expect(after['PATH']).toBe(before.PATH);
    const ours = ['NPM_CONFIG_CAFILE', 'npm_config_fund'];
    const left = Object.keys(after).filter((name) => /^npm_/i.test(name) && !ours.includes(name));
    expect(left).toEqual([]);
    for (const name of ['INIT_CWD', 'NODE', 'EDITOR', 'COLOR']) expect(after).not.toHaveProperty(name);
  });

  test('contains the npm settings of the person, in upper and lower case', async () => {
    const own = {
      npm_config_registry: 'https://registry.corp.test/',
      NPM_CONFIG_TAG: 'beta',
      npm_config_cache: '/var/tmp/cache',
      EDITOR: 'nano',
    };
    expect((await viaNpx(own)).after).toMatchObject(own);
  });

  test('under npm run is unchanged, because scripts use the programs of their package', async () => {
    const { after, folder } = await started(['run', '--silent', 'agent']);
    expect(after['PATH']?.split(delimiter)).toContain(`${folder}/node_modules/.bin`);
    expect(after).toMatchObject({ npm_lifecycle_event: 'agent' });
  });
});
