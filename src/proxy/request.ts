import type { Identity } from '../agents/authentication.ts';
import type { Grant } from '../domain/grant.ts';
import type { Placement, Provider } from '../domain/provider.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import type { RawFields } from './http/fields.ts';
import type { BodyFraming } from './http/framing.ts';
import type { InboundRequest, Reply } from './http/message.ts';
import type { SidekeyError } from '../lib/errors.ts';
import type { PlaceholdersInHead } from './placeholders/detect.ts';
import type { DetectedPlaceholders } from './placeholders/substitute.ts';
import type { Authority } from './policy/authority.ts';
import type { BodyFacts } from './policy/body.ts';
import type { Decision } from './policy/decide.ts';
import type { LeakSearch } from './policy/domain-map.ts';
import type { Peer } from './policy/peer.ts';
import type { RequestFacts } from './policy/request.ts';
import type { PlannedFields } from './schemes/apply.ts';
import type { AppliedRequest } from './schemes/scheme.ts';
import type { Protocol } from './upstream/h2-session.ts';
import type { LoginGrant } from './login-grant.ts';
import type { Mints } from './mint-reply.ts';
import { type ConnectionPlan, type FieldFacts, planOf } from './plan.ts';
import type { AcceptedProposal } from './proposed.ts';
import type { ExchangeRecord } from './record.ts';
import type { FoundCode } from './placeholders/codes.ts';
import type { GivenApproval, RequestPermission } from './revalidate.ts';
import type { LeakKey } from './rule-limits.ts';
import type { ConfigSnapshot, ProxyServices } from './services.ts';
import type { AdditionalGrant, GrantCandidates, Target } from './target.ts';

/** A decision other than a denial. */
type AllowedDecision = Exclude<Decision, { readonly outcome: 'deny' }>;

/** A decision that gives a request a grant, for itself or once a person has agreed. */
export type GrantDecision = Extract<Decision, { readonly grant: string }>;

/** The token of an additional grant. */
export interface AdditionalCredential {
  readonly token: ReadyToken;
  readonly placement: Placement;
}

/** The token of a grant, and how the request carries it. */
export interface ObtainedCredential {
  readonly token: ReadyToken;
  readonly placement: Placement;
  /** Credentials of additional grants. */
  readonly also: readonly AdditionalCredential[];
}

/** A request on its way to an upstream. The stages of its exchange set the fields, in this order. */
export class Request {
  readonly inbound: InboundRequest;
  readonly reply: Reply;
  readonly services: ProxyServices;
  readonly record: ExchangeRecord;
  readonly plan: ConnectionPlan;
  /** The config in force. A stage that has waited for a client or a person reads it again. */
  config!: ConfigSnapshot;

  fieldFacts!: FieldFacts;
  /** The framing that the received fields announce. */
  framing!: BodyFraming;
  target!: Target;
  /** True if an SDK of a cloud reads the answer, which it requests from Sidekey itself. */
  isForCloud = false;
  /** Placeholders in the received head. */
  placeholders!: PlaceholdersInHead;
  /** Placeholders in the body, if its provider hands out credentials. */
  shownInBody: readonly FoundCode[] = noCodes;
  /** The received body, or the same bytes again if a stage has read them ahead. */
  body: InboundRequest['body'];

  // The decision of policy, by the config, grants, labels and time of one moment.
  caller!: Identity;
  /** Null: the body was not read. */
  bodyFacts: BodyFacts | null = null;
  /** Null: the domain map offers no grant there. */
  candidates: GrantCandidates | null = null;
  /** The provider of the selected grant; undefined: none is selected, or it has no definition. */
  provider: Provider | undefined = undefined;
  /** The placement of that grant's credential, or why it is not carried; null: no grant is selected. */
  placement: Placement | SidekeyError | null = null;
  facts!: RequestFacts;
  /** Null: the config decided. */
  accepted: AcceptedProposal | null = null;
  /** The path and query as the audit and people may see them. */
  redactedPath = '';
  decision!: AllowedDecision;
  /** The grant whose credential the request gets; null: it gets none. */
  grant: Grant | null = null;
  /** Grants whose credentials the request gets too. */
  also: readonly AdditionalGrant[] = noGrants;
  /** The grant that the request may make or replace as the login of a program; null: none. */
  login: LoginGrant | null = null;
  /** Undefined: no approval was needed. */
  approval: GivenApproval | undefined = undefined;

  // The message to send, before a credential is applied.
  /** Origin-form, the raw bytes that were judged. */
  path = '';
  /** All fields to send, including those that frame the body. */
  fields: RawFields = noFields;
  /** Reports whether a list of tools in the response may name a tool; undefined: it has no such list. */
  isListed: ((tool: string) => boolean) | undefined = undefined;
  /** Rows that the answer may match; undefined: none. */
  mints: Mints | undefined = undefined;
  /** The body as the client sent it, if a person is asked and it is short. */
  askedBody: Buffer | null = null;
  /** SHA-256 of the body in hex, if a scheme needs it. */
  bodyHash: string | null = null;
  /** The whole body, if a scheme needs it. */
  wholeBody: Buffer | null = null;
  /** Placeholders to replace; null: none. */
  detected: DetectedPlaceholders | null = null;
  /** Null: the request gets none. */
  credential: ObtainedCredential | null = null;

  constructor({
    inbound,
    reply,
    services,
    record,
  }: Pick<Request, 'inbound' | 'reply' | 'services' | 'record'>) {
    this.inbound = inbound;
    this.reply = reply;
    this.services = services;
    this.record = record;
    this.plan = planOf(inbound.client);
    this.body = inbound.body;
  }

  get authority(): Authority {
    return this.target.authority;
  }

  get method(): string {
    return this.inbound.head.method;
  }

  /** Reports whether a byte may follow the head. */
  get hasBody(): boolean {
    const { framing } = this;
    return framing.kind === 'chunked' || (framing.kind === 'length' && framing.bytes > 0);
  }
}

const noCodes: readonly FoundCode[] = [];
const noGrants: readonly AdditionalGrant[] = [];
const noFields: RawFields = [];

/** A request that policy allows, and that gets the credential of a grant. */
export interface GrantedRequest extends Request {
  decision: GrantDecision;
  grant: Grant;
}

/** Reports whether a request gets the credential of a grant. */
export function isGranted(request: Request): request is GrantedRequest {
  return request.grant !== null && request.decision.outcome !== 'tunnel';
}

/** Reports whether the client sends the credential itself, as the provider of the grant says. */
export function bringsOwn({ placement }: Request): boolean {
  return placement !== null && 'kind' in placement && placement.kind === 'own';
}

/** A request as it is sent to an upstream. A repeated attempt may send another one. */
export interface UpstreamRequest extends Omit<AppliedRequest, 'reframed' | 'identity'> {
  readonly authority: Authority;
  readonly peer: Peer;
  /** The protocol of the client. HTTP/1.1 is forwarded as HTTP/1.1, HTTP/2 as the upstream chooses. */
  readonly protocol: Protocol;
  readonly method: string;
  /** The framing that `fields` announce. */
  readonly framing: BodyFraming;
  readonly body: AsyncIterable<Buffer> | null;
  /** Returns the trailers of the client's body, once it has ended. Absent: it can have none. */
  readonly trailers?: InboundRequest['trailers'];
  readonly isListed?: Request['isListed'];
  readonly mints?: Request['mints'];
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

/** The credential of a request that is sent. */
export interface AppliedCredential extends ObtainedCredential {
  /** The origin whose DPoP nonce the proof has (RFC 9449 §9); null: the request has no proof. */
  readonly nonceOrigin: string | null;
}
