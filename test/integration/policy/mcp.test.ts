/** Rules about tools, before a server of the Model Context Protocol (Streamable HTTP). */
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const tools = ['search', 'mail', 'shell'].map((name) => ({ name, inputSchema: { maximum: 1 } }));
const list = { jsonrpc: '2.0', id: 1, result: { tools } };

interface Call {
  readonly id?: number;
  readonly method: string;
}

/** An answer whatever is asked. */
interface Answer {
  readonly status?: number;
  readonly fields: readonly string[];
  readonly body: string | Buffer;
}

/** A server that answers in the way that the path names. */
async function server(domain: object, answers?: ReadonlyMap<string, Answer>) {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      seen.push(
        `${request.headers['accept-encoding'] ?? ''} ${String(request.headers['mcp-session-id'] ?? '')}`.trim(),
      );
      const answer = answers?.get(request.url ?? '');
      if (answer !== undefined) {
        response.writeHead(answer.status ?? 200, [...answer.fields]).end(answer.body);
        return;
      }
      const asked = JSON.parse(body) as Call | readonly Call[];
      const resultOf = ({ id, method }: Call) =>
        method === 'tools/list' ? list : { jsonrpc: '2.0', id, result: {} };
      const text = JSON.stringify(Array.isArray(asked) ? asked.map(resultOf) : resultOf(asked as Call));
      const json = { 'content-type': 'application/json', 'mcp-session-id': 's-1' };
      if (request.url === '/sse') {
        response.writeHead(200, { ...json, 'content-type': 'text/event-stream' });
        response.write(': ping\n\nid: 7\nevent: mess');
        response.end(`age\ndata: ${text}\n\n`);
      } else if (request.url === '/gzip') {
        response.writeHead(200, { ...json, 'content-encoding': 'gzip' }).end(gzipSync(text));
      } else response.writeHead(200, { ...json, 'content-length': Buffer.byteLength(text) }).end(text);
    });
  });
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme', ...domain } } });
  await sidekey.grant([upstream.authority]);
  const call = async (path: string, message: unknown, fields = '') => {
    const client = await openTunnel(sidekey, upstream.authority);
    const body = JSON.stringify(message);
    client.send(
      `POST ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    return client.response();
  };
  const get = async (path: string, fields = '') => {
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n${fields}\r\n`);
    return client.response();
  };
  return { call, get, seen };
}

const asked = { jsonrpc: '2.0', id: 1, method: 'tools/list' };
const calling = (name: string, given: object = {}) => ({
  jsonrpc: '2.0',
  id: 2,
  method: 'tools/call',
  params: { name, arguments: given },
});
const rules = [
  {
    jsonrpc: {
      tools: ['mail'],
      arguments: { '$.to': ['*@acme.test'], '$.count': { max: 5, optional: true } },
    },
  },
  { jsonrpc: { methods: ['initialize', 'tools/*'], tools: ['search'] } },
];
const names = (text: string) => [...text.matchAll(/"name":"(\w+)"/g)].map(([, name]) => name);

test('a list of tools contains only the callable tools, in JSON and in events', async () => {
  const { call, seen } = await server({ rules });
  const json = await call('/json', asked, 'Mcp-Session-Id: s-1\r\n');
  expect(names(json.body)).toEqual(['search', 'mail']);
  expect(json.headers['mcp-session-id']).toBe('s-1');
  expect(JSON.parse(json.body)).toEqual({ ...list, result: { tools: tools.slice(0, 2) } });
  expect(seen).toEqual(['identity s-1']);
  const events = await call('/sse', asked);
  expect(names(events.body)).toEqual(['search', 'mail']);
  expect(events.body).toMatch(/^: ping\n\nid: 7\nevent: message\ndata: \{.*\}\n\n$/);
  expect(names((await call('/json', [asked, { jsonrpc: '2.0', id: 3, method: 'initialize' }])).body)).toEqual(
    ['search', 'mail'],
  );
});

const text = JSON.stringify(list);
const typed = (...types: readonly string[]) => types.flatMap((type) => ['Content-Type', type]);
const answers: Readonly<Record<string, readonly [answer: Answer, result: readonly string[] | number]>> = {
  'no Content-Type': [{ fields: [], body: text }, ['search', 'mail']],
  'JSON as text/plain': [{ fields: typed('text/plain'), body: text }, ['search', 'mail']],
  'a Content-Type with parameters': [
    { fields: typed('application/json; charset=UTF-8; x="y"'), body: text },
    ['search', 'mail'],
  ],
  'a Content-Type that ends in +json': [
    { fields: typed('application/vnd.acme.mcp+json'), body: text },
    ['search', 'mail'],
  ],
  'a Content-Type in capitals': [{ fields: typed('Application/JSON'), body: text }, ['search', 'mail']],
  'JSON with an error status': [
    { status: 400, fields: typed('application/json'), body: text },
    ['search', 'mail'],
  ],
  'an event stream in capitals': [
    { fields: typed('Text/Event-Stream; charset=utf-8'), body: `data: ${text}\n\n` },
    ['search', 'mail'],
  ],
  'a JSON-RPC batch': [
    { fields: typed('application/json'), body: `[${text},${text}]` },
    ['search', 'mail', 'search', 'mail'],
  ],
  'an empty body': [{ status: 202, fields: [], body: '' }, []],
  'an error page': [
    { status: 500, fields: typed('text/html; charset=latin1'), body: '"name":"page"' },
    ['page'],
  ],
  'two Content-Type fields': [{ fields: typed('application/json', 'text/plain'), body: text }, 502],
  'two media types in one Content-Type': [
    { fields: typed('application/json, text/event-stream'), body: text },
    502,
  ],
  'JSON in another charset': [{ fields: typed('application/json; charset=utf-7'), body: text }, 502],
  'events in another charset': [
    { fields: typed('text/event-stream; charset=utf-16'), body: `data: ${text}\n\n` },
    502,
  ],
  'JSON in UTF-16': [{ fields: typed('application/json'), body: Buffer.from(text, 'utf16le') }, 502],
  'a byte order mark': [{ fields: typed('application/json'), body: `\uFEFF${text}` }, 502],
  'an unknown Content-Encoding': [
    { fields: [...typed('text/plain'), 'Content-Encoding', 'x-zip'], body: text },
    502,
  ],
  'a repeated JSON member': [{ fields: [], body: text.replace('"result"', '"result":{},"result"') }, 502],
  'an HTML page': [{ fields: typed('text/html'), body: `<script>${text}</script>` }, 502],
  'an event stream as application/json': [
    { fields: typed('application/json'), body: `data: ${text}\n\n` },
    502,
  ],
  'a body over 16 MiB': [{ fields: [], body: `${' '.repeat(16_777_216)}${text}` }, 502],
};

