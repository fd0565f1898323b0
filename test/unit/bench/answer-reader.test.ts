import { expect, test } from 'vitest';
import { AnswerReader } from '../../bench/answer-reader.ts';

const plain = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello';
const lower = 'HTTP/1.1 403 Forbidden\r\nX: y\r\ncontent-length:0\r\n\r\n';
const chunked =
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: u\r\n\r\n';

test.each([
  ['Content-Length', plain, 200, 5],
  ['content-length in lower case', lower, 403, 0],
  ['chunks and a trailer field', chunked, 200, 5],
])('a response with %s ends at its last byte, in chunks of every size', (_, text, status, length) => {
  for (let size = 1; size <= text.length; size += 1) {
    const reader = new AnswerReader();
    const ends: boolean[] = [];
    // Twice: state of the first response must not affect the second.
    for (let at = 0; at < text.length * 2; at += size) {
      const end = Math.min(at + size, at < text.length ? text.length : text.length * 2);
      ends.push(reader.feed(Buffer.from((text + text).slice(at, end))));
      at = end - size;
    }
    expect(ends.filter(Boolean)).toHaveLength(2);
    expect(ends.at(-1)).toBe(true);
    expect([reader.status, reader.length]).toEqual([status, length]);
  }
});

test.each([
  ['a body with bytes after it', `${plain}!`],
  ['a last chunk with bytes after it', `${chunked}!`],
  ['a response without a length', 'HTTP/1.1 200 OK\r\nX: y\r\n\r\n'],
  ['a chunk without a size', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n'],
])('%s is not a response', (_, text) => {
  expect(() => new AnswerReader().feed(Buffer.from(text))).toThrow(Error);
});

test('a body is returned without its framing', () => {
  const reader = new AnswerReader();
  let body = '';
  reader.onBody = (piece) => (body += piece.toString());
  reader.feed(Buffer.from(chunked));
  expect(body).toBe('hello');
});
