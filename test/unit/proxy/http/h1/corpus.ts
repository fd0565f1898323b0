import * as fc from '../../../../support/fast-check.ts';

/** Rows of bytes that are HTTP/1.1 for the most part, and what a smuggler would make of it. */

const mostly = (usual: readonly string[], odd: readonly string[]) =>
  fc.oneof(
    { weight: 30, arbitrary: fc.constantFrom(...usual) },
    { weight: 1, arbitrary: fc.constantFrom(...odd) },
  );

const end = mostly(['\r\n'], ['\n', '\r', '\r\r\n', '\n\r', '\r\n ', '']);
const space = mostly([' '], ['  ', '\t', '', '\x0b']);
const method = mostly(
  ['GET', 'POST', 'HEAD', 'DELETE', 'OPTIONS', 'PUT'],
  ['CONNECT', 'get', 'BREW', 'G\0T', '', 'PRI', 'GE'],
);
const target = mostly(
  ['/', '/a?b=c', '/%2e%2e/a', 'http://a/b', '/a:b@c'],
  ['*', 'a', 'a:443', '/a b', '/\xe9', '/a#b', '/\0', '', '/"<>\\^`{|}'],
);
const version = mostly(
  ['HTTP/1.1'],
  ['HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/1.2', 'http/1.1', 'HTTP/1.1 ', 'HTTP/11', 'HTTP/1.1 x'],
);
const name = fc.oneof(
  {
    weight: 5,
    arbitrary: mostly(
      ['Host', 'X', 'Connection', 'Accept', 'Trailer', 'x-a'],
      [
        'Upgrade',
        'Expect',
        'Proxy-Connection',
        'X ',
        ' X',
        '',
        'X\0',
        'X_Y',
        '\tX',
        'X\xe9',
        'Content_Length',
      ],
    ),
  },
  {
    weight: 2,
    arbitrary: mostly(
      ['Content-Length', 'Transfer-Encoding'],
      ['content-LENGTH', 'Transfer-encoding', 'Content-Length ', 'Transfer_Encoding', 'Transfer-Encoding\t'],
    ),
  },
);
const colon = mostly([': ', ':'], [' : ', ':\t', ':  ', '', '::', ':\x0b', ':\r\n ']);
const plain = mostly(
  ['a', '', 'close', 'keep-alive', 'a  b', '\xe9', 'x, close'],
  ['a\0', 'a\x01', 'a\tb', ' \t', 'a\x7f', 'upgrade'],
);
const length = mostly(
  ['0', '3', '5', '12'],
  [
    '+3',
    '-1',
    '3,3',
    '3, 3',
    '0x3',
    '3 3',
    '',
    '03',
    '3e0',
    '1'.repeat(16),
    '18446744073709551619',
    '3\t',
    '3;',
    '٣',
  ],
);
const coding = mostly(
  ['chunked', 'Chunked'],
  [
    'gzip',
    'identity',
    'gzip, chunked',
    'chunked, chunked',
    'xchunked',
    'chunked\t',
    'chunked;a',
    '',
    'chunked,',
    '\x0bchunked',
  ],
);
const field = fc.tuple(name, colon, end).chain(([it, between, ended]) => {
  const lower = it.toLowerCase();
  const values = lower.startsWith('content-l') ? length : lower.startsWith('transfer') ? coding : plain;
  return values.map((value) => `${it}${between}${value}${ended}`);
});
const fields = fc.array(field, { maxLength: 4 }).map((list) => list.join(''));

const extension = mostly(
  ['', '', '', ';a', ';a=b', ';a="b"'],
  [
    ';',
    '; a',
    ';a=',
    ';a="',
    ';a="\n"',
    ';a\n',
    ';a\r',
    ' ;a',
    ';a="\\""',
    ';;',
    ';a=b;c',
    ';\x01',
    '\t',
    ' ',
    `;${'a'.repeat(1_100)}`,
  ],
);
const size = mostly(
  ['1', '3', '03', 'a'],
  ['+1', '0x1', ' 1', '1 ', '', 'g', 'ffffffffffffffff', '0000000000000001', '-1', '20000000000000'],
);
const chunk = fc
  .tuple(size, extension, end, fc.constantFrom('x', 'xxx', 'xxxxxxxxxx'), end)
  .map((parts) => parts.join(''));
