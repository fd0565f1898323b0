import { describe, expect, it } from 'vitest';
import { NameSet } from '../../../../../src/proxy/http/head.ts';
import { createRequestReader, createResponseReader } from '../../../../../src/proxy/http/h1/read-head.ts';
import { Malformed } from '../../../../../src/proxy/http/h1/scan.ts';
import { headBytes, type HeadEdit, ownHead, prepareHead } from '../../../../../src/proxy/http/h1/write.ts';
import { bytes, limits } from './read-messages.ts';

const none = new NameSet([]);

function edited(text: string, edit: Partial<HeadEdit> = {}): string {
  const reader = text.startsWith('HTTP') ? createResponseReader(limits) : createRequestReader(limits);
  // In the middle of other bytes, as it is where pipelined requests come in one piece.
  const region = bytes(`!!${text}body`);
  const head = reader.read(region, 2, region.length);
  if (head === 'incomplete' || head instanceof Malformed) throw new Error('no head');
  return headBytes(head, { drop: none, ...edit }).toString('latin1');
}

const odd = 'X-Odd_Name~:\t a  b \t\r\nx:\r\nCookie: a\r\ncookie:b\r\nX: \xe9\r\n';

describe('a forwarded head', () => {
  it('keeps every byte of the unchanged parts', () => {
    for (const text of [
      `POST /a/%2e HTTP/1.1\r\n${odd}\r\n`,
      `HTTP/1.0 200 O  K \r\n${odd}\r\n`,
      'HTTP/1.1 200\r\n\r\n',
    ])
      expect(edited(text)).toBe(text);
    expect(edited('\r\nGET / HTTP/1.1\r\n\r\n')).toBe('GET / HTTP/1.1\r\n\r\n');
  });

  it('omits hop-by-hop fields and those that Connection names', () => {
    const text =
      'GET / HTTP/1.1\r\nA: 1\r\nConnection: x-Hop , close,\tX-Other\r\nKeep-Alive: 5\r\nX-HOP: 1\r\nB: 2\r\n' +
      'TE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nProxy-Connection: x\r\nx-other: 2\r\nX-Hope: 3\r\n' +
      'CONNECTION: x-third\r\nx-third: 1\r\n\r\n';
    expect(edited(text)).toBe('GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nX-Hope: 3\r\n\r\n');
  });

  it('keeps fields that frame or route the message, even if Connection names them', () => {
    const kept =
      'Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nAuthorization: b\r\n\r\n';
    const named = 'Connection: host, Content-Length, transfer-encoding,trailer, authorization\r\n';
    expect(edited(`GET / HTTP/1.1\r\n${named}${kept}`)).toBe(`GET / HTTP/1.1\r\n${kept}`);
  });

  it('omits dropped fields: names and families, in any case', () => {
    const text =
      'GET / HTTP/1.1\r\nHOST: a\r\nA: 1\r\nProxy-Authorization: x\r\nproxy-own: x\r\nProxy-: x\r\nProxyed: 1\r\nX-own: x\r\n' +
      'SIDEKEY-Grant: x\r\nsidekey-own: x\r\nSidekey-: x\r\nSidekeyed: 1\r\nX-Owner: 1\r\nExpect: x\r\n\r\n';
    expect(edited(text, { drop: new NameSet(['host', 'proxy-*', 'sidekey-*', 'x-own', 'expect']) })).toBe(
      'GET / HTTP/1.1\r\nA: 1\r\nProxyed: 1\r\nSidekeyed: 1\r\nX-Owner: 1\r\n\r\n',
    );
    expect(edited(text, { drop: new NameSet(['proxy-own']) })).not.toContain('proxy-own');
    expect(edited(text, { drop: new NameSet(['proxy-own']) })).toContain('Proxy-Authorization');
  });

  it('can have another first line, and fields before and after', () => {
    const edit = { line: 'GET /b HTTP/1.1', front: ['Host', 'b', 'X', '\xe9\t'], back: ['Y', ''] };
    expect(edited('GET http://a/b HTTP/1.0\r\nA: 1\r\n\r\n', edit)).toBe(
      'GET /b HTTP/1.1\r\nHost: b\r\nX: \xe9\t\r\nA: 1\r\nY: \r\n\r\n',
    );
    expect(edited('GET / HTTP/1.1\r\n\r\n', edit)).toBe(
      'GET /b HTTP/1.1\r\nHost: b\r\nX: \xe9\t\r\nY: \r\n\r\n',
    );
  });

  it.each([
    [
      'A: 1\r\nauthorization: x\r\nB: 2\r\nAUTHORIZATION: y\r\nC: 3\r\n',
      'A: 1\r\nAuthorization: new\r\nB: 2\r\nC: 3\r\n',
    ],
    ['Authorization: x\r\nA: 1\r\n', 'Authorization: new\r\nA: 1\r\n'],
    ['A: 1\r\nAuthorization: x\r\n', 'A: 1\r\nAuthorization: new\r\n'],
    ['A: 1\r\nTE: x\r\nAuthorization: x\r\nB: 2\r\n', 'A: 1\r\nAuthorization: new\r\nB: 2\r\n'],
    ['A: 1\r\n', 'Authorization: new\r\nA: 1\r\n'],
    ['', 'Authorization: new\r\n'],
  ])('has the credential in place of the placeholder: %j', (before, after) => {
    const replace = { names: new NameSet(['authorization']), fields: ['Authorization', 'new'] };
    expect(edited(`GET / HTTP/1.1\r\n${before}\r\n`, { replace })).toBe(`GET / HTTP/1.1\r\n${after}\r\n`);
  });

  it.each(['a\r\nX: b', 'a\n', '\ra', 'a\0', 'a\x7f', '\u0100', '\u010d\u010a'])(
    'refuses an added field with a line break: %j',
    (text) => {
      const refusal = expect.objectContaining({
        code: 'policy_violation',
        message: expect.not.stringContaining(text),
      });
      const head = 'GET / HTTP/1.1\r\nA: 1\r\n\r\n';
      expect(() => edited(head, { front: ['X', text] })).toThrow(refusal);
      expect(() => edited(head, { back: ['X', text] })).toThrow(refusal);
      expect(() => edited(head, { back: [text, 'x'] })).toThrow(refusal);
      expect(() => edited(head, { line: text })).toThrow(refusal);
      expect(() => edited(head, { replace: { names: none, fields: ['X', text] } })).toThrow(refusal);
      expect(() => ownHead('HTTP/1.1 200 OK', ['X', text])).toThrow(refusal);
      expect(() => ownHead(text, [])).toThrow(refusal);
    },
  );

  it('is never truncated to the available space', () => {
    const text = bytes('GET / HTTP/1.1\r\nA: 1\r\n\r\n');
    const head = createRequestReader(limits).read(text, 0, text.length);
    if (head === 'incomplete' || head instanceof Malformed) throw new Error('no head');
    const prepared = prepareHead(head, { drop: none });
    const target = Buffer.alloc(prepared.size + 4);
    expect(prepared.write(target, 4)).toBe(target.length);
    expect(() => prepared.write(target, 5)).toThrow(RangeError);
  });
});

describe('a head made by the proxy', () => {
  it('consists of its first line and its fields', () => {
    expect(ownHead('HTTP/1.1 200 OK', ['A', '1', 'B', '2']).toString()).toBe(
      'HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n',
    );
  });
});
