import { describe, expect, it } from 'vitest';
import { NameSet } from '../../../../../src/proxy/http/head.ts';
import { createRequestReader, createResponseReader } from '../../../../../src/proxy/http/h1/read-head.ts';
import { Malformed } from '../../../../../src/proxy/http/h1/scan.ts';
import { addHead, fieldLines, type HeadEdit, ownHead } from '../../../../../src/proxy/http/h1/write.ts';
import { bytes, headBytes, limits } from './read-messages.ts';

const none = new NameSet([]);

function headOf(text: string) {
  const reader = text.startsWith('HTTP') ? createResponseReader(limits) : createRequestReader(limits);
  // In the middle of other bytes, as it is where pipelined requests come in one piece.
  const region = bytes(`!!${text}body`);
  const head = reader.read(region, 2, region.length);
  if (head === 'incomplete' || head instanceof Malformed) throw new Error('no head');
  return head;
}

function edited(text: string, edit: Partial<HeadEdit> = {}): string {
  return headBytes(headOf(text), { drop: none, lines: '', ...edit }).toString('latin1');
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

  it('can have another first line, and fields after the others', () => {
    const edit = { line: 'GET /b HTTP/1.1', lines: fieldLines(['Y', '', 'X', '\xe9\t']) };
    expect(edited('GET http://a/b HTTP/1.0\r\nA: 1\r\n\r\n', edit)).toBe(
      'GET /b HTTP/1.1\r\nA: 1\r\nY: \r\nX: \xe9\t\r\n\r\n',
    );
    expect(edited('GET / HTTP/1.1\r\n\r\n', edit)).toBe('GET /b HTTP/1.1\r\nY: \r\nX: \xe9\t\r\n\r\n');
  });

  it.each(['a\r\nX: b', 'a\n', '\ra', 'a\0', 'a\x7f', '\u0100', '\u010d\u010a'])(
    'refuses an added field with a line break: %j',
    (text) => {
      const refusal = expect.objectContaining({
        code: 'policy_violation',
        message: expect.not.stringContaining(text),
      });
      const head = 'GET / HTTP/1.1\r\nA: 1\r\n\r\n';
      expect(() => fieldLines(['X', text])).toThrow(refusal);
      expect(() => fieldLines([text, 'x'])).toThrow(refusal);
      expect(() => edited(head, { line: text })).toThrow(refusal);
      expect(() => ownHead('HTTP/1.1 200 OK', ['X', text])).toThrow(refusal);
      expect(() => ownHead(text, [])).toThrow(refusal);
    },
  );

  it('is never truncated to the available space', () => {
    const head = headOf('GET / HTTP/1.1\r\nA: 1\r\n\r\n');
    const short = {
      room: (size: number) => Buffer.alloc(size + 4),
      end: 5,
      filledTo() {},
      add: () => true,
      flush() {},
    };
    expect(() => addHead(short, head, { drop: none, lines: '' })).toThrow(RangeError);
    addHead({ ...short, end: 4 }, head, { drop: none, lines: '' });
  });

  it('is copied if the buffer has no room for it', () => {
    const head = headOf('GET / HTTP/1.1\r\nA: 1\r\n\r\n');
    const pieces: Buffer[] = [];
    const into = {
      room: () => null,
      end: 0,
      filledTo() {},
      add: (piece: Buffer) => pieces.push(piece) > 0,
      flush() {},
    };
    addHead(into, head, { drop: none, lines: 'B: 2\r\n' });
    expect(Buffer.concat(pieces).toString()).toBe('GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n');
  });
});

describe('a head made by the proxy', () => {
  it('consists of its first line and its fields', () => {
    expect(ownHead('HTTP/1.1 200 OK', ['A', '1', 'B', '2']).toString()).toBe(
      'HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n',
    );
  });
});
