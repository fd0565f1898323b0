import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer, type TLSSocket } from 'node:tls';
import type { ProxyConfig, ProxyTls } from '../config/proxy.ts';
import type { Client, ShownCertificate } from './http/message.ts';
import { followCertificate, readCertificate } from '../lib/certificate-files.ts';
import { endsOf } from '../lib/connection-places.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Timers } from '../lib/timers.ts';
import { createAddressBlocks, plainAddress } from './policy/authority.ts';
import { handshakeRecordType, nextChunk } from './client-hello.ts';
import { readProxyHeader } from './proxy-header.ts';

/** The beginning of a client connection, before its first request: a PROXY protocol header, and TLS. */
export type Entry = Awaited<ReturnType<typeof openEntry>>;

/**
 * Opens the entry.
 *
 * @throws SidekeyError `config_invalid` for a certificate that cannot be used
 */
export async function openEntry(
  { tls, balancers }: Pick<ProxyConfig, 'tls' | 'balancers'>,
  parts: { readonly log: Log; readonly timers: Timers },
) {
  const isBalancer = createAddressBlocks(balancers);
  const secure = tls === null ? null : await openTls(tls, parts);

  return {
    /**
     * Returns the stream of requests and its client; null: the client left.
     *
     * @param direct the client as its socket says
     * @throws SidekeyError `bad_request`: a balancer sent no header; `insecure_transport`: no TLS
     */
    async enter(
      socket: Socket,
      direct: Client,
    ): Promise<{ readonly stream: Duplex; readonly client: Client } | null> {
      let client = direct;
      let bytes: Buffer | null = null;
      if (isBalancer(plainAddress(socket.remoteAddress ?? ''))) {
        const begun = await behindHeader(socket);
        if (begun === null) return null;
        ({ bytes } = begun);
        // The connection came from another machine, whatever address the balancer states.
        client = { ...direct, loopback: false, address: begun.client ?? direct.address };
      }
      if (secure === null) {
        if (bytes !== null) socket.unshift(bytes);
        return { stream: socket, client };
      }
      bytes = bytes?.length ? bytes : await nextChunk(socket);
      if (bytes === null) return null;
      socket.unshift(bytes);
      if (bytes[0] !== handshakeRecordType) {
        if (client.loopback) return { stream: socket, client };
        const sentence = 'The port of this proxy speaks TLS with other machines.';
        const hint = 'set HTTPS_PROXY=https://NAME:TOKEN@HOST:PORT, with a name that its certificate has';
        throw new SidekeyError('insecure_transport', sentence, { hint });
      }
      const stream = await secure.handshake(socket);
      if (stream === null) return null;
      return { stream, client: { ...client, certificate: shownBy(stream, tls!.agents) } };
    },
    /** Stops watching the files of the certificate. */
    close: () => secure?.close(),
  };
}

/** Reads the header of a balancer. Returns the client and the bytes after the header; null: it left. */
async function behindHeader(
  socket: Socket,
): Promise<{ readonly bytes: Buffer; readonly client: string | null } | null> {
  let bytes = Buffer.alloc(0);
  for (;;) {
    const chunk = await nextChunk(socket);
    if (chunk === null) return null;
    bytes = Buffer.concat([bytes, chunk]);
    const header = readProxyHeader(bytes);
    if (header.kind === 'malformed') {
      const sentence = 'A connection of a load balancer begins without a header of the PROXY protocol.';
      throw new SidekeyError('bad_request', sentence, {
        hint: 'turn the PROXY protocol on at the balancer, or take its address out of proxy.proxy_protocol',
      });
    }
    if (header.kind === 'more') continue;
    const { client, length } = header;
    const host = client?.address.includes(':') === true ? `[${client.address}]` : client?.address;
    return { bytes: bytes.subarray(length), client: client && `${host}:${client.port}` };
  }
}

/**
 * Opens a TLS server that never listens and is given its connections. It shakes hands with clients, and
 * verifies client certificates.
 */
async function openTls(
  { files, agents }: ProxyTls,
  { log, timers }: { readonly log: Log; readonly timers: Timers },
) {
  const certificate = await readCertificate(files);
  const fixed = {
    minVersion: 'TLSv1.2',
    // A resumed session would have the certificate of the first one.
    secureOptions: constants.SSL_OP_NO_TICKET,
  } as const;
  const waiting = new Map<string, (stream: TLSSocket | null) => void>();
  const settle = (stream: TLSSocket, result: TLSSocket | null) => waiting.get(endsOf(stream))?.(result);
  const server = createServer({
    ...fixed,
    ...certificate,
    requestCert: agents.size > 0,
    // The first request gets the reason.
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
  })
    .on('secureConnection', (stream) => settle(stream, stream))
    .on('tlsClientError', ({ message }, stream) => {
      log.info({ client: endsOf(stream) }, `a client made no TLS handshake with the proxy: ${message}`);
      settle(stream, null);
    });
  const use = (renewed: typeof certificate) => server.setSecureContext({ ...fixed, ...renewed });
  const following = followCertificate(files, certificate, { use, log, timers });
  return {
    /** Returns the stream inside TLS; null: the handshake failed. */
    handshake(socket: Socket): Promise<TLSSocket | null> {
      const ends = endsOf(socket);
      return new Promise<TLSSocket | null>((resolve) => {
        waiting.set(ends, resolve);
        socket.once('close', () => resolve(null));
        server.emit('connection', socket);
      }).finally(() => waiting.delete(ends));
    },
    close: () => following[Symbol.dispose](),
  };
}

/** Returns the agent of a client certificate, or the reason for none. Undefined: no certificate was sent. */
function shownBy(stream: TLSSocket, agents: ProxyTls['agents']): ShownCertificate | undefined {
  const certificate = stream.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  if (!stream.authorized)
    return { problem: `The client certificate is not accepted (${String(stream.authorizationError)}).` };
  const names = namesIn(certificate.subjectAltName ?? '');
  const agentNames = new Map(
    names.flatMap((name) => (agents.has(name) ? [[agents.get(name)!, name] as const] : [])),
  );
  const [[agent, subject] = []] = agentNames;
  if (agent === undefined || subject === undefined)
    return { problem: 'The client certificate has no name that proxy.tls.agents lists.' };
  if (agentNames.size > 1) return { problem: 'The client certificate has the names of several agents.' };
  return { agent, subject, expiresAt: certificate.validToDate.getTime() };
}

/**
 * Returns the URIs and DNS names of a `subjectAltName` of Node.js. Leaves out a name that has the form of the
 * other kind (RFC 5280 §4.2.1.6). Node.js writes a value with a comma or a quote as a JSON string.
 */
export function namesIn(text: string): string[] {
  const entry = /([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y;
  const names: string[] = [];
  while (entry.lastIndex < text.length) {
    const [, kind, value = ''] = entry.exec(text) ?? [];
    if (kind === undefined) return [];
    if (value.startsWith('"')) continue;
    const isUri = value.includes('://');
    if (kind === 'URI' && isUri) names.push(value);
    else if (kind === 'DNS' && !isUri) names.push(value.toLowerCase());
  }
  return names;
}
