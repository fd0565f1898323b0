import { describe, expect, it } from 'vitest';
import { createRequestReader } from '../../../../../src/proxy/http/h1/read-head.ts';
import { type Fault, Malformed } from '../../../../../src/proxy/http/h1/scan.ts';
import { targetOf } from '../../../../../src/proxy/target.ts';
import { behindTheLast, mixedAuthorities, passedWhole } from '../../../../fixtures/smuggling/passed-whole.ts';
import { refusedBodies } from '../../../../fixtures/smuggling/refused-bodies.ts';
import { refusedHeads } from '../../../../fixtures/smuggling/refused-heads.ts';
import { bytesOf, insideOf, post } from '../../../../support/smuggling.ts';
import { byteByByte, bytes, limits, readRequests, readResponses } from './read-messages.ts';

/**
 * The codec alone over the rows that `test/security/smuggling-vectors.test.ts` sends through the whole proxy.
 */
const place = insideOf('a');

function read(row: string) {
  const text = bytesOf(row, place);
  const whole = readRequests([bytes(text)]);
  expect(readRequests(byteByByte(text))).toEqual(whole);
  return whole;
}

describe('a smuggled request', () => {
  it.each(refusedHeads)('is refused at its head: %s', (_name, row, fault) => {
    expect(read(row)).toMatchObject({ end: fault, messages: [] });
  });

  it.each(refusedBodies)('is refused in its body: %s', (_name, row, fault) => {
    expect(read(row)).toMatchObject({ end: fault, messages: [{ line: ['POST', '/front'], whole: false }] });
  });

  it.each(passedWhole)('has one interpretation: %s', (_name, row, passed) => {
    const { end, messages } = read(row);
    expect(end).toBeNull();
    expect(messages.map(({ line, body }) => [line[1], body])).toEqual(
      passed.map(([path, body]) => [path, bytesOf(body, place)]),
    );
  });

  it.each(behindTheLast)('is ignored after the last request of a connection: %s', (_name, row, fault) => {
    expect(read(row)).toMatchObject({ end: fault, messages: [{ line: [expect.any(String), '/front'] }] });
  });

  it('an empty line after the last request is ignored by the codec', () => {
    expect(read(post('Connection: close\r\nContent-Length: 0', '\r\n')).end).toBe('bytes_behind_last');
  });
});

describe('two authorities in one request', () => {
  const tunnel = {
    authority: { scheme: 'https', host: 'a', port: 443 },
    serverName: null,
    presented: { kind: 'nothing' },
  } as const;
  it.each([
    ...mixedAuthorities,
    ['a target of another host', 'GET https://evil.test/ HTTP/1.1\r\nHost: a\r\n\r\n', 'authority_mismatch'],
  ] as const)('are both passed to the routing decision: %s', (_name, row, code) => {
    const text = bytesOf(row, place);
    const head = createRequestReader(limits).read(bytes(text), 0, text.length);
    if (head === 'incomplete' || head instanceof Malformed) throw new Error('no head');
    expect(targetOf(head, tunnel)).toMatchObject({ code });
  });
});

const forged = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged';
const answer = (status: string) => `HTTP/1.1 ${status}\r\nContent-Length: ${forged.length}\r\n\r\n${forged}`;

describe('a smuggled response', () => {
  it.each<[string, string, Fault]>([
    [
      'CL.TE',
      `HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${forged}`,
      'length_and_coding',
    ],
    ['CL.CL', `HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n${forged}`, 'bad_length'],
    ['a bare LF', `HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n${forged}`, 'bare_lf'],
    ['an empty line first', `HTTP/1.1 204 OK\r\n\r\n\r\n${forged}`, 'no_version'],
    ['in a 103', `HTTP/1.1 103 x\r\nContent-Length: 9\r\n\r\n${forged}`, 'interim_with_body'],
    [
      'behind a close',
      `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n${forged}`,
      'bytes_behind_last',
    ],
  ])('is refused: %s', (_what, text, fault) => {
    const whole = readResponses([bytes(text)]);
    expect(readResponses(byteByByte(text))).toEqual(whole);
    expect(whole.end).toBe(fault);
  });

  it('has no body if its status or its request allows none', () => {
    for (const [text, method] of [
      [answer('204 x'), 'GET'],
      [answer('304 x'), 'GET'],
      [answer('200 x'), 'HEAD'],
    ] as const)
      expect(readResponses([bytes(text)], method).messages.map(({ body }) => body)).toEqual(
        method === 'HEAD' ? ['', ''] : ['', 'forged'],
      );
  });
});
