import { describe, expect, it } from 'vitest';
import { createMendingReader } from '../../../../../src/proxy/http/h1/mend.ts';
import { type Fault, Malformed } from '../../../../../src/proxy/http/h1/scan.ts';
import { bytes, limits } from './read-messages.ts';

/** Reads a head, with bytes around it. Returns its fault, or the line and fields to forward. */
function mend(text: string, method = 'GET', within = limits) {
  const region = bytes(`!!${text}body`);
  const head = createMendingReader(method, within).read(region, 2, region.length);
  if (head === 'incomplete') return head;
  if (head instanceof Malformed) return head.fault;
  expect(head.size).toBe(text.length);
  return [`${head.version} ${head.status} ${head.reason}`.trim(), ...head.raw()];
}

const ok = 'HTTP/1.1 200 OK\r\n';

describe('a repaired head', () => {
  it.each<[string, string, readonly string[]]>([
    ['lines that end in LF', 'X: a\nY: b\r\n', ['X', 'a', 'Y', 'b']],
    ['blanks before a colon', 'X \t: a\r\n', ['X', 'a']],
    ['a folded field', 'X: a\r\n \t b\r\n\tc\r\nY: d\r\n', ['X', 'a b c', 'Y', 'd']],
    ['a fold with a field in it', 'X: a\r\n Y: b\r\n', ['X', 'a Y: b']],
    ['a CR in a value', 'X: a\rY: b\r\n', ['X', 'a Y: b']],
    ['control bytes in a value', 'X: a\x01\x7fb\xe9\r\n', ['X', 'a  b\xe9']],
    ['blanks around a value', 'X: \t a \t\n', ['X', 'a']],
    ['names that are no tokens', 'A B: 1\r\n: 2\r\n\xe9: 3\r\n(X): 4\r\nX: a\n', ['X', 'a']],
    [
      'one length in two fields',
      'Content-Length: 2\r\nX: a\r\ncontent-length: 02\r\n',
      ['X', 'a', 'Content-Length', '2'],
    ],
    ['one length in a list', 'Content-Length: 2 ,\t2,\r\n', ['Content-Length', '2']],
    [
      'a length and chunks',
      'Content-Length: 9\r\nTransfer-Encoding: chunked\r\n',
      ['Transfer-Encoding', 'chunked'],
    ],
    ['chunks twice', 'Transfer-Encoding: Chunked, identity,\tchunked\r\n', ['Transfer-Encoding', 'chunked']],
    [
      'identity and a length',
      'Transfer-Encoding: identity\r\nContent-Length: 2\r\n',
      ['Content-Length', '2'],
    ],
  ])('has no %s', (_what, lines, fields) => {
    expect(mend(`${ok}${lines}\r\n`)).toEqual(['1.1 200 OK', ...fields]);
    expect(mend(`HTTP/1.0  200OK\n${lines}\n`)).toEqual(['1.1 200 OK', ...fields]);
  });

  it.each<[string, string, string]>([
    ['HEAD', '200 OK', 'Content-Length: 2\r\nContent-Length: 3\r\n'],
    ['HEAD', '200 OK', 'Transfer-Encoding: x\r\n'],
    ['GET', '204 No', 'Content-Length: x\r\nTransfer-Encoding: chunked\r\n'],
    ['GET', '304 No', 'Content-Length:\r\n'],
    ['GET', '304 No', 'Content-Length: 2\r\nContent-Length: 3\r\n'],
    ['GET', '103 Hi', 'Content-Length: 2\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n'],
  ])('has no framing that a response to %s with %s does not need', (method, status, lines) => {
    expect(mend(`HTTP/1.1 ${status}\r\n${lines}\r\n`, method)).toEqual([`1.1 ${status}`]);
  });

  it('keeps the fields of a switch', () => {
    const [line, ...fields] = mend('HTTP/1.1 101 S\nConnection: Upgrade\nUpgrade: websocket\n\n');
    expect([line, fields]).toEqual(['1.1 101 S', ['Connection', 'Upgrade', 'Upgrade', 'websocket']]);
  });
});

describe('a head that cannot be repaired', () => {
  it.each<[string, string, Fault]>([
    ['a NUL', 'X: a\0b\r\n', 'control_byte'],
    ['a line without a colon', 'X: a\nb\n', 'no_colon'],
    ['a line of a CR', 'X: a\n\r\r\n', 'no_colon'],
    ['a line that begins with CR', 'X: a\n\rX: a\r\n', 'bare_cr'],
    ['a CR in a name', 'X\rY: a\r\n', 'bare_cr'],
    ['a folded name', 'X\r\n Y: a\r\n', 'folded_field'],
    ['a folded length', 'Content-Length: 2\r\n 3\r\n', 'folded_field'],
    ['a folded coding', 'Transfer-Encoding:\r\n chunked\r\n', 'folded_field'],
    ['two lengths', 'Content-Length: 2\r\nContent-Length: 3\r\n', 'bad_length'],
    ['two lengths in a list', 'Content-Length: 2, 3\r\n', 'bad_length'],
    ['an empty length', 'Content-Length: ,\r\n', 'bad_length'],
    ['a length that is too large', 'Content-Length: 1000000000000000\r\n', 'bad_length'],
    ['a bad length beside chunks', 'Content-Length: +2\r\nTransfer-Encoding: chunked\r\n', 'bad_length'],
    ['another coding', 'Transfer-Encoding: gzip, chunked\r\n', 'bad_coding'],
    ['more fields than allowed', 'X: a\n'.repeat(201), 'too_many_fields'],
    ['more bytes than allowed', `X: ${'a'.repeat(65_536)}\n`, 'head_too_large'],
  ])('has %s', (_what, lines, fault) => {
    expect(mend(`${ok}${lines}\r\n`)).toBe(fault);
  });

  it.each(['HTTP/1.1 20 OK', 'HTTP/1.1 2000 OK', 'HTTP/1.1 099 OK', 'HTTP/1.2 200 OK', 'ICY 200 OK', ''])(
    'begins with "%s"',
    (line) => {
      expect(mend(`${line}\nX: a\n\n`)).toBe('bad_status');
    },
  );

  it('has no end within the limit', () => {
    expect(mend(`${ok}X: a\n`)).toBe('incomplete');
    expect(mend(`${ok}X: ${'a'.repeat(200)}`, 'GET', { ...limits, head_bytes: 128 })).toBe('head_too_large');
  });
});
