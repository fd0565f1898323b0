import type { ExchangeResult, Meter, Reply } from '../http/message.ts';
import type { Protocol } from '../upstream/h2-session.ts';
import { type AttemptContext, type Credentials, isSafe } from './attempt.ts';
import { Attempt } from './forward-h1.ts';
import { StreamAttempt } from './forward-h2.ts';
import type { ConfigSnapshot } from './services.ts';
import { meteredBody, type UpstreamRequest } from './upstream-request.ts';

/**
 * Sends a request over a kept or a new connection or session, and streams the response into the reply. Sends it again where a
 * kept connection died, the token was renewed, or the upstream wants another DPoP proof or HTTP/1.1. Memory holds the bytes
 * under way and, for a second attempt, a bounded copy of the body.
 *
 * Rejects with a SidekeyError where the upstream fails before its head; later failures cut the client's connection.
 */
export async function forward(
  first: UpstreamRequest,
  reply: Reply,
  { connections, streams, limits }: Pick<ConfigSnapshot, 'connections' | 'streams' | 'limits'>,
  meter: Meter,
  credentials: Credentials,
): Promise<ExchangeResult> {
  let request = first;
  const isProved = first.credential !== null && first.credential.nonceOrigin !== null;
  let mayRenew = first.credential?.token.grant.refreshable === true;
  let mayProve = isProved;
  // HTTP/2 without TLS needs prior knowledge on both sides (RFC 9113 §3.3).
  let protocol: Protocol = first.authority.scheme === 'https' ? first.protocol : 'http/1.1';
  // An upstream of HTTP/2 says of any request when it has not processed it.
  const mayRepeat = mayRenew || mayProve || isSafe(first.method) || protocol === 'h2';
  const bounds = { keep: mayRepeat ? limits.replay_bytes : 0, most: limits.body_bytes };
  const body = meteredBody(first.body, bounds, meter);
  let sent: AttemptContext['sent'] = body.stream;
  let fresh = false;
  for (;;) {
    const context: AttemptContext = {
      request,
      sent,
      body,
      mayRenew,
      mayProve,
      fresh,
      meter,
      reply,
      limits,
      connections,
      streams,
      credentials,
    };
    const end = await (protocol === 'h2' ? new StreamAttempt(context) : new Attempt(context)).run();
    if (end.kind === 'done') return end.carried;
    ({ sent } = end);
    switch (end.kind) {
      case 'renewed':
        ({ request } = end);
        mayRenew = false;
        continue;
      case 'proved':
        mayProve = false;
        break;
      case 'lost':
        if (fresh) throw end.error;
        fresh = true;
        break;
      case 'downgraded':
        protocol = 'http/1.1';
    }
    // The proof of the last attempt may be known to others.
    if (isProved) request = credentials.prove(request);
  }
}
