import type { Socket } from 'node:net';
import { SidekeyError } from '../lib/errors.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { discard } from './tls.ts';

/** The proxy that connections go through (`upstream.proxy`). */
export interface ParentProxy {
  /** `https`: it is spoken to over TLS, and its certificate is verified as any other. */
  readonly authority: Authority;
  /** RFC 7617; null: it asks for none. */
  readonly credentials: { readonly user: string; readonly password: string } | null;
  /** Whether it is given names, which it looks up itself: no address guard holds then. */
  readonly resolves: boolean;
}

/**
 * Has a proxy open a tunnel on a connection to it that is not read from yet. Bytes that came with the answer are the
 * tunnel's, and are read first.
 *
 * @param target `host:port`
 * @param to whom the tunnel is for, as messages name it
 *
 * Rejects with SidekeyError `upstream_unreachable` or `upstream_protocol`, or with the reason of the signal; the
 * connection is destroyed then.
 */
export async function openTunnel(
  socket: Socket,
  proxy: ParentProxy,
  { target, to, signal }: { readonly target: string; readonly to: string; readonly signal: AbortSignal },
): Promise<void> {
  const lines = [`CONNECT ${target} HTTP/1.1`, `Host: ${target}`];
  if (proxy.credentials !== null) {
    const { user, password } = proxy.credentials;
    lines.push(`Proxy-Authorization: Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`);
  }
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  try {
    const { status } = await answerOn(socket, proxy, signal);
    if (status < 200 || status > 299) throw refusal(status, proxy, to);
  } catch (error) {
    discard(socket);
    throw error;
  }
}

function answerOn(socket: Socket, proxy: ParentProxy, signal: AbortSignal): Promise<ConnectAnswer> {
  return new Promise((resolve, reject) => {
    let bytes: Buffer = Buffer.alloc(0);
    const leave = () => {
      socket.off('readable', read).off('error', lost).off('end', ended).off('close', ended);
      signal.removeEventListener('abort', abort);
    };
    const fail = (error: Error) => {
      leave();
      reject(error);
    };
    const lost = (cause: Error) => fail(hungUp(proxy, cause));
    const ended = () => fail(hungUp(proxy));
    const abort = () => fail(signal.reason as Error);
    // Not by `data`: whoever has the socket next is to find one that nobody has begun to read.
    const read = () => {
      const piece = socket.read() as Buffer | null;
      if (piece === null) return;
      bytes = Buffer.concat([bytes, piece]);
      const answer = readConnectAnswer(bytes);
      if (answer === 'incomplete') return;
      if (answer === 'malformed') {
        fail(noAnswer(proxy));
        return;
      }
      leave();
      if (answer.size < bytes.length) socket.unshift(bytes.subarray(answer.size));
      resolve(answer);
    };
    if (signal.aborted) {
      abort();
      return;
    }
    socket.on('readable', read).once('error', lost).once('end', ended).once('close', ended);
    signal.addEventListener('abort', abort, { once: true });
  });
}

/** The proxy answered, and did not open a tunnel to this address. Another address may do better. */
export class TunnelRefused extends SidekeyError {}

/** What people read of its answer is the status alone: the rest is the proxy's own words. */
function refusal(status: number, proxy: ParentProxy, to: string): SidekeyError {
  const name = `The proxy ${authorityText(proxy.authority)}`;
  if (status === 407) {
    const given = proxy.credentials !== null;
    return new SidekeyError(
      'upstream_unreachable',
      `${name} ${given ? 'does not take the credentials of upstream.proxy' : 'asks for credentials'} (407).`,
      {
        hint: given
          ? 'check upstream.proxy.user and upstream.proxy.password; Sidekey answers with Basic alone'
          : 'set upstream.proxy.user and upstream.proxy.password (env:NAME, file:PATH or command:…)',
      },
    );
  }
  return new TunnelRefused('upstream_unreachable', `${name} opened no tunnel to ${to} (${status}).`, {
    hint:
      status === 403
        ? 'it may forbid the host, or addresses in place of names: see upstream.proxy.resolves and upstream.no_proxy'
        : 'ask who runs the proxy, or list the host in upstream.no_proxy if it can be reached directly',
  });
}

function hungUp(proxy: ParentProxy, cause?: Error): SidekeyError {
  return new SidekeyError(
    'upstream_unreachable',
    `The proxy ${authorityText(proxy.authority)} hung up before it opened a tunnel.`,
    {
      cause,
    },
  );
}

function noAnswer(proxy: ParentProxy): SidekeyError {
  return new SidekeyError(
    'upstream_protocol',
    `The proxy ${authorityText(proxy.authority)} did not answer a CONNECT in HTTP/1.1, within ${mostAnswerBytes} bytes.`,
    { hint: 'check the address, the port and the scheme of upstream.proxy' },
  );
}

/** What a proxy answered to a CONNECT (RFC 9110 §9.3.6). */
interface ConnectAnswer {
  readonly status: number;
  /** Bytes of the answer's head, its empty line included: what stands behind it is the tunnel's. */
  readonly size: number;
}

/** No proxy that means well says more before a tunnel, interim answers included. */
const mostAnswerBytes = 16_384;

const statusLine = /^HTTP\/1\.[01] ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const fieldLine = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+:[\t\x20-\x7e\x80-\xff]*$/;

/**
 * Reads the head of the final answer, once all of it is there. What announces a body means nothing in an answer that
 * opens a tunnel, and of any other nothing is read.
 *
 * @param bytes everything that has come
 */
export function readConnectAnswer(bytes: Buffer): ConnectAnswer | 'incomplete' | 'malformed' {
  for (let at = 0; ;) {
    const end = bytes.indexOf('\r\n\r\n', at, 'latin1');
    if (end > mostAnswerBytes) return 'malformed';
    if (end < 0) return bytes.length > mostAnswerBytes || !mayBegin(bytes, at) ? 'malformed' : 'incomplete';
    const [first = '', ...fields] = bytes.toString('latin1', at, end).split('\r\n');
    const status = Number(statusLine.exec(first)?.[1] ?? NaN);
    if (Number.isNaN(status) || status === 101 || !fields.every((line) => fieldLine.test(line)))
      return 'malformed';
    at = end + 4;
    // 1xx come before the answer, and are none.
    if (status >= 200) return { status, size: at };
  }
}

/** Whether this can become an answer: what speaks another protocol is not waited for. */
function mayBegin(bytes: Buffer, at: number): boolean {
  const beginning = 'HTTP/1.';
  return beginning.startsWith(bytes.toString('latin1', at, at + beginning.length));
}
