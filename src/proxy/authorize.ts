import { type Identified, type Identity, readPresented } from '../agents/authentication.ts';
import { egressRefusal } from '../agents/egress.ts';
import type { ProposedPolicy } from '../approvals/proposals.ts';
import { defaultUser, type Grant } from '../domain/grant.ts';
import type { Placement, Provider } from '../domain/provider.ts';
import { valuesOf } from '../http/fields.ts';
import type { BodyFraming } from '../http/framing.ts';
import { type InboundRequest, readAhead, type Reply } from '../http/message.ts';
import { denialOf } from '../http/problem.ts';
import { after } from '../lib/after.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { placeholdersInHead, type PlaceholdersInHead, showsGrant } from '../placeholders/detect.ts';
import { notFor } from '../placeholders/substitute.ts';
import { authorityText } from '../policy/authority.ts';
import { type BodyFacts, readBodyFacts } from '../policy/body.ts';
import { decideRequest, type Decision, unlistedRule } from '../policy/decide.ts';
import type { RequestFacts } from '../policy/request.ts';
import { pathWithout } from '../schemes/path.ts';
import { pathPrefixesOf } from '../schemes/placement.ts';
import { loginGrant, type LoginGrant, precedesLogin } from './login-grant.ts';
import { type ConnectionPlan, type FieldFacts, planOf } from './plan.ts';
import { acceptedFor, type AcceptedProposal } from './proposed.ts';
import type { ExchangeRecord } from './record.ts';
import type { GivenApproval } from './revalidate.ts';
import type { ConfigSnapshot, ProxyServices } from './services.ts';
import {
  type AdditionalGrant,
  candidatesFor,
  type GrantCandidates,
  type Target,
  targetOf,
  unselected,
} from './target.ts';

/** A request whose target and framing are known. A stage that has waited authorizes it again. */
export interface ReceivedRequest {
  readonly inbound: InboundRequest;
  readonly plan: ConnectionPlan;
  readonly fieldFacts: FieldFacts;
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
  /** Grants whose credentials the request gets too. */
  readonly also: readonly AdditionalGrant[];
  /** The grant that the request may make or replace, because it belongs to the login of a program; null: none. */
  readonly login: LoginGrant | null;
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
  /** The provider of the selected grant; undefined: none is selected, or it has no definition. */
  readonly provider: Provider | undefined;
  /** The placement of that grant's credential, or why it is not carried; null: no grant is selected. */
  readonly placement: Placement | SidekeyError | null;
  readonly facts: RequestFacts;
  readonly decision: Decision;
  /** Null: the config decided. */
  readonly accepted: AcceptedProposal | null;
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
  const plan = planOf(client);
  const fieldFacts = plan.facts(head, limits, placeholders);
  const target = targetOf(head, client.tunnel, fieldFacts.hosts);
  if (!(target instanceof SidekeyError)) record.target(target);
  return {
    inbound,
    plan,
    fieldFacts,
    framing: orThrow(fieldFacts.framing),
    target: orThrow(target),
    placeholders: placeholdersInHead(head.target, fieldFacts.placeholders, placeholders),
    body,
    bodyFacts: null,
  };
}

/**
 * Identifies the caller, and the grant that the caller selects. Not a promise where the rights are in memory.
 *
 * @throws SidekeyError `agent_auth_required`, `caller_not_same_user`, `lease_expired`, `bad_request`, `store_unavailable`
 */
export function authenticate(
  { inbound, plan }: Pick<ReceivedRequest, 'inbound' | 'plan'>,
  { agents: mode }: Pick<ConfigSnapshot, 'agents'>,
  { agents }: Pick<ProxyServices, 'agents'>,
  record: Pick<ExchangeRecord, 'identity'>,
): Identity | Promise<Identity> {
  const { head, client } = inbound;
  const presented = client.tunnel?.presented ?? readPresented(head.fields, client.certificate);
  const { address, loopback, owner } = client;
  const identified = agents.identify(presented, { address, loopback, owner, mode, heard: record });
  return after(identified, callerOf, inbound, plan, record);
}

function callerOf(
  identified: Identified,
  { head, client }: InboundRequest,
  plan: ConnectionPlan,
  record: Pick<ExchangeRecord, 'identity'>,
): Identity {
  const caller = plan.caller(orThrow(identified), head.fields);
  if (client.tunnel === null) client.authenticated?.();
  record.identity(caller);
  return caller;
}

/**
 * Decides on a request. Reads its body ahead where rules look at it; the request is then judged again, by the config and
 * the time of that moment. Not a promise where everything is in memory.
 *
 * @throws SidekeyError the denial of policy, or `grant_missing`, `grant_ambiguous`; as `authenticate`
 */
export function authorize(
  received: ReceivedRequest,
  reply: Pick<Reply, 'continue'>,
  config: ConfigSnapshot,
  services: ProxyServices,
  record: ExchangeRecord,
): AuthorizedRequest | Promise<AuthorizedRequest> {
  return after(evaluate(received, config, services, record), withRedactedPath, reply, services, record);
}

