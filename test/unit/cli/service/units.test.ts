import { execFileSync, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { plistText } from '../../../../src/cli/service/launchd.ts';
import { serviceText, socketText } from '../../../../src/cli/service/systemd.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const awkward = ['/bin/echo', '100%', '$HOME', 'a "b" \\c', "l'été <&>", 'two\nlines', ''];
const plan = {
  command: awkward,
  environment: { PATH: '/usr/bin:/bin', ODD: awkward.join('|') },
  listen: { host: '127.0.0.1', port: 8377 },
  stopMs: 45_001,
};

const analyzerMissing = spawnSync('systemd-analyze', ['--version']).status !== 0;
const pythonMissing = spawnSync('python3', ['--version']).status !== 0;

describe('the units of systemd', () => {
  test.skipIf(analyzerMissing)('pass systemd-analyze verify with any arguments (systemd)', async () => {
    const folder = await tempFolder();
    await writeFile(join(folder, 'sidekey.service'), serviceText(plan));
    await writeFile(join(folder, 'sidekey.socket'), socketText(plan));
    const { status, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', '--user', '--man=no', join(folder, 'sidekey.service'), join(folder, 'sidekey.socket')],
      { encoding: 'utf8', env: { ...process.env, XDG_RUNTIME_DIR: folder } },
    );
    expect({ status, stderr: stderr.split('\n').filter((line) => line.includes('sidekey.')) }).toEqual({
      status: 0,
      stderr: [],
    });
  });

  test('allow the service enough time to drain on stop, in whole seconds', () => {
    expect(serviceText(plan)).toContain('TimeoutStopSec=46\n');
  });

  test('write an IPv6 address in brackets', () => {
    expect(socketText({ listen: { host: '::1', port: 8377 } })).toContain('ListenStream=[::1]:8377\n');
  });
});

describe('the property list of launchd', () => {
  test.skipIf(pythonMissing)('has the arguments and variables unchanged (python3 plistlib)', () => {
    const script = 'import json, plistlib, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))';
    const read = JSON.parse(
      execFileSync('python3', ['-c', script], { input: plistText(plan, '/tmp/a & b.log'), encoding: 'utf8' }),
    ) as object;
    expect(read).toMatchObject({
      ProgramArguments: plan.command,
      EnvironmentVariables: plan.environment,
      StandardErrorPath: '/tmp/a & b.log',
      ExitTimeOut: 46,
      Umask: 0o077,
    });
  });
});
