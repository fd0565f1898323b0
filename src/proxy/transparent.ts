import type { Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { sectionSize } from './http/h1/mend.ts';
import { type HeadLimits, Malformed } from './http/h1/scan.ts';
import { refuseOn } from './http/problem.ts';
import { canonicalHost, isAddress, parseConnectTarget, splitPort } from './policy/authority.ts';
import { connectDomain } from './policy/decide.ts';
import { beginning, nextChunk } from './client-hello.ts';
import { http1, type Opening } from './connect.ts';
import { intercept } from './intercept.ts';
import type { ProxyServices } from './services.ts';

/** Connections that the kernel redirected to the proxy. Their clients are not configured for a proxy. */
export interface Redirection {
  /** Called when the proxy listens. */
  readonly listens: (server: Server) => void;
  /** Returns the original destination of a connection as a CONNECT names it; null: the proxy. */
  readonly destinationOf: (socket: Socket) => string | null;
  /** Answers a connection of `check`; returns whether it was one. */
  readonly answersProbe: (socket: Socket, destination: string) => boolean;
  /** Rejects with SidekeyError `redirect_loop` where connections of this process come back to it. */
  readonly check: () => Promise<void>;
  /** Checks the rules until they pass once, because they may be loaded after the start. */
  readonly checkOnce: () => Promise<void>;
  /** Token of the agent that owns the redirected connections; null: no token. Rejects as `readSecret`. */
  readonly token: () => Promise<string | null>;
}

/** The method of a request line (RFC 9110 §9.1), as far as it was sent. */
const methodStart = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: |$)/;
const hostField = /\r?\nhost:[ \t]*([^\r\n]*?)[ \t]*\r?\n/i;
/** Also in the forms of a malformed head that a server may read. */
const grantFields = /[\r\n][ \t]*sidekey-grant[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=[\r\n])/gi;

/**
 * Returns the opening of a client that knows only an address, with the name in its first bytes: SNI, or the
 * Host field. Policy judges the name, and the proxy resolves and dials it. The address of the client is never
 * contacted. If there is no name, or the domain map lists the address, the address is used.
 *
 * Null: the client left, or sent nothing in time.
 */
export async function openingByName(
  opening: Opening,
  { config, leafFor }: Pick<ProxyServices, 'config' | 'leafFor'>,
): Promise<Opening | null> {
  const { head, socket } = opening;
  const settings = await config();
  const to = parseConnectTarget(head.target);
  if (to === null || !isAddress(to.host) || connectDomain(settings.policy, to) !== null) return opening;
  opening.established();
  const timeoutMs = settings.limits.client_handshake;
  const late = setTimeout(() => socket.destroy(), timeoutMs).unref();
  const words = await firstWords(socket, settings.limits).finally(() => clearTimeout(late));
  if (words === null) {
    socket.destroy();
    return null;
  }
  return {
    ...opening,
    head: { ...head, target: `${words.name ?? to.host}:${to.port}` },
    selecting: words.selecting,
    established: () => {},
    refused: (error) => void refuseInside(words, error),
  };

  /** Answers with the refusal, because a closed connection gives the client no reason. */
  async function refuseInside({ protocol, name }: FirstWords, error: unknown): Promise<void> {
    try {
      const leaf = leafFor(name ?? to!.host);
      const options = { leafFor: () => leaf, spoken: () => http1, timeoutMs };
      const inside = protocol === null ? null : await intercept(socket, to!, options);
      if (inside === null || (await nextChunk(inside.stream)) === null) socket.destroy();
      else refuseOn(inside.stream, error);
    } catch {
      // There is no certificate for that host.
      socket.destroy();
    }
  }
}

/** Facts from the first bytes of a client. */
interface FirstWords {
  /** Protocol of the first bytes; null: neither TLS nor HTTP. */
  readonly protocol: 'https' | 'http' | null;
  /** Name of the host; null if the client sent no name, or no valid one. */
  readonly name: string | null;
  readonly selecting: Required<Opening>['selecting'];
}

/** Reads the first bytes of a client, and leaves them in its stream; null if the client disconnected. */
async function firstWords(socket: Duplex, limits: HeadLimits): Promise<FirstWords | null> {
  const begun = await beginning(socket);
  if (begun === null) return null;
  let { bytes } = begun;
  if (begun.hello !== null) {
    socket.unshift(bytes);
    return { protocol: 'https', name: canonicalHost(begun.hello.serverName ?? ''), selecting: [] };
  }
  const isRequest = () => methodStart.test(bytes.toString('latin1', 0, 32));
  const { head_bytes: most } = limits;
  let size = sectionSize(bytes);
  while (isRequest() && size < 0 && bytes.length < most) {
    const chunk = await nextChunk(socket);
    if (chunk === null) return null;
    bytes = Buffer.concat([bytes, chunk]);
    size = sectionSize(bytes);
  }
  socket.unshift(bytes);
  if (!isRequest()) return { protocol: null, name: null, selecting: [] };
  const isWhole = size > 0 && size <= most;
  const head = bytes.toString('latin1', 0, isWhole ? size : most);
  const [, host] = hostField.exec(head) ?? [];
  const selecting = isWhole
    ? [...head.matchAll(grantFields)].flatMap(([, grant]) => ['Sidekey-Grant', grant!])
    : new Malformed('request', 'head_too_large', limits);
  return { protocol: 'http', name: canonicalHost(splitPort(host ?? '').host), selecting };
}
