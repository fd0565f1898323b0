/** Cases of answers and connections that end early. Tests read them. */

/** Status lines and fields of responses that a server sends before it reads the request body and closes. */
export const earlyAnswers: readonly (readonly [line: string, fields: string])[] = [
  ['413 Content Too Large', ''],
  ['401 Unauthorized', 'WWW-Authenticate: Basic realm="x"\r\n'],
  ['403 Forbidden', ''],
  ['307 Temporary Redirect', 'Location: /elsewhere\r\n'],
  ['308 Permanent Redirect', 'Location: /elsewhere\r\n'],
  ['411 Length Required', ''],
  ['417 Expectation Failed', ''],
  ['429 Too Many Requests', 'Retry-After: 1\r\n'],
  ['503 Service Unavailable', ''],
  ['200 OK', ''],
];

/** A request whose kept connection ends without a byte of an answer. */
interface LostRequest {
  readonly what: string;
  readonly method: string;
  readonly fields?: string;
  /** Bytes of the body; absent: none. */
  readonly body?: number;
  readonly isRepeated: boolean;
}

const key = 'Idempotency-Key: 8e03978e-40d5-43dd-bc93-6894a57f9324\r\n';

export const lostRequests: readonly LostRequest[] = [
  { what: 'GET', method: 'GET', isRepeated: true },
  { what: 'HEAD', method: 'HEAD', isRepeated: true },
  { what: 'OPTIONS', method: 'OPTIONS', isRepeated: true },
  { what: 'DELETE', method: 'DELETE', isRepeated: true },
  { what: 'DELETE with a body', method: 'DELETE', body: 10, isRepeated: true },
  { what: 'PUT', method: 'PUT', body: 10, isRepeated: true },
  { what: 'PUT without a body', method: 'PUT', body: 0, isRepeated: true },
  { what: 'PUT of 60 kB', method: 'PUT', body: 60_000, isRepeated: true },
  { what: 'PUT of more than is kept', method: 'PUT', body: 3_000_000, isRepeated: false },
  { what: 'PROPFIND', method: 'PROPFIND', body: 10, isRepeated: true },
  { what: 'POST', method: 'POST', body: 10, isRepeated: false },
  { what: 'POST without a body', method: 'POST', body: 0, isRepeated: false },
  { what: 'PATCH', method: 'PATCH', body: 10, isRepeated: false },
  { what: 'LOCK', method: 'LOCK', body: 10, isRepeated: false },
  { what: 'POST with Idempotency-Key', method: 'POST', fields: key, body: 10, isRepeated: true },
  { what: 'POST with X-Idempotency-Key', method: 'POST', fields: `X-${key}`, body: 10, isRepeated: true },
  { what: 'PATCH with Idempotency-Key', method: 'PATCH', fields: key, body: 10, isRepeated: true },
  ...[
    ['an empty Idempotency-Key', 'Idempotency-Key:\r\n'],
    ['a quoted Idempotency-Key that is empty', 'Idempotency-Key: ""\r\n'],
    ['an empty X-Idempotency-Key', 'X-Idempotency-Key: \r\n'],
    ['two Idempotency-Keys', `${key}Idempotency-Key: 1\r\n`],
    ['an empty Idempotency-Key behind another', `${key}Idempotency-Key:\r\n`],
    ['keys in two fields', `${key}X-Idempotency-Key: 1\r\n`],
  ].map(([what, fields]) => ({
    what: `POST with ${what}`,
    method: 'POST',
    fields: fields!,
    body: 10,
    isRepeated: false,
  })),
];

/** A request that asks for another protocol, and cannot do without it. */
interface NeededUpgrade {
  readonly what: string;
  readonly upgrade: string;
  readonly method?: string;
  readonly fields?: string;
  readonly body?: string;
  /** `upgrades` of the rule. */
  readonly listed: readonly string[];
}

export const neededUpgrades: readonly NeededUpgrade[] = [
  {
    what: 'kubectl exec',
    upgrade: 'SPDY/3.1',
    fields: 'X-Stream-Protocol-Version: v4.channel.k8s.io\r\n',
    body: '',
    listed: ['SPDY/3.1'],
  },
  {
    what: 'docker attach',
    upgrade: 'tcp',
    fields: 'Content-Type: text/plain\r\n',
    body: '',
    listed: ['tcp'],
  },
  {
    what: 'docker exec',
    upgrade: 'tcp',
    fields: 'Content-Type: application/json\r\n',
    body: '{"Tty":true}',
    listed: ['tcp'],
  },
  { what: 'BuildKit', upgrade: 'h2c', listed: ['h2c'] },
  { what: 'a GET', upgrade: 'example/2', method: 'GET', listed: ['example/2'] },
  { what: 'a name in another case', upgrade: 'TCP', listed: ['tcp'] },
  { what: 'two protocols', upgrade: 'IRC/6.9, RTA/x11', listed: ['IRC/6.9', 'RTA/x11'] },
  { what: 'an offer of TLS beside', upgrade: 'TLS/1.2, tcp', listed: ['tcp'] },
];

/** Upgrades that a server may ignore: their requests are forwarded without them. */
export const offeredUpgrades: readonly (readonly [what: string, fields: string])[] = [
  [
    'HTTP/2 of curl and Java',
    'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n',
  ],
  ['TLS of Apache HttpClient', 'Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n'],
  ['HTTP/2.0', 'Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n'],
  ['a WebSocket with POST', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'],
  ['no Connection: Upgrade', 'Upgrade: tcp\r\n'],
  ['an empty Upgrade', 'Connection: Upgrade\r\nUpgrade: ,\r\n'],
];
