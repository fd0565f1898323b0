import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Identity, readPresented, selectorsOf, withSelectors } from '../agents/authentication.ts';
import { egressRefusal } from '../agents/egress.ts';
import type { RawFields } from './http/fields.ts';
import type { RequestHead } from './http/head.ts';
import type { Client, InterceptedTunnel } from './http/message.ts';
import { refusalOf, refuseOn } from './http/problem.ts';
import { deniedRequest, uncredentialed } from './allow-remedy.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { asTyped } from '../lib/command-name.ts';
import { type Authority, isOwn } from './policy/authority.ts';
import { connectDomain, decideConnect, type Policy } from './policy/decide.ts';
import type { NegotiatedProtocol } from './upstream/h2-session.ts';
import { type Inside, intercept } from './intercept.ts';
import { acceptedFor, policyNow, useProposal } from './proposed.ts';
import { ExchangeRecord } from './record.ts';
import { type OpenConnections, tunnelRefusal } from './revalidate.ts';
import type { ConfigSnapshot, ProxyServices } from './services.ts';
import { connectTargetOf, offerOf, scopeFor } from './target.ts';

/** Serves the requests that come out of an intercepted tunnel. */
type ServeInside = (inside: Inside, client: Client, tunnel: InterceptedTunnel) => void;

/** The protocol if the upstream's protocol is not needed. */
export const http1: NegotiatedProtocol = { protocol: 'http/1.1', extendedConnect: false };
/** The protocol of the proxy's own host. */
const ownSpoken: NegotiatedProtocol = { protocol: 'h2', extendedConnect: false };

/** A request of a client for a tunnel, by CONNECT or in another protocol. */
export interface Opening {
  /** Head of the CONNECT; for another protocol, an equivalent CONNECT. */
  readonly head: RequestHead;
  readonly socket: Duplex;
  readonly client: Client;
  /** `Sidekey-Grant` of the first request in the tunnel if its head was read, or why it cannot be read. */
  readonly selecting?: RawFields | SidekeyError;
  /** Reports to the client that its tunnel is open. */
  readonly established: () => void;
  /** Reports to the client why the tunnel is refused, and ends the connection. */
  readonly refused: (error: unknown) => void;
}

/**
 * Returns a CONNECT equivalent to a request in another protocol.
 * @param authorization value of `Proxy-Authorization`; null: no such field
 */
export function connectHead(target: string, authorization: string | null): RequestHead {
  const fields = authorization === null ? [] : ['Proxy-Authorization', authorization];
  return { method: 'CONNECT', target, version: '1.1', fields };
}

/** Returns the opening of a CONNECT. */
export function connectOpening(head: RequestHead, socket: Duplex, client: Client): Opening {
  return {
    head,
    socket,
    client,
    established: () => void socket.write('HTTP/1.1 200 Connection Established\r\n\r\n'),
    refused: (error) => refuseOn(socket, error),
  };
}

/**
 * Refuses a tunnel, passes it through blind, or intercepts it. Policy decides here only which of the three.
 * Each request in an intercepted tunnel is decided by itself.
 */
export async function openTunnel(
  { head, socket, client, selecting = [], established, refused }: Opening,
  services: ProxyServices,
  open: OpenConnections,
  serveInside: ServeInside,
): Promise<void> {
  const record = new ExchangeRecord({ head, body: null, client }, services.now);
  try {
    const settings = await services.config();
    const target = connectTargetOf(head);
    if (target instanceof SidekeyError) throw target;
    record.target({ authority: target });

    const presented = orThrow(withSelectors(readPresented(head.fields, client.certificate), head.fields));
    const identity = await services.agents.identify(presented, {
      address: client.address,
      loopback: client.loopback,
      owner: client.owner,
      mode: settings.agents,
      heard: record,
    });
    if (identity instanceof SidekeyError) throw identity;
    client.authenticated?.();
    record.identity(identity);

    // Requests for the proxy itself are answered inside and never dialed.
    const isOwnHost = isOwn(target);
    const isListed = isOwnHost || connectDomain(settings.policy, target) !== null;
    const accepted = isListed
      ? null
      : await acceptedFor(identity, (policy) => connectDomain(policy, target), services.proposals);
    const policy = accepted?.policy ?? settings.policy;
    const reachable = { caller: identity, config: settings, services };
    const decision = isOwnHost ? ({ outcome: 'inject' } as const) : decideConnect(policy, target);
    switch (decision.outcome) {
      case 'deny':
        throw await deniedRequest(decision, target, reachable);
      case 'tunnel': {
        const { grant } = orThrow(selectorsOf(orThrow(selecting), identity.selectors));
        if (grant !== null) throw await uncredentialed(grant, target, decision, reachable);
        if (accepted !== null) record.approved(accepted.proposal);
        if (accepted?.isOnce === true) await useProposal(accepted, target, services);
        if (accepted === null) orThrow(await egressRefusal(identity, target));
        await services.audit.append(record.access());
        const permission = { caller: identity, grant: null };
        const refusal = async (now: Policy) =>
          tunnelRefusal(await policyNow(now, accepted, target, services.proposals), target) ??
          (accepted === null ? egressRefusal(identity, target) : null);
        services.load.begin(identity.agent, settings.limits.agent_exchanges);
        // The dial too: what ends the right meanwhile cuts it as it cuts the open ones.
        const result = await open
          .during({ client: socket, permission, refusal }, async () => {
            const upstream = await settings.dialer.connectBlind(target);
            established();
            const bytes = await relay(socket, upstream, settings.limits.tunnel_idle);
            return { status: 200, ...bytes, outcome: 'complete' };
          })
          .finally(() => services.load.end(identity.agent));
        services.audit.note({ ...record.outcome(result), event: 'tunnel' });
        return;
      }
      // A request inside is decided again.
      case 'approve':
      case 'inject': {
        // Before the 200: where there can be no certificate, the refusal can still be read.
        const leaf = services.leafFor(target.host);
        established();
        let failure: Error | undefined;
        const inside = await intercept(socket, target, {
          leafFor: () => leaf,
          spoken: () =>
            isOwnHost
              ? ownSpoken
              : spokenBy({ ...target, scheme: 'https' }, identity, { ...settings, policy }, services),
          failed: (why) => (failure ??= why),
          timeoutMs: settings.limits.client_handshake,
        });
        if (inside === null) {
          const { host, port } = target;
          const { level, text } = brokenOff(target, failure);
          services.log[level]({ client: client.address, host, port }, text);
          return;
        }
        const authority: Authority = { ...target, scheme: inside.scheme };
        serveInside(inside, client, { authority, serverName: inside.serverName, presented });
      }
    }
  } catch (error) {
    if (!(error instanceof SidekeyError)) services.log.error({ err: error }, 'a CONNECT failed');
    services.audit.note(record.refused(error, refusalOf(error).status));
    refused(error);
  }
}

