import { describe, expect, it } from 'vitest';
import { Malformed, type Fault } from '../../../../../src/proxy/http/h1/scan.ts';
import { createRequestReader, createResponseReader } from '../../../../../src/proxy/http/h1/read-head.ts';
import { byteByByte, bytes, limits, readRequests, readResponses } from './read-messages.ts';

const requestHead = (text: string, within = limits) => {
  const head = createRequestReader(within).read(bytes(text), 0, text.length);
  if (head === 'incomplete' || head instanceof Malformed) throw new Error(`no head: ${String(head)}`);
  return head;
};

const faultOf = (text: string) => {
  const whole = readRequests([bytes(text)]);
  expect(readRequests(byteByByte(text))).toEqual(whole);
  return whole.end;
};
const faultOfResponse = (text: string) => {
  const whole = readResponses([bytes(text)]);
  expect(readResponses(byteByByte(text))).toEqual(whole);
  return whole.end;
};

const line = (first: string) => `${first}\r\nHost: a\r\n\r\n`;
const field = (text: string) => `GET / HTTP/1.1\r\n${text}\r\n\r\n`;

describe('the head of a request', () => {
  it('keeps its fields unchanged, and ends at its empty line', () => {
    const text =
      'POST /a/../%2e?b=c HTTP/1.1\r\nHost: a\r\nx-Odd_Name~:\t a  b \t\r\nX-Empty:\r\nx: \xe9\r\n\r\n';
    const head = requestHead(`${text}body`);
    expect(head).toMatchObject({ method: 'POST', target: '/a/../%2e?b=c', version: '1.1', count: 4 });
    expect(head.fields).toEqual(['Host', 'a', 'x-Odd_Name~', 'a  b', 'X-Empty', '', 'x', '\xe9']);
    expect(head.size).toBe(text.length);
  });

  it.each([
    'GET / HTTP/1.0\r\n\r\n',
    'OPTIONS * HTTP/1.1\r\n\r\n',
    'CONNECT a.example:443 HTTP/1.1\r\n\r\n',
    'GET http://a.example/b?c HTTP/1.1\r\n\r\n',
    'M-SEARCH / HTTP/1.1\r\n\r\n',
    'VERSION-CONTROL / HTTP/1.1\r\n\r\n',
    // An unregistered method has one reading too.
    'LIST /v1/secrets HTTP/1.1\r\n\r\n',
    'GET /~!$&\'()*+,;=:@"<>\\^`{|}%zz HTTP/1.1\r\n\r\n',
    // RFC 9112 §2.2: one empty line that an old client sends behind a body.
    '\r\nGET / HTTP/1.1\r\n\r\n',
  ])('may be %j', (text) => {
    expect(['taken over', null]).toContain(faultOf(text));
    const read = readRequests([bytes(text)]);
    expect(read.messages).toHaveLength(1);
    expect(read.messages[0]!.line.join(' ')).toBe(text.trimStart().split(' HTTP')[0]);
  });

  it.each<[string, string, Fault]>([
    ['only a line feed', '\n', 'bare_lf'],
    ['preceded by two empty lines', '\r\n\r\nGET / HTTP/1.1\r\n\r\n', 'bad_method'],
    ['preceded by a bare CR', '\rGET / HTTP/1.1\r\n\r\n', 'bare_cr'],
    ['preceded by a bare LF', '\nGET / HTTP/1.1\r\n\r\n', 'bare_lf'],
    ['no method', line(' / HTTP/1.1'), 'bad_method'],
    ['a method in small letters', line('get / HTTP/1.1'), 'bad_method'],
    ['a method with a small letter', line('GEt / HTTP/1.1'), 'bad_method'],
    ['a method that is no token', line('G(T / HTTP/1.1'), 'bad_method'],
    ['a method with a NUL', line('G\0T / HTTP/1.1'), 'bad_method'],
    ['a method that is too long', line(`${'A'.repeat(33)} / HTTP/1.1`), 'bad_method'],
    ['TLS', '\x16\x03\x01\x02\0\x01', 'tls_handshake'],
    ['a tab behind the method', line('GET\t/ HTTP/1.1'), 'bad_method'],
    ['two spaces behind the method', line('GET  / HTTP/1.1'), 'bad_target'],
    ['no target', line('GET HTTP/1.1'), 'no_version'],
    ['an empty target', line('GET  HTTP/1.1'), 'bad_target'],
    ['a tab in the target', line('GET /a\tb HTTP/1.1'), 'bad_target'],
    ['a NUL in the target', line('GET /a\0b HTTP/1.1'), 'bad_target'],
    ['a DEL in the target', line('GET /a\x7fb HTTP/1.1'), 'bad_target'],
    ['a high byte in the target', line('GET /\xe9 HTTP/1.1'), 'raw_target'],
    ['a fragment in the target', line('GET /a#b HTTP/1.1'), 'bad_target'],
    ['a vertical tab for a space', line('GET /\x0bHTTP/1.1'), 'bad_target'],
    ['a space in the target', line('GET /a b HTTP/1.1'), 'unknown_version'],
    ['two spaces before the version', line('GET /  HTTP/1.1'), 'unknown_version'],
    ['HTTP/0.9 in its short form', 'GET /\r\n', 'no_version'],
    ['HTTP/0.9', line('GET / HTTP/0.9'), 'unknown_version'],
    ['HTTP/1.2', line('GET / HTTP/1.2'), 'unknown_version'],
    ['HTTP/2.0', line('GET / HTTP/2.0'), 'unknown_version'],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'http2_preface'],
    ['its method', line('PRI / HTTP/1.1'), 'http2_preface'],
    ['HTTP/1.1 in small letters', line('GET / http/1.1'), 'unknown_version'],
    ['HTTP/1.10', line('GET / HTTP/1.10'), 'unknown_version'],
    ['HTTP/01.1', line('GET / HTTP/01.1'), 'unknown_version'],
    ['another protocol', line('GET / RTSP/1.1'), 'unknown_version'],
    ['two versions', line('GET / HTTP/1.1 HTTP/1.1'), 'unknown_version'],
    ['a space behind the version', line('GET / HTTP/1.1 '), 'unknown_version'],
    ['a request line that ends in LF', 'GET / HTTP/1.1\nHost: a\r\n\r\n', 'bare_lf'],
    ['a target that ends in LF', 'GET /\nHost: a\r\n\r\n', 'bare_lf'],
    ['a request line that ends in CR', 'GET / HTTP/1.1\rHost: a\r\n\r\n', 'bare_cr'],
    ['a request line that ends in CR CR LF', 'GET / HTTP/1.1\r\r\nHost: a\r\n\r\n', 'bare_cr'],
    ['a blank before the first field', field(' Host: a'), 'folded_field'],
    ['a folded field', field('X: a\r\n b'), 'folded_field'],
    ['a field folded with a tab', field('X: a\r\n\tb'), 'folded_field'],
    ['a line of blanks', field('X: a\r\n '), 'folded_field'],
    ['a field without a name', field(': a'), 'empty_name'],
    ['a space before the colon', field('X : a'), 'space_before_colon'],
    ['a tab before the colon', field('X\t: a'), 'space_before_colon'],
    ['a field without a colon', field('Host'), 'no_colon'],
    ['a name with a line feed in it', field('Ho\nst: a'), 'no_colon'],
    ['a name that ends in CR', field('Host\r: a'), 'no_colon'],
    ['a name with a NUL', field('Ho\0st: a'), 'bad_name'],
    ['a name with a vertical tab', field('Host\x0b: a'), 'bad_name'],
    ['a name with a high byte', field('H\xf6st: a'), 'bad_name'],
    ['a name with a quote', field('"Host": a'), 'bad_name'],
    ['a name with a slash', field('Ho/st: a'), 'bad_name'],
    ['a name with a high byte in front', field('\xa0Host: a'), 'bad_name'],
    ['a value with a NUL', field('X: a\0b'), 'control_byte'],
    ['a value with an escape', field('X: a\x1bb'), 'control_byte'],
    ['a value with a vertical tab', field('X: \x0ba'), 'control_byte'],
    ['a value with a form feed', field('X: a\x0c'), 'control_byte'],
    ['a value with a DEL', field('X: a\x7f'), 'control_byte'],
    ['a value with a bare CR', field('X: a\rb'), 'bare_cr'],
    ['a value that ends in CR CR LF', field('X: a\r'), 'bare_cr'],
    ['a value that ends in LF', field('X: a\nY: b'), 'bare_lf'],
    ['an empty value that ends in LF', field('X:\nY: b'), 'bare_lf'],
    ['a last line of LF', 'GET / HTTP/1.1\r\nX: a\r\n\n', 'bare_lf'],
    ['a last line of CR', 'GET / HTTP/1.1\r\nX: a\r\n\rx', 'bare_cr'],
  ])('is refused if it is %s', (_what, text, fault) => {
    expect(faultOf(text)).toBe(fault);
  });

  it('that is malformed is refused with `bad_request`, in one sentence without bytes of the head', () => {
    const answer = createRequestReader(limits).read(bytes('GET / HTTP/1.1\r\nX: sec\x01ret\r\n\r\n'), 0, 27);
    expect(answer).toMatchObject({
      code: 'bad_request',
      status: 400,
      message: 'The request has a control byte in its head.',
    });
  });
});

