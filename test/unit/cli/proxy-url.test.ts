import { expect, it } from 'vitest';
import { proxyUrl } from '../../../src/operations/format.ts';

it.each([
  [{ host: '127.0.0.1', port: 8377 }, undefined, 'http://127.0.0.1:8377'],
  [{ host: '::1', port: 8377 }, 'a:t', 'http://a:t@[::1]:8377'],
  [{ host: '0.0.0.0', port: 1 }, undefined, 'http://127.0.0.1:1'],
  [{ host: '::', port: 1 }, undefined, 'http://[::1]:1'],
  [{ host: '10.0.0.5', port: 0 }, undefined, 'http://10.0.0.5:PORT'],
])('a client reaches %j as %s at %s', (listen, userInfo, url) => {
  expect(proxyUrl(listen, userInfo)).toBe(url);
});
