import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createGone } from '../../lib/http2-abort.ts';
import type { Reply } from '../message.ts';
import { refusalBytes } from '../problem.ts';

/** How long a client may keep a connection open, or go on sending, after the last word on it. */
const lingerMs = 5_000;

/** A reply over a bare socket, closed after what it says: for a handshake that is not carried. */
export function socketReply(client: Duplex): Reply {
  const gone = createGone();
  let started = false;
  client.once('close', () => gone.tell());
  return {
    get started() {
      return started;
    },
    gone,
    // Whoever reads the socket meanwhile cuts it at its end.
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
    // It ends with its connection: a mere end would make it whole.
    abort: () => void (canBeReset(client) ? client.resetAndDestroy() : client.destroy()),
  };
}

/** Whether a reset can tell a client that it has not got the whole; TLS tells it by the end that does not come. */
export function canBeReset(client: Duplex): client is Socket {
  return 'resetAndDestroy' in client && !('encrypted' in client);
}

/** Refuses on a socket that speaks HTTP/1.1, and ends it. */
export function refuseOn(client: Duplex, error: unknown): void {
  if (!client.writable) {
    client.destroy();
    return;
  }
  client.on('error', () => client.destroy()).end(refusalBytes(error));
  lingerOn(client);
}

/** Reads what still comes, so that closing does not reset the connection under the last word; but not for ever. */
export function lingerOn(client: Duplex): void {
  const timer = setTimeout(() => client.destroy(), lingerMs).unref();
  client.once('close', () => clearTimeout(timer)).resume();
}
