/** Requests of programs that know only a base address: `http://127.0.0.1:PORT/+/HOST/path`. */
import { once } from 'node:events';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { home } from '../../support/command-line.ts';
import { granted, grantedTo } from '../../support/granted.ts';
import { openClient } from '../../support/raw-client.ts';
import { addAgent } from '../../support/rights.ts';
import { startUpstream } from '../../support/upstream.ts';

interface Seen {
  readonly target: string | undefined;
  readonly host: string | undefined;
  readonly authorization: string | undefined;
  readonly key: string | string[] | undefined;
  readonly body: string;
}

async function setUp(options: { readonly config?: Readonly<Record<string, object>> } = {}) {
  const seen: Seen[] = [];
  const { upstream, sidekey } = await granted((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.on('end', () => {
      const { host, authorization } = request.headers;
      seen.push({ target: request.url, host, authorization, key: request.headers['x-api-key'], body });
      response.end('ok');
    });
  }, options);
  const client = await openClient(sidekey);
  const host = `127.0.0.1:${sidekey.port}`;
  return { seen, upstream, sidekey, client, host };
}

describe('a request with a base address', () => {
  test('goes to the host in its path over TLS, with the credential', async () => {
    const { seen, upstream, client, host, sidekey } = await setUp();
    const path = `/+/${upstream.authority}/v1/items?a=%2F&b=..`;
    client.send(`POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 2\r\n\r\nhi`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(seen).toEqual([
      {
        target: '/v1/items?a=%2F&b=..',
        host: upstream.authority,
        authorization: expect.stringMatching(/^Bearer /),
        key: undefined,
        body: 'hi',
      },
    ]);
    expect(await sidekey.audited((line) => line.event === 'access')).toMatchObject({
      host: 'api.acme.test',
      path: '/v1/items',
      method: 'POST',
    });
  });

  test('without a path requests the root', async () => {
    const { seen, upstream, client, host } = await setUp();
    client.send(`GET /+/${upstream.authority} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
    expect(seen).toMatchObject([{ target: '/' }]);
  });

  test('keeps its connection open for the next request', async () => {
    const { seen, upstream, client, host } = await setUp();
    for (const path of ['/one', '/two']) {
      client.send(`GET /+/${upstream.authority}${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 200 });
    }
    expect(seen.map(({ target }) => target)).toEqual(['/one', '/two']);
  });

  test.each(['/+/', '/+//v1', '/+/user@api.acme.test/', '/+/api.acme.test:0/', '/+/a b/', '/+/0x7f.1/'])(
    'for %s, which is not a host, is refused',
    async (path) => {
      const { seen, client, host } = await setUp();
      client.send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 400 });
      expect(seen).toEqual([]);
    },
  );

  test('to a host that is not in the map is refused', async () => {
    const { client, host } = await setUp();
    client.send(`GET /+/other.example.com/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    expect((await client.response()).body).toContain('domain_not_allowed');
  });
});

test('a WebSocket with a base address gets the credential, and carries frames in both directions', async () => {
  const upstream = await startUpstream((_request, response) => response.end());
  const server = new WebSocketServer({ server: upstream.server, path: '/chat' });
  onTestFinished(() => server.close());
  const seen: (string | undefined)[] = [];
  server.on('connection', (socket, request) => {
    seen.push(request.headers.authorization);
    socket.on('message', (data) => socket.send(data));
  });
  const { sidekey } = await grantedTo(upstream);
  const socket = new WebSocket(`ws://127.0.0.1:${sidekey.port}/+/${upstream.authority}/chat`);
  await once(socket, 'open');
  socket.send('hello');
  const [data] = (await once(socket, 'message')) as [Buffer];
  expect([data.toString(), seen]).toEqual(['hello', [expect.stringMatching(/^Bearer /)]]);
  socket.close();
  await once(socket, 'close');
});

test('explain prints the same for a base address as for the address itself', async () => {
  const at = await home({ domains: { 'api.github.com': 'deny' } });
  const [plain, base] = [
    await at.run(['explain', 'GET', 'https://api.github.com/user']),
    await at.run(['explain', 'GET', 'http://127.0.0.1:8377/+/api.github.com/user']),
  ];
  expect(base).toEqual(plain);
  expect(base.stdout).toContain('api.github.com');
});

describe('a web page', () => {
  test.each([
    ['with Origin', 'Origin: https://evil.example'],
    ['with Origin null', 'Origin: null'],
    ['with Sec-Fetch-Site', 'Sec-Fetch-Site: cross-site'],
    ['with Sec-Fetch-Dest', 'Sec-Fetch-Dest: image'],
  ])('%s gets no credential', async (_what, field) => {
    const { seen, upstream, client, host, sidekey } = await setUp();
    client.send(`GET /+/${upstream.authority}/ HTTP/1.1\r\nHost: ${host}\r\n${field}\r\n\r\n`);
    const response = await client.response();
    expect(response).toMatchObject({ status: 403, body: expect.stringContaining('browser_refused') });
    expect(response.body).toContain('web pages are always refused');
    expect(response.headers).not.toHaveProperty('access-control-allow-origin');
    expect(seen).toEqual([]);
    expect(await sidekey.audited((line) => line.event === 'denied')).toMatchObject({
      code: 'browser_refused',
    });
  });

  test('under a foreign host name that resolves to this machine gets no credential', async () => {
    const { seen, upstream, client, sidekey } = await setUp();
    client.send(`GET /+/${upstream.authority}/ HTTP/1.1\r\nHost: evil.example:${sidekey.port}\r\n\r\n`);
    expect((await client.response()).body).toContain('browser_refused');
    expect(seen).toEqual([]);
  });

  test('that opens a WebSocket gets no credential', async () => {
    const { seen, upstream, client, host } = await setUp();
    client.send(
      `GET /+/${upstream.authority}/ HTTP/1.1\r\nHost: ${host}\r\nOrigin: https://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    expect(await client.ended()).toContain('browser_refused');
    expect(seen).toEqual([]);
  });
});

describe('the token of an agent', () => {
  const required = { config: { proxy: { listen: '127.0.0.1:0', authentication: 'required' } } };

  async function withAgent() {
    const set = await setUp(required);
    const token = `sidekey_agent_${'a'.repeat(43)}`;
    return { ...set, token };
  }

  test.each([
    ['Authorization: Bearer', (token: string) => `Authorization: Bearer ${token}`],
    ['Authorization: Basic', (token: string) => `Authorization: Basic ${btoa(`robot:${token}`)}`],
    ['X-Api-Key', (token: string) => `X-Api-Key: ${token}`],
    ['Proxy-Authorization', (token: string) => `Proxy-Authorization: Bearer ${token}`],
    ['two fields', (token: string) => `Proxy-Authorization: Bearer ${token}\r\nX-Api-Key: ${token}`],
  ])('in %s identifies the agent, and is not forwarded', async (_where, field) => {
    const { seen, upstream, client, host, sidekey, token } = await withAgent();
    await addAgent(sidekey.proxy.state.store, 'robot', token);
    client.send(`GET /+/${upstream.authority}/ HTTP/1.1\r\nHost: ${host}\r\n${field(token)}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
    expect(JSON.stringify(seen)).not.toContain('sidekey_agent');
    expect(seen).toMatchObject([{ authorization: expect.stringMatching(/^Bearer /), key: undefined }]);
    expect(await sidekey.audited((line) => line.event === 'access')).toMatchObject({ agent: 'robot' });
  });

  test('is refused if it is unknown or missing', async () => {
    const { seen, upstream, client, host, token } = await withAgent();
    for (const field of ['', `X-Api-Key: ${token}\r\n`, 'X-Api-Key: sk-other\r\n']) {
      client.send(`GET /+/${upstream.authority}/ HTTP/1.1\r\nHost: ${host}\r\n${field}\r\n`);
      expect((await client.response()).body).toContain('agent_auth_required');
    }
    expect(seen).toEqual([]);
  });
});
