import { describe, expect, test } from 'vitest';
import {
  endpoint,
  issuer,
  listenAddress,
  parseDuration,
  parseSize,
  pathText,
  permittedName,
} from '../../../src/config/scalar.ts';

describe('a duration', () => {
  test.each([
    ['0s', 0],
    ['250ms', 250],
    ['10s', 10_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['24d', 2_073_600_000],
    ['2147483647ms', 2_147_483_647],
  ])('%s is %d ms', (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  test.each([
    '',
    '10',
    '10 s',
    '-1s',
    '1.5h',
    '1h30m',
    '010s',
    '10S',
    '10sec',
    '2147483648ms',
    '25d',
    '1e3s',
  ])('%j is refused', (text) => {
    expect(parseDuration(text)).toBeNull();
  });
});

describe('a size', () => {
  test.each([
    ['0B', 0],
    ['512B', 512],
    ['10kB', 10_000],
    ['10MB', 10_000_000],
    ['64KiB', 65_536],
    ['100MiB', 104_857_600],
    ['2GiB', 2_147_483_648],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each(['', '10', '10 MB', '-1B', '1.5MB', '10mb', '010MB', '10M', '9007199254740992B', '9999999GiB0'])(
    '%j is refused',
    (text) => {
      expect(parseSize(text)).toBeNull();
    },
  );
});

describe('an endpoint', () => {
  test.each([
    'https://github.com/login/oauth/access_token',
    'https://api.notion.com/v1/oauth/authorize?owner=user',
    'https://helpdesk.acme.test:8443/token',
    'https://[2001:db8::1]/token',
    'https://acme.test/@company/token',
  ])('%s is kept as written', (url) => {
    expect(endpoint('').parse(url)).toBe(url);
  });

  test.each([
    'http://acme.test/token',
    'http://127.0.0.1/token',
    'ftp://acme.test/token',
    'acme.test/token',
    '//acme.test/token',
    'https:acme.test/token',
    'https:///acme.test/token',
    'https://user@acme.test/token',
    'https://:@acme.test/token',
    'https://acme.test:443@attacker.test/token',
    'https://acme.test\\@attacker.test/token',
    'https://acme.test/token#fragment',
    'https://acme.test/to ken',
    'https://acme.test/to\nken',
    'https://acme.test/tökén',
    'https://0x7f.1/token',
    'https://2130706433/token',
    'https:///token',
    '',
  ])('%j is refused', (url) => {
    expect(endpoint('').safeParse(url).success).toBe(false);
  });

  test('with a query is refused as an issuer', () => {
    expect(issuer('').parse('https://accounts.google.com')).toBe('https://accounts.google.com');
    expect(issuer('').safeParse('https://accounts.google.com?x').success).toBe(false);
  });
});

describe('a listen address', () => {
  test.each([
    ['127.0.0.1:8377', '127.0.0.1', 8377],
    ['localhost:0', 'localhost', 0],
    ['0.0.0.0:80', '0.0.0.0', 80],
    ['[::1]:65535', '::1', 65_535],
  ])('%s', (text, host, port) => {
    expect(listenAddress('').parse(text)).toEqual({ host, port });
  });

  test.each([
    '8377',
    ':8377',
    '*:8377',
    '127.0.0.1',
    '127.0.0.1:',
    '127.0.0.1:65536',
    '127.0.0.1:08377',
    '127.0.0.1:+1',
    '127.1:8377',
    '::1:8377',
    '[127.0.0.1]:8377',
    '[fe80::1%eth0]:8377',
    'proxy.example.com:8377',
    'http://127.0.0.1:8377',
  ])('%j is refused', (text) => {
    expect(listenAddress('').safeParse(text).success).toBe(false);
  });
});

test.each(['', '~/sidekey.db', '~', '$HOME/sidekey.db', 'a/${X}/b', 'a\0b', 'a\nb'])(
  'the path %j is refused',
  (path) => {
    expect(pathText('').safeParse(path).success).toBe(false);
  },
);

describe('a name for the constraints of the CA', () => {
  test.each([
    ['Acme.test', 'acme.test'],
    ['10.1.2.3', '10.1.2.3'],
    ['10.1.2.0/24', '10.1.2.0/24'],
    ['fd00::/8', 'fd00::/8'],
  ])('%s is %s', (text, name) => {
    expect(permittedName('').parse(text)).toBe(name);
  });

  test.each(['', '*.acme.test', 'acme.test:443', 'acme.test/24', '10.1.2.0/33', 'https://acme.test'])(
    '%j is refused',
    (text) => {
      expect(permittedName('').safeParse(text).success).toBe(false);
    },
  );
});
