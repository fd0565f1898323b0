import { spawn } from 'node:child_process';
import type { IncomingMessage, Server } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { findChromium } from '../../support/chromium.ts';
import { grantedTo } from '../../support/granted.ts';
import { bearerToken } from '../../support/sidekey.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startH2Upstream, startUpstream } from '../../support/upstream.ts';

const upstreams = ['HTTP/1.1', 'HTTP/2', 'HTTP/2 with RFC 8441'] as const;

const page = `<script>
  const socket = new WebSocket('wss://' + location.host + '/chat');
  const done = (text) => fetch('/done?' + text);
  socket.onopen = () => socket.send('hello');
  socket.onmessage = ({ data }) => done(data);
  socket.onerror = () => done('failed');
</script>`;

/** An upstream that echoes WebSockets, and a page that opens one and tells it what came of it. */
async function echoing(speaks: (typeof upstreams)[number]) {
  const told = Promise.withResolvers<string>();
  const tokens: (string | undefined)[] = [];
  const listener = (
    asked: { readonly url?: string | undefined },
    response: { writeHead(status: number, fields: Record<string, string>): { end(text: string): unknown } },
  ) => {
    const { pathname, search } = new URL(asked.url ?? '', 'https://any');
    if (pathname === '/done') told.resolve(search.slice(1));
    response.writeHead(200, { 'Content-Type': 'text/html' }).end(page);
  };
  const upstream =
    speaks === 'HTTP/1.1'
      ? await startUpstream(listener)
      : await startH2Upstream(listener, { enableConnectProtocol: speaks !== 'HTTP/2' });
  const server = new WebSocketServer({ server: upstream.server as unknown as Server });
  onTestFinished(() => server.close());
  server.on('connection', (socket, { headers }: IncomingMessage) => {
    tokens.push(headers.authorization);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  return { ...(await grantedTo(upstream)), tokens, told: told.promise };
}

describe.each(upstreams)('through the proxy, to an upstream that speaks %s', (speaks) => {
  test('the WebSocket client of Node.js carries messages', async () => {
    const { sidekey, upstream, tokens } = await echoing(speaks);
    const script = `
      // Node 26.10 does not stay for a WebSocket over HTTP/2.
      const stay = setInterval(() => {}, 1_000);
      const socket = new WebSocket(process.argv[1]);
      socket.onopen = () => socket.send('hello');
      socket.onmessage = ({ data }) => { console.log(data); socket.close(1000); };
      socket.onerror = ({ error, message }) => console.log('failed', message, error);
      socket.onclose = ({ code, wasClean }) => { console.log(code, wasClean); clearInterval(stay); };`;
    const program = spawn(
      process.execPath,
      ['--no-warnings', '-e', script, '--', `wss://${upstream.authority}/chat`],
      {
        env: { NODE_USE_ENV_PROXY: '1', HTTPS_PROXY: sidekey.url, NODE_EXTRA_CA_CERTS: sidekey.caFile },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    onTestFinished(() => void program.kill());
    let text = '';
    for await (const piece of program.stdout) text += String(piece);
    expect(text).toBe('hello\n1000 true\n');
    expect(tokens).toEqual([`Bearer ${bearerToken}`]);
  });
});

const chromium = await findChromium();

describe.skipIf(chromium === null)('in Chromium, through the proxy', () => {
  test.each(upstreams)('a WebSocket to an upstream that speaks %s carries messages', async (speaks) => {
    const { sidekey, upstream, tokens, told } = await echoing(speaks);
    const browser = spawn(
      chromium!,
      [
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--ignore-certificate-errors',
        '--disable-background-networking',
        '--disable-component-update',
        `--user-data-dir=${await tempFolder()}`,
        `--proxy-server=${sidekey.url}`,
        `${upstream.url}/page`,
      ],
      { stdio: 'ignore' },
    );
    onTestFinished(() => void browser.kill('SIGKILL'));
    expect(await told).toBe('hello');
    expect(tokens).toEqual([`Bearer ${bearerToken}`]);
  });
});
