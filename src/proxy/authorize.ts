import { type Identity, readPresented, selectorsOf } from '../agents/authentication.ts';
import { defaultUser, type Grant } from '../grants/grant.ts';
import { type RawFields, valuesOf } from '../http/fields.ts';
import { type BodyFraming, framingOf } from '../http/framing.ts';
import { type InboundRequest, readAhead, type Reply } from '../http/message.ts';
import { denialOf } from '../http/problem.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { detectInHead, type PlaceholdersInHead, showsGrant } from '../placeholders/detect.ts';
import { notFor } from '../placeholders/substitute.ts';
import { authorityText } from '../policy/authority.ts';
import { type BodyFacts, readBodyFacts } from '../policy/body.ts';
import { decideRequest, type Decision } from '../policy/decide.ts';
import { overridesMethod } from '../policy/method-override.ts';
import { overridesPath } from '../policy/path.ts';
import type { RequestFacts } from '../policy/request.ts';
import { pathWithout } from '../schemes/path.ts';
import { type Destination, pathPrefixesOf } from '../schemes/placement.ts';
import type { ExchangeRecord } from './record.ts';
import type { GivenApproval } from './revalidate.ts';
import type { ConfigSnapshot, ProxyServices } from './services.ts';
import { candidatesFor, type GrantCandidates, type Target, targetOf, unselected } from './target.ts';

/** A request whose target and framing are known. A stage that has waited authorizes it again. */
export interface ReceivedRequest {
  readonly inbound: InboundRequest;
  readonly framing: BodyFraming;
  readonly target: Target;
  readonly placeholders: PlaceholdersInHead;
  /** The body of `inbound`, or the same bytes again where it was read ahead. */
  readonly body: InboundRequest['body'];
  /** Null: the body was not read. */
  readonly bodyFacts: BodyFacts | null;
}

/** A request that policy allows, with the values that it was judged by. */
export interface AuthorizedRequest extends Evaluation {
  readonly decision: AllowedDecision;
  /** The grant whose credential the request gets; null: it gets none. */
  readonly grant: Grant | null;
  /** The path and query as the audit and people may see them. */
  readonly redactedPath: string;
  /** Absent: nobody was asked. */
  readonly approval?: GivenApproval;
}

/** An authorized request that gets the credential of a grant. */
export interface GrantedRequest extends AuthorizedRequest {
  readonly decision: GrantDecision;
  readonly grant: Grant;
}

/** Reports whether a request gets the credential of a grant. */
export function isGranted(request: AuthorizedRequest): request is GrantedRequest {
  return request.grant !== null && request.decision.outcome !== 'tunnel';
}

/** A decision other than a denial. */
type AllowedDecision = Exclude<Decision, { readonly outcome: 'deny' }>;

/** A decision that gives a request a grant, for itself or once a person has agreed. */
export type GrantDecision = Extract<Decision, { readonly grant: string }>;

/** The decision of policy on a request at one moment, with the values that it follows from. */
export interface Evaluation {
  readonly received: ReceivedRequest;
  readonly config: ConfigSnapshot;
  readonly caller: Identity;
  /** Null: the domain map offers no grant there. */
  readonly candidates: GrantCandidates | null;
  readonly facts: RequestFacts;
  readonly decision: Decision;
}

/**
 * Reads where a request ends and which authority it is for.
 *
 * @throws SidekeyError as `framingOf` and `targetOf`
 */
export function receive(
  inbound: InboundRequest,
  { limits }: Pick<ConfigSnapshot, 'limits'>,
  { placeholders }: Pick<ProxyServices, 'placeholders'>,
  record: Pick<ExchangeRecord, 'target'>,
): ReceivedRequest {
  const { head, client, body } = inbound;
  const framing = framingOf(head, limits);
  const target = targetOf(head, client.tunnel);
  if (!(target instanceof SidekeyError)) record.target(target);
  return {
    inbound,
    framing: orThrow(framing),
    target: orThrow(target),
    placeholders: detectInHead(head, placeholders),
    body,
    bodyFacts: null,
  };
}

/**
 * Identifies the caller, and the grant that the caller selects.
 *
 * @throws SidekeyError `agent_auth_required`, `lease_expired`, `bad_request`, `store_unavailable`
 */
