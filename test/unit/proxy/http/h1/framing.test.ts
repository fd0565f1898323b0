import { describe, expect, it } from 'vitest';
import {
  announcesInVain,
  isReusable,
  persists,
  requestFraming,
  responseFraming,
} from '../../../../../src/proxy/http/framing.ts';
import { createRequestReader, createResponseReader } from '../../../../../src/proxy/http/h1/read-head.ts';
import { type Fault, Malformed } from '../../../../../src/proxy/http/h1/scan.ts';
import { bytes, limits } from './read-messages.ts';

function request(fields: string, first = 'POST / HTTP/1.1') {
  const text = `${first}\r\n${fields === '' ? '' : `${fields}\r\n`}\r\n`;
  const head = createRequestReader(limits).read(bytes(text), 0, text.length);
  if (head === 'incomplete' || head instanceof Malformed) throw new Error('no head');
  return head;
}

function response(fields: string, first = 'HTTP/1.1 200 OK') {
  const text = `${first}\r\n${fields === '' ? '' : `${fields}\r\n`}\r\n`;
  const head = createResponseReader(limits).read(bytes(text), 0, text.length);
  if (head === 'incomplete' || head instanceof Malformed) throw new Error('no head');
  return head;
}

const faultOf = (plan: unknown) => (plan instanceof Malformed ? plan.fault : plan);

/** Framings that are ambiguous in both directions. */
const ambiguous: [string, Fault][] = [
  ['Content-Length: 4\r\nTransfer-Encoding: chunked', 'length_and_coding'],
  ['Transfer-Encoding: chunked\r\nContent-Length: 4', 'length_and_coding'],
  ['Content-Length: 0\r\nTransfer-Encoding: identity', 'length_and_coding'],
  ['Content-Length: 4\r\nContent-Length: 4', 'bad_length'],
  ['Content-Length: 4\r\nContent-Length: 5', 'bad_length'],
  ['Content-Length: 4\r\nX: 1\r\ncontent-length: 4', 'bad_length'],
  ['Content-Length: 4, 4', 'bad_length'],
  ['Content-Length: 4,', 'bad_length'],
  ['Content-Length:', 'bad_length'],
  ['Content-Length: +4', 'bad_length'],
  ['Content-Length: -4', 'bad_length'],
  ['Content-Length: 0x4', 'bad_length'],
  ['Content-Length: 4e1', 'bad_length'],
  ['Content-Length: 4.0', 'bad_length'],
  ['Content-Length: 4 4', 'bad_length'],
  ['Content-Length: 4;', 'bad_length'],
  ['Content-Length: "4"', 'bad_length'],
  ['Content-Length: \xb2', 'bad_length'],
  ['Content-Length:\t4', 'bad_length'],
  ['Content-Length: 4\t', 'bad_length'],
  ['Content-Length: 1234567890123456', 'bad_length'],
  ['Content-Length: 0000000000000004', 'bad_length'],
  ['Content-Length: 18446744073709551620', 'bad_length'],
  ['Transfer-Encoding:', 'bad_coding'],
  ['Transfer-Encoding: gzip', 'bad_coding'],
  ['Transfer-Encoding: identity', 'bad_coding'],
  ['Transfer-Encoding: gzip, chunked', 'bad_coding'],
  ['Transfer-Encoding: chunked, gzip', 'bad_coding'],
  ['Transfer-Encoding: chunked, chunked', 'bad_coding'],
  ['Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', 'bad_coding'],
  ['Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked', 'bad_coding'],
  ['Transfer-Encoding: chunked,', 'bad_coding'],
  ['Transfer-Encoding: ,chunked', 'bad_coding'],
  ['Transfer-Encoding: chunked;q=1', 'bad_coding'],
  ['Transfer-Encoding: "chunked"', 'bad_coding'],
  ['Transfer-Encoding: xchunked', 'bad_coding'],
  ['Transfer-Encoding: chunkedx', 'bad_coding'],
  ['Transfer-Encoding: chunked\xa0', 'bad_coding'],
  ['Transfer-Encoding:\tchunked', 'bad_coding'],
  ['Transfer-Encoding: chunked\t', 'bad_coding'],
];

