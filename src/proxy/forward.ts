import type { RawFields } from '../http/fields.ts';
import type { BodyPlan } from '../http/framing.ts';
import type { ExchangeResult, Meter, Reply, Spend } from '../http/message.ts';
import type { SidekeyError } from '../lib/errors.ts';
import type { DetectedPlaceholders, SubstitutedRequest } from '../placeholders/substitute.ts';
import type { Authority } from '../policy/authority.ts';
import type { EchoPlan } from '../policy/leak-guard.ts';
import type { AppliedRequest } from '../schemes/scheme.ts';
import type { Protocol } from '../upstream/protocol.ts';
import { isSafe, type Proofs, type AttemptContext } from './attempt.ts';
import type { ConfigSnapshot } from './deps.ts';
import { Attempt } from './forward-h1.ts';
import { StreamAttempt } from './forward-h2.ts';
import { meteredBody } from './request-body.ts';
import type { RequestPermission } from './revalidate.ts';

/** A request as it leaves: where to, and what exactly. */
export interface UpstreamRequest {
  readonly authority: Authority;
  /** What the client speaks. One of HTTP/1.1 is served over HTTP/1.1; one of HTTP/2 over what the upstream chooses. */
  readonly protocol: Protocol;
  readonly method: string;
  /** Origin-form, the raw bytes that were judged. */
  readonly path: string;
  /** All that goes on, what frames the body included. */
  readonly fields: RawFields;
  /** As the fields say. */
  readonly framing: BodyPlan;
  readonly body: AsyncIterable<Buffer> | null;
  /** Those of the body that go on, once it has ended. */
  readonly trailers: () => RawFields;
  /** Whether it is for a grant: a credential travels with it, or is the client's own where the provider has it so. */
  readonly carriesGrant: boolean;
  /** Bytes of the response body that may come back; null: any. */
  readonly maxResponse: number | null;
  /** By what right it leaves: asked for again while the response lasts. */
  readonly permission: RequestPermission;
  /** Takes the bytes of both bodies off a budget; absent: they count against none. */
  readonly spend?: Spend | undefined;
  /** Takes the credential out of response fields; see `Injected`. */
  readonly conceal?: AppliedRequest['conceal'];
  /** Which fields the credential stands in; see `Injected`. */
  readonly carriedIn?: AppliedRequest['carriedIn'];
  /** What no response may show; see `Injected`. */
  readonly secrets?: AppliedRequest['secrets'];
  /** Which responses are looked into for those; absent or null: none. */
  readonly echo?: EchoPlan | null | undefined;
  /** Counts an echo; answers why the exchange may not go on. Absent: echoes do not count. */
  readonly countEcho?: (() => Promise<SidekeyError | null>) | undefined;
  /** Writes the body anew while it streams; see `Injected`. */
  readonly rewriteBody?: AppliedRequest['rewriteBody'];
  /** See `Injected`. */
  readonly reframed?: AppliedRequest['reframed'];
  /** Its placeholders; absent: it has none. */
  readonly placeholders?: DetectedPlaceholders;
  /** Text messages of a WebSocket are written anew; see `Injected`. */
  readonly messages?: SubstitutedRequest['messages'];
  /** Who we are on the connection that it leaves on; see `Injected`. */
  readonly identity?: AppliedRequest['identity'];
  /** SHA-256 of the body in hex, where it was read for that. */
  readonly bodyHash?: string;
  /** All of the body, where it was read for that. */
  readonly wholeBody?: Buffer;
  /**
   * Asked of the fields of an upstream's 401 or 403 that goes on: fields of our own that go along. Absent where no
   * credential of a grant leaves.
   */
  readonly consentHint?: ((fields: RawFields) => RawFields) | undefined;
  /**
   * Asked at an upstream 401: has the token renewed, and answers with what to send the request with once more, or
   * null to let the 401 through. `replayable`: whether the request can be sent again. Absent where nothing can be
   * renewed.
   */
  readonly renew?: ((replayable: boolean) => Promise<AppliedRequest | null>) | undefined;
  /** Absent where no token leaves that is bound to a key. */
  readonly proofs?: Proofs | undefined;
}

/**
 * Sends a request over a connection or a session that is kept, or a new one, and streams the response back. Nothing is
 * held in memory but what is under way and, for a second try, a bounded copy of the body.
 *
 * Rejects with a SidekeyError where the upstream fails before its head; later failures cut the client's connection.
 */
export async function forward(
  request: UpstreamRequest,
  meter: Meter,
  reply: Reply,
  { connections, streams, limits }: Pick<ConfigSnapshot, 'connections' | 'streams' | 'limits'>,
): Promise<ExchangeResult> {
  let { renew } = request;
  const { proofs } = request;
  let mayProve = proofs !== undefined;
  let injected: AppliedRequest = request;
  // HTTP/2 without TLS is only for those who know that of each other (RFC 9113 §3.3).
  let protocol: Protocol = request.authority.scheme === 'https' ? request.protocol : 'http/1.1';
  // An upstream of HTTP/2 says of any request when it has done nothing with it.
  const mayRepeat = renew !== undefined || mayProve || isSafe(request.method) || protocol === 'h2';
  const bounds = { keep: mayRepeat ? limits.replay_bytes : 0, most: limits.body_bytes };
  const body = meteredBody(request.body, bounds, meter);
  let sent: AttemptContext['sent'] = body.stream;
  let fresh = false;
  for (;;) {
    const it: AttemptContext = {
      request,
      injected,
      sent,
      body,
      renew,
      mayProve,
      fresh,
      meter,
      reply,
      limits,
      connections,
      streams,
    };
    const end = await (protocol === 'h2' ? new StreamAttempt(it) : new Attempt(it)).run();
    switch (end.kind) {
      case 'done':
        return end.result;
      case 'renewed':
        ({ request: injected, sent } = end);
        renew = undefined;
        break;
      case 'proved':
        ({ sent } = end);
        mayProve = false;
        break;
      case 'lost':
        if (fresh) throw end.error;
        fresh = true;
        sent = end.sent;
        break;
      case 'downgraded':
        protocol = 'http/1.1';
        sent = end.sent;
    }
    // Whatever became of the one before: its proof may have been seen.
    if (proofs !== undefined && end.kind !== 'renewed') injected = proofs.anew();
  }
}