export async function authenticate(
  { head, client }: InboundRequest,
  { agents: mode }: Pick<ConfigSnapshot, 'agents'>,
  { agents }: Pick<ProxyServices, 'agents'>,
  record: Pick<ExchangeRecord, 'identity'>,
): Promise<Identity> {
  const presented = client.tunnel?.presented ?? readPresented(head.fields);
  const identity = orThrow(
    await agents.identify(presented, {
      address: client.address,
      loopback: client.loopback,
      mode,
      known: (who) => record.identity(who),
    }),
  );
  const caller = { ...identity, selectors: orThrow(selectorsOf(head.fields, identity.selectors)) };
  record.identity(caller);
  return caller;
}

/**
 * Decides on a request. Reads its body ahead where rules look at it; the request is then judged again, by the config and
 * the time of that moment.
 *
 * @throws SidekeyError the denial of policy, or `grant_missing`, `grant_ambiguous`; as `authenticate`
 */
export async function authorize(
  received: ReceivedRequest,
  reply: Pick<Reply, 'continue'>,
  config: ConfigSnapshot,
  services: ProxyServices,
  record: ExchangeRecord,
): Promise<AuthorizedRequest> {
  let evaluation = await evaluate(received, config, services, record);
  const redactedPath = await config.redactPath(received.target, evaluation.candidates);
  record.path(redactedPath);
  const { candidates } = evaluation;
  if (candidates?.selected.kind === 'selected') record.selected(candidates.selected.grant);
  if (evaluation.decision.needsBody) {
    if (received.body !== null) reply.continue();
    const read = await withBodyFacts(received, config.limits.rule_body_bytes);
    evaluation = await evaluate(read, await services.config(), services, record);
  }
  record.decided(evaluation.decision);
  const { decision } = evaluation;
  if (decision.outcome === 'deny') throw refusalOf(decision, received);
  if (decision.reported !== null) services.audit.note(record.reported(decision.reported));
  const grant = decision.outcome === 'tunnel' ? null : grantOf(evaluation, decision);
  return { ...evaluation, decision, grant, redactedPath };
}

/** A placeholder in a request to a host that is not listed is the more likely mistake. */
function refusalOf(
  decision: Extract<Decision, { outcome: 'deny' }>,
  { placeholders, target }: ReceivedRequest,
): SidekeyError {
  const denial = denialOf(decision);
  return placeholders.all.length > 0 && denial.code === 'domain_not_allowed'
    ? notFor(authorityText(target.authority))
    : denial;
}

/**
 * Judges a request by the config, grants, labels and time of this moment. A request that has waited, for its body or for a
 * person, is judged again: its sender decides how long it waits.
 *
 * @throws SidekeyError as `authenticate`
 */
export async function evaluate(
  received: ReceivedRequest,
  config: ConfigSnapshot,
  services: Pick<ProxyServices, 'agents' | 'grants' | 'now' | 'placeholders'>,
  record: Pick<ExchangeRecord, 'identity'>,
): Promise<Evaluation> {
  const { inbound, target, placeholders, bodyFacts } = received;
  const { authority } = target;
  const caller = await authenticate(inbound, config, services, record);
  const shows =
    placeholders.all.length === 0 ? undefined : showsGrant(placeholders.all, caller, services.placeholders);
  const candidates = await candidatesFor(authority, { ...caller, shows }, services, config);
  const selected = candidates?.selected.kind === 'selected' ? candidates.selected.grant : undefined;
  const facts = await requestFacts(
    inbound,
    { authority, path: judgedPath(target, candidates, config) },
    caller,
    candidates,
    services.now(),
    (selected && config.provider(selected.provider)?.methodOverrideParameters) ?? [],
  );
  const seen = bodyFacts === null ? facts : { ...facts, body: bodyFacts };
  return {
    received,
    config,
    caller,
    candidates,
    facts: seen,
    decision: decideRequest(config.policy, seen),
  };
}

/** Returns the selected grant of an evaluation. @throws SidekeyError `grant_missing`, `grant_ambiguous` */
export function grantOf({ candidates, caller }: Evaluation, decision: GrantDecision): Grant {
  if (candidates === null) throw new Error('policy gives a request a grant that the map does not offer');
  const { selected } = candidates;
  if (selected.kind !== 'selected') throw unselected(selected, decision, caller);
  return selected.grant;
}