/** Alerts of a client that does not trust the certificate (RFC 8446 §6.2). */
const notTrusted = /ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|UNSUPPORTED_CERTIFICATE)/;

/** Reasons for which OpenSSL refuses a client that does not get as far as trust. */
const unfit: readonly (readonly [code: RegExp, why: string])[] = [
  [
    /NO_SHARED_CIPHER|NO_SUITABLE_SIGNATURE_ALGORITHM/,
    'it offers no cipher and signature for a certificate with ECDSA and P-256 (only RSA, perhaps)',
  ],
  [/UNSUPPORTED_PROTOCOL|WRONG_VERSION/, 'it offers neither TLS 1.2 nor TLS 1.3'],
  [/NO_APPLICATION_PROTOCOL/, 'it offers neither HTTP/1.1 nor HTTP/2 (ALPN)'],
];

/** Returns the line of the log for a failed TLS handshake of a client: the reason and the remedy. */
function brokenOff(
  { host, port }: Authority,
  failure: Error | undefined,
): { readonly level: 'info' | 'warn'; readonly text: string } {
  const place = `${host}:${port}`;
  const code =
    failure !== undefined && 'code' in failure ? String(failure.code) : 'it left, or took too long';
  const why = unfit.find(([codes]) => codes.test(code))?.[1];
  if (why !== undefined) {
    const text = `a client cannot make a TLS connection with Sidekey for ${place} (${code}): ${why}; use a newer TLS library, or "${asTyped(`sidekey domain tunnel ${host}`)}", which adds no credential`;
    return { level: 'warn', text };
  }
  const trust = `"${asTyped('sidekey run')}" sets the CA variables of common programs; one with a CA file of its own needs that of "${asTyped('sidekey ca export --format bundle')}" (docs/clients.md)`;
  return notTrusted.test(code)
    ? { level: 'warn', text: `a client does not trust the CA of Sidekey for ${place} (${code}): ${trust}` }
    : {
        level: 'info',
        text: `a client broke off its TLS handshake for ${place} (${code}); it may not trust the CA of Sidekey: ${trust}`,
      };
}

/**
 * Returns the protocol of the upstream. If the upstream cannot be reached, the first request reports why. An
 * upstream that needs a grant's certificate is not contacted: no authorized request may present it yet.
 */
async function spokenBy(
  authority: Authority,
  caller: Identity,
  settings: ConfigSnapshot,
  { grants }: Pick<ProxyServices, 'grants'>,
): Promise<NegotiatedProtocol> {
  try {
    const domain = settings.policy.domains.match(authority);
    if (domain?.action.kind === 'grant') {
      const { grant } = domain.action;
      const { candidates } = offerOf(await grants.find(grant, scopeFor(grant, caller)), domain, caller);
      if (candidates.some(({ type }) => type === 'client_certificate')) return http1;
    }
    return await settings.protocols.of(authority);
  } catch {
    return http1;
  }
}

/** Number of bytes that were relayed. */
interface Tunnelled {
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/**
 * Relays bytes both ways until both sides have ended, either has failed, or nothing has moved for `idleMs`.
 * One side's end is passed on, and the other may go on talking (half-close). Never rejects.
 */
export async function relay(client: Duplex, upstream: Socket, idleMs: number): Promise<Tunnelled> {
  let bytesIn = 0;
  let bytesOut = 0;
  const cut = () => {
    client.destroy();
    upstream.destroy();
  };
  const ended = () => {
    if (client.writableFinished && upstream.writableFinished) cut();
  };
  const sides = [client, upstream];
  for (const side of sides) side.on('error', cut).on('finish', ended);
  const closings = sides.map((side) => closing(side).then(cut));
  upstream.setTimeout(idleMs, cut);
  flow(client, upstream, (length) => (bytesIn += length));
  flow(upstream, client, (length) => (bytesOut += length));
  await Promise.all(closings);
  return { bytesIn, bytesOut };
}

/** Passes on the bytes and the end of a side. With `pipe`, an idle tunnel needs 3 KB more. */
function flow(from: Duplex, to: Duplex, passed: (length: number) => void): void {
  to.on('drain', () => from.resume());
  // A client may end its side while the upstream is dialed.
  if (from.readableEnded) to.end();
  from
    .on('end', () => to.end())
    .on('data', (chunk: Buffer) => {
      passed(chunk.length);
      if (!to.write(chunk)) from.pause();
    })
    .resume();
}

/** Resolves when a side has closed. It may have done so before, while the other was being dialed. */
function closing(side: Duplex): Promise<void> {
  return new Promise((resolve) => {
    if (side.closed) resolve();
    else side.once('close', () => resolve());
  });
}