/** A head of so many bytes. */
const headOf = (size: number) => {
  const text = 'GET / HTTP/1.1\r\nX: \r\n\r\n';
  return text.replace('X: ', `X: ${'x'.repeat(size - text.length)}`);
};

describe('the limits of a head', () => {
  const within = { head_bytes: 1_024, head_fields: 10 };

  it('allow a head of exactly their size', () => {
    for (const pieces of [[bytes(headOf(1_024))], byteByByte(headOf(1_024))])
      expect(readRequests(pieces, within)).toMatchObject({ end: null, messages: [{ whole: true }] });
    const fields = 'X: 1\r\n'.repeat(10);
    expect(readRequests([bytes(`GET / HTTP/1.1\r\n${fields}\r\n`)], within).end).toBeNull();
  });

  it.each<[string, string, Fault, string]>([
    [
      'one byte more',
      headOf(1_025),
      'head_too_large',
      'The request has a head that is too large: more than 1024 bytes.',
    ],
    [
      'a head without an end',
      `GET /${'x'.repeat(5_000)}`,
      'head_too_large',
      'The request has a head that is too large: more than 1024 bytes.',
    ],
    [
      'one field more',
      `GET / HTTP/1.1\r\n${'X: 1\r\n'.repeat(11)}\r\n`,
      'too_many_fields',
      'The request has too many header fields: more than 10.',
    ],
  ])('refuse %s, and name the limit', (_what, text, fault, sentence) => {
    expect(readRequests([bytes(text)], within).end).toBe(fault);
    expect(readRequests(byteByByte(text), within).end).toBe(fault);
    const answer = createRequestReader(within).read(bytes(text), 0, text.length);
    const hint = fault === 'head_too_large' ? 'raise limits.head_bytes' : 'raise limits.head_fields';
    expect(answer).toMatchObject({ message: sentence, hint });
  });

  it('keep reading in small pieces linear: no byte is examined twice', () => {
    const large = { head_bytes: 4_000_000, head_fields: 10 };
    const text = bytes(`GET / HTTP/1.1\r\nX: ${'x'.repeat(3_000_000)}\r\n\r\n`);
    const reader = createRequestReader(large);
    // Every byte of a region that was looked at is spoilt before the next call.
    const region = Buffer.alloc(text.length);
    let seen = 0;
    for (let end = 0; end < text.length; end += 1_009) {
      region.fill(0, 0, seen);
      text.copy(region, seen, seen, end);
      expect(reader.read(region, 0, end)).toBe('incomplete');
      seen = end;
    }
    text.copy(region);
    expect(reader.read(region, 0, region.length)).toMatchObject({ count: 1, size: text.length });
  });
});