function withRedactedPath(
  evaluation: Evaluation,
  reply: Pick<Reply, 'continue'>,
  services: ProxyServices,
  record: ExchangeRecord,
): AuthorizedRequest | Promise<AuthorizedRequest> {
  const { config, received, candidates } = evaluation;
  const redacted = config.redactPath(received.target, candidates);
  return after(redacted, decided, evaluation, reply, services, record);
}

function decided(
  redactedPath: string,
  evaluation: Evaluation,
  reply: Pick<Reply, 'continue'>,
  services: ProxyServices,
  record: ExchangeRecord,
): AuthorizedRequest | Promise<AuthorizedRequest> {
  const { candidates, decision } = evaluation;
  record.path(redactedPath);
  if (candidates?.selected.kind === 'selected') record.selected(candidates.selected.grant);
  return decision.needsBody
    ? decidedWithBody(redactedPath, evaluation, reply, services, record)
    : allowed(redactedPath, evaluation, services, record);
}

async function decidedWithBody(
  redactedPath: string,
  { received, config }: Evaluation,
  reply: Pick<Reply, 'continue'>,
  services: ProxyServices,
  record: ExchangeRecord,
): Promise<AuthorizedRequest> {
  if (received.body !== null) reply.continue();
  const read = await withBodyFacts(received, config.limits.rule_body_bytes);
  const evaluation = await evaluate(read, await services.config(), services, record);
  return allowed(redactedPath, evaluation, services, record);
}

function allowed(
  redactedPath: string,
  evaluation: Evaluation,
  services: Pick<ProxyServices, 'audit'>,
  record: ExchangeRecord,
): AuthorizedRequest | Promise<AuthorizedRequest> {
  const { decision, received, config, caller, candidates, provider, placement, facts, accepted } = evaluation;
  record.decided(decision, facts);
  if (accepted !== null) record.approved(accepted.proposal);
  if (decision.outcome === 'deny') throw refusalOf(decision, received);
  if (decision.reported !== null) services.audit.note(record.reported(decision.reported));
  const mayLogIn = candidates?.selected.kind !== 'selected' || provider?.capturesLogins === true;
  const login = decision.outcome === 'tunnel' || !mayLogIn ? null : loginGrant(evaluation, config);
  const grant = decision.outcome === 'tunnel' ? null : grantUnlessLogin(evaluation, decision, login);
  const authorized = {
    received,
    config,
    caller,
    candidates,
    provider,
    placement,
    facts,
    decision,
    accepted,
    grant,
    also: noGrants,
    login,
    redactedPath,
  };
  // A person has accepted the host for this caller.
  if (decision.outcome !== 'tunnel' || accepted !== null) return authorized;
  return after(egressRefusal(caller, facts.authority), unlessRefused, authorized);
}

function unlessRefused(refusal: SidekeyError | null, authorized: AuthorizedRequest): AuthorizedRequest {
  orThrow(refusal);
  return authorized;
}

const noGrants: readonly AdditionalGrant[] = [];

