import type { Duplex } from 'node:stream';
import { type SecureContext, TLSSocket } from 'node:tls';
import type { Authority } from './policy/authority.ts';
import { beginning } from './client-hello.ts';
import type { Protocol, NegotiatedProtocol } from './upstream/h2-session.ts';

/** Protocol of the client inside CONNECT, and the stream of its requests. */
export type Inside =
  | {
      readonly scheme: 'https';
      readonly stream: TLSSocket;
      readonly serverName: string | null;
      readonly protocol: Protocol;
      /** True if the client may open WebSockets over HTTP/2, which not all upstreams accept. */
      readonly extendedConnect: boolean;
    }
  | { readonly scheme: 'http'; readonly stream: Duplex; readonly serverName: null };

/** Options of an interception. */
export interface Interception {
  readonly leafFor: (host: string) => SecureContext;
  /** Returns the protocol of the upstream. Called if the client offers HTTP/2. Never rejects. */
  readonly spoken: () => NegotiatedProtocol | Promise<NegotiatedProtocol>;
  /** Called with the reason of a failed handshake, if the client sent one. */
  readonly failed?: (why: Error) => void;
  /** Milliseconds that the client has for its handshake. */
  readonly timeoutMs: number;
}

/** Clients of HTTP/1.0 (`curl --http1.0`) offer only `http/1.0`, and disconnect if it is not chosen. */
const versions1 = ['http/1.1', 'http/1.0'];

/**
 * Acts as the upstream inside a CONNECT: a TLS handshake with a leaf for the tunnel's host, or plain HTTP if
 * the client starts with that. Null: the client left, failed or took too long.
 */
export async function intercept(
  client: Duplex,
  target: Authority,
  { leafFor, spoken, failed, timeoutMs }: Interception,
): Promise<Inside | null> {
  const late = () => client.destroy();
  let timer = setTimeout(late, timeoutMs).unref();
  try {
    const begun = await beginning(client);
    if (begun === null) {
      // It may have ended its side alone: then the connection would stay as long as TCP keeps it.
      client.destroy();
      return null;
    }
    client.unshift(begun.bytes);
    if (begun.hello === null) return { scheme: 'http', stream: client, serverName: null };
    let { protocols } = begun.hello;
    let extendedConnect = false;
    if (protocols.includes('h2')) {
      // The upstream is slow here, not the client.
      clearTimeout(timer);
      const upstream = await spoken();
      if (protocols.includes('http/1.1')) protocols = [upstream.protocol];
      ({ extendedConnect } = upstream);
      timer = setTimeout(late, timeoutMs).unref();
      if (client.destroyed) return null;
    }
    const stream = new TLSSocket(client, {
      isServer: true,
      secureContext: leafFor(target.host),
      ALPNProtocols: protocols.includes('h2') ? ['h2', ...versions1] : versions1,
    });
    stream.once('error', (why) => failed?.(why));
    if (!(await handshake(stream))) return null;
    const protocol = stream.alpnProtocol === 'h2' ? 'h2' : 'http/1.1';
    return { scheme: 'https', stream, serverName: stream.servername || null, protocol, extendedConnect };
  } finally {
    clearTimeout(timer);
  }
}

function handshake(stream: TLSSocket): Promise<boolean> {
  return new Promise((resolve) => {
    const failed = () => {
      stream.destroy();
      resolve(false);
    };
    stream.once('secure', () => {
      stream.off('end', failed);
      resolve(true);
    });
    // Half of a connection makes no handshake; the socket would stay half-open.
    stream.on('error', failed).once('end', failed).once('close', failed);
  });
}