test.each(Object.entries(answers))(
  'a list is limited or refused in any form of the response: %s',
  async (name, [answer, result]) => {
    const { call } = await server({ rules }, new Map([['/x', answer]]));
    const { status, headers, body } = await call('/x', asked);
    if (typeof result !== 'number') expect([status, names(body)]).toEqual([answer.status ?? 200, result]);
    else {
      expect([name, status, headers['sidekey-error']]).toEqual([name, result, 'upstream_protocol']);
      expect(body).toContain('The rules limit tools, and the answer of the server');
      expect(body).not.toContain('shell');
    }
  },
);

test('a compressed list is refused', async () => {
  const { call } = await server({ rules });
  const refused = await call('/gzip', asked);
  expect([refused.status, refused.headers['sidekey-error']]).toEqual([502, 'upstream_protocol']);
});

const events = (...data: readonly string[]) => data.map((each) => `id: 7\ndata: ${each}\n\n`).join('');
const stream: Answer = {
  fields: typed('text/event-stream'),
  body: events(text, '{"jsonrpc":"2.0","method":"x"}'),
};

test('a list in the stream of a GET is limited, even in a resumed stream', async () => {
  const { get, seen } = await server(
    { rules: [...rules, { methods: ['GET'] }] },
    new Map<string, Answer>([
      ['/mcp', stream],
      [
        '/odd',
        {
          fields: typed('text/event-stream'),
          body: events('1', text.replace('"result"', '"result":1,"result"')),
        },
      ],
      ['/types', { fields: typed('text/event-stream', 'text/plain'), body: events(text) }],
      ['/file', { fields: typed('application/json'), body: text }],
    ]),
  );
  const handshake = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    '',
  ].join('\r\n');
  for (const fields of [
    '',
    handshake,
    'Accept: text/event-stream\r\nLast-Event-ID: 7\r\nAccept-Encoding: gzip\r\n',
  ]) {
    const { status, body } = await get('/mcp', fields);
    expect([status, names(body)]).toEqual([200, ['search', 'mail']]);
    expect(body).toContain('"method":"x"');
  }
  expect(seen.at(-1)).toBe('identity');
  expect((await get('/types')).status).toBe(502);
  await expect(get('/odd')).rejects.toThrow();
  // The response to a GET is not a message unless it is a stream.
  expect((await get('/file')).body).toBe(text);
});

test('a response is not parsed if no rule limits tools', async () => {
  const odd: Answer = { fields: [], body: text.replace('"result"', '"result":1,"result"') };
  const paths = [{ json: { '$.method': ['*'] } }, { methods: ['GET'] }];
  const { call, get, seen } = await server(
    { rules: paths },
    new Map([
      ['/x', odd],
      ['/mcp', stream],
    ]),
  );
  expect((await call('/x', asked)).body).toBe(odd.body);
  expect((await get('/mcp')).body).toBe(stream.body);
  expect(seen).toEqual(['gzip', '']);
});

test('a list is filtered after the leak guard has searched the response', async () => {
  const { call } = await server({ rules, leak_guard: 'redact' });
  expect(names((await call('/json', asked)).body)).toEqual(['search', 'mail']);
  expect(names((await call('/gzip', asked)).body)).toEqual(['search', 'mail']);
});

test('a call with the tools and arguments of a rule is allowed', async () => {
  const { call, seen } = await server({ rules });
  const statusOf = async (message: unknown) => (await call('/json', message)).status;
  expect(await statusOf(calling('search', { q: 'x' }))).toBe(200);
  expect(await statusOf(calling('mail', { to: 'a@acme.test' }))).toBe(200);
  expect(await statusOf(calling('mail', { to: 'a@acme.test', count: 5 }))).toBe(200);
  seen.length = 0;
  for (const message of [
    calling('shell'),
    calling('mail'),
    calling('mail', { to: 'a@other.test' }),
    calling('mail', { to: ['a@acme.test'] }),
    calling('mail', { to: 'a@acme.test', To: 'a@other.test' }),
    calling('mail', { to: 'a@acme.test', count: 6 }),
    calling('mail', { to: 'a@acme.test', count: '5' }),
    {
      ...calling('mail'),
      params: { name: 'mail', arguments: { to: 'a@acme.test' }, Arguments: { to: 'x' } },
    },
    { ...calling('mail'), params: { name: 'mail', arguments: '{"to":"a@acme.test"}' } },
    [calling('search'), calling('shell')],
    [calling('mail', { to: 'a@acme.test' }), calling('mail', { to: 'a@other.test' })],
  ]) {
    expect([message, await statusOf(message)]).toEqual([message, 403]);
  }
  expect(seen).toEqual([]);
});