describe('a head reader', () => {
  it('reports whether a head has started', () => {
    const reader = createRequestReader(limits);
    const text = bytes('GET / HTTP/1.1\r\n\r\n');
    expect(reader.begun).toBe(false);
    reader.read(text, 0, 0);
    expect(reader.begun).toBe(false);
    reader.read(text, 0, 1);
    expect(reader.begun).toBe(true);
    reader.read(text, 0, text.length);
    expect(reader.begun).toBe(false);
  });

  it('reads nothing after a refusal', () => {
    const reader = createRequestReader(limits);
    const text = 'GET / HTTP/1.1\r\n\r\n';
    const refusal = reader.read(bytes('get / HTTP/1.1\r\n\r\n'), 0, text.length);
    expect(refusal).toBeInstanceOf(Malformed);
    expect(reader.read(bytes(text), 0, text.length)).toBe(refusal);
  });

  it('keeps earlier heads unchanged when it continues', () => {
    const reader = createRequestReader(limits);
    const read = (text: string) => reader.read(bytes(text), 0, text.length);
    const first = read('GET /1 HTTP/1.0\r\nA: 1\r\nConnection: close\r\n\r\n');
    read('POST /22 HTTP/1.1\r\nB: 2\r\n\r\n');
    expect(first).toMatchObject({ method: 'GET', target: '/1', version: '1.0' });
    expect(first).toMatchObject({ fields: ['A', '1', 'Connection', 'close'] });
  });
});

