/** `sidekey upgrade` with a real npm, against a registry of the test. */
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { isNewer } from '../../../src/cli/upgrade.ts';
import { home, type Ran } from '../../support/command-line.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const npmMissing = spawnSync('npm', ['--version']).status !== 0;

/** Runs the command where the registry has this version; null: it has none; offline: it fails. */
async function upgrade(newest: string | null, args: readonly string[] = []): Promise<Ran> {
  const server = createServer((request, response) => {
    if (newest === 'offline') return void response.writeHead(503).end('{}');
    if (request.url !== '/sidekey' || newest === null) return void response.writeHead(404).end('{}');
    const version = { name: 'sidekey', version: newest, dist: { tarball: 'http://127.0.0.1:9/none.tgz' } };
    const found = { name: 'sidekey', 'dist-tags': { latest: newest }, versions: { [newest]: version } };
    return void response.setHeader('content-type', 'application/json').end(JSON.stringify(found));
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const at = await home();
  return at.run(['upgrade', ...args], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: at.folder,
      npm_config_registry: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      npm_config_cache: await tempFolder(),
      npm_config_prefix: at.folder,
      npm_config_fetch_retries: '0',
    },
  });
}

describe.skipIf(npmMissing)('sidekey upgrade (npm)', { timeout: 60_000 }, () => {
  test('reports that this version is the newest', async () => {
    expect(await upgrade('0.0.1', ['--check'])).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('is the newest version'),
    });
  });

  test('names a newer version and how to install it, with exit code 1', async () => {
    const { exit, stdout } = await upgrade('99.1.0', ['--check']);
    expect([exit, stdout]).toEqual([
      1,
      expect.stringMatching(/^Sidekey 99\.1\.0 is available; this is .*\n {2}→ git pull/),
    ]);
  });

  test('does not replace a copy that npm did not install', async () => {
    const { exit, stderr } = await upgrade('99.1.0');
    expect([exit, stderr]).toEqual([2, expect.stringContaining('npm has not installed this copy')]);
  });

  test('reports that the registry has no such package', async () => {
    const { exit, stderr } = await upgrade(null, ['--check']);
    expect([exit, stderr]).toEqual([2, expect.stringContaining('Sidekey is not published in the registry')]);
  });

  test('exits with code 6 if the registry does not answer', async () => {
    const { exit, stderr } = await upgrade('offline', ['--check']);
    expect([exit, stderr]).toEqual([6, expect.stringContaining('The newest version is not known (E503).')]);
  });
});

test.each([
  ['1.2.3', '1.2.2', true],
  ['1.10.0', '1.9.9', true],
  ['2.0.0', '10.0.0', false],
  ['1.0.0', '1.0.0-rc.1', true],
  ['1.0.0-rc.1', '1.0.0', false],
  ['1.0.0', '1.0.0', false],
  ['none', '1.0.0', false],
])('version %s is newer than %s: %s', (one, other, expected) => {
  expect(isNewer(one, other)).toBe(expected);
});
