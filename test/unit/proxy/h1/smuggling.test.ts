import { describe, expect, it } from 'vitest';
import type { Fault } from '../../../../src/proxy/h1/faults.ts';
import { Malformed } from '../../../../src/proxy/h1/faults.ts';
import { createRequestReader } from '../../../../src/proxy/h1/head-reader.ts';
import { targetOf } from '../../../../src/proxy/target.ts';
import { byteByByte, bytes, limits, readRequests, readResponses } from './read-messages.ts';

/**
 * Ways to hide a request behind or inside another one, by the names that they have in the field. Each needs two programs
 * that cut one row of bytes at different places; so each is either refused, or read as what it is and nothing else.
 */
const hidden = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n';
const post = (fields: string, body: string) => `POST /front HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;
const coded = (line: string) => post(`Content-Length: 5\r\n${line}`, `0\r\n\r\n${hidden}`);
const chunks = (body: string) => post('Transfer-Encoding: chunked', body);

function read(text: string) {
  const whole = readRequests([bytes(text)]);
  expect(readRequests(byteByByte(text))).toEqual(whole);
  return {
    end: whole.end,
    targets: whole.messages.map(({ line }) => line[1]),
    bodies: whole.messages.map(({ body }) => body),
  };
}

describe('a vector that is refused at its head', () => {
  it.each<[string, string, Fault]>([
    [
      'CL.TE',
      post('Content-Length: 35\r\nTransfer-Encoding: chunked', `0\r\n\r\n${hidden}`),
      'length_and_coding',
    ],
    [
      'TE.CL',
      post('Transfer-Encoding: chunked\r\nContent-Length: 4', `2c\r\n${hidden}0\r\n\r\n`),
      'length_and_coding',
    ],
    ['CL.CL', post('Content-Length: 0\r\nContent-Length: 33', hidden), 'bad_length'],
    ['CL.CL, the same twice', post('Content-Length: 0\r\nContent-Length: 0', hidden), 'bad_length'],
    ['CL.CL in one line', post('Content-Length: 0,33', hidden), 'bad_length'],
    ['CL with +', post('Content-Length: +0', hidden), 'bad_length'],
    ['CL with -', post('Content-Length: -0', hidden), 'bad_length'],
    ['CL with an exponent', post('Content-Length: 1e1', hidden), 'bad_length'],
    ['CL in hex', post('Content-Length:  0x1', hidden), 'bad_length'],
    ['CL in octal', post('Content-Length: 0o7', hidden), 'bad_length'],
    ['CL with an underscore', post('Content-Length: 3_3', hidden), 'bad_length'],
    ['CL of Arabic digits', post('Content-Length: \xd9\xa3', hidden), 'bad_length'],
    ['CL beyond 64 bits', post('Content-Length: 18446744073709551649', hidden), 'bad_length'],
    ['CL behind a tab', post('Content-Length:\t33', hidden), 'bad_length'],
    ['CL behind a vertical tab', post('Content-Length:\x0b33', hidden), 'control_byte'],
    ['CL behind a form feed', post('Content-Length: 33\x0c', hidden), 'control_byte'],
    ['CL behind a no-break space', post('Content-Length:\xa033', hidden), 'bad_length'],
    ['CL with a NUL', post('Content-Length: 33\0', hidden), 'control_byte'],
    ['CL before its colon a space', post('Content-Length : 33', hidden), 'space_before_colon'],
    ['CL in a folded line', post('X: a\r\n Content-Length: 33', hidden), 'folded_field'],
    ['CL behind a bare CR', post('X: a\rContent-Length: 33', hidden), 'bare_cr'],
    ['CL behind a bare LF', post('X: a\nContent-Length: 33', hidden), 'bare_lf'],
    ['CL behind a NUL', post('X: a\0Content-Length: 33', hidden), 'control_byte'],
    // TE.TE: the names in which one of two programs does not find the coding.
    ['TE, one more letter', coded('Transfer-Encoding: xchunked'), 'length_and_coding'],
    ['TE, a space before the colon', coded('Transfer-Encoding : chunked'), 'space_before_colon'],
    ['TE, a tab before the colon', coded('Transfer-Encoding\t: chunked'), 'space_before_colon'],
    ['TE, a tab behind the colon', coded('Transfer-Encoding:\tchunked'), 'length_and_coding'],
    ['TE, a space in front of the name', coded(' Transfer-Encoding: chunked'), 'folded_field'],
    ['TE, in a folded line', coded('X: a\r\n Transfer-Encoding: chunked'), 'folded_field'],
    ['TE, its value folded', coded('Transfer-Encoding:\r\n chunked'), 'folded_field'],
    ['TE, its value folded with a tab', coded('Transfer-Encoding:\r\n\tchunked'), 'folded_field'],
    ['TE, behind a bare LF', coded('X: a\nTransfer-Encoding: chunked'), 'bare_lf'],
    ['TE, behind a bare CR', coded('X: a\rTransfer-Encoding: chunked'), 'bare_cr'],
    ['TE, a vertical tab before the value', coded('Transfer-Encoding: \x0bchunked'), 'control_byte'],
    ['TE, a vertical tab behind the value', coded('Transfer-Encoding: chunked\x0b'), 'control_byte'],
    ['TE, a form feed before the value', coded('Transfer-Encoding: \x0cchunked'), 'control_byte'],
    ['TE, a NUL behind the value', coded('Transfer-Encoding: chunked\0'), 'control_byte'],
    ['TE, a bare CR behind the value', coded('Transfer-Encoding: chunked\r'), 'bare_cr'],
    ['TE, a NUL in the name', coded('Transfer\0-Encoding: chunked'), 'bad_name'],
    ['TE, a DEL in the name', coded('Transfer-Encoding\x7f: chunked'), 'bad_name'],
    ['TE, a high byte in the name', coded('Transfer-Encoding\xa0: chunked'), 'bad_name'],
    ['TE, its name quoted', coded('"Transfer-Encoding": chunked'), 'bad_name'],
    ['TE, its colon doubled', coded('Transfer-Encoding:: chunked'), 'length_and_coding'],
    ['TE, its line without a colon', coded('Transfer-Encoding chunked'), 'space_before_colon'],
    ['TE, its name a colon late', coded(':Transfer-Encoding: chunked'), 'empty_name'],
    ['TE alone, one more letter', post('Transfer-Encoding: xchunked', hidden), 'bad_coding'],
    ['TE alone, quoted', post('Transfer-Encoding: "chunked"', hidden), 'bad_coding'],
    ['TE alone, in single quotes', post("Transfer-Encoding: 'chunked'", hidden), 'bad_coding'],
    ['TE alone, with a parameter', post('Transfer-Encoding: chunked;q=1', hidden), 'bad_coding'],
    ['TE alone, with a comma', post('Transfer-Encoding: chunked,', hidden), 'bad_coding'],
    ['TE alone, identity', post('Transfer-Encoding: identity', hidden), 'bad_coding'],
    ['TE alone, chunked and identity', post('Transfer-Encoding: chunked, identity', hidden), 'bad_coding'],
    ['TE alone, identity and chunked', post('Transfer-Encoding: identity, chunked', hidden), 'bad_coding'],
    ['TE alone, twice', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: x', hidden), 'bad_coding'],
    ['TE alone, cow', post('Transfer-Encoding: cow', hidden), 'bad_coding'],
    ['TE alone, empty', post('Transfer-Encoding:', hidden), 'bad_coding'],
    ['TE alone, behind a tab', post('Transfer-Encoding:\tchunked', hidden), 'bad_coding'],
    ['TE alone, a Kelvin sign', post('Transfer-Encoding: chun\xe2\x84\xaaed', hidden), 'bad_coding'],
    [
      'TE in HTTP/1.0',
      `POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
      'coding_in_1_0',
    ],
    ['a request in the target', `GET / HTTP/1.1\r\n\tHost: a\r\n\r\n${hidden}`, 'folded_field'],
    ['a body of CONNECT', `CONNECT a:443 HTTP/1.1\r\nContent-Length: 33\r\n\r\n${hidden}`, 'body_of_connect'],
    ['HTTP/0.9 behind a keep-alive', `GET /hidden\r\n${hidden}`, 'no_version'],
  ])('%s', (_what, text, fault) => {
    expect(read(text)).toMatchObject({ end: fault, targets: [] });
  });
});

