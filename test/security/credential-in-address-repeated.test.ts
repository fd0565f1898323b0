/**
 * A credential that stands in the query or in the path: services repeat addresses in redirects, links and
 * pages of lists.
 */
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../src/domain/credential.ts';
import { startInjectProxy, type ClientProtocol } from '../support/inject-proxy.ts';

const token = 'k3y/of+the=grant.0123~456';
const inPath = '1234567:AAgrant-of_the.bot~0123';
const credential = (value: string): Credential => ({ type: 'api_key', value });

const pythonQuote = (text: string) => encodeURIComponent(text).replaceAll('%2F', '/');
const goPathEscape = (text: string) =>
  encodeURIComponent(text).replace(/%(?:24|26|2B|3A|3D|40)/g, decodeURIComponent);
const html = (text: string) => text.replaceAll('&', '&amp;').replaceAll('+', '&#43;');
const lowerHex = (text: string) => text.replace(/%[0-9A-F]{2}/g, (one) => one.toLowerCase());

/** Formats in which services repeat a URL. */
const spellings: readonly (readonly [string, (text: string) => string])[] = [
  ['as it is', (text) => text],
  ['Python quote', pythonQuote],
  ['Go PathEscape', goPathEscape],
  ['encodeURIComponent in small letters', (text) => lowerHex(encodeURIComponent(text))],
  ['encodeURIComponent twice', (text) => encodeURIComponent(encodeURIComponent(text))],
  ['HTML', (text) => html(encodeURIComponent(text))],
  ['HTML of the text', html],
  ['JSON with escaped slashes', (text) => JSON.stringify(text).slice(1, -1).replaceAll('/', '\\/')],
  ['Base64', (text) => Buffer.from(`/?key=${text}`).toString('base64')],
  ['Base64 for addresses', (text) => Buffer.from(`/a?key=${text}`).toString('base64url')],
  ['hex', (text) => Buffer.from(text).toString('hex')],
];

/** Ordinary responses with the address in them. */
const pages: readonly (readonly [string, (address: string) => string])[] = [
  ['Apache', (it) => `<p>The document has moved <a href="${it}">here</a>.</p>\n</body></html>\n`],
  ['Go http.Redirect', (it) => `<a href="${it}">Found</a>.\n\n`],
  ['Express', (it) => `Found. Redirecting to ${it}`],
  [
    'Werkzeug',
    (it) => `<p>You should be redirected automatically to the target URL: <a href="${it}">${it}</a>. If not`,
  ],
  ['pages of a list', (it) => JSON.stringify({ data: [], paging: { next: it } })],
  ['HAL', (it) => JSON.stringify({ _links: { self: { href: it }, next: { href: it } } })],
  ['OData', (it) => JSON.stringify({ value: [], '@odata.nextLink': it })],
  ['Atom', (it) => `<feed><link rel="next" href="${it.replaceAll('&', '&amp;')}"/></feed>`],
  ['SSE', (it) => `event: endpoint\ndata: ${it}\n\n`],
];

const carried = [
  ['query', { query: 'key' }, token, '/list?page=1'],
  ['path', { path: ['/bot'] }, inPath, '/bot/list?page=1'],
] as const;

describe.each(carried)('a credential in the %s', (_, inject, value, path) => {
  test.each(pages)('does not appear in an ordinary response body: %s', async (_page, page) => {
    const setup = await startInjectProxy(inject, {
      credential: credential(value),
      answer: ({ url }) => ({ body: page(`https://api.test${url}&n=2`) }),
    });
    for (const protocol of ['HTTP/1.1', 'HTTP/2'] satisfies ClientProtocol[]) {
      const { status, body } = await setup.ask(protocol, { path });
      const address = setup.seen.at(-1)!.url;
      expect(status).toBe(200);
      expect(address).toMatch(/key=|\/bot1/);
      const written = page(`https://api.test${address}&n=2`);
      expect(body.length).toBe(written.length);
      expect(body).not.toContain(value);
      expect(body).toContain('****');
      expect(body).not.toContain(encodeURIComponent(value));
    }
  });

  test.each(spellings)(
    'does not appear in the Location and Link of a response: %s',
    async (_spelling, spell) => {
      const setup = await startInjectProxy(inject, {
        credential: credential(value),
        answer: () => ({
          fields: { location: `/next/${spell(value)}`, link: `</next?a=${spell(value)}>; rel="next"` },
        }),
      });
      const { headers } = await setup.ask('HTTP/1.1', { path });
      const fields = `${String(headers['location'])} ${String(headers['link'])}`;
      expect(fields).not.toContain(spell(value));
      // Base64 and hex digits that also encode bits of neighbours may stay.
      expect(fields.replace(/<?\/next(?:\?a=|\/)|>; rel="next"/g, '').length).toBeLessThan(30);
    },
  );

  test('is added again if an agent follows a link without it, and such leaks never end the access', async () => {
    const setup = await startInjectProxy(inject, {
      credential: credential(value),
      answer: ({ url }) => ({
        body: JSON.stringify({ next: `https://api.test${url.replace(/page=\d/, 'page=2')}` }),
      }),
    });
    let asked: string = path;
    for (let page = 0; page < 8; page += 1) {
      const { status, body } = await setup.ask('HTTP/1.1', { path: asked });
      expect(status).toBe(200);
      const { next } = JSON.parse(body) as { next: string };
      asked = next.slice('https://api.test'.length);
      expect(asked).toContain('****');
    }
    const urls = setup.seen.slice(1).map(({ url }) => url.replaceAll(/page=\d/g, 'page='));
    expect(new Set(urls)).toEqual(new Set([setup.seen[0]!.url.replaceAll(/page=\d/g, 'page=')]));
    expect((await setup.sidekey.audit()).map(({ event }) => event)).not.toContain('leak.limited');
  });
});

describe('a user name and password of which one is too short for the guard', () => {
  test.each([
    ['alice', 's3cr3t!'],
    ['a-long-user-name', 's3cr3t!'],
    ['alice', 'x'],
  ])('is not sent if every response is to be guarded: %s', async (username, password) => {
    const setup = await startInjectProxy('bearer', {
      credential: { type: 'basic', username, password },
      domain: { leak_guard: 'redact' },
      answer: () => ({ body: `${username}:${password}` }),
    });
    expect((await setup.ask('HTTP/1.1')).status).toBe(403);
    expect(setup.seen).toEqual([]);
  });
});
