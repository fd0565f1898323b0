import type { ReadyToken } from '../grants/token-result.ts';
import type { Placement } from '../grants/provider.ts';
import { type RawFields, requestFields } from '../http/fields.ts';
import type { BodyPlan } from '../http/framing.ts';
import type { InboundRequest, Reply } from '../http/message.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import type { EchoPlan } from '../policy/leak-guard.ts';
import type { DetectedPlaceholders, SubstitutedRequest } from '../placeholders/substitute.ts';
import type { Protocol } from '../upstream/protocol.ts';
import type { AuthorizedRequest, GrantedRequest } from './authorize.ts';
import type { EchoKey } from './limits.ts';
import { wholeBody } from './request-body.ts';
import type { RequestPermission } from './revalidate.ts';

/** A request to an upstream, before a credential is applied to it. */
export interface PreparedRequest {
  readonly authority: Authority;
  /** The protocol of the client. A request of HTTP/1.1 is sent in HTTP/1.1, one of HTTP/2 in what the upstream chooses. */
  readonly protocol: Protocol;
  readonly method: string;
  /** Origin-form, the raw bytes that were judged. */
  readonly path: string;
  /** All fields to be sent, those that frame the body included. */
  readonly fields: RawFields;
  /** The framing that `fields` announce. */
  readonly framing: BodyPlan;
  readonly body: AsyncIterable<Buffer> | null;
  /** Returns the trailers of the client's body, once it has ended. Absent: it can have none. */
  readonly trailers?: InboundRequest['trailers'];
  /** Placeholders in it; absent: there are none. */
  readonly placeholders?: DetectedPlaceholders;
  /** SHA-256 of the body in hex, where a scheme needs it. */
  readonly bodyHash?: string;
  /** All of the body, where a scheme needs it. */
  readonly wholeBody?: Buffer;
}

/** A request as it is sent to an upstream. */
export interface UpstreamRequest
  extends PreparedRequest, Omit<SubstitutedRequest, 'path' | 'fields' | 'reframed'> {
  /** True if it is for a grant: its credential is applied, or the client brings its own where the provider says so. */
  readonly carriesGrant: boolean;
  /** Bytes that the response body may have; null: any number. */
  readonly maxResponse: number | null;
  /** Checked again while the response lasts. */
  readonly permission: RequestPermission;
  /** Null: nothing was applied. */
  readonly credential: AppliedCredential | null;
  /** Responses that are searched for the credential; null: none. */
  readonly leakGuard: EchoPlan | null;
  /** The agent and grant that echoes of the credential are counted for; null: they are not counted. */
  readonly echoKey: EchoKey | null;
}

/** The credential of a request, and the values to apply another one by. */
export interface AppliedCredential {
  readonly token: ReadyToken;
  readonly plan: Placement;
  readonly authorized: GrantedRequest;
  readonly prepared: PreparedRequest;
  /** The origin whose DPoP nonce the proof has (RFC 9449 §9); null: the request has no proof. */
  readonly nonceOrigin: string | null;
}

/**
 * Makes the request to the upstream. Reads the body of one that waits for a person to its end, so that it is noticed when
 * the client leaves.
 *
 * @throws SidekeyError as `wholeBody`
 */
export async function upstreamRequest(
  { received, decision, config }: AuthorizedRequest,
  reply: Pick<Reply, 'continue'>,
): Promise<PreparedRequest> {
  const { target, framing, inbound } = received;
  const { head, trailers } = inbound;
  const isHttp2 = head.version === '2';
  let { body } = received;
  if (decision.outcome === 'approve' && body !== null) {
    reply.continue();
    body = await wholeBody(body, config.limits.approval_body_bytes);
  }
  return {
    authority: target.authority,
    method: head.method,
    path: target.path,
    fields: requestFields(head.fields, authorityText(target.authority), isHttp2),
    protocol: isHttp2 ? 'h2' : 'http/1.1',
    framing,
    body,
    trailers,
  };
}

/** Reports whether a byte may follow the head. */
export function hasBody({ framing }: Pick<PreparedRequest, 'framing'>): boolean {
  return framing.kind === 'chunked' || (framing.kind === 'length' && framing.bytes > 0);
}
