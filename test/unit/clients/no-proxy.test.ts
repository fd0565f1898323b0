import { expect, test } from 'vitest';
import { bypasses, loopbackWithoutProxy, mergedNoProxy } from '../../../src/clients/no-proxy.ts';
import { parsePattern, type DomainPattern } from '../../../src/policy/pattern.ts';

const domains = (...texts: readonly string[]) =>
  texts.map((text) => ({ pattern: parsePattern(text) as DomainPattern }));

test("the parent's entries stay, in their order and before ours, each once", () => {
  const parent = { NO_PROXY: '.corp.example, 10.0.0.0/8', no_proxy: 'localhost,*.corp.example' };
  expect(mergedNoProxy(parent, ['localhost', '127.0.0.1'])).toEqual([
    '.corp.example',
    '10.0.0.0/8',
    'localhost',
    '*.corp.example',
    '127.0.0.1',
  ]);
  expect(mergedNoProxy({}, [])).toEqual([]);
});

test('merging what was merged changes nothing', () => {
  const once = mergedNoProxy({ NO_PROXY: 'a.example' }, ['localhost', '::1']);
  const text = once.join(',');
  expect(mergedNoProxy({ NO_PROXY: text, no_proxy: text }, ['localhost', '::1'])).toEqual(once);
});

test('loopback is called directly', () => {
  expect(loopbackWithoutProxy(domains('api.github.com'))).toEqual(['localhost', '127.0.0.1', '::1']);
});

test.each([
  ['localhost:3000', ['127.0.0.1', '::1']],
  ['app.localhost', ['127.0.0.1', '::1']],
  ['127.0.0.1:8080', ['localhost', '::1']],
  ['[::1]:8080', ['localhost', '127.0.0.1']],
])('unless the domain map has something to say of it: %s', (domain, left) => {
  expect(loopbackWithoutProxy(domains(domain))).toEqual(left);
});

test.each([
  ['*', true],
  ['api.github.com', true],
  ['API.GitHub.com', true],
  ['api.github.com:443', true],
  ['.github.com', true],
  ['*.github.com', true],
  ['github.com', true],
  ['com', true],
  ['hub.com', false],
  ['x.api.github.com', false],
  ['10.0.0.0/8', false],
  [':443', false],
])('NO_PROXY=%s sends requests to api.github.com past the proxy: %s', (entry, does) => {
  expect(bypasses(entry, 'api.github.com')).toBe(does);
});
