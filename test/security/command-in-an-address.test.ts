/**
 * Launchers are scripts: some hand an address on to a shell (`wslview` to PowerShell, where `$(…)` runs
 * within quotes). The address of a consent page comes from the provider.
 */
import { expect, test } from 'vitest';
import { chooseBrowser } from '../../src/cli/connect/browser/browser.ts';

test.each([
  'https://login.test/authorize?x=$(calc)',
  'https://login.test/$IFS/authorize',
  'https://login.test/authorize;calc',
  'https://login.test/authorize?(calc)',
  'https://login.test/authorize?!calc',
])('no program is started with %j', (address) => {
  const linux = { platform: 'linux', env: { WSL_DISTRO_NAME: 'x' } } as const;
  expect(chooseBrowser(address, undefined, linux)).toMatchObject({ kind: 'none' });
  expect(chooseBrowser(address, 'wslview', linux)).toMatchObject({ kind: 'none' });
});

test('the addresses of real consent pages are accepted', () => {
  const address =
    'https://[2001:db8::1]:8443/a.b/authorize~1?scope=a%20b&resource=*&state=x-_y&at=@me,+z&code_challenge=a=';
  expect(chooseBrowser(address, undefined, { platform: 'linux', env: { DISPLAY: ':0' } }).kind).toBe(
    'commands',
  );
});
