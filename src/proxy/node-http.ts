import type { IncomingMessage, ServerResponse } from 'node:http';
import { valuesOf, type RawFields } from './fields.ts';
import { createGone } from './gone.ts';
import type { Arrival, Client, Reply, RequestHead } from './message.ts';

/**
 * Node's request and response objects as the plain values of an exchange. The only file that knows both.
 */

/** How long a client may go on sending a body that nobody wants, before its connection is cut. */
const lingerMs = 5_000;

export function headOf(request: IncomingMessage): RequestHead {
  return {
    method: request.method ?? '',
    target: request.url ?? '',
    version: request.httpVersion === '1.1' || request.httpVersion === '1.0' ? request.httpVersion : 'other',
    fields: request.rawHeaders,
  };
}

/** Whether the head announces a body. */
export function announcesBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

export function arrivalOf(request: IncomingMessage, client: Client): Arrival {
  return {
    head: headOf(request),
    // Ending the iteration early must not destroy the socket: the response is still to be written on it.
    body: announcesBody(request) ? request.iterator({ destroyOnReturn: false }) : null,
    client,
  };
}

export interface ReplyOptions {
  /** The client waits for `100 Continue` before it sends its body. */
  readonly expectsContinue: boolean;
  /** Asked at the head: whether the connection shall end with this response. */
  readonly isLast: () => boolean;
  /** Told that it ends: what stands behind the request on its connection must not be served. */
  readonly onLast: () => void;
}

export function replyTo(request: IncomingMessage, response: ServerResponse, options: ReplyOptions): Reply {
  const gone = createGone();
  const modern = request.httpVersion === '1.1';
  response.sendDate = false;
  // A client that left is told of by `close`; what is written after it concerns nobody.
  response.on('error', () => {});
  response.on('close', () => {
    if (!response.writableFinished) gone.tell();
  });
  response.on('finish', () => {
    if (!request.complete) linger(request);
  });
  const last = () => {
    response.shouldKeepAlive = false;
    options.onLast();
  };
  let waits = options.expectsContinue && announcesBody(request);
  return {
    get started() {
      return response.headersSent;
    },
    gone,
    continue() {
      if (waits) response.writeContinue();
      waits = false;
    },
    informational(status, fields) {
      if (modern) inform(response, status, fields);
    },
    last,
    head(status, reason, fields) {
      // Node itself ends a connection whose client waits for a 100 that did not come.
      if (options.isLast()) last();
      const bodied = request.method !== 'HEAD' && status !== 204 && status !== 304;
      const chunked = bodied && modern && valuesOf(fields, 'content-length').length === 0;
      response.writeHead(status, printable(reason), [...(chunked ? fields : withoutTrailer(fields))]);
      // A slow upstream's head must not wait for its first body byte. (`flushHeaders` would write it in UTF-8.)
      if (bodied) response.write('', 'latin1');
    },
    write: (chunk) => response.write(chunk),
    onDrain: (listener) => void response.once('drain', listener),
    end(trailers, flushed) {
      if (trailers.length > 0) response.addTrailers(pairs(trailers));
      response.end(flushed);
    },
    abort: () => void response.destroy(),
  };
}

/** Reads what is left of a body after the response, so that closing does not reset the connection under it. */
function linger(request: IncomingMessage): void {
  const timer = setTimeout(() => request.destroy(), lingerMs).unref();
  request
    .on('error', () => {})
    .once('close', () => clearTimeout(timer))
    // Whoever read it so far may still be at it, and leave it paused when they stop; this listener keeps it flowing.
    .on('data', () => {})
    .resume();
}

/** Interim responses are a courtesy: one that cannot be passed on is left out (RFC 9110 §15.2). */
function inform(response: ServerResponse, status: number, fields: RawFields): void {
  if (response.headersSent || response.destroyed) return;
  // An upstream may send any number of them, also to a client that reads none.
  if (response.writableLength >= response.writableHighWaterMark) return;
  const hints = new Map<string, string[]>();
  for (const [name, value] of pairs(fields)) {
    const lower = name.toLowerCase();
    hints.set(lower, [...(hints.get(lower) ?? []), value]);
  }
  const link = hints.get('link');
  try {
    if (status === 103 && link !== undefined)
      response.writeEarlyHints({ ...Object.fromEntries(hints), link });
    else if (status === 102) response.writeProcessing();
  } catch {
    // Node takes only such `Link` values as it can parse.
  }
}

/** Node throws where a response announces trailers that it cannot have (a HEAD, a 304, an HTTP/1.0 client). */
function withoutTrailer(fields: RawFields): RawFields {
  if (valuesOf(fields, 'trailer').length === 0) return fields;
  return pairs(fields)
    .filter(([name]) => name.toLowerCase() !== 'trailer')
    .flat();
}

/** A reason phrase is a courtesy too, and Node throws at one that holds what does not belong there. */
function printable(reason: string): string {
  return reason.replace(/[^\t\x20-\x7e\x80-\xff]/g, '?');
}

function pairs(fields: RawFields): [name: string, value: string][] {
  const result: [string, string][] = [];
  for (let i = 0; i < fields.length; i += 2) result.push([fields[i]!, fields[i + 1]!]);
  return result;
}
