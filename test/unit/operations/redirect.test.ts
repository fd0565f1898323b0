import { expect, test } from 'vitest';
import type { Hop } from '../../../src/proxy/upstream/through-proxy.ts';
import { readUrl } from '../../../src/operations/outgoing-request.ts';
import { nextHop } from '../../../src/operations/redirect.ts';

const body = (repeatable: boolean) => ({ length: 1, repeatable, open: () => (async function* () {})() });
const hop = (fields: Partial<Hop> = {}): Hop => ({
  method: 'POST',
  url: 'https://a.test/x',
  fields: [
    ['Accept', '*/*'],
    ['Content-Type', 'text/plain'],
    ['Cookie', 'c=1'],
    ['X-Api-Key', 'mine'],
    ['Sidekey-Grant', 'work'],
    ['Sidekey-Reason', 'ticket 7'],
  ],
  body: body(true),
  ...fields,
});
const names = (next: Hop | null) => next?.fields.map(([name]) => name);

test.each([200, 300, 304, 404])('status %i is not followed', (status) => {
  expect(nextHop(hop(), status, '/y')).toBeNull();
});

test.each([
  [301, 'POST', 'GET'],
  [302, 'POST', 'GET'],
  [302, 'PUT', 'PUT'],
  [303, 'PUT', 'GET'],
  [303, 'HEAD', 'HEAD'],
  [307, 'POST', 'POST'],
  [308, 'PATCH', 'PATCH'],
])('%i of a %s becomes a %s', (status, method, then) => {
  const next = nextHop(hop({ method, body: method === 'HEAD' ? null : body(true) }), status, 'y?z');
  expect(next).toMatchObject({ method: then, url: 'https://a.test/y?z' });
  const keepsBody = method !== 'HEAD' && method === then;
  expect(next?.body !== null).toBe(keepsBody);
  expect(names(next)?.includes('Content-Type')).toBe(keepsBody);
  expect(names(next)).toContain('Sidekey-Grant');
});

test.each(['https://b.test/', '//b.test/', 'https://a.test:8443/', 'http://a.test/'])(
  'a redirect to %s keeps no field that may hold a key, and no grant selector',
  (location) => {
    expect(names(nextHop(hop(), 307, location))).toEqual(['Accept', 'Content-Type', 'Sidekey-Reason']);
  },
);

test('a stream body is not sent a second time', () => {
  expect(() => nextHop(hop({ body: body(false) }), 307, '/y')).toThrow('cannot be read again');
  expect(nextHop(hop({ body: body(false) }), 303, '/y')).toMatchObject({ method: 'GET', body: null });
});

test.each(['ftp://b.test/', 'https://user:pass@b.test/', 'javascript:alert(1)', 'https://'])(
  'a redirect to %s is refused',
  (location) => {
    expect(() => nextHop(hop(), 302, location)).toThrow('does not lead to an http or https URL');
  },
);

test.each([
  ['api.example.com', 'https://api.example.com/'],
  ['http://A.example?x#y', 'http://a.example/?x'],
  ['https://bücher.example/ä b', 'https://xn--bcher-kva.example/%C3%A4%20b'],
  ['https://a.example/%7e//../x', 'https://a.example/%7e//../x'],
])('the URL %s is normalized to %s', (text, url) => {
  expect(readUrl(text)).toBe(url);
});
