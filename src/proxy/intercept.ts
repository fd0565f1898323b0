import type { Duplex } from 'node:stream';
import { TLSSocket, type SecureContext } from 'node:tls';
import type { Authority } from '../policy/authority.ts';

/** What the client speaks inside CONNECT, and the stream to read its requests from. */
export type Inside =
  | { readonly scheme: 'https'; readonly stream: TLSSocket; readonly serverName: string | null }
  | { readonly scheme: 'http'; readonly stream: Duplex; readonly serverName: null };

/** First byte of a TLS record that holds a handshake (RFC 8446 §5.1). */
const handshakeRecord = 0x16;

/**
 * Takes the upstream's part inside a CONNECT: a TLS handshake with a leaf for the tunnel's host, or plain HTTP where
 * the client speaks that. Null where the client left, failed or took too long: there is nobody to tell.
 */
export async function intercept(
  client: Duplex,
  target: Authority,
  leafFor: (host: string) => SecureContext,
  timeoutMs: number,
): Promise<Inside | null> {
  const timer = setTimeout(() => client.destroy(), timeoutMs).unref();
  try {
    const first = await firstChunk(client);
    if (first === null) {
      // It may have ended its side alone: then the connection would stay as long as TCP keeps it.
      client.destroy();
      return null;
    }
    client.unshift(first);
    if (first[0] !== handshakeRecord) return { scheme: 'http', stream: client, serverName: null };
    const stream = new TLSSocket(client, {
      isServer: true,
      secureContext: leafFor(target.host),
      ALPNProtocols: ['http/1.1'],
    });
    return (await handshake(stream))
      ? { scheme: 'https', stream, serverName: stream.servername || null }
      : null;
  } finally {
    clearTimeout(timer);
  }
}

async function firstChunk(client: Duplex): Promise<Buffer | null> {
  // One that has left already does not say so again.
  if (client.closed || client.readableEnded) return null;
  return new Promise((resolve) => {
    const settle = (chunk: Buffer | null) => {
      client.pause().off('data', settle).off('end', left).off('close', left).off('error', left);
      resolve(chunk);
    };
    const left = () => settle(null);
    client.on('data', settle).once('end', left).once('close', left).on('error', left).resume();
  });
}

function handshake(stream: TLSSocket): Promise<boolean> {
  return new Promise((resolve) => {
    stream.once('secure', () => resolve(true));
    stream.on('error', () => {
      stream.destroy();
      resolve(false);
    });
    stream.once('close', () => resolve(false));
  });
}