describe('the framing of a request', () => {
  it.each([
    ['', { kind: 'none' }],
    ['Content-Length: 0', { kind: 'none' }],
    ['Content-Length: 4', { kind: 'length', bytes: 4 }],
    ['Content-Length:4', { kind: 'length', bytes: 4 }],
    ['Content-Length:   4  ', { kind: 'length', bytes: 4 }],
    ['CONTENT-LENGTH: 7', { kind: 'length', bytes: 7 }],
    ['Content-Length: 999999999999999', { kind: 'length', bytes: 999_999_999_999_999 }],
    ['Transfer-Encoding: chunked', { kind: 'chunked' }],
    ['transfer-ENCODING:CHUNKed ', { kind: 'chunked' }],
    // Some servers take `_` for `-`. What does not frame here is none of the codec's business.
    ['Content_Length: 4\r\nTransfer_Encoding: chunked', { kind: 'none' }],
    ['X-Content-Length: 4', { kind: 'none' }],
  ])('of %j', (fields, plan) => {
    for (const first of ['POST / HTTP/1.1', 'GET / HTTP/1.1', 'BREW / HTTP/1.1'])
      expect(requestFraming(request(fields, first))).toEqual(plan);
  });

  it.each(['005', '00'])('with leading zeros in the length is refused: %s', (length) => {
    expect(requestFraming(request(`Content-Length: ${length}`))).toMatchObject({ fault: 'bad_length' });
    const head = response(`Content-Length: ${length}`);
    expect(responseFraming(head, 'GET')).toEqual(
      length === '00' ? { kind: 'none' } : { kind: 'length', bytes: 5 },
    );
  });

  it.each(ambiguous)('of %j is refused', (fields, fault) => {
    expect(requestFraming(request(fields))).toMatchObject({ fault, code: 'bad_request' });
  });

  it('refuses transfer codings in HTTP/1.0', () => {
    expect(faultOf(requestFraming(request('Transfer-Encoding: chunked', 'POST / HTTP/1.0')))).toBe(
      'coding_in_1_0',
    );
    expect(requestFraming(request('Content-Length: 4', 'POST / HTTP/1.0'))).toMatchObject({ bytes: 4 });
  });

  it('has no body for CONNECT', () => {
    const connect = 'CONNECT a:443 HTTP/1.1';
    expect(requestFraming(request('', connect))).toEqual({ kind: 'none' });
    expect(requestFraming(request('Content-Length: 0', connect))).toEqual({ kind: 'none' });
    for (const fields of ['Content-Length: 4', 'Transfer-Encoding: chunked'])
      expect(faultOf(requestFraming(request(fields, connect)))).toBe('body_of_connect');
  });
});

