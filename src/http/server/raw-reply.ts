import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createGone } from '../../lib/http2-abort.ts';
import type { Reply } from '../message.ts';
import { refusalBytes } from '../problem.ts';

/** Milliseconds until the connection of a client that keeps sending, or does not close, is cut. */
const lingerMs = 5_000;

/** Creates a reply on a socket that is closed after it: for a refused handshake. */
export function socketReply(client: Duplex): Reply {
  const gone = createGone();
  let started = false;
  client.once('close', () => gone.tell());
  return {
    get started() {
      return started;
    },
    gone,
    // The current reader of the socket cuts it at its end.
    waiting: () => gone,
    waits: false,
    continue() {},
    informational() {},
    last() {},
    head(status, reason, fields) {
      started = true;
      let text = `HTTP/1.1 ${status} ${reason}\r\n`;
      for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`;
      client.write(`${text}Connection: close\r\n\r\n`, 'latin1');
    },
    write: (chunk) => client.write(chunk),
    onDrain: (listener) => void client.once('drain', listener),
    end(_trailers, flushed) {
      client.end(flushed);
      lingerOn(client);
    },
    // The response ends with its connection: a plain end would complete it.
    abort: () => void (canBeReset(client) ? client.resetAndDestroy() : client.destroy()),
  };
}

/** Reports whether a reset shows that a response is incomplete. With TLS the missing close_notify does. */
export function canBeReset(client: Duplex): client is Socket {
  return 'resetAndDestroy' in client && !('encrypted' in client);
}

/** Sends a refusal on a socket of HTTP/1.1, and ends it. */
export function refuseOn(client: Duplex, error: unknown): void {
  if (!client.writable) {
    client.destroy();
    return;
  }
  client.on('error', () => client.destroy()).end(refusalBytes(error));
  lingerOn(client);
}

/** Reads and discards input for a limited time, since closing at once would reset the connection and lose the response. */
export function lingerOn(client: Duplex): void {
  const timer = setTimeout(() => client.destroy(), lingerMs).unref();
  client.once('close', () => clearTimeout(timer)).resume();
}
