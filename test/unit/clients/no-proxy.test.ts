import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { bypasses, mergedNoProxy, withoutProxy } from '../../../src/clients/variables.ts';
import { parsePattern, type DomainPattern } from '../../../src/proxy/policy/domain-map.ts';

const domains = (...texts: readonly string[]) =>
  texts.map((text) => ({ pattern: parsePattern(text) as DomainPattern }));

test('entries of the parent stay first and in order, each once', () => {
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

test('merging twice has the same result', () => {
  const once = mergedNoProxy({ NO_PROXY: 'a.example' }, ['localhost', '::1']);
  const text = once.join(',');
  expect(mergedNoProxy({ NO_PROXY: text, no_proxy: text }, ['localhost', '::1'])).toEqual(once);
});

const proxy = { host: '127.0.0.1', port: 8377 };

test('loopback is called directly', () => {
  expect(withoutProxy(domains('api.github.com'), proxy)).toEqual(['localhost', '127.0.0.1', '::1']);
});

test.each([
  ['localhost:3000', ['127.0.0.1', '::1']],
  ['app.localhost', ['127.0.0.1', '::1']],
  ['127.0.0.1:8080', ['localhost', '::1', '127.0.0.1:8377']],
  ['[::1]:8080', ['localhost', '127.0.0.1']],
])('loopback is not called directly when the domain map has an entry for it: %s', (domain, left) => {
  expect(withoutProxy(domains(domain), proxy)).toEqual(left);
});

test.each([
  ['127.0.0.1:8080', { host: '127.0.0.1', port: 8377 }, ['localhost', '::1', '127.0.0.1:8377']],
  ['localhost:3000', { host: 'localhost', port: 8377 }, ['127.0.0.1', '::1', 'localhost:8377']],
  // httpx reads `[::1]:8377` and `::1:8377` as URLs, and refuses each request for it.
  ['[::1]:8080', { host: '::1', port: 8377 }, ['localhost', '127.0.0.1', '::1']],
  ['a.example', { host: 'proxy.example', port: 80 }, ['localhost', '127.0.0.1', '::1', 'proxy.example:80']],
])('the proxy itself is called directly when the map has %s', (domain, at, entries) => {
  expect(withoutProxy(domains(domain), at)).toEqual(entries);
});

test.each([
  ['deploy/compose/compose.yaml', 'sidekey'],
  ['deploy/kubernetes/sidecar.yaml', '127.0.0.1'],
  ['deploy/helm/sidekey/templates/NOTES.txt', '{{ .Release.Name }}.{{ .Release.Namespace }}'],
])('%s names the proxy in NO_PROXY as run does', async (file, host) => {
  const text = await readFile(file, 'utf8');
  const port = host.startsWith('{') ? '{{ .Values.service.port }}' : 8377;
  const entries = withoutProxy([], { host, port: port as number }).join(',');
  for (const name of file.endsWith('yaml') ? ['NO_PROXY', 'no_proxy'] : ['NO_PROXY'])
    expect(text.replaceAll(/(: |=|, value: )'?/g, ' ')).toContain(`${name} ${entries}`);
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
  expect(bypasses(entry, { host: 'api.github.com', port: null })).toBe(does);
});

test.each([
  ['127.0.0.1:8377', '127.0.0.1:8080', false],
  ['127.0.0.1:8080', '127.0.0.1:8080', true],
  ['127.0.0.1', '127.0.0.1:8080', true],
  ['api.github.com:8080', 'api.github.com', false],
  ['::1', '[::1]:8080', true],
  ['[::1]', '[::1]:8080', true],
  ['[::1]:8377', '[::1]:8080', false],
])('NO_PROXY=%s sends requests to %s past the proxy: %s', (entry, domain, does) => {
  const [{ pattern }] = domains(domain) as [{ pattern: DomainPattern }];
  expect(bypasses(entry, pattern)).toBe(does);
});
