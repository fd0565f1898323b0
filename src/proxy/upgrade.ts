import { Agent, type ClientRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createProxyServer } from 'http-proxy-3';
import { SidekeyError } from '../errors.ts';
import { authorityText, type Authority } from '../policy/authority.ts';
import { responseFields, type RawFields } from './fields.ts';
import type { Departure } from './forward.ts';
import type { Carried, Reply } from './message.ts';
import { announcesBody } from './node-http.ts';
import type { Settings } from './rooms.ts';
import { upstreamFailure } from './upstream-failure.ts';

/**
 * Whether a request asks for the one upgrade that is carried: WebSocket (RFC 6455 §4.1). Any other, h2c above all,
 * would hide requests from policy; such a request goes on as a plain one, without its `Upgrade`.
 */
export function asksForWebSocket(request: IncomingMessage): boolean {
  return (
    request.method === 'GET' &&
    request.httpVersion === '1.1' &&
    isWebSocket(request.headers.upgrade) &&
    !announcesBody(request)
  );
}

/**
 * Carries an admitted WebSocket handshake and then its frames. http-proxy-3 makes the request and joins the two
 * sockets; the connection is our dialer's, the fields both ways are ours, and so is every answer but a 101.
 * Resolves when the connection has closed.
 *
 * @param early bytes that the client sent after its handshake
 */
export async function upgrade(
  { authority, method, path, fields, carriesGrant }: Departure,
  reply: Reply,
  { dialer, limits }: Settings,
  client: Duplex,
  early: Buffer,
): Promise<Carried> {
  const { promise, resolve, reject } = Promise.withResolvers<Carried>();
  const upstream = await dialer.connect(authority);
  let status = 0;
  let bytesIn = 0;
  let bytesOut = 0;
  const finish = (fate: Carried['fate']) => {
    clearTimeout(headTimer);
    upstream.destroy();
    resolve({ status, bytesIn, bytesOut, fate });
  };
  const headTimer = setTimeout(() => upstream.destroy(timedOut(authority)), limits.upstream_head);
  const left = () => finish(status === 101 ? 'complete' : 'gone');
  if (client.destroyed) {
    left();
    return promise;
  }
  client.once('close', left);

  const refuse = (why: string) => {
    clearTimeout(headTimer);
    reject(upstreamFailure(new Error(why), authority, true));
    upstream.destroy();
  };

  const switched = (response: IncomingMessage, join: () => void) => {
    if (!isWebSocket(response.headers.upgrade)) {
      refuse('101 for a protocol that was not asked for');
      return;
    }
    clearTimeout(headTimer);
    status = 101;
    heard();
    const kept = responseFields(response.rawHeaders, carriesGrant);
    response.headers = grouped([...kept, 'Connection', 'Upgrade', 'Upgrade', 'websocket']);
    join();
    client.on('data', (chunk: Buffer) => (bytesIn += chunk.length));
    upstream.on('data', (chunk: Buffer) => (bytesOut += chunk.length));
    upstream.setTimeout(limits.tunnel_idle, () => upstream.destroy());
    upstream.once('close', () => {
      finish('complete');
      client.end(() => client.destroy());
    });
  };

  const answered = (response: IncomingMessage) => {
    // A 101 that names no protocol arrives here too, and is no answer that could be passed on.
    if (response.statusCode === undefined || response.statusCode < 200) {
      refuse('no final status');
      return;
    }
    clearTimeout(headTimer);
    status = response.statusCode;
    reply.head(status, response.statusMessage ?? '', responseFields(response.rawHeaders, carriesGrant));
    response.on('data', (chunk: Buffer) => {
      bytesOut += chunk.length;
      if (reply.write(chunk)) return;
      response.pause();
      reply.onDrain(() => response.resume());
    });
    response.on('error', () => {});
    response.once('end', () => reply.end([], () => finish('complete')));
    response.once('close', () => {
      if (response.complete) return;
      finish('broken');
      reply.abort();
    });
  };

  const engine = createProxyServer({});
  // The library passes on errors of the client's socket, and Node would end the process over one that nobody hears.
  engine.on('error', left);
  engine.once('proxyReqWs', (outgoing: ClientRequest) => {
    outgoing.path = path;
    for (const name of outgoing.getHeaderNames()) outgoing.removeHeader(name);
    const names = grouped([...fields, 'Connection', 'Upgrade', 'Upgrade', 'websocket']);
    for (const [name, values] of Object.entries(names)) outgoing.setHeader(name, values);
    // When the library has set its listeners, ours stand in for all of them but the one that joins the sockets.
    process.nextTick(() => {
      const [join] = outgoing.listeners('upgrade');
      for (const event of ['upgrade', 'response', 'error']) outgoing.removeAllListeners(event);
      outgoing.once('upgrade', (response, socket, head) =>
        switched(response, () => join?.(response, socket, head)),
      );
      outgoing.once('response', answered);
      outgoing.on('error', (error: Error) => {
        clearTimeout(headTimer);
        reject(upstreamFailure(error, authority, false));
      });
    });
  });
  engine.ws(
    handshakeRequest(method, path),
    client,
    early,
    {
      // The connection has its TLS already; to the library it is a plain one that is there.
      target: { protocol: 'http:', host: authority.host, port: authority.port },
      agent: new SingleConnection(upstream),
      prependPath: false,
      toProxy: true,
    },
    // An error of the upstream's socket after the 101: the library ends the client's.
    () => finish('broken'),
  );
  const heard = listenTo(client, left);
  return promise;
}

/** Bytes of frames that a client may send before its handshake is answered. */
const earlyBytes = 65_536;

/**
 * Reads on while the upstream is asked: a client that nobody reads from leaves unnoticed. When the answered function
 * is called, what came meanwhile is put back.
 */
function listenTo(client: Duplex, onLeft: () => void): () => void {
  const chunks: Buffer[] = [];
  let size = 0;
  const keep = (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= earlyBytes) client.pause();
  };
  client.on('data', keep).once('end', onLeft);
  return () => {
    client.off('data', keep).off('end', onLeft).pause();
    if (size > 0) client.unshift(Buffer.concat(chunks));
  };
}

function isWebSocket(field: string | undefined): boolean {
  return field?.toLowerCase() === 'websocket';
}

/** An agent whose one connection is there already. */
class SingleConnection extends Agent {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super({ keepAlive: false });
    this.#socket = socket;
  }

  override createConnection(): Socket {
    return this.#socket;
  }
}

/** What the library reads of a request; everything else is set when it has made its own. */
function handshakeRequest(method: string, url: string): IncomingMessage {
  const facts: unknown = {
    method,
    url,
    headers: { upgrade: 'websocket' },
    httpVersion: '1.1',
    httpVersionMajor: 1,
  };
  return facts as IncomingMessage;
}

function grouped(fields: RawFields): Record<string, string[]> {
  const groups = new Map<string, { name: string; values: string[] }>();
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const group = groups.get(name.toLowerCase()) ?? { name, values: [] };
    group.values.push(fields[i + 1]!);
    groups.set(name.toLowerCase(), group);
  }
  return Object.fromEntries([...groups.values()].map(({ name, values }) => [name, values]));
}

function timedOut(authority: Authority): SidekeyError {
  return new SidekeyError('upstream_timeout', `${authorityText(authority)} did not answer in time.`);
}
