import { describe, expect, it } from 'vitest';
import { readStreamHead } from '../../../../../src/proxy/http/server/h2-stream.ts';
import { fieldMap, interimHead, responseHead } from '../../../../../src/proxy/http/server/h2-response.ts';

const plain = [':method', 'GET', ':scheme', 'https', ':path', '/p?q', ':authority', 'a.test:8443'];

const fields = (list: readonly string[]) => ({ head: { fields: list } });

describe('the head of a stream', () => {
  it('becomes the head of a request, with separate pseudo-header fields', () => {
    expect(readStreamHead([...plain, 'accept', '*/*'], false)).toEqual({
      head: {
        method: 'GET',
        target: '/p?q',
        version: '2',
        authority: 'a.test:8443',
        fields: ['accept', '*/*'],
      },
      protocol: null,
    });
  });

  it('announces a chunked body if its length is unknown', () => {
    const sized = ['content-length', '5'];
    expect(readStreamHead(plain, true)).toMatchObject(fields(['transfer-encoding', 'chunked']));
    expect(readStreamHead([...plain, ...sized], true)).toMatchObject(fields(sized));
    expect(readStreamHead(plain, false)).toMatchObject(fields([]));
  });

  it('announces no body for a CONNECT', () => {
    const connect = [':method', 'CONNECT', ':protocol', 'websocket', ...plain.slice(2)];
    expect(readStreamHead(connect, true)).toMatchObject({ protocol: 'websocket', head: { fields: [] } });
  });

  it('joins cookie fields into one, at the place of the first', () => {
    expect(
      readStreamHead([...plain, 'cookie', 'a=1', 'x', 'y', 'cookie', 'b=2', 'cookie', 'c=3'], false),
    ).toMatchObject({ head: { fields: ['cookie', 'a=1; b=2; c=3', 'x', 'y'] } });
  });

  it.each([
    ['a pseudo-header twice', [...plain, ':path', '/']],
    ['a pseudo-header behind a field', [...plain.slice(0, 6), 'x', 'y', ':authority', 'a.test']],
    ['an unknown pseudo-header', [':other', 'x', ...plain]],
    ['no path', [...plain.slice(0, 4), ':authority', 'a.test']],
    ['no method', plain.slice(2)],
    ['a method of small letters', [':method', 'delete', ...plain.slice(2)]],
    ['a method that is two words', [':method', 'GET /', ...plain.slice(2)]],
    ['a method that is too long', [':method', 'A'.repeat(33), ...plain.slice(2)]],
    ['another scheme', [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a.test']],
    ['a protocol without CONNECT', [':protocol', 'websocket', ...plain]],
    ['connection', [...plain, 'connection', 'x']],
    ['transfer-encoding', [...plain, 'transfer-encoding', 'chunked']],
    ['upgrade', [...plain, 'upgrade', 'h2c']],
    ['te: gzip', [...plain, 'te', 'gzip']],
  ])('is refused with %s', (_what, raw) => {
    expect(readStreamHead(raw, false)).toMatchObject({ code: 'bad_request' });
  });
});

describe('the head of a response', () => {
  it('has lower-case names, the status first, and no hop-by-hop fields', () => {
    expect(
      responseHead('GET', 200, [
        'X-One',
        '1',
        'Connection',
        'x',
        'Keep-Alive',
        '5',
        'Set-Cookie',
        'a',
        'Set-Cookie',
        'b',
      ]),
    ).toEqual({
      fields: [':status', '200', 'x-one', '1', 'set-cookie', 'a', 'set-cookie', 'b'],
      length: null,
      isBare: false,
    });
  });

  it.each([
    ['HEAD', 200, 0, true],
    ['GET', 204, 0, true],
    ['GET', 304, 0, true],
    ['GET', 205, 0, true],
    ['GET', 200, 7, false],
  ])('to %s with status %i has a body of %i bytes', (method, status, length, isBare) => {
    expect(responseHead(method, status, ['Content-Length', '7'])).toMatchObject({ length, isBare });
  });

  it.each([
    ['two lengths', 200, ['Content-Length', '1', 'Content-Length', '1']],
    ['an invalid length', 200, ['Content-Length', '+1']],
    ['a status that HTTP/2 does not have', 799, []],
  ])('is refused with %s', (_what, status, fields) => {
    expect(() => responseHead('GET', status, fields)).toThrow(
      expect.objectContaining({ code: 'upstream_protocol' }),
    );
  });

  it.each(['a\0b', 'a\r\nb: c', 'a\nb'])('with trailers is refused for the value %j', (value) => {
    const refusal = expect.objectContaining({ code: 'policy_violation' });
    expect(() => responseHead('GET', 200, ['X', value])).toThrow(refusal);
    expect(() => fieldMap(['X', value])).toThrow(refusal);
  });

  it('of an interim response has only fields that clients accept', () => {
    expect(interimHead(103, ['Link', 'a', 'link', 'b', 'Content-Length', '5', 'Connection', 'x'])).toEqual({
      ':status': 103,
      link: ['a', 'b'],
    });
    expect(interimHead(110, [])).toBeNull();
  });
});
