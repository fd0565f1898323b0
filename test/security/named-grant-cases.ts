/** Ways to name a grant in a request that no grant serves. */

export const basic = (login: string) => `Proxy-Authorization: Basic ${Buffer.from(login).toString('base64')}`;
const get = (target: string, ...fields: readonly string[]) =>
  [`GET ${target} HTTP/1.1`, ...fields, '', ''].join('\r\n');
const connect = (authority: string, ...fields: readonly string[]) =>
  [`CONNECT ${authority} HTTP/1.1`, `Host: ${authority}`, ...fields, '', ''].join('\r\n');

/** The bytes that a client sends to the proxy, by the way in which they name the grant. */
export const ways: readonly (readonly [way: string, bytes: (authority: string, grant: string) => string])[] =
  [
    [
      'a request for https',
      (authority, grant) => get(`https://${authority}/`, `Host: ${authority}`, `Sidekey-Grant: ${grant}`),
    ],
    [
      'a request for http',
      (authority, grant) => get(`http://${authority}/`, `Host: ${authority}`, `sidekey-grant: ${grant}`),
    ],
    [
      'a request of HTTP/1.0',
      (authority, grant) => `GET https://${authority}/ HTTP/1.0\r\nSidekey-Grant: ${grant}\r\n\r\n`,
    ],
    [
      'the proxy user name of a request',
      (authority, grant) => get(`https://${authority}/`, `Host: ${authority}`, basic(`+grant=${grant}:`)),
    ],
    [
      'a request with a base address',
      (authority, grant) => get(`/+/${authority}/`, 'Host: 127.0.0.1', `Sidekey-Grant: ${grant}`),
    ],
    [
      'a WebSocket handshake',
      (authority, grant) =>
        get(
          `https://${authority}/`,
          `Host: ${authority}`,
          'Connection: Upgrade',
          'Upgrade: websocket',
          'Sec-WebSocket-Version: 13',
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
          `Sidekey-Grant: ${grant}`,
        ),
    ],
    ['a CONNECT', (authority, grant) => connect(authority, `Sidekey-Grant: ${grant}`)],
    ['the proxy user name of a CONNECT', (authority, grant) => connect(authority, basic(`+grant=${grant}:`))],
    [
      'a CONNECT, against its user name',
      (authority, grant) => connect(authority, basic('+grant=other:'), `Sidekey-Grant: ${grant}`),
    ],
  ];

/** Field lines of requests in a tunnel that name a grant for some server. */
const firstHeads: readonly (readonly [how: string, ...lines: string[]])[] = [
  ['in a field', 'Sidekey-Grant: acme'],
  ['in the last line that is read', `X: ${'x'.repeat(30_000)}`, 'Sidekey-Grant: acme'],
  ['behind a folded field', 'X: a\r\n b', 'Sidekey-Grant: acme'],
  ['behind a bare LF', 'X: a\nSidekey-Grant: acme'],
  ['before a blank and a colon', 'Sidekey-Grant : acme'],
];

/** First requests of which Sidekey cannot tell whether they name one grant. */
export const unclearHeads: readonly (readonly [how: string, ...lines: string[]])[] = [
  ['two names', 'Sidekey-Grant: acme', 'Sidekey-Grant: other'],
  ['an empty name', 'Sidekey-Grant:'],
  ['an empty name before another', 'Sidekey-Grant:', 'Sidekey-Grant: acme'],
  ['a folded name', 'Sidekey-Grant:\r\n acme'],
  ['a head above limits.head_bytes', `X: ${'x'.repeat(70_000)}`, 'Sidekey-Grant: acme'],
];

/** Bytes that a SOCKS5 client sends (RFC 1928, RFC 1929), with the reply that refuses. */
export const socksWays: readonly (readonly [way: string, bytes: (port: number) => Buffer])[] = [
  [
    'the user name of a SOCKS client',
    (port) => Buffer.concat([passwordMethod, login('+grant=acme'), toName('api.acme.test', port)]),
  ],
  ...firstHeads.map(
    ([how, ...lines]) =>
      [
        `the first request of a SOCKS client that knows an address, ${how},`,
        (port: number) => firstRequest(port, 'GET / HTTP/1.1', `Host: api.acme.test:${port}`, ...lines),
      ] as const,
  ),
];

const passwordMethod = Buffer.of(5, 1, 2);

function login(user: string): Buffer {
  return Buffer.concat([Buffer.of(1, user.length), Buffer.from(user), Buffer.of(0)]);
}

function toName(name: string, port: number): Buffer {
  const place = Buffer.of(port >> 8, port & 0xff);
  return Buffer.concat([Buffer.of(5, 1, 0, 3, name.length), Buffer.from(name), place]);
}

/** Opens a tunnel to an address, and sends a request in it. */
export function firstRequest(port: number, ...lines: readonly string[]): Buffer {
  const head = `${lines.join('\r\n')}\r\n\r\n`;
  return Buffer.concat([Buffer.of(5, 1, 0), toAddress(port), Buffer.from(head)]);
}

function toAddress(port: number): Buffer {
  return Buffer.of(5, 1, 0, 1, 127, 0, 0, 9, port >> 8, port & 0xff);
}
