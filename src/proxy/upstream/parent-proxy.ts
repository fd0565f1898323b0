import type { Socket } from 'node:net';
import { SidekeyError } from '../../lib/errors.ts';
import { mendLines, sectionSize } from '../http/h1/mend.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { discard } from './tls.ts';

/** The parent proxy, through which Sidekey connects to upstreams (`upstream.proxy`). */
export interface ParentProxy {
  /** Scheme `https`: TLS to the proxy, whose certificate is verified like that of any upstream. */
  readonly authority: Authority;
  /** User and password for Basic authentication (RFC 7617), or null. */
  readonly credentials: { readonly user: string; readonly password: string } | null;
  /** True if the proxy receives names and resolves them. Then the address guard cannot apply. */
  readonly remoteDns: boolean;
}

/**
 * Requests a tunnel from a proxy, on an unread connection to it. Bytes after its response belong to the
 * tunnel, and remain readable. Destroys the connection if it rejects: with SidekeyError
 * `upstream_unreachable` or `upstream_protocol`, or with the signal's reason.
 *
 * @param target `host:port`
 * @param to name of the upstream in messages
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
    const { status } = await connectAnswer(socket, proxy, signal);
    if (status < 200 || status > 299) throw refusal(status, proxy, to);
  } catch (error) {
    discard(socket);
    throw error;
  }
}

function connectAnswer(socket: Socket, proxy: ParentProxy, signal: AbortSignal): Promise<ConnectAnswer> {
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
    const lost = (cause: Error) => fail(closedEarly(proxy, cause));
    const ended = () => fail(closedEarly(proxy));
    const abort = () => fail(signal.reason as Error);
    // Not with `data`, which would make the socket flow: its next reader needs it unread.
    const read = () => {
      const piece = socket.read() as Buffer | null;
      if (piece === null) return;
      bytes = Buffer.concat([bytes, piece]);
      const answer = readConnectAnswer(bytes);
      if (answer === 'incomplete') return;
      if (answer === 'malformed') {
        fail(malformedAnswer(proxy));
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

/** The proxy refused a tunnel to this address. It may open one to another address. */
export class TunnelRefused extends SidekeyError {}

/** Returns the error for a refusal. Contains only the status: the rest of the response is untrusted text. */
function refusal(status: number, proxy: ParentProxy, to: string): SidekeyError {
  const name = `The proxy ${authorityText(proxy.authority)}`;
  if (status === 407) {
    const given = proxy.credentials !== null;
    const sentence = `${name} ${given ? 'does not accept the credentials of upstream.proxy' : 'requires credentials'} (407).`;
    return new SidekeyError('upstream_unreachable', sentence, {
      hint: given
        ? 'check upstream.proxy.user and upstream.proxy.password; Sidekey answers with Basic alone'
        : 'set upstream.proxy.user and upstream.proxy.password (env:NAME, file:PATH or command:…)',
    });
  }
  return new TunnelRefused('upstream_unreachable', `${name} opened no tunnel to ${to} (${status}).`, {
    hint:
      status === 403
        ? 'it may forbid the host, or addresses in place of names: see upstream.proxy.remote_dns and upstream.no_proxy'
        : 'ask who runs the proxy, or list the host in upstream.no_proxy if it can be reached directly',
  });
}

function closedEarly(proxy: ParentProxy, cause?: Error): SidekeyError {
  const sentence = `The proxy ${authorityText(proxy.authority)} closed the connection before it opened a tunnel.`;
  return new SidekeyError('upstream_unreachable', sentence, { cause });
}

function malformedAnswer(proxy: ParentProxy): SidekeyError {
  const sentence = `The proxy ${authorityText(proxy.authority)} did not answer a CONNECT in HTTP/1.1, within ${maxAnswerBytes} bytes.`;
  return new SidekeyError('upstream_protocol', sentence, {
    hint: 'check the address, the port and the scheme of upstream.proxy',
  });
}

interface ConnectAnswer {
  readonly status: number;
  /** Number of bytes of its head, including the empty line. The bytes after it belong to the tunnel. */
  readonly size: number;
}

/** Maximum size of all heads before the tunnel, including interim responses, in bytes. */
const maxAnswerBytes = 16_384;

/**
 * Parses the complete head of the final response to a CONNECT (RFC 9110 §9.3.6). Accepts malformed heads as
 * `mendLines` does. Framing fields have no meaning in a response that opens a tunnel. The body of any other
 * response is not read.
 *
 * @param bytes all bytes received so far
 */
export function readConnectAnswer(bytes: Buffer): ConnectAnswer | 'incomplete' | 'malformed' {
  for (let at = 0; ;) {
    const size = sectionSize(bytes.subarray(at));
    if (size < 0) return bytes.length > maxAnswerBytes || !mayBegin(bytes, at) ? 'malformed' : 'incomplete';
    if (at + size > maxAnswerBytes) return 'malformed';
    const lines = mendLines(bytes.toString('latin1', at, at + size));
    if (typeof lines === 'string' || lines.status === 101) return 'malformed';
    at += size;
    // Interim responses precede the final one.
    if (lines.status >= 200) return { status: lines.status, size: at };
  }
}

/** Reports whether the bytes may become a status line. A server of another protocol may never send more. */
function mayBegin(bytes: Buffer, at: number): boolean {
  const start = 'HTTP/1.';
  return start.startsWith(bytes.toString('latin1', at, at + start.length));
}
