import { expect, it } from 'vitest';
import { readConnectAnswer } from '../../../../src/proxy/upstream/parent-proxy.ts';

const read = (text: string) => readConnectAnswer(Buffer.from(text, 'latin1'));

it('a CONNECT response is parsed when it is complete, in any fragments', () => {
  const head = 'HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.0 200\r\nVia: \xe9\r\n\r\n';
  for (let size = 0; size < head.length; size++) expect(read(head.slice(0, size))).toBe('incomplete');
  expect(read(`${head}the tunnel’s`)).toEqual({ status: 200, size: head.length });
});

it('a CONNECT response beyond the limit is rejected, even if it is complete', () => {
  expect(read(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(16_300)}\r\n\r\n`)).toMatchObject({ status: 200 });
  expect(read(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(16_400)}\r\n\r\n`)).toBe('malformed');
});
