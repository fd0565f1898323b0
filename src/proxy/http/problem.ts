import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { SidekeyError } from '../../lib/errors.ts';
import { hintText } from '../../lib/hint.ts';
import { failures } from '../../lib/failures.ts';
import { asTyped } from '../../lib/command-name.ts';
import type { Denial } from '../policy/decide.ts';
import type { RawFields } from './fields.ts';
import { createGone, type Reply } from './message.ts';

/** The response to a refused request: a problem document (RFC 9457). */
interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly fields: RawFields;
  readonly body: Buffer;
}

/** Converts a denial of the policy to an error. */
export function denialOf({ code, reason, hint }: Pick<Denial, 'code' | 'reason' | 'hint'>): SidekeyError {
  return new SidekeyError(code, `${asBeginning(reason)}.`, { hint });
}

/** Capitalizes the article of a reason. Host names stay unchanged. */
export function asBeginning(reason: string): string {
  return reason.replace(/^(?:the|no) /, (word) => word.charAt(0).toUpperCase() + word.slice(1));
}

/**
 * Returns the response for an error. Reveals nothing about errors other than `SidekeyError`.
 *
 * @param isForCloud adds the members that SDKs of AWS and Azure read. The status is never 407, which `fetch`
 * reports as a network error
 */
export function refusalOf(error: unknown, isForCloud = false): Refusal {
  const failure = error instanceof SidekeyError ? error : new SidekeyError('internal');
  const { code, message: detail, hint, retryAfterMs } = failure;
  const status = isForCloud && failure.status === 407 ? 401 : failure.status;
  const body = Buffer.from(
    `${JSON.stringify({
      title: failures[code].title,
      status,
      code,
      detail,
      hint: asTyped(hintText(hint)),
      ...(isForCloud ? { Code: code, Message: detail, error: code, error_description: detail } : {}),
    })}\n`,
  );
  return {
    status,
    // Many clients print only the reason phrase of a refused CONNECT.
    reason: code,
    fields: [
      'Content-Type',
      'application/problem+json',
      'Content-Length',
      String(body.length),
      'Cache-Control',
      'no-store',
      'Sidekey-Error',
      code,
      // Rounded up: an early retry would be refused again.
      ...(retryAfterMs === undefined
        ? []
        : ['Retry-After', String(Math.max(1, Math.ceil(retryAfterMs / 1_000)))]),
      ...(status === 407 ? ['Proxy-Authenticate', 'Basic realm="Sidekey", charset="UTF-8"'] : []),
      // RFC 9110 §15.5.6. Only Sidekey's own pages refuse by method.
      ...(code === 'method_not_allowed' ? ['Allow', 'GET, HEAD'] : []),
    ],
    body,
  };
}

/** Sends a refusal, or cuts a reply that has started. Returns the status. */
export function refuse(reply: Reply, error: unknown, method: string, isForCloud = false): number {
  const { status, reason, fields, body } = refusalOf(error, isForCloud);
  if (reply.started) {
    reply.abort();
    return status;
  }
  // After a malformed message, the start of the next one is unknown (RFC 9112 §6.3).
  if (status === 400) reply.closeAfter();
  reply.head(status, reason, fields);
  if (method !== 'HEAD') reply.write(body);
  reply.end([]);
  return status;
}

/** Returns a refusal as HTTP/1.1 bytes, for a socket that closes afterwards: CONNECT and upgrades. */
export function refusalBytes(error: unknown): Buffer {
  const { status, reason, fields, body } = refusalOf(error);
  let head = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let i = 0; i < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return Buffer.concat([Buffer.from(`${head}Connection: close\r\n\r\n`, 'latin1'), body]);
}

/** Milliseconds until a client that keeps sending, or does not close, is cut off. */
const lingerMs = 5_000;

/** Creates a reply to a refused handshake, on a socket that closes afterwards. */
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
    hold: () => gone,
    expectsContinue: false,
    continue() {},
    informational() {},
    closeAfter() {},
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
    // The end of the connection ends the response: a plain end would complete it.
    abort: () => void (canBeReset(client) ? client.resetAndDestroy() : client.destroy()),
  };
}

/** Reports whether a reset must mark a response as incomplete. With TLS, the missing close_notify does. */
export function canBeReset(client: Duplex): client is Socket {
  return 'resetAndDestroy' in client && !('encrypted' in client);
}

/** Sends a refusal on an HTTP/1.1 socket, and ends it. */
export function refuseOn(client: Duplex, error: unknown): void {
  if (!client.writable) {
    client.destroy();
    return;
  }
  client.on('error', () => client.destroy()).end(refusalBytes(error));
  lingerOn(client);
}

/** Discards input for a limited time. Closing at once would reset the connection, and lose the response. */
export function lingerOn(client: Duplex): void {
  const timer = setTimeout(() => client.destroy(), lingerMs).unref();
  client.once('close', () => clearTimeout(timer)).resume();
}
