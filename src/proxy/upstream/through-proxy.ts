import { once } from 'node:events';
import { Agent, type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { SidekeyError, systemCode } from '../../lib/errors.ts';
import { remedy } from '../../lib/hint.ts';
import { authorityText, parseAbsoluteTarget } from '../policy/authority.ts';

/** Requests that go through a proxy on this machine, as those of its clients do. */

/** One request. Redirects add more. */
export interface Hop {
  readonly method: string;
  /** Absolute URL without a fragment, valid in a request line. */
  readonly url: string;
  /** Names and values, without the framing and routing fields. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: BodySource | null;
}

export interface BodySource {
  /** Bytes; null: unknown. */
  readonly length: number | null;
  /** The body can be sent again after a redirect. */
  readonly repeatable: boolean;
  open(): AsyncIterable<Uint8Array | string>;
}

/** A proxy on this machine, with the caller's credentials. */
export interface ProxyPlace {
  readonly host: string;
  readonly port: number;
  /** `Proxy-Authorization`; null: the caller is anonymous. */
  readonly authorization: string | null;
}

/** A response with an unread body. */
export interface Answer {
  readonly response: IncomingMessage;
  readonly status: number;
  /** Address and port of the caller, as in the audit log. */
  readonly client: string;
}

/**
 * Sends one request through a proxy, in absolute form, so that the proxy connects to the upstream by TLS.
 * Only for proxies on this machine: the connection is not encrypted.
 *
 * @throws SidekeyError `upstream_unreachable` if the proxy does not respond, `input_invalid` if the body
 * cannot be read
 */
export async function askProxy(proxy: ProxyPlace, hop: Hop, signal: AbortSignal): Promise<Answer> {
  const target = parseAbsoluteTarget(hop.url);
  if (target === null) throw new Error('the URL of a hop is absolute');
  const { body } = hop;
  const framing: readonly string[] =
    body === null
      ? []
      : body.length === null
        ? ['Transfer-Encoding', 'chunked']
        : ['Content-Length', String(body.length)];
  // The proxy also answers a client that only ends its side, so a reset gives the request up.
  signal.addEventListener('abort', () => void request.socket?.resetAndDestroy());
  const request = httpRequest({
    host: proxy.host,
    port: proxy.port,
    method: hop.method,
    path: hop.url,
    // A separate agent: Node's default one may use the proxy variables.
    agent: new Agent({ keepAlive: false, maxSockets: 1 }),
    signal,
    headers: [
      'Host',
      authorityText(target.authority),
      ...(proxy.authorization === null ? [] : ['Proxy-Authorization', proxy.authorization]),
      ...hop.fields.flat(),
      ...framing,
      'Connection',
      'close',
    ],
  });
  // An error rejects the response, or ends its body.
  request.on('error', () => {});
  const answered = once(request, 'response') as Promise<[IncomingMessage]>;
  const sending = send(request, body);
  // The proxy may respond before it has read the body, and then close.
  const failed = sending.then(() => new Promise<never>(() => {}));
  try {
    const [response] = await Promise.race([answered, failed]);
    const { localAddress = '', localPort = 0 } = response.socket;
    const client = `${localAddress.includes(':') ? `[${localAddress}]` : localAddress}:${localPort}`;
    return { response, status: response.statusCode ?? 0, client };
  } catch (error) {
    request.destroy();
    throw failureOf(error, proxy, signal);
  } finally {
    answered.catch(() => {});
    failed.catch(() => {});
  }
}

/** Sends the body with backpressure. @throws SidekeyError `input_invalid` */
async function send(request: ClientRequest, body: Hop['body']): Promise<void> {
  if (body === null) {
    request.end();
    return;
  }
  // The first part of the body may come late. `flushHeaders` would send the bytes of fields as UTF-8.
  request.write('', 'latin1');
  try {
    await pipeline(readFrom(body), request);
  } catch (error) {
    // The response reports connection errors.
    if (error instanceof SidekeyError) throw error;
  }
}

async function* readFrom(body: BodySource): AsyncGenerator<Uint8Array | string> {
  try {
    yield* body.open();
  } catch (cause) {
    throw new SidekeyError('input_invalid', `The body cannot be read (${systemCode(cause)}).`, { cause });
  }
}

function failureOf(error: unknown, { host, port }: ProxyPlace, signal: AbortSignal): unknown {
  if (error instanceof SidekeyError) return error;
  if (signal.aborted) return signal.reason;
  const sentence = `The proxy at ${host}:${port} did not answer (${systemCode(error)}).`;
  return new SidekeyError('upstream_unreachable', sentence, { hint: remedy('health.status'), cause: error });
}
