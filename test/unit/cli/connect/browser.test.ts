import { watch } from 'node:fs';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type BrowserCommand,
  chooseBrowser,
  startBrowser,
} from '../../../../src/cli/connect/browser/browser.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const url = 'http://127.0.0.1:4711/x?a=b&c=%20d';

const screen = { DISPLAY: ':0' };

const chosen = (platform: NodeJS.Platform, env: NodeJS.ProcessEnv, named?: string) => {
  const choice = chooseBrowser(url, named, { platform, env });
  return choice.kind === 'none'
    ? choice.why
    : choice.commands.map(({ program, words }) => [program, ...words]);
};

describe('the browser of the system', () => {
  test.each<[string, NodeJS.Platform, NodeJS.ProcessEnv, unknown]>([
    [
      'Linux',
      'linux',
      screen,
      [
        ['xdg-open', url],
        ['sensible-browser', url],
      ],
    ],
    [
      'Wayland',
      'linux',
      { WAYLAND_DISPLAY: 'wayland-0' },
      [
        ['xdg-open', url],
        ['sensible-browser', url],
      ],
    ],
    ['macOS', 'darwin', {}, [['open', url]]],
    ['Windows', 'win32', {}, [['rundll32.exe', 'url.dll,FileProtocolHandler', url]]],
    [
      'Linux within Windows',
      'linux',
      { WSL_DISTRO_NAME: 'x' },
      [
        ['wslview', url],
        ['xdg-open', url],
      ],
    ],
    ['no display', 'linux', { DISPLAY: '' }, 'there is no display (neither DISPLAY nor WAYLAND_DISPLAY)'],
    ['SSH', 'linux', { SSH_CONNECTION: '1 2 3 4' }, 'this is a session over SSH'],
    ['SSH to macOS', 'darwin', { SSH_CONNECTION: '1 2 3 4' }, 'this is a session over SSH'],
    [
      'SSH with a display',
      'linux',
      { SSH_CONNECTION: '1', ...screen },
      [
        ['xdg-open', url],
        ['sensible-browser', url],
      ],
    ],
  ])('%s', (_what, platform, env, expected) => {
    expect(chosen(platform, env)).toEqual(expected);
  });
});

describe('the browser that a person configured', () => {
  test.each<[string, NodeJS.Platform, string, unknown]>([
    ['a name', 'linux', 'firefox', [['firefox', url]]],
    ['a path', 'darwin', '/opt/fire fox', [['/opt/fire fox', url]]],
    ['a name on macOS', 'darwin', 'Firefox', [['open', '-a', 'Firefox', url]]],
  ])('is started even without a display: %s', (_what, platform, named, expected) => {
    expect(chosen(platform, { SSH_CONNECTION: '1' }, named)).toEqual(expected);
  });

  test('gets name and address as arguments instead of shell code on Windows', () => {
    const choice = chooseBrowser(url, 'x"; calc; "', { platform: 'win32', env: {} });
    expect(choice).toMatchObject({
      commands: [{ program: 'powershell.exe', env: { SIDEKEY_BROWSER: 'x"; calc; "', SIDEKEY_URL: url } }],
    });
    expect(JSON.stringify(choice.kind === 'commands' && choice.commands[0]?.words)).not.toMatch(/calc|4711/);
  });

  test.each<[string, unknown]>([
    ['firefox', [['firefox', url]]],
    ['firefox --new-window %s', [['firefox', '--new-window', url]]],
    [
      'nothere:lynx',
      [
        ['nothere', url],
        ['lynx', url],
      ],
    ],
    ['"/opt/a b" --url=%s', [['/opt/a b', `--url=${url}`]]],
    // A value with shell syntax is ignored, and the browser of the system is used.
    [
      'firefox %s; calc',
      [
        ['xdg-open', url],
        ['sensible-browser', url],
      ],
    ],
    [
      ':',
      [
        ['xdg-open', url],
        ['sensible-browser', url],
      ],
    ],
  ])('BROWSER=%s', (variable, expected) => {
    expect(chosen('linux', { BROWSER: variable, ...screen })).toEqual(expected);
  });
});

test.each([
  '--gpu-launcher=calc',
  'file:///etc/passwd',
  'javascript:alert(1)',
  'https://-x.example.com',
  'https://example.com/ --x',
  'https://example.com/"',
  'https://example.com/`id`',
  'https://example.com/\n',
])('no program is started with %j', (address) => {
  expect(chooseBrowser(address, 'firefox', { platform: 'linux', env: screen })).toMatchObject({
    kind: 'none',
  });
});

describe('starting the browser', () => {
  // A PATH of the test: an unreadable folder in the real PATH would change the error.
  const env = { PATH: '/usr/bin:/bin' };

  /** A program that writes its arguments to a file and ends. */
  async function recorder(exit = 0) {
    const folder = await tempFolder();
    const program = join(folder, 'browser');
    await writeFile(
      program,
      `#!/bin/sh\nprintf '%s\\n' "$@" > '${join(folder, 'words')}.tmp'\nmv '${join(folder, 'words')}.tmp' '${join(folder, 'words')}'\nexit ${exit}\n`,
    );
    await chmod(program, 0o700);
    const { promise, resolve } = Promise.withResolvers<void>();
    const watcher = watch(folder, (_event, name) => {
      if (name === 'words') resolve();
    });
    return {
      command: { program, words: [url] } satisfies BrowserCommand,
      words: async () => {
        await promise;
        watcher.close();
        return (await readFile(join(folder, 'words'), 'utf8')).trim();
      },
    };
  }

  const absent = { program: 'no-such-browser', words: [url] };
  const failing = (commands: readonly BrowserCommand[], { PATH }: { PATH: string } = env) =>
    new Promise<string>((resolve) => {
      startBrowser(commands, {
        env: { PATH },
        now: () => 0,
        failed: (program, why) => resolve(`${program} ${why}`),
      });
    });

  test('passes the address as one argument, with any shell characters in it', async () => {
    const { command, words } = await recorder();
    startBrowser([command], { env, now: () => 0, failed: () => undefined });
    expect(await words()).toBe(url);
  });

  test('tries the next program when one is missing', async () => {
    const { command, words } = await recorder();
    startBrowser([absent, command], { env, now: () => 0, failed: () => undefined });
    expect(await words()).toBe(url);
  });

  test('names the missing program', async () => {
    expect(await failing([absent])).toBe('no-such-browser is not there');
  });

  test.skipIf(process.getuid?.() === 0)(
    'fails with the reason when a folder of the PATH cannot be searched',
    async () => {
      const closed = await tempFolder();
      await chmod(closed, 0);
      expect(await failing([absent], { PATH: `${closed}:${env.PATH}` })).toBe(
        'no-such-browser is in no folder of the PATH that this user may run programs from',
      );
      await chmod(closed, 0o700);
    },
  );

  test('names the program that found no browser, as xdg-open reports it', async () => {
    const { command } = await recorder(3);
    expect(await failing([command])).toBe(`${command.program} ended with exit code 3`);
  });

  test('succeeds when the browser ends after a while', async () => {
    const { command, words } = await recorder(1);
    const second = await recorder();
    let time = 0;
    const failed: string[] = [];
    startBrowser([command, second.command], {
      env,
      now: () => (time += 20_000),
      failed: (program) => failed.push(program),
    });
    await words();
    expect(failed).toEqual([]);
  });
});
