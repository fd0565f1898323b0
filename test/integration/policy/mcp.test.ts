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

/** A server that answers in the way that the path names. */
async function server(domain: object) {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      seen.push(
        `${request.headers['accept-encoding'] ?? ''} ${String(request.headers['mcp-session-id'] ?? '')}`.trim(),
      );
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
      } else if (request.url === '/text') {
        response.writeHead(200, { 'content-type': 'text/plain' }).end(text);
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
  return { call, seen };
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

test('a list of tools names those that may be called, in JSON and in events', async () => {
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

test('a list that cannot be read is refused, and one of another type stays', async () => {
  const { call } = await server({ rules });
  const refused = await call('/gzip', asked);
  expect([refused.status, refused.headers['sidekey-error']]).toEqual([502, 'upstream_protocol']);
  expect(names((await call('/text', asked)).body)).toEqual(['search', 'mail', 'shell']);
});

test('a list is filtered after the leak guard has searched it', async () => {
  const { call } = await server({ rules, leak_guard: 'redact' });
  expect(names((await call('/json', asked)).body)).toEqual(['search', 'mail']);
  expect(names((await call('/gzip', asked)).body)).toEqual(['search', 'mail']);
});

test('a call passes with the tools and arguments of a rule', async () => {
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
