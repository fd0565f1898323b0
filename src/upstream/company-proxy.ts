import type { Socket } from 'node:net';
import { SidekeyError } from '../errors.ts';
import { authorityText, type Authority } from '../policy/authority.ts';
import { mostAnswerBytes, readConnectAnswer, type ConnectAnswer } from './connect-answer.ts';
import { discard } from './until.ts';

/** The proxy that connections go through (`upstream.proxy`). */
export interface CompanyProxy {
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
  proxy: CompanyProxy,
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

function answerOn(socket: Socket, proxy: CompanyProxy, signal: AbortSignal): Promise<ConnectAnswer> {
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
function refusal(status: number, proxy: CompanyProxy, to: string): SidekeyError {
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

function hungUp(proxy: CompanyProxy, cause?: Error): SidekeyError {
  return new SidekeyError(
    'upstream_unreachable',
    `The proxy ${authorityText(proxy.authority)} hung up before it opened a tunnel.`,
    {
      cause,
    },
  );
}

function noAnswer(proxy: CompanyProxy): SidekeyError {
  return new SidekeyError(
    'upstream_protocol',
    `The proxy ${authorityText(proxy.authority)} did not answer a CONNECT in HTTP/1.1, within ${mostAnswerBytes} bytes.`,
    { hint: 'check the address, the port and the scheme of upstream.proxy' },
  );
}
