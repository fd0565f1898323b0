import { describe, expect, it } from 'vitest';
import { readPresented, selectorsOf } from '../../src/proxy/agent.ts';
import { requestFields, responseFields } from '../../src/proxy/fields.ts';

const sent = (...fields: string[]) => requestFields(fields, 'api.example').slice(2);

describe('fields of one hop', () => {
  it.each([
    ['Connection', 'close'],
    ['Keep-Alive', 'timeout=5'],
    ['Proxy-Connection', 'keep-alive'],
    ['TE', 'trailers'],
    ['Transfer-Encoding', 'chunked'],
    ['Upgrade', 'h2c'],
    ['HTTP2-Settings', 'AAMAAABkAAQAoAAAAAIAAAAA'],
    ['Expect', '100-continue'],
  ])('%s does not leave', (name, value) => {
    for (const it of [name, name.toLowerCase(), name.toUpperCase()])
      expect(sent(it, value, 'X', '1')).toEqual(['X', '1']);
  });

  it.each(['Proxy-Authorization', 'Proxy-Authenticate', 'Proxy-Authentication-Info', 'proxy-anything'])(
    '%s leaves neither way',
    (name) => {
      expect(sent(name, 'Basic YWdlbnQ6dG9rZW4=')).toEqual([]);
      expect(responseFields([name, 'x'], false)).toEqual([]);
    },
  );

  it('what Connection names does not leave, in any case, in any of its fields', () => {
    expect(
      sent(
        'connection',
        'close, X-Secret ,\tx-other',
        'CONNECTION',
        'x-third',
        'x-SECRET',
        '1',
        'X-Other',
        '2',
        'X-Third',
        '3',
        'X-Fourth',
        '4',
      ),
    ).toEqual(['X-Fourth', '4']);
    expect(responseFields(['Connection', 'X-Hop', 'x-hop', '1', 'X', '2'], true)).toEqual(['X', '2']);
  });

  it('Connection cannot take out what frames or addresses the request, or what a credential stands in', () => {
    const kept = ['Content-Length', '5', 'Authorization', 'Bearer placeholder', 'Trailer', 'X-T'];
    expect(
      requestFields(['Connection', 'content-length, authorization, host, trailer', ...kept], 'api.example'),
    ).toEqual(['Host', 'api.example', ...kept]);
    expect(responseFields(['Connection', 'content-length', 'Content-Length', '5'], false)).toEqual([
      'Content-Length',
      '5',
    ]);
  });
});

describe('fields of Sidekey', () => {
  it('do not leave', () => {
    expect(
      sent('Sidekey-Grant', 'work', 'SIDEKEY-REASON', 'why', 'sidekey-x', 'y', 'Sidekeyed', '1'),
    ).toEqual(['Sidekeyed', '1']);
  });

  it('are not an upstream’s to send: none can pose as the proxy', () => {
    expect(responseFields(['Sidekey-Error', 'reauth_required', 'X', '1'], false)).toEqual(['X', '1']);
  });
});

const userName = (text: string) =>
  readPresented([
    'Proxy-Authorization',
    `Basic ${Buffer.from(`bot+grant=${text}:token`).toString('base64')}`,
  ]);

describe('header injection in a selector', () => {
  it.each([
    'a\r\nAuthorization: x',
    'a\n',
    '\na',
    'a\rb',
    'a\0b',
    'a b',
    'a\tb',
    'a\x7f',
    'a"b',
    'a/b',
    'ä',
    '',
    '-a',
  ])('%j selects nothing', (text) => {
    expect(userName(text)).toMatchObject({ kind: 'malformed' });
    expect(selectorsOf(['Sidekey-Grant', text], { grant: null, user: null })).toMatchObject({
      code: 'bad_request',
    });
  });
});