describe('a vector that is refused within its body', () => {
  it.each<[string, string, Fault]>([
    ['chunk sizes of 17 digits (overflow)', chunks(`10000000000000000\r\n${hidden}`), 'chunk_size_too_large'],
    ['a chunk size with 0x', chunks(`0x0\r\n\r\n${hidden}`), 'bad_chunk_size'],
    ['a chunk size with +', chunks(`+0\r\n\r\n${hidden}`), 'bad_chunk_size'],
    ['a chunk size behind a space', chunks(` 0\r\n\r\n${hidden}`), 'bad_chunk_size'],
    ['a chunk size before a space', chunks(`0 \r\n\r\n${hidden}`), 'bad_chunk_size'],
    ['a chunk size that ends in LF', chunks(`0\n\r\n${hidden}`), 'bare_lf'],
    ['a chunk size that ends in CR', chunks(`0\r\r\n${hidden}`), 'bare_cr'],
    ['TERM.EXT, a bare LF in an extension', chunks(`5;\nxx\r\n45\r\n0\r\n\r\n${hidden}`), 'bare_lf'],
    ['TERM.EXT, behind a name', chunks(`5;a\nxx\r\n45\r\n0\r\n\r\n${hidden}`), 'bare_lf'],
    ['EXT.TERM, a bare CR in an extension', chunks(`5;a\rxx\r\n45\r\n0\r\n\r\n${hidden}`), 'bare_cr'],
    [
      'a line end in quotes of an extension',
      chunks(`5;a="\r\n0\r\n\r\n${hidden}"\r\n`),
      'bad_chunk_extension',
    ],
    ['TERM.SPILL, a chunk that ends in LF', chunks(`5\r\nAAAAA\n0\r\n\r\n${hidden}`), 'bad_chunk_end'],
    ['SPILL.TERM, two bytes for a line end', chunks(`5\r\nAAAAAXX0\r\n\r\n${hidden}`), 'bad_chunk_end'],
    ['ONE.TWO, one byte for a line end', chunks(`5\r\nAAAAA\r0\r\n\r\n${hidden}`), 'bad_chunk_end'],
    ['ZERO.TWO, no line end', chunks(`5\r\nAAAAA0\r\n\r\n${hidden}`), 'bad_chunk_end'],
    ['a last chunk that ends in LF', chunks(`0\r\n\n${hidden}`), 'bare_lf'],
    ['a bare LF in trailers', chunks(`0\r\nX: a\n\r\n${hidden}`), 'bare_lf'],
    ['a bare CR in trailers', chunks(`0\r\nX: a\r\r\n${hidden}`), 'bare_cr'],
    ['a request in the trailers', chunks(`0\r\n${hidden}`), 'space_before_colon'],
    ['a folded trailer', chunks(`0\r\nX: a\r\n ${hidden}`), 'folded_field'],
    ['a TE of trailers', chunks(`0\r\nTransfer-Encoding: chunked\r\n\r\n${hidden}`), 'framing_in_trailers'],
    ['a CL of trailers', chunks(`0\r\nContent-Length: 33\r\n\r\n${hidden}`), 'framing_in_trailers'],
    ['a NUL in trailers', chunks(`0\r\nX: a\0\r\n\r\n${hidden}`), 'control_byte'],
  ])('%s', (_what, text, fault) => {
    expect(read(text)).toMatchObject({ end: fault, targets: ['/front'] });
  });
});