/** Returns the selected grant; null: there is none yet, and the request belongs to a login that makes one. */
function grantUnlessLogin(
  evaluation: Evaluation,
  decision: GrantDecision,
  login: LoginGrant | null,
): Grant | null {
  const { candidates, config } = evaluation;
  if (candidates?.selected.kind === 'selected') return grantOf(evaluation, decision);
  // A person is asked for a request with a grant alone.
  const isLogin = login !== null || (decision.outcome !== 'approve' && precedesLogin(evaluation, config));
  return isLogin ? null : grantOf(evaluation, decision);
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

type EvaluationServices = Pick<ProxyServices, 'grants' | 'now' | 'placeholders' | 'proposals'>;

/**
 * Judges a request by the config, grants, labels and time of this moment. A request that has waited, for its body or for a
 * person, is judged again: its sender decides how long it waits. Not a promise where everything is in memory.
 *
 * @throws SidekeyError as `authenticate`
 */
export function evaluate(
  received: ReceivedRequest,
  config: ConfigSnapshot,
  services: Pick<ProxyServices, 'agents' | 'grants' | 'now' | 'placeholders' | 'proposals'>,
  record: Pick<ExchangeRecord, 'identity'>,
): Evaluation | Promise<Evaluation> {
  const caller = authenticate(received, config, services, record);
  return after(caller, evaluateCaller, received, config, services);
}

function evaluateCaller(
  caller: Identity,
  received: ReceivedRequest,
  config: ConfigSnapshot,
  services: EvaluationServices,
): Evaluation | Promise<Evaluation> {
  const { target, plan, placeholders } = received;
  const shows =
    placeholders.all.length === 0 ? undefined : showsGrant(placeholders.all, caller, services.placeholders);
  const candidates = candidatesFor(target.authority, caller, services, config, plan, shows);
  return after(candidates, evaluateOffer, received, config, caller, services);
}

function evaluateOffer(
  candidates: GrantCandidates | null,
  received: ReceivedRequest,
  config: ConfigSnapshot,
  caller: Identity,
  services: EvaluationServices,
): Evaluation | Promise<Evaluation> {
  return after(labelsOf(caller, candidates), judge, received, config, caller, candidates, services);
}

/** Returns the labels of the grant that rules judge. */
export function labelsOf(
  caller: Identity,
  offer: GrantCandidates | null,
): readonly string[] | Promise<readonly string[]> {
  const isJudged = offer?.ruled === true && offer.selected.kind === 'selected';
  return isJudged ? caller.grantLabels(offer.selected.grant) : noLabels;
}

const noLabels: readonly string[] = [];

function judge(
  grantLabels: readonly string[],
  received: ReceivedRequest,
  config: ConfigSnapshot,
  caller: Identity,
  candidates: GrantCandidates | null,
  services: EvaluationServices,
): Evaluation | Promise<Evaluation> {
  const { target } = received;
  const selected = candidates?.selected.kind === 'selected' ? candidates.selected.grant : null;
  const provider = selected === null ? undefined : config.provider(selected.provider);
  const placement = selected === null ? null : config.placementFor(selected.provider, target);
  const path = judgedPath(target, placement);
  const facts = factsOf(received, path, caller, candidates, grantLabels, provider, services.now());
  const decision = decideRequest(config.policy, facts);
  const accepted = null;
  const evaluation = { received, config, caller, candidates, provider, placement, facts, decision, accepted };
  if (decision.rule !== unlistedRule) return evaluation;
  const entryOf = ({ domains }: ProposedPolicy) => domains.match(target.authority);
  return after(acceptedFor(caller, entryOf, services.proposals), evaluateAccepted, evaluation, services);
}

/** Evaluates a request to an unlisted host by what a person accepted for its caller. */
function evaluateAccepted(
  accepted: AcceptedProposal | null,
  evaluation: Evaluation,
  services: EvaluationServices,
): Evaluation | Promise<Evaluation> {
  if (accepted === null) return evaluation;
  const { received, config, caller } = evaluation;
  const proposed = evaluateCaller(caller, received, { ...config, policy: accepted.policy }, services);
  return after(proposed, withAccepted, accepted);
}

function withAccepted(evaluation: Evaluation, accepted: AcceptedProposal): Evaluation {
  return { ...evaluation, accepted };
}

/** Returns the selected grant of an evaluation. @throws SidekeyError `grant_missing`, `grant_ambiguous` */
export function grantOf({ candidates, caller }: Evaluation, decision: GrantDecision): Grant {
  if (candidates === null) throw new Error('policy gives a request a grant that the map does not offer');
  const { selected } = candidates;
  if (selected.kind !== 'selected') throw unselected(selected, decision, caller);
  return selected.grant;
}

/**
 * Returns the facts of a request for policy. They include the labels of its grant.
 *
 * @param path as it may be shown
 */
export function factsOf(
  { inbound, fieldFacts, plan, target, bodyFacts }: Omit<ReceivedRequest, 'framing' | 'placeholders'>,
  path: string,
  caller: Identity,
  offer: GrantCandidates | null,
  grantLabels: readonly string[],
  provider: Pick<Provider, 'methodOverrideParameters'> | undefined,
  now: number,
): RequestFacts {
  const { head, body, upgrades } = inbound;
  return {
    authority: target.authority,
    method: head.method,
    methodFields: fieldFacts.methodFields,
    pathFields: fieldFacts.pathFields,
    methodParameters: provider?.methodOverrideParameters ?? none,
    upgrades: upgrades ?? fieldFacts.asksForWebSocket,
    path,
    client: plan.address,
    agent: caller.agent,
    user: userOf(caller, offer),
    labels: plan.labels(caller.labels, grantLabels),
    reason: fieldFacts.reason,
    contentType: fieldFacts.contentType,
    contentLength: body === null ? 0 : fieldFacts.contentLength,
    now,
    body: bodyFacts,
  };
}

const none: readonly string[] = [];

/**
 * For whom a request is: whose grant it uses, whatever the caller claims; where that is nobody's in particular, or none is
 * selected, for whom the agent acts. Null: nobody is named.
 */
function userOf({ agentUser }: Identity, offer: GrantCandidates | null): string | null {
  if (offer?.selected.kind !== 'selected') return agentUser;
  const { user } = offer.selected.grant;
  return user === defaultUser ? agentUser : user;
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
      contentType: received.fieldFacts.contentType,
      contentEncoding: encodings.length === 0 ? null : encodings.join(', '),
      bytes: peeked.bytes,
    },
    peeked.isWhole,
  );
  return { ...received, body: peeked.body, bodyFacts };
}

/**
 * The path that rules judge: without the credential's place, where that of the grant which is meant stands in the path.
 * It is not a part of the requested resource. Only what no upstream reads as anything else counts as one.
 */
function judgedPath({ path }: Target, placement: Evaluation['placement']): string {
  if (placement === null || placement instanceof SidekeyError) return path;
  const prefixes = pathPrefixesOf(placement);
  return prefixes.length === 0 ? path : pathWithout(path, prefixes);
}
