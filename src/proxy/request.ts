import { longestBody } from '../domain/approval.ts';
import type { Placement } from '../domain/provider.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import { plainRequest, type RawFields } from './http/fields.ts';
import { type BodyFraming, bodyTooLarge } from './http/framing.ts';
import { type InboundRequest, type Meter, readAhead } from './http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { DetectedPlaceholders, SubstitutedRequest } from './placeholders/substitute.ts';
import type { Authority } from './policy/authority.ts';
import type { LeakSearch } from './policy/domain-map.ts';
import type { Peer } from './policy/peer.ts';
import { mayCallTool } from './policy/tools.ts';
import type { PlannedFields } from './schemes/apply.ts';
import type { Protocol } from './upstream/h2-session.ts';
import type { AdditionalCredential } from './also.ts';
import type { AuthorizedRequest, GrantedRequest, ReceivedRequest } from './authorize.ts';
import { isTokenEndpoint } from './login-grant.ts';
import type { LeakKey } from './rule-limits.ts';
import type { RequestPermission } from './revalidate.ts';
import type { ExchangeContext } from './services.ts';

/** A request to an upstream, before a credential is applied to it. */
export interface PreparedRequest {
  readonly authority: Authority;
  /** The protocol of the client. HTTP/1.1 is forwarded as HTTP/1.1, HTTP/2 as the upstream chooses. */
  readonly protocol: Protocol;
  readonly method: string;
  /** Origin-form, the raw bytes that were judged. */
  readonly path: string;
  /** All fields to send, including those that frame the body. */
  readonly fields: RawFields;
  /** The framing that `fields` announce. */
  readonly framing: BodyFraming;
  readonly body: AsyncIterable<Buffer> | null;
  /** Returns the trailers of the client's body, once it has ended. Absent: it can have none. */
  readonly trailers?: InboundRequest['trailers'];
  /** Placeholders in the request; absent: none. */
  readonly placeholders?: DetectedPlaceholders;
  /** Reports whether a list of tools in the response may name a tool; absent: it has no such list. */
  readonly isListed?: ((tool: string) => boolean) | undefined;
  /** SHA-256 of the body in hex, where a scheme needs it. */
  readonly bodyHash?: string;
  /** The body as the client sent it, where a person is asked and it is short. */
  readonly askedBody?: Buffer;
  /** The whole body, if a scheme needs it. */
  readonly wholeBody?: Buffer;
}

/** An exchange whose request is allowed, and prepared for its upstream. */
export interface PreparedExchange extends ExchangeContext {
  readonly authorized: AuthorizedRequest;
  readonly prepared: PreparedRequest;
}

/** A request as it is sent to an upstream. */
export interface UpstreamRequest
  extends PreparedRequest, Omit<SubstitutedRequest, 'path' | 'fields' | 'reframed' | 'identity'> {
  readonly peer: Peer;
  /** Bytes of `fields` from the last request; absent: `fields` belong only to this request. */
  readonly planned?: PlannedFields;
  /** True if the request has a credential: that of a grant, or the client's own if the provider allows it. */
  readonly carriesGrant: boolean;
  /** Bytes that the response body may have; null: any number. */
  readonly maxResponse: number | null;
  /** Checked again while the response lasts. */
  readonly permission: RequestPermission;
  /** Null: nothing was applied. */
  readonly credential: AppliedCredential | null;
  /** Responses that are searched for the credential; null: none. */
  readonly leakGuard: LeakSearch | null;
  /** The agent and grant that leaks of the credential are counted for; null: they are not counted. */
  readonly leakKey: LeakKey | null;
}

/** The credential of a request, and the values to apply another one by. */
export interface AppliedCredential {
  readonly token: ReadyToken;
  readonly placement: Placement;
  /** Credentials of additional grants. */
  readonly also: readonly AdditionalCredential[];
  readonly authorized: GrantedRequest;
  readonly prepared: PreparedRequest;
  /** The origin whose DPoP nonce the proof has (RFC 9449 §9); null: the request has no proof. */
  readonly nonceOrigin: string | null;
}

/**
 * Makes the request to the upstream. If the request waits for a person, reads its body to the end, so that a
 * client that leaves is noticed.
 *
 * @throws SidekeyError as `wholeBody`
 */
export function upstreamRequest({
  authorized,
  reply,
}: Omit<PreparedExchange, 'prepared'>): PreparedRequest | Promise<PreparedRequest> {
  const { received, decision, config } = authorized;
  const { body } = received;
  const request = preparedRequest(body, received, listedTools(authorized));
  if (decision.outcome !== 'approve' || body === null) return request;
  reply.continue();
  return wholeBody(body, config.limits.approval_body_bytes).then(({ bytes, body: whole }) => ({
    ...request,
    body: whole,
    ...(bytes.length <= longestBody ? { askedBody: bytes } : {}),
  }));
}

function preparedRequest(
  body: PreparedRequest['body'],
  { target, framing, inbound: { head, trailers }, plan }: ReceivedRequest,
  isListed: PreparedRequest['isListed'],
): PreparedRequest {
  const { authority, path } = target;
  const fields = plan.forwarded(head, authority);
  return {
    authority,
    method: head.method,
    path,
    fields: isListed === undefined ? fields : plainRequest(fields),
    isListed,
    protocol: head.version === '2' ? 'h2' : 'http/1.1',
    framing,
    body,
    trailers,
  };
}