/** A chunk with a correct size. */
const rightChunk = fc
  .tuple(fc.constantFrom('x', 'xxx', '\r\n0\r\n\r\n'), extension)
  .map(([data, ext]) => `${data.length.toString(16)}${ext}\r\n${data}\r\n`);
const lastChunk = fc.tuple(
  mostly(['0'], ['00', '', '0 ']),
  extension,
  end,
  fc.oneof(fc.constant(''), fields),
  end,
);
const chunkedBody = fc
  .tuple(fc.array(fc.oneof({ weight: 4, arbitrary: rightChunk }, chunk), { maxLength: 3 }), lastChunk)
  .map(([chunks, last]) => [...chunks, ...last].join(''));
const body = fc.oneof(
  { weight: 3, arbitrary: fc.constant('') },
  { weight: 3, arbitrary: fc.constantFrom('xxx', 'xxxxx', '0\r\n\r\n', '\r\n') },
  { weight: 3, arbitrary: chunkedBody },
);

/** A message whose framing says what its body is, for the most part. */
function framed(first: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.oneof(
    fc.tuple(first, fields, end, body).map((parts) => parts.join('')),
    fc
      .tuple(first, fields, chunkedBody)
      .map(([line, list, chunks]) => `${line}${list}Transfer-Encoding: chunked\r\n\r\n${chunks}`),
    fc
      .tuple(first, fields, fc.constantFrom('', 'x', 'xxx', '\r\n\r\n'))
      .map(([line, list, data]) => `${line}${list}Content-Length: ${data.length}\r\n\r\n${data}`),
  );
}

const requestLine = fc.tuple(method, space, target, space, version, end).map((parts) => parts.join(''));
const status = mostly(['200', '404', '204', '304', '100', '103'], ['101', '099', '20', '2000', '999', 'abc']);
const reason = mostly([' OK', ' ', ''], ['  x', ' \x01', ' \xe9', '\t', 'x', ' \0']);
const statusLine = fc.tuple(version, space, status, reason, end).map((parts) => parts.join(''));

/** Texts that are inserted at wrong places. */
export const spoilers = [
  '\r',
  '\n',
  '\r\n',
  '\0',
  ' ',
  '\t',
  ':',
  ';',
  ',',
  '"',
  '0',
  '1',
  '\x0b',
  '\x7f',
  '\xff',
  'A',
  '#',
  '=',
  '\\',
  'a',
];
const spoiler = fc.constantFrom(...spoilers);
const edits = fc.array(
  fc.tuple(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.constantFrom('insert', 'replace', 'delete', 'double'),
    spoiler,
  ),
  { maxLength: 2 },
);

/** One edit, at a fraction of the length. */
export function spoil(text: string, share: number, how: string, what: string): string {
  const at = Math.floor(share * text.length);
  switch (how) {
    case 'insert':
      return text.slice(0, at) + what + text.slice(at);
    case 'replace':
      return text.slice(0, at) + what + text.slice(at + 1);
    case 'delete':
      return text.slice(0, at) + text.slice(at + 1);
    default:
      return text.slice(0, at + 1) + text.slice(at);
  }
}

function connection(first: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .tuple(fc.array(framed(first), { minLength: 1, maxLength: 3 }), fc.oneof(fc.constant([]), edits))
    .map(([messages, list]) =>
      list.reduce((text, [share, how, what]) => spoil(text, share, how, what), messages.join('')),
    );
}

/** Bytes on the connection of a client. */
export const requestBytes = connection(requestLine);
/** Bytes on the connection of an upstream. */
export const responseBytes = connection(statusLine);
