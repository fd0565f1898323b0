import { expect, test } from 'vitest';
import { readProxy } from '../../../../src/cli/fetch/send.ts';
import { placeOf } from '../../../../src/operations/proxied-request.ts';

const decoded = (text: string | null | undefined) =>
  text == null ? null : Buffer.from(text.replace('Basic ', ''), 'base64').toString();

test.each([
  ['http://127.0.0.1:8377', null, '127.0.0.1', 8377, null],
  ['localhost:8377', null, '127.0.0.1', 8377, null],
  ['http://[::1]:8377/', null, '::1', 8377, null],
  ['http://ci:t%3Ak@127.0.0.1:8377', null, '127.0.0.1', 8377, 'ci:t:k'],
  ['http://ci:tok@127.0.0.1:8377', 'alice', '127.0.0.1', 8377, 'ci+user=alice:tok'],
  ['http://127.0.0.1:8377', 'alice', '127.0.0.1', 8377, '+user=alice:'],
  ['http://+grant=x@127.0.0.1:8377', 'alice', '127.0.0.1', 8377, '+grant=x+user=alice:'],
])('%s for %s', (text, user, host, port, shown) => {
  const endpoint = readProxy(text);
  const place = endpoint === null ? null : placeOf(endpoint, user);
  expect(place).toMatchObject({ host, port });
  expect(decoded(place?.authorization)).toBe(shown);
});

test.each([
  'https://127.0.0.1:8377',
  'http://proxy.corp.test:3128',
  'http://10.0.0.1:1',
  'socks5://127.0.0.1:1',
  ':::',
])('%s is refused, because the request would leave the machine without TLS', (text) => {
  expect(readProxy(text)).toBeNull();
});
