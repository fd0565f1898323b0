import { spawn } from 'node:child_process';
import type { Server } from 'node:http';
import { constants, type ServerHttp2Session } from 'node:http2';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { openFrames, type Departure, type FrameClient } from '../../support/frame-client.ts';
import { grantedTo, type Granted } from '../../support/granted.ts';
import { block, endHeaders, endStream, frame, reset } from '../../support/http2-frames.ts';
import { openClient, openLayers } from '../../support/raw-client.ts';
import { startH2Upstream, startUpstream, upstreamHost } from '../../support/upstream.ts';

/** An upstream that answers nothing whole, and a proxy that has room for one connection. */
async function lasting(kind: Kind): Promise<Setup> {
  const begun = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  if (kind === 'webSocket') {
    const upstream = await startH2Upstream(() => {}, { enableConnectProtocol: true });
    const sockets = new WebSocketServer({ server: upstream.server as unknown as Server });
    onTestFinished(() => sockets.close());
    sockets.on('connection', (socket) => {
      begun.resolve();
      socket.on('close', () => ended.resolve());
    });
    return { ...(await grantedTo(upstream, oneConnection)), begun: begun.promise, ended: ended.promise };
  }
  const upstream = await startUpstream((asked, response) => {
    asked.on('data', () => begun.resolve()).on('error', () => {});
    response.on('close', () => ended.resolve());
    if (kind === 'stream') response.write('begun');
    if (kind !== 'upload') begun.resolve();
  });
  return { ...(await grantedTo(upstream, oneConnection)), begun: begun.promise, ended: ended.promise };
}

const oneConnection = { config: { limits: { client_connections: 1 } } };

interface Setup extends Granted {
  /** Resolves when the request has reached the upstream. */
  readonly begun: Promise<void>;
  /** The upstream is rid of it. */
  readonly ended: Promise<void>;
}

type Kind = 'request' | 'stream' | 'upload' | 'webSocket';
const kinds: readonly Kind[] = ['request', 'stream', 'upload', 'webSocket'];
const departures: readonly Departure[] = ['close_notify', 'FIN', 'RST'];

function begin(client: FrameClient, kind: Kind): Promise<void> {
  const fields: Readonly<Record<Kind, Readonly<Record<string, string>>>> = {
    request: {},
    stream: {},
    upload: { ':method': 'POST' },
    webSocket: { ':method': 'CONNECT', ':protocol': 'websocket', 'sec-websocket-version': '13' },
  };
  const isWhole = kind === 'request' || kind === 'stream';
  const head = block(client.fields(fields[kind]));
  return client.send(
    frame('headers', 1, endHeaders | (isWhole ? endStream : 0), head),
    ...(kind === 'upload' ? [frame('data', 1, 0, Buffer.from('some'))] : []),
  );
}

/** Everything that the departed client held is free again. */
async function expectNothingLeft({ ended, sidekey }: Setup, kind: Kind): Promise<void> {
  await ended;
  await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
    // A WebSocket has no end of its own that could be missed.
    outcome: kind === 'webSocket' ? 'ok' : 'aborted',
  });
  const next = await openClient(sidekey);
  next.send('GET / HTTP/1.1\r\nHost: sidekey\r\n\r\n');
  expect((await next.response()).headers['sidekey-error']).not.toBe('overloaded');
}

describe.each(departures)('an HTTP/2 client that disconnects with %s', (how) => {
  test.each(kinds)('during a %s ends its exchange and its connection', async (kind) => {
    const setup = await lasting(kind);
    const client = await openFrames(setup.sidekey, setup.upstream.authority);
    await begin(client, kind);
    await setup.begun;
    client.leave(how);
    await client.closed();
    await expectNothingLeft(setup, kind);
  });

  test('after its handshake ends its connection', async () => {
    const { sidekey, upstream } = await lasting('request');
    const { inner, outer } = await openLayers(sidekey, upstream.authority, { protocols: ['h2'] });
    const closed = new Promise((resolve) => void inner.once('end', resolve).once('close', resolve));
    outer.on('error', () => {});
    inner.on('error', () => {}).resume();
    if (how === 'RST') outer.resetAndDestroy();
    else (how === 'FIN' ? outer : inner).end();
    await closed;
    await openClient(sidekey);
  });

  test('without an open request ends its connection', async () => {
    const { sidekey, upstream } = await lasting('request');
    const client = await openFrames(sidekey, upstream.authority);
    client.leave(how);
    await client.closed();
    await openClient(sidekey);
  });
});

test.each(kinds)(
  'a program killed during a %s over HTTP/2 leaves no open exchange or connection',
  async (kind) => {
    const setup = await lasting(kind);
    const { sidekey, upstream } = setup;
    const file = fileURLToPath(new URL('../../support/h2-program.ts', import.meta.url));
    const program = spawn(
      process.execPath,
      [file, String(sidekey.port), upstream.authority, upstreamHost, kind],
      {
        env: { NODE_EXTRA_CA_CERTS: sidekey.caFile },
        stdio: ['ignore', 'inherit', 'inherit'],
      },
    );
    onTestFinished(() => void program.kill('SIGKILL'));
    await setup.begun;
    const exited = new Promise((resolve) => void program.once('exit', resolve));
    program.kill('SIGKILL');
    await exited;
    await expectNothingLeft(setup, kind);
  },
);

const endings: readonly (readonly [how: string, end: (client: FrameClient) => unknown])[] = [
  ...departures.map((how) => [how, (client: FrameClient) => client.leave(how)] as const),
  ['RST_STREAM', (client) => client.send(reset(1, constants.NGHTTP2_CANCEL))],
];

describe.each(endings)('after the %s of a client', (_how, end) => {
  test.each(['stream', 'upload'] as const)('its %s is reset at an HTTP/2 upstream', async (kind) => {
    const closed = Promise.withResolvers<number>();
    const begun = Promise.withResolvers<ServerHttp2Session>();
    const upstream = await startH2Upstream((asked, response) => {
      asked.on('error', () => {});
      asked.stream.once('close', () => closed.resolve(asked.stream.rstCode ?? 0));
      if (kind === 'stream') response.write('begun');
      begun.resolve(asked.stream.session as ServerHttp2Session);
    });
    const { sidekey } = await grantedTo(upstream);
    const client = await openFrames(sidekey, upstream.authority);
    await begin(client, kind);
    const session = await begun.promise;
    await end(client);
    expect(await closed.promise).toBe(constants.NGHTTP2_CANCEL);
    // The session lasts, with all its room.
    expect([session.closed, upstream.connections()]).toEqual([false, 1]);
  });
});
