/**
 * A relay that replaces `Authorization` and does nothing else: it knows nobody, decides and records nothing,
 * and takes every message for a good one. What it costs is what Node's TLS sockets cost; no proxy on them can
 * be below it.
 *
 * `node relay-main.ts PORT LEAF.pem LEAF.key ROOT.pem`; the token is in `BENCH_TOKEN`.
 */
import { readFileSync } from 'node:fs';
import { createServer, type OnReadOpts, type Socket } from 'node:net';
import { connect, createSecureContext, TLSSocket, type ConnectionOptions } from 'node:tls';

const [port, leaf = '', key = '', root = ''] = process.argv.slice(2);
const credential = `Authorization: Bearer ${process.env['BENCH_TOKEN']}\r\n`;
const toClient = createSecureContext({ cert: readFileSync(leaf), key: readFileSync(key) });
const toUpstream = createSecureContext({ ca: readFileSync(root) });

/** A connection to the upstream. One exchange has it at a time. */
interface Upstream {
  readonly socket: TLSSocket;
  /** Takes what comes; it stays in the buffer until then alone. */
  received: (bytes: Buffer) => void;
}
const resting = new Map<string, Upstream[]>();

function upstreamFor(authority: string): Upstream {
  const rested = resting.get(authority)?.pop();
  if (rested !== undefined) return rested;
  const [host = '', upstreamPort] = authority.split(':');
  const buffer = Buffer.allocUnsafe(65_536);
  // The types do not say that `connect` of TLS takes `onread` too.
  const options: ConnectionOptions & { readonly onread: OnReadOpts } = {
    host: '127.0.0.1',
    port: Number(upstreamPort),
    servername: host,
    secureContext: toUpstream,
    onread: {
      buffer,
      callback(count) {
        upstream.received(Buffer.from(buffer.subarray(0, count)));
        return true;
      },
    },
  };
  const upstream: Upstream = { socket: connect(options), received: () => {} };
  upstream.socket.setNoDelay(true).on('error', () => upstream.socket.destroy());
  return upstream;
}

/** End of a head, and length of its body; `otherwise` if the head has no length. */
function headOf(
  bytes: Buffer,
  otherwise: number,
): { readonly text: string; readonly end: number; readonly length: number } | null {
  const end = bytes.indexOf('\r\n\r\n') + 4;
  if (end < 4) return null;
  const text = bytes.toString('latin1', 0, end);
  return { text, end, length: Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? otherwise) };
}

function serve(client: TLSSocket, authority: string): void {
  let pending: Buffer = Buffer.alloc(0);
  let upstream: Upstream | null = null;
  let unsent = 0;
  client.on('error', () => client.destroy());
  client.on('close', () => upstream?.socket.destroy());
  client.on('data', (chunk: Buffer) => {
    if (upstream !== null) {
      unsent -= chunk.length;
      passOn(client, upstream.socket, chunk);
      return;
    }
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    const head = headOf(pending, 0);
    if (head === null) return;
    const body = pending.subarray(head.end);
    pending = Buffer.alloc(0);
    unsent = head.length - body.length;
    const taken = upstreamFor(authority);
    upstream = taken;
    answered(taken);
    const text = head.text.replace(/authorization:[^\r]*\r\n/i, credential);
    passOn(client, taken.socket, Buffer.concat([Buffer.from(text, 'latin1'), body]));
  });

  function answered(from: Upstream): void {
    let begun: Buffer = Buffer.alloc(0);
    let left: number | null = null;
    from.received = (chunk) => {
      let bytes = chunk;
      if (left === null) {
        begun = bytes = begun.length === 0 ? chunk : Buffer.concat([begun, chunk]);
        const head = headOf(begun, Infinity);
        if (head === null) return;
        left = head.end + head.length;
      }
      left -= bytes.length;
      passOn(from.socket, client, bytes);
      if (left > 0 || unsent > 0) return;
      upstream = null;
      from.received = () => {};
      resting.set(authority, [...(resting.get(authority) ?? []), from]);
    };
  }
}

function passOn(from: TLSSocket, to: TLSSocket, bytes: Buffer): void {
  if (to.write(bytes)) return;
  from.pause();
  to.once('drain', () => from.resume());
}

createServer((socket: Socket) => {
  socket.setNoDelay(true).on('error', () => socket.destroy());
  socket.once('data', (head: Buffer) => {
    const authority = head.toString('latin1').split(' ')[1] ?? '';
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    serve(new TLSSocket(socket, { isServer: true, secureContext: toClient }), authority);
  });
}).listen(Number(port), '127.0.0.1');