/**
 * Returns the facts of a request for policy, without its body. They include the labels of its grant.
 *
 * @param target with the path as it may be shown
 * @param methodParameters those of the provider whose grant is meant
 */
export async function requestFacts(
  { head, body, client, upgrades }: InboundRequest,
  { authority, path }: Target,
  caller: Identity,
  offer: GrantCandidates | null,
  now: number,
  methodParameters: readonly string[],
): Promise<RequestFacts> {
  const grant = offer?.ruled === true && offer.selected.kind === 'selected' ? offer.selected.grant : null;
  const [length] = valuesOf(head.fields, 'content-length');
  return {
    authority,
    method: head.method,
    methodFields: namedFields(head.fields, overridesMethod),
    pathFields: namedFields(head.fields, overridesPath),
    methodParameters,
    upgrades: upgrades ?? valuesOf(head.fields, 'upgrade').some((name) => name.toLowerCase() === 'websocket'),
    path,
    client: addressOf(client.address),
    agent: caller.agent,
    user: userOf(caller, offer),
    labels: [...caller.labels, ...(grant === null ? [] : await caller.grantLabels(grant))],
    reason: valuesOf(head.fields, 'sidekey-reason')[0] ?? null,
    contentType: contentTypeOf(head.fields),
    contentLength: body === null ? 0 : length === undefined ? null : Number(length),
    now,
    body: null,
  };
}

/** Fields of the head, and trailers that it announces (RFC 9110 §6.6.2), in the words of a refusal. */
function namedFields(fields: RawFields, isNamed: (name: string) => boolean): readonly string[] {
  const found: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (isNamed(name)) found.push(`the header ${name}`);
    else if (name.length === 7 && name.toLowerCase() === 'trailer') {
      const announced = fields[i + 1]!.split(',').map((text) => text.trim());
      found.push(...announced.filter(isNamed).map((text) => `the trailer ${text}`));
    }
  }
  return found;
}

/**
 * For whom a request is: whose grant it uses, whatever the caller claims; where that is nobody's in particular, or none is
 * selected, for whom the agent acts. Null: nobody is named.
 */
function userOf({ agentUser }: Identity, offer: GrantCandidates | null): string | null {
  if (offer?.selected.kind !== 'selected') return agentUser;
  const { user } = offer.selected.grant;
  return user === defaultUser ? agentUser : user;
}

/** The one `Content-Type` field; null: there is none, or more than one. */
function contentTypeOf(fields: RawFields): string | null {
  const [type, ...more] = valuesOf(fields, 'content-type');
  return more.length === 0 ? (type ?? null) : null;
}

/**
 * Reads the body of a request ahead within bounds, for the facts that rules look at.
 *
 * @throws SidekeyError `bad_request` where the client left in the middle of it
 */
export async function withBodyFacts(received: ReceivedRequest, maxBytes: number): Promise<ReceivedRequest> {
  const { fields } = received.inbound.head;
  const peeked = await readAhead(received.body, maxBytes);
  const encodings = valuesOf(fields, 'content-encoding');
  const bodyFacts = readBodyFacts(
    {
      contentType: contentTypeOf(fields),
      contentEncoding: encodings.length === 0 ? null : encodings.join(', '),
      bytes: peeked.bytes,
    },
    peeked.isWhole,
  );
  return { ...received, body: peeked.body, bodyFacts };
}

/** `127.0.0.1:4711`, `[::1]:4711` without the port. */
export function addressOf(text: string): string {
  return text.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1');
}

/**
 * The path that rules judge: without the credential's place, where that of the grant which is meant stands in the path.
 * It is not a part of the requested resource. Only what no upstream reads as anything else counts as one.
 */
function judgedPath(
  to: Destination,
  offer: Pick<GrantCandidates, 'selected'> | null,
  { placementFor }: Pick<ConfigSnapshot, 'placementFor'>,
): string {
  if (offer?.selected.kind !== 'selected') return to.path;
  const placement = placementFor(offer.selected.grant.provider, to);
  return placement instanceof SidekeyError ? to.path : pathWithout(to.path, pathPrefixesOf(placement));
}
