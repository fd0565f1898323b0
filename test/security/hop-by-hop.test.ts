import { describe, expect, it } from 'vitest';
import { readPresented, selectorsOf } from '../../src/agents/authentication.ts';
import { requestFields, responseFields, trailerFields } from '../../src/proxy/http/fields.ts';

const sent = (...fields: string[]) => requestFields(fields, 'api.example').slice(2);

describe('hop-by-hop fields', () => {
  it.each([
    ['Connection', 'close'],
    ['Keep-Alive', 'timeout=5'],
    ['Proxy-Connection', 'keep-alive'],
    ['TE', 'trailers'],
    ['Upgrade', 'h2c'],
    ['HTTP2-Settings', 'AAMAAABkAAQAoAAAAAIAAAAA'],
    ['Expect', '100-continue'],
  ])('are not forwarded upstream: %s', (name, value) => {
    for (const it of [name, name.toLowerCase(), name.toUpperCase()])
      expect(sent(it, value, 'X', '1')).toEqual(['X', '1']);
  });

  it.each(['Proxy-Authorization', 'Proxy-Authenticate', 'Proxy-Authentication-Info', 'proxy-anything'])(
    'are not forwarded in either direction: %s',
    (name) => {
      expect(sent(name, 'Basic YWdlbnQ6dG9rZW4=')).toEqual([]);
      expect(responseFields([name, 'x'], false)).toEqual([]);
    },
  );

  it('are also the fields that any Connection field names, in any case', () => {
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

  it('do not include fields for framing, the address, a credential or rules, even if Connection names them', () => {
    const kept = ['Content-Length', '5', 'Authorization', 'Bearer placeholder', 'Trailer', 'X-T'];
    expect(
      requestFields(['Connection', 'content-length, authorization, host, trailer', ...kept], 'api.example'),
    ).toEqual(['Host', 'api.example', ...kept]);
    expect(sent('Connection', 'Transfer-Encoding', 'Transfer-Encoding', 'chunked')).toEqual([
      'Transfer-Encoding',
      'chunked',
    ]);
    const judged = ['Content-Type', 'application/json', 'Content-Encoding', 'gzip'];
    expect(sent('Connection', 'Content-Type, content-encoding', ...judged)).toEqual(judged);
    expect(responseFields(['Connection', 'content-length', 'Content-Length', '5'], false)).toEqual([
      'Content-Length',
      '5',
    ]);
  });
});

describe('request trailers', () => {
  it('are forwarded, except fields for routing, authentication, framing, a proxy or one hop', () => {
    const dropped = ['Authorization', 'Cookie', 'host', 'Content-Length', 'TRANSFER-ENCODING', 'Connection'];
    const more = [
      'Trailer',
      'Content-Type',
      'Expect',
      'Upgrade',
      'TE',
      'Proxy-Authorization',
      'Sidekey-Grant',
    ];
    const trailers = [...dropped, ...more].flatMap((name) => [name, 'x']);
    expect(trailerFields(['X-Sum', '7', ...trailers, 'Grpc-Status', '0'])).toEqual([
      'X-Sum',
      '7',
      'Grpc-Status',
      '0',
    ]);
  });
});

describe('Sidekey fields', () => {
  it('are not forwarded upstream', () => {
    expect(
      sent('Sidekey-Grant', 'work', 'SIDEKEY-REASON', 'why', 'sidekey-x', 'y', 'Sidekeyed', '1'),
    ).toEqual(['Sidekeyed', '1']);
  });

  it('are removed from responses, so that no upstream can pose as the proxy', () => {
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
