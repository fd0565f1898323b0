/**
 * The bare relay of HTTP/2: replaces `authorization`, and connects each stream with one of `node:http2`.
 * `node relay-main.ts PORT LEAF.pem LEAF.key ROOT.pem`; the token is in `BENCH_TOKEN`.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, performServerHandshake, type ClientHttp2Session } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';

const [port, leaf = '', key = '', root = ''] = process.argv.slice(2);
const toClient = createSecureContext({ cert: readFileSync(leaf), key: readFileSync(key) });
const ca = readFileSync(root);
const authorization = `Bearer ${process.env['BENCH_TOKEN']}`;
const upstreams = new Map<string, ClientHttp2Session>();

function upstreamFor(authority: string): ClientHttp2Session {
  const kept = upstreams.get(authority);
  if (kept !== undefined) return kept;
  const [name = '', upstreamPort] = authority.split(':');
  const made = connect(`https://${authority}`, {
    ca,
    host: '127.0.0.1',
    port: Number(upstreamPort),
    servername: name,
  });
  made.on('error', () => {}).once('close', () => upstreams.delete(authority));
  upstreams.set(authority, made);
  return made;
}

async function serve(socket: Socket, authority: string): Promise<void> {
  const tls = new TLSSocket(socket, { isServer: true, secureContext: toClient, ALPNProtocols: ['h2'] });
  tls.on('error', () => tls.destroy());
  await once(tls, 'secure');
  const session = performServerHandshake(tls).on('error', () => {});
  session.on('stream', (stream, fields, flags) => {
    const isEnded = (flags & 1) !== 0;
    const request = upstreamFor(authority).request({ ...fields, authorization }, { endStream: isEnded });
    request.on('error', () => stream.destroy());
    stream.on('error', () => request.destroy()).once('close', () => request.close());
    if (!isEnded) stream.pipe(request);
    request.once('response', (answer) => {
      let trailers = {};
      stream.respond(answer, { waitForTrailers: true });
      stream.once('wantTrailers', () => stream.sendTrailers(trailers));
      request.once('trailers', (sent) => (trailers = sent)).pipe(stream);
    });
  });
  // The session waits for this event, which a TLS socket without a Node server does not emit.
  if (session.connecting) tls.emit('secureConnect');
}

createServer((socket: Socket) => {
  socket.setNoDelay(true).on('error', () => socket.destroy());
  socket.once('data', (head: Buffer) => {
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    void serve(socket, head.toString('latin1').split(' ')[1] ?? '').catch(() => socket.destroy());
  });
}).listen(Number(port), '127.0.0.1');