describe('the framing of a response', () => {
  it.each([
    ['', { kind: 'until_close' }],
    ['Content-Length: 0', { kind: 'none' }],
    ['Content-Length: 4', { kind: 'length', bytes: 4 }],
    ['Transfer-Encoding: Chunked', { kind: 'chunked' }],
  ])('of %j', (fields, plan) => {
    expect(responseFraming(response(fields), 'GET')).toEqual(plan);
    expect(responseFraming(response(fields, 'HTTP/1.1 407 No'), 'CONNECT')).toEqual(plan);
    expect(responseFraming(response(fields), 'HEAD')).toEqual({ kind: 'none' });
    for (const status of [204, 304])
      expect(responseFraming(response(fields, `HTTP/1.1 ${status} x`), 'GET')).toEqual({ kind: 'none' });
    for (const status of [200, 299])
      expect(responseFraming(response(fields, `HTTP/1.1 ${status} x`), 'CONNECT')).toEqual({
        kind: 'tunnel',
      });
  });

  it.each(ambiguous)('of %j is refused, even for a response without a body', (fields, fault) => {
    for (const [first, method] of [
      ['HTTP/1.1 200 OK', 'GET'],
      ['HTTP/1.1 200 OK', 'HEAD'],
      ['HTTP/1.1 204 x', 'GET'],
      ['HTTP/1.1 103 x', 'GET'],
    ] as const)
      expect(responseFraming(response(fields, first), method)).toMatchObject({
        fault,
        code: 'upstream_protocol',
      });
  });

  it('refuses transfer codings in HTTP/1.0', () => {
    const head = response('Transfer-Encoding: chunked', 'HTTP/1.0 200 OK');
    expect(faultOf(responseFraming(head, 'GET'))).toBe('coding_in_1_0');
  });

  it.each([100, 101, 103, 104, 199])(
    'has no body for status %d, and is refused if one is announced',
    (status) => {
      const plan = (fields: string) =>
        faultOf(responseFraming(response(fields, `HTTP/1.1 ${status} x`), 'GET'));
      for (const fields of ['', 'Content-Length: 0']) expect(plan(fields)).toEqual({ kind: 'none' });
      for (const fields of ['Content-Length: 4', 'Transfer-Encoding: chunked'])
        expect(plan(fields)).toBe('interim_with_body');
    },
  );

  it.each([
    ['HTTP/1.1 103 x', 'Connection: close'],
    ['HTTP/1.0 100 x', ''],
  ])('is refused for an interim response that closes its connection: %s, %s', (first, fields) => {
    expect(faultOf(responseFraming(response(fields, first), 'GET'))).toBe('interim_is_last');
  });

  it.each([
    ['HTTP/1.1 204 x', 'Content-Length: 4', true],
    ['HTTP/1.1 204 x', 'Transfer-Encoding: chunked', true],
    ['HTTP/1.1 304 x', 'Content-Length: 4', true],
    ['HTTP/1.1 204 x', 'Content-Length: 0', false],
    ['HTTP/1.1 304 x', '', false],
    ['HTTP/1.1 200 x', 'Content-Length: 4', false],
  ])('reports that %s announces a body that does not follow: %s', (first, fields, inVain) => {
    const head = response(fields, first);
    expect(announcesInVain(head)).toBe(inVain);
    const plan = responseFraming(head, 'GET');
    if (plan instanceof Malformed) throw plan;
    expect(isReusable(head, plan)).toBe(!inVain);
  });
});

describe('connection persistence', () => {
  it.each([
    ['1.1', '', true],
    ['1.1', 'Connection: keep-alive', true],
    ['1.1', 'Connection: close', false],
    ['1.1', 'Connection: CLOSE', false],
    ['1.1', 'Connection: x, close', false],
    ['1.1', 'Connection: keep-alive, close', false],
    ['1.1', 'Connection: keep-alive\r\nConnection: close', false],
    ['1.1', 'Connection: closed', true],
    ['1.1', 'Proxy-Connection: close', false],
    ['1.0', '', false],
    ['1.0', 'Connection: keep-alive', true],
    ['1.0', 'Connection: Keep-Alive, x', true],
    ['1.0', 'Connection: keep-alive, close', false],
    ['1.0', 'Proxy-Connection: keep-alive', false],
  ])('after HTTP/%s with %j: %s', (version, fields, stays) => {
    expect(persists(request(fields, `GET / HTTP/${version}`))).toBe(stays);
    expect(persists(response(fields, `HTTP/${version} 200 OK`))).toBe(stays);
  });

  it('ends after a close-delimited body, a tunnel or an upgrade', () => {
    const head = response('');
    expect(isReusable(head, { kind: 'until_close' })).toBe(false);
    expect(isReusable(head, { kind: 'tunnel' })).toBe(false);
    expect(isReusable(head, { kind: 'chunked' })).toBe(true);
    expect(isReusable(response('', 'HTTP/1.1 101 x'), { kind: 'none' })).toBe(false);
  });
});