/**
 * Returns the test of tools for a request of `tools/list`, and for a `GET`, whose stream may have the answer.
 * Undefined for any other request, and if rules limit no tools.
 */
function listedTools({ received, config, facts }: AuthorizedRequest): PreparedRequest['isListed'] {
  const isAsked = received.bodyFacts?.jsonrpc?.some(({ method }) => method === 'tools/list');
  if (facts.method !== 'GET' && isAsked !== true) return undefined;
  const domain = config.policy.domains.match(facts.authority);
  if (domain === null) return undefined;
  const { rules, additionalRules = [] } = domain;
  const sets = rules === undefined ? additionalRules : [rules, ...additionalRules];
  if (!sets.some(({ limitsTools }) => limitsTools)) return undefined;
  return (tool) => sets.every((set) => mayCallTool(set, facts, tool));
}

/** Reports whether a request is for the token endpoint of its grant's provider (RFC 6749 §3.2). */
export function isTokenRequest({ prepared, authorized }: PreparedExchange): boolean {
  const { grant, provider, login } = authorized;
  if (login !== null) return true;
  if (grant === null || provider === undefined) return false;
  // Some servers answer a GET there, too.
  return (prepared.method === 'POST' || provider.capturesLogins) && isTokenEndpoint(prepared, provider);
}

/** Reports whether a byte may follow the head. */
export function hasBody({ framing }: Pick<PreparedRequest, 'framing'>): boolean {
  return framing.kind === 'chunked' || (framing.kind === 'length' && framing.bytes > 0);
}

/** A request body while it is sent: counted, limited, and kept as far as a repeat may need it. */
export interface RequestBody {
  /** Stream of the body; null if there is no body. Throws SidekeyError `body_too_large`. */
  readonly stream: AsyncIterable<Buffer> | null;
  /** Returns the whole body if all of it was received and kept, so that it can be repeated. */
  whole(): { readonly copy: Buffer | null } | null;
  /**
   * Returns the whole body from its first byte, with the pieces that are still to come; null: received pieces
   * were not kept. The reader of the body continues with this.
   */
  again(): { readonly copy: AsyncIterable<Buffer> | null } | null;
}

/** A piece, and the next link. A reference to a link keeps all later ones; nothing else keeps them. */
interface Link {
  readonly piece: Buffer;
  next: Promise<Link | null> | null;
}

const nothing = Buffer.alloc(0);

const noBody: RequestBody = { stream: null, whole: () => ({ copy: null }), again: () => ({ copy: null }) };

/**
 * Meters a body while it is read.
 * @param source null: no body
 * @param keep bytes to keep; a longer body cannot be repeated
 * @param most maximum bytes; 0: no limit
 */
export function meteredBody(
  source: AsyncIterable<Buffer> | null,
  keep: number,
  most: number,
  meter: Meter,
): RequestBody {
  return source === null ? noBody : meteredPieces(source, keep, most, meter);
}

/** A function of its own, so that a request without a body does not allocate its variables. */
function meteredPieces(source: AsyncIterable<Buffer>, keep: number, most: number, meter: Meter): RequestBody {
  const pieces = source[Symbol.asyncIterator]();
  let first: Link | null = { piece: nothing, next: null };
  let copies: Buffer[] | null = [];
  let bytes = 0;
  let ended = false;

  async function pull(): Promise<Link | null> {
    const { done, value } = await pieces.next();
    if (done === true) {
      ended = true;
      return null;
    }
    bytes += value.length;
    meter.received(value.length);
    if (most > 0 && bytes > most) throw bodyTooLarge(most);
    if (bytes > keep) first = copies = null;
    else copies?.push(value);
    return { piece: value, next: null };
  }
  /** @param at the only reference to a link: a variable for the first link would keep the whole body */
  async function* from(at: Link | null): AsyncGenerator<Buffer> {
    while (at !== null) {
      // One that waits for the next piece already, and wants it no more, does not take it from this one.
      at = await (at.next ??= pull());
      if (at !== null) yield at.piece;
    }
  }
  return {
    stream: from(first),
    whole: () => (ended && copies !== null ? { copy: bytes === 0 ? null : Buffer.concat(copies) } : null),
    again: () => (first === null ? null : { copy: from(first) }),
  };
}

/**
 * Reads a body to its end, and answers with it in memory.
 *
 * @throws SidekeyError `body_too_large`: more than `most` bytes; `bad_request`: the client left in the body
 */
async function wholeBody(
  body: AsyncIterableIterator<Buffer>,
  most: number,
): Promise<Awaited<ReturnType<typeof readAhead>>> {
  const peeked = await readAhead(body, most);
  if (peeked.isWhole && peeked.bytes.length <= most) return peeked;
  const sentence = `A request body that waits for approval has at most ${most} bytes.`;
  const hint = 'send less, or raise limits.approval_body_bytes';
  throw new SidekeyError('body_too_large', sentence, { hint });
}
