import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { onTestFinished } from 'vitest';
import type { Identity } from './upstream.ts';

/** A parent proxy for tests that works on bytes, with the requests it received. */
export interface TestCompanyProxy {
  readonly port: number;
  /** The request heads that it received, one per connection. */
  readonly heads: readonly string[];
  /** The targets of its CONNECT requests, in order. */
  targets(): readonly string[];
}

export interface CompanyProxyOptions {
  /**
   * The response to a CONNECT in the place of a tunnel; null: no response; undefined: the tunnel opens.
   * @param target `host:port`
   */
  readonly answer?: (target: string, socket: Socket) => string | null | undefined | void;
  /** Maps a target to an address; default: the target itself. */
  readonly place?: (target: string) => { readonly host: string; readonly port: number };
  /** Bytes that it sends in one piece with its 200 response. */
  readonly early?: string;
  /** True when clients connect over TLS. */
  readonly tls?: Identity;
}

/** Listens on 127.0.0.1; closed, with its connections, when the test ends. */
export async function startCompanyProxy(options: CompanyProxyOptions = {}): Promise<TestCompanyProxy> {
  const heads: string[] = [];
  const sockets = new Set<Socket>();
  const serve = (socket: Socket): void => {
    keep(socket);
    let bytes = Buffer.alloc(0);
    socket.on('data', function read(piece: Buffer) {
      bytes = Buffer.concat([bytes, piece]);
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      socket.off('data', read).pause();
      const head = bytes.toString('latin1', 0, end);
      heads.push(head);
      const [, target = ''] = head.split(' ');
      const answer = options.answer?.(target, socket);
      if (answer === null) return;
      if (typeof answer === 'string') {
        socket.end(answer, 'latin1');
        return;
      }
      const upstream = connect({ ...(options.place ?? placeOf)(target), allowHalfOpen: true });
      keep(upstream).once('connect', () => {
        socket.write(`HTTP/1.1 200 Connection established\r\n\r\n${options.early ?? ''}`);
        upstream.write(bytes.subarray(end + 4));
        socket.pipe(upstream);
        upstream.pipe(socket);
      });
      upstream.once('error', () => socket.destroy());
    });
  };
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.on('error', () => {}).once('close', () => sockets.delete(socket));
  };
  const server: Server =
    options.tls === undefined
      ? createServer({ allowHalfOpen: true }, serve)
      : createTlsServer({ ...options.tls, allowHalfOpen: true } as object, serve);
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    port: (server.address() as AddressInfo).port,
    heads,
    targets: () => heads.map((head) => head.split(' ')[1] ?? ''),
  };
}

function placeOf(target: string): { readonly host: string; readonly port: number } {
  const colon = target.lastIndexOf(':');
  return { host: target.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(target.slice(colon + 1)) };
}
