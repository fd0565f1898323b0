import { expect, test } from 'vitest';
import {
  redirectTarget,
  type RedirectTarget,
  writtenRedirectUri,
} from '../../../../src/operations/connect/redirect.ts';

const loopback = { kind: 'loopback', path: '/callback' } as const;

type Options = Parameters<typeof redirectTarget>[0];

test.each<[Options, RedirectTarget]>([
  [{}, { ...loopback, host: '127.0.0.1', port: null }],
  [{ port: '0' }, { ...loopback, host: '127.0.0.1', port: 0 }],
  [{ port: '8080' }, { ...loopback, host: '127.0.0.1', port: 8080 }],
  [{ redirectUri: 'http://localhost:8080/callback' }, { ...loopback, host: 'localhost', port: 8080 }],
  [
    { redirectUri: 'http://localhost/callback', port: '9' },
    { ...loopback, host: 'localhost', port: 9 },
  ],
  [{ redirectUri: 'http://127.0.0.1:80/callback' }, { ...loopback, host: '127.0.0.1', port: 80 }],
  [{ redirectUri: 'http://127.0.0.1' }, { kind: 'loopback', host: '127.0.0.1', port: null, path: '/' }],
  [{ redirectUri: 'http://[::1]:1/x/y' }, { kind: 'loopback', host: '[::1]', port: 1, path: '/x/y' }],
  [{ redirectUri: 'http://[::1]/callback' }, { ...loopback, host: '[::1]', port: null }],
  ...['https://example.com/callback?a=b', 'com.example.app:/callback', 'urn:ietf:wg:oauth:2.0:oob'].map(
    (redirectUri): [Options, RedirectTarget] => [{ redirectUri }, { kind: 'elsewhere', redirectUri }],
  ),
])('%j', (options, expected) => {
  expect(redirectTarget(options)).toEqual(expected);
});

test.each([
  [{ port: '65536' }],
  [{ port: '-1' }],
  [{ port: '' }],
  [{ redirectUri: '' }],
  [{ redirectUri: 'callback' }],
  [{ redirectUri: 'http://192.168.1.1/callback' }],
  [{ redirectUri: 'http://localhost.example.com/callback' }],
  [{ redirectUri: 'http://user@localhost/callback' }],
  [{ redirectUri: 'http://localhost/callback#x' }],
  [{ redirectUri: 'http://localhost/callback?x=y' }],
  [{ redirectUri: 'http://localhost:1/callback', port: '2' }],
  [{ redirectUri: 'https://example.com/callback', port: '2' }],
  [{ redirectUri: 'javascript:alert(1)' }],
  [{ redirectUri: 'file:///etc/passwd' }],
  [{ redirectUri: 'https://example.com/ x' }],
])('%j is refused', (options) => {
  expect(() => redirectTarget(options)).toThrow(
    expect.objectContaining({ name: 'SidekeyError', code: 'input_invalid' }),
  );
});

test('a redirect URI without a listener has the default port', () => {
  expect(writtenRedirectUri(redirectTarget({}))).toBe('http://127.0.0.1:8765/callback');
  expect(writtenRedirectUri(redirectTarget({ port: '0' }))).toBe('http://127.0.0.1:8765/callback');
  expect(writtenRedirectUri(redirectTarget({ port: '99' }))).toBe('http://127.0.0.1:99/callback');
  const redirectUri = 'https://example.com/callback';
  expect(writtenRedirectUri(redirectTarget({ redirectUri }))).toBe(redirectUri);
});
