import { expect, it } from 'vitest';
import { readConnectAnswer } from '../../../../src/proxy/upstream/parent-proxy.ts';

const read = (text: string) => readConnectAnswer(Buffer.from(text, 'latin1'));

it('a CONNECT response is parsed when it is complete, in any fragments', () => {
  const head = 'HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.0 200\r\nVia: \xe9\r\n\r\n';
  for (let size = 0; size < head.length; size++) expect(read(head.slice(0, size))).toBe('incomplete');
  expect(read(`${head}the tunnel’s`)).toEqual({ status: 200, size: head.length });
});

it.each([
  ['with lines that end in LF', 'HTTP/1.1 200 OK\nX: a\n\n'],
  ['with one line that ends in LF', 'HTTP/1.1 200 OK\nX: a\r\n\r\n'],
  ['with LF behind an interim response', 'HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\n\n'],
  ['with a folded field', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n'],
  ['with a name in two words', 'HTTP/1.1 200 OK\r\nProxy agent : a\r\n\r\n'],
  ['with control bytes', 'HTTP/1.1 200 O\x01K\r\nX: a\x01\r\n\r\n'],
  ['with several blanks before its status', 'HTTP/1.1  200\tOK\r\n\r\n'],
  ['without a blank before its reason', 'HTTP/1.0 200OK\r\n\r\n'],
  ['with a framing', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n'],
])('a CONNECT response %s is read up to its end', (_what, head) => {
  for (let size = 0; size < head.length; size++) expect(read(head.slice(0, size))).toBe('incomplete');
  expect(read(`${head}\r\n\r\n`)).toEqual({ status: 200, size: head.length });
});

it('a CONNECT response beyond the limit is rejected, even if it is complete', () => {
  expect(read(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(16_300)}\r\n\r\n`)).toMatchObject({ status: 200 });
  expect(read(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(16_400)}\r\n\r\n`)).toBe('malformed');
});
