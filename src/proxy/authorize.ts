import { type Identity, readPresented } from '../agents/authentication.ts';
import { egressRefusal } from '../agents/egress.ts';
import { defaultUser, type Grant } from '../domain/grant.ts';
import type { Placement, Provider } from '../domain/provider.ts';
import { valuesOf } from './http/fields.ts';
import type { BodyFraming } from './http/framing.ts';
import { type InboundRequest, readAhead } from './http/message.ts';
import { denialOf } from './http/problem.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { placeholdersInHead, type PlaceholdersInHead, showsGrant } from './placeholders/detect.ts';
import { notFor } from './placeholders/substitute.ts';
import { authorityText } from './policy/authority.ts';
import { type BodyFacts, readBodyFacts } from './policy/body.ts';
import { decideRequest, type Decision, unlistedRule } from './policy/decide.ts';
import type { RequestFacts } from './policy/request.ts';
import { pathWithout } from './schemes/path.ts';
import { pathPrefixesOf } from './schemes/placement.ts';
import { loginGrant, type LoginGrant, precedesLogin } from './login-grant.ts';
import { type ConnectionPlan, type FieldFacts, planOf } from './plan.ts';
import { acceptedFor, type AcceptedProposal } from './proposed.ts';
import type { GivenApproval } from './revalidate.ts';
import type { ConfigSnapshot, ExchangeContext, ProxyServices } from './services.ts';
import {
  type AdditionalGrant,
  type GrantCandidates,
  type Target,
  offerOf,
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

/** An exchange whose request is received. */
export interface ReceivedExchange extends ExchangeContext {
  readonly received: ReceivedRequest;
}

/** A request that policy allows, with the values that the decision is based on. */
export interface AuthorizedRequest extends Evaluation {
  readonly decision: AllowedDecision;
  /** The grant whose credential the request gets; null: it gets none. */
  readonly grant: Grant | null;
  /** Grants whose credentials the request gets too. */
  readonly also: readonly AdditionalGrant[];
  /** The grant that the request may make or replace as the login of a program; null: none. */
  readonly login: LoginGrant | null;
  /** The path and query as the audit and people may see them. */
  readonly redactedPath: string;
  /** Absent: no approval was needed. */
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

/** The decision of policy on a request at one moment, with the values that it is based on. */
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
export function receive({ inbound, config, services, record }: ExchangeContext): ReceivedRequest {
  const { head, client, body } = inbound;
  const { placeholders } = services;
  const plan = planOf(client);
  const fieldFacts = plan.facts(head, config.limits, placeholders);
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
 * Identifies the caller, and the grant that the caller selects.
 *
 * @throws SidekeyError `bad_request`, `store_unavailable`; the refusals of `AgentAuthenticator.identify`
 */
export async function authenticate(
  { agents: mode }: Pick<ConfigSnapshot, 'agents'>,
  { inbound, services, record }: ExchangeContext,
): Promise<Identity> {
  const { head, client } = inbound;
  const presented = client.tunnel?.presented ?? readPresented(head.fields, client.certificate);
  const { address, loopback, owner } = client;
  const identified = await services.agents.identify(presented, {
    address,
    loopback,
    owner,
    mode,
    heard: record,
  });
  const caller = planOf(client).caller(orThrow(identified), head.fields);
  if (client.tunnel === null) client.authenticated?.();
  record.identity(caller);
  return caller;
}

/**
 * Decides on a request. If rules look at its body, reads the body ahead and judges the request again, by the
 * config and the time of that moment.
 *
 * @throws SidekeyError the denial of policy, or `grant_missing`, `grant_ambiguous`; as `authenticate`
 */
export async function authorize(exchange: ReceivedExchange): Promise<AuthorizedRequest> {
  const { received, config, services, record, reply } = exchange;
  let evaluation = await evaluate(received, config, exchange);
  const redactedPath = await config.redactPath(received.target, evaluation.candidates);
  record.path(redactedPath);
  const { candidates } = evaluation;
  if (candidates?.selected.kind === 'selected') record.selected(candidates.selected.grant);
  if (evaluation.decision.needsBody) {
    if (received.body !== null) reply.continue();
    const withFacts = await withBodyFacts(received, config.limits.rule_body_bytes);
    evaluation = await evaluate(withFacts, await services.config(), exchange);
  }
  const authorized = allowed(evaluation, redactedPath, exchange);
  const { decision, accepted, caller, facts } = authorized;
  // A person has accepted the host for the caller of an accepted proposal.
  if (decision.outcome === 'tunnel' && accepted === null)
    orThrow(await egressRefusal(caller, facts.authority));
  return authorized;
}

function allowed(
  evaluation: Evaluation,
  redactedPath: string,
  { services, record }: ExchangeContext,
): AuthorizedRequest {
  const { decision, received, config, candidates, provider, facts, accepted } = evaluation;
  record.decided(decision, facts);
  if (accepted !== null) record.approved(accepted.proposal);
  if (decision.outcome === 'deny') throw refusalOf(decision, received);
  if (decision.reported !== null) services.audit.note(record.reported(decision.reported));
  const mayLogIn = candidates?.selected.kind !== 'selected' || provider?.capturesLogins === true;
  const login = decision.outcome === 'tunnel' || !mayLogIn ? null : loginGrant(evaluation, config);
  const grant = decision.outcome === 'tunnel' ? null : grantUnlessLogin(evaluation, decision, login);
  return { ...evaluation, decision, grant, also: noGrants, login, redactedPath };
}

const noGrants: readonly AdditionalGrant[] = [];

/** Returns the selected grant; null if the request is part of a login that creates the grant later. */
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

/**
 * Judges a request by the config, grants, labels and time of this moment. A request that has waited, for its
 * body or for a person, is judged again, because its sender decides how long it waits.
 *
 * @throws SidekeyError as `authenticate`
 */
export async function evaluate(
  received: ReceivedRequest,
  config: ConfigSnapshot,
  context: ExchangeContext,
): Promise<Evaluation> {
  const { services } = context;
  const caller = await authenticate(config, context);
  const evaluation = await judge(received, config, caller, services);
  if (evaluation.decision.rule !== unlistedRule) return evaluation;
  const { authority } = received.target;
  const accepted = await acceptedFor(caller, ({ domains }) => domains.match(authority), services.proposals);
  if (accepted === null) return evaluation;
  const proposed = await judge(received, { ...config, policy: accepted.policy }, caller, services);
  return { ...proposed, accepted };
}

/** Judges a request of a caller by one policy. */
async function judge(
  received: ReceivedRequest,
  config: ConfigSnapshot,
  caller: Identity,
  { grants, placeholders: codes, now }: Pick<ProxyServices, 'grants' | 'now' | 'placeholders'>,
): Promise<Evaluation> {
  const { target, plan, placeholders } = received;
  const { policy } = config;
  const domain = policy.domains.match(target.authority);
  let candidates: GrantCandidates | null = null;
  if (domain?.action.kind === 'grant') {
    const named = await grants.find(domain.action.grant);
    const shown = placeholders.all;
    candidates =
      shown.length === 0
        ? plan.offer(named, domain, caller)
        : offerOf(named, domain, { ...caller, shows: showsGrant(shown, caller, codes) });
  }
  const grantLabels = candidates?.ruled === true ? await labelsOf(caller, candidates) : noLabels;
  const selected = candidates?.selected.kind === 'selected' ? candidates.selected.grant : null;
  const provider = selected === null ? undefined : config.provider(selected.provider);
  const placement = selected === null ? null : config.placementFor(selected.provider, target);
  const path = judgedPath(target, placement);
  const facts = factsOf(received, { path, caller, candidates, grantLabels, provider, now: now() });
  const decision = decideRequest(policy, facts);
  return { received, config, caller, candidates, provider, placement, facts, decision, accepted: null };
}

/** Returns the labels of the grant that rules judge. */
export async function labelsOf(caller: Identity, offer: GrantCandidates | null): Promise<readonly string[]> {
  const isJudged = offer?.ruled === true && offer.selected.kind === 'selected';
  return isJudged ? caller.grantLabels(offer.selected.grant) : noLabels;
}

const noLabels: readonly string[] = [];

/** Returns the selected grant of an evaluation. @throws SidekeyError `grant_missing`, `grant_ambiguous` */
export function grantOf({ candidates, caller }: Evaluation, decision: GrantDecision): Grant {
  if (candidates === null) throw new Error('policy gives a request a grant that the map does not offer');
  const { selected } = candidates;
  if (selected.kind !== 'selected') throw unselected(selected, decision, caller);
  return selected.grant;
}

/** Values besides the received request from which its facts follow. */
interface FactSources extends Pick<Evaluation, 'caller' | 'candidates'> {
  /** The path as it may be shown. */
  readonly path: string;
  readonly grantLabels: readonly string[];
  readonly provider: Pick<Provider, 'methodOverrideParameters'> | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Returns the facts of a request for policy. They include the labels of its grant. */
export function factsOf(
  { inbound, fieldFacts, plan, target, bodyFacts }: Omit<ReceivedRequest, 'framing' | 'placeholders'>,
  { path, caller, candidates, grantLabels, provider, now }: FactSources,
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
    user: userOf(caller, candidates),
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
 * Returns the user of a request: that of its grant, whatever the caller claims. If no grant is selected, or
 * its user is nobody in particular, returns the user that the agent acts for. Null: nobody is named.
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
 * Returns the path that rules judge. A credential in the path is not a part of the requested resource, so its
 * place is left out. Only a place that every upstream reads in the same way counts as one.
 */
function judgedPath({ path }: Target, placement: Evaluation['placement']): string {
  if (placement === null || placement instanceof SidekeyError) return path;
  const prefixes = pathPrefixesOf(placement);
  return prefixes.length === 0 ? path : pathWithout(path, prefixes);
}