describe('the fields of a head', () => {
  const head = requestHead(
    'GET / HTTP/1.1\r\nHOST: h\r\ncontent-Type: t\r\nX-Own: 1\r\nx-own: 2\r\nX-Owner: 3\r\nProxy-Own: 4\r\n' +
      'Proxy-Authorization: 5\r\nproxy-own: 6\r\nSidekey-Grant: g\r\nSidekey-: s\r\nProxy-: p\r\nSidekeyed: n\r\n' +
      'Connection: Close , x-a,\tKeep-Alive\r\nconnection:,,x-b\r\n\r\n',
  );

  it.each([
    ['host', ['h']],
    ['content-type', ['t']],
    ['x-own', ['1', '2']],
    ['x-owner', ['3']],
    ['x-ow', []],
    ['proxy-own', ['4', '6']],
    ['proxy-authorization', ['5']],
    ['proxy-authenticate', []],
    ['proxy-', ['p']],
    ['sidekey-grant', ['g']],
    ['sidekey-reason', []],
    ['sidekey-', ['s']],
    ['sidekeyed', ['n']],
    ['te', []],
  ])('are found by name, whatever its case: %s', (name, values) => {
    expect(head.values(name)).toEqual(values);
    expect(head.first(name)).toBe(values[0] ?? null);
    expect(head.has(name)).toBe(values.length > 0);
  });

  it('are parsed as lists', () => {
    for (const member of ['close', 'x-a', 'keep-alive', 'x-b'])
      expect(head.lists('connection', member)).toBe(true);
    for (const member of ['clos', 'closed', 'x', 'alive', 'keep-alive\r'])
      expect(head.lists('connection', member)).toBe(false);
  });

  it('are found under every known name in every case', () => {
    const names = ['te', 'expect', 'upgrade', 'trailer', 'alt-svc', 'cookie', 'http2-settings', 'keep-alive'];
    for (const name of names) {
      for (const written of [name, name.toUpperCase(), name.replace(/^./, (first) => first.toUpperCase())])
        expect(requestHead(`GET / HTTP/1.1\r\n${written}: v\r\n\r\n`).first(name)).toBe('v');
    }
  });
});

describe('the head of a response', () => {
  it.each([
    ['HTTP/1.1 200 OK\r\nA: b\r\n\r\n', ['200', 'OK'], '1.1'],
    ['HTTP/1.0 404 Not  Found \r\n\r\n', ['404', 'Not  Found '], '1.0'],
    ['HTTP/1.1 200 \r\n\r\n', ['200', ''], '1.1'],
    // Without the space that RFC 9112 asks for: many servers.
    ['HTTP/1.1 200\r\n\r\n', ['200', ''], '1.1'],
    ['HTTP/1.1 200 \xe9t\xe9\r\n\r\n', ['200', '\xe9t\xe9'], '1.1'],
    ['HTTP/1.1 999 No\r\n\r\n', ['999', 'No'], '1.1'],
    ['HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n', ['103', 'Early Hints'], '1.1'],
  ])('may be %j', (text, line, version) => {
    expect(faultOfResponse(text)).toBeNull();
    expect(readResponses([bytes(text)]).messages).toMatchObject([{ line, version }]);
  });

  it.each<[string, string, Fault]>([
    ['preceded by an empty line', '\r\nHTTP/1.1 200 OK\r\n\r\n', 'no_version'],
    ['no version', '200 OK\r\n\r\n', 'no_version'],
    ['another protocol', 'ICY 200 OK\r\n\r\n', 'no_version'],
    ['HTTP/2.0', 'HTTP/2.0 200 OK\r\n\r\n', 'unknown_version'],
    ['HTTP/1.2', 'HTTP/1.2 200 OK\r\n\r\n', 'unknown_version'],
    ['HTTP/1.11', 'HTTP/1.11 200 OK\r\n\r\n', 'unknown_version'],
    ['two spaces', 'HTTP/1.1  200 OK\r\n\r\n', 'bad_status'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n', 'bad_status'],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n', 'bad_status'],
    ['a status below 100', 'HTTP/1.1 099 OK\r\n\r\n', 'bad_status'],
    ['a status with a sign', 'HTTP/1.1 +20 OK\r\n\r\n', 'bad_status'],
    ['no space behind the status', 'HTTP/1.1 200OK\r\n\r\n', 'bad_status'],
    ['a control byte in the reason', 'HTTP/1.1 200 O\x01K\r\n\r\n', 'control_byte'],
    ['a bare CR in the reason', 'HTTP/1.1 200 O\rK\r\n\r\n', 'bare_cr'],
    ['a status line that ends in LF', 'HTTP/1.1 200 OK\n\r\n', 'bare_lf'],
    ['a status that ends in LF', 'HTTP/1.1 200\n\r\n', 'bare_lf'],
    ['a folded field', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n', 'folded_field'],
    ['HTTP/2 frames', '\0\0\0\x04\0\0\0\0\0', 'no_version'],
  ])('is refused if it is %s', (_what, text, fault) => {
    expect(faultOfResponse(text)).toBe(fault);
  });

  it('is refused with `upstream_protocol`', () => {
    const text = 'HTTP/1.1 200 OK\r\n x\r\n';
    expect(createResponseReader(limits).read(bytes(text), 0, text.length)).toMatchObject({
      code: 'upstream_protocol',
      status: 502,
      message: 'The response has a field that goes on in the next line.',
    });
  });
});