describe('a vector that has one reading here, which goes on as it is', () => {
  it.each<[string, string, string[], string[]]>([
    ['CL.0', post(`Content-Length: ${hidden.length}`, hidden), ['/front'], [hidden]],
    [
      '0.CL: GET with a body',
      `GET /front HTTP/1.1\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
      ['/front'],
      [hidden],
    ],
    [
      'a chunked DELETE',
      `DELETE /front HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`,
      ['/front'],
      [hidden],
    ],
    [
      'names with _ for -',
      post('Content_Length: 33\r\nTransfer_Encoding: chunked', hidden),
      ['/front', '/hidden'],
      ['', ''],
    ],
    [
      'TE in capitals',
      post('TRANSFER-ENCODING: CHUNKED', `0\r\n\r\n${hidden}`),
      ['/front', '/hidden'],
      ['', ''],
    ],
    ['an upgrade to h2c', post('Upgrade: h2c\r\nContent-Length: 0', hidden), ['/front', '/hidden'], ['', '']],
  ])('%s', (_what, text, targets, bodies) => {
    expect(read(text)).toEqual({ end: null, targets, bodies });
  });
});

describe('bytes behind the last request of a connection', () => {
  it.each([
    ['Connection: close', post('Connection: close\r\nContent-Length: 0', hidden)],
    ['Connection: close behind a body', post('Connection: close\r\nContent-Length: 1', `x${hidden}`)],
    ['HTTP/1.0', `GET /front HTTP/1.0\r\n\r\n${hidden}`],
    ['even an empty line', post('Connection: close\r\nContent-Length: 0', '\r\n')],
  ])('are said to be such, and are not read: %s', (_what, text) => {
    expect(read(text)).toMatchObject({ end: 'bytes_behind_last', targets: ['/front'] });
  });
});

describe('two authorities in one request', () => {
  const tunnel = {
    authority: { scheme: 'https', host: 'a', port: 443 },
    serverName: null,
    presented: { kind: 'nothing' },
  } as const;
  it.each([
    ['two Host fields', 'GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n', 'bad_request'],
    ['two Host fields that agree', 'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', 'bad_request'],
    ['another Host', 'GET / HTTP/1.1\r\nHost: b\r\n\r\n', 'authority_mismatch'],
    ['two hosts in one field', 'GET / HTTP/1.1\r\nHost: a, b\r\n\r\n', 'authority_mismatch'],
    ['a Host with user information', 'GET / HTTP/1.1\r\nHost: a@b\r\n\r\n', 'authority_mismatch'],
    ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', 'authority_mismatch'],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', 'bad_request'],
    ['a target of another host', 'GET https://b/ HTTP/1.1\r\nHost: a\r\n\r\n', 'authority_mismatch'],
    ['a target with another Host', 'GET https://a/ HTTP/1.1\r\nHost: b\r\n\r\n', 'authority_mismatch'],
    ['a target that is a host', 'GET b:443 HTTP/1.1\r\nHost: a\r\n\r\n', 'bad_request'],
    ['a target without a slash', 'GET @b/ HTTP/1.1\r\nHost: a\r\n\r\n', 'bad_request'],
    ['a target of an asterisk', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', 'bad_request'],
  ])('are seen by whoever decides where it goes: %s', (_what, text, code) => {
    const head = createRequestReader(limits).read(bytes(text), 0, text.length);
    if (head === 'incomplete' || head instanceof Malformed) throw new Error('no head');
    expect(targetOf(head, tunnel)).toMatchObject({ code });
  });
});

const forged = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged';
const answer = (status: string) => `HTTP/1.1 ${status}\r\nContent-Length: ${forged.length}\r\n\r\n${forged}`;

describe('a response that hides another one', () => {
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

  it('has no body where its status or its request has none', () => {
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
