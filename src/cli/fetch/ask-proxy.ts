import { once } from 'node:events';
import { Agent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { SidekeyError } from '../../errors.ts';
import { authorityText, parseAbsoluteTarget } from '../../policy/authority.ts';
import { systemCode } from '../../system-error.ts';
import type { BodySource } from './body-source.ts';
import type { Hop } from './question.ts';

/** A proxy on this machine, and who asks it. */
export interface ProxyPlace {
  readonly host: string;
  readonly port: number;
  /** `Proxy-Authorization`; null: the caller shows nothing. */
  readonly authorization: string | null;
}

/** An answer whose body is yet to be read. */
export interface Answer {
  readonly response: IncomingMessage;
  readonly status: number;
  /** What the record calls the caller: its address and port. */
  readonly client: string;
}

/**
 * Sends one request through a proxy, in absolute form, so that it is the proxy that speaks TLS with the upstream. On this
 * machine alone: the way to the proxy is in the clear.
 *
 * @throws SidekeyError `upstream_unreachable` where the proxy does not answer, `input_invalid` where the body cannot be read
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
  const request = httpRequest({
    host: proxy.host,
    port: proxy.port,
    method: hop.method,
    path: hop.url,
    // One of its own: that of Node may go by what the environment says of proxies.
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
  // Told by the answer that does not come; and what befalls it after the answer, by the answer's end.
  request.on('error', () => {});
  const answered = once(request, 'response') as Promise<[IncomingMessage]>;
  const sending = send(request, body);
  // The proxy may answer before it has read everything, and then hang up.
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

/** Reads the body no faster than it goes. @throws SidekeyError `input_invalid` */
async function send(request: ClientRequest, body: Hop['body']): Promise<void> {
  if (body === null) {
    request.end();
    return;
  }
  try {
    await pipeline(readFrom(body), request);
  } catch (error) {
    // What befalls the connection is told by the answer, or by there being none.
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
  return new SidekeyError(
    'upstream_unreachable',
    `The proxy at ${host}:${port} gave no answer (${systemCode(error)}).`,
    { hint: 'sidekey status', cause: error },
  );
}
