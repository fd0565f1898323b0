import { type Identity, readPresented } from '../agents/authentication.ts';
import { egressRefusal } from '../agents/egress.ts';
import { defaultUser, type Grant } from '../domain/grant.ts';
import { valuesOf } from './http/fields.ts';
import { readAhead } from './http/message.ts';
import { deniedRequest, uncredentialed } from './allow-remedy.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { whenReady } from '../lib/timers.ts';
import { placeholdersInBody, placeholdersInHead, showsGrant, syntaxOf } from './placeholders/detect.ts';
import { notFor } from './placeholders/substitute.ts';
import { authorityText } from './policy/authority.ts';
import { readBodyFacts } from './policy/body.ts';
import { decideRequest, type Decision, unlistedRule } from './policy/decide.ts';
import type { RequestFacts } from './policy/request.ts';
import { pathWithout } from './schemes/path.ts';
import { pathPrefixesOf } from './schemes/placement.ts';
import { loginGrant, precedesLogin } from './login-grant.ts';
import { acceptedFor } from './proposed.ts';
import type { GrantDecision, Request } from './request.ts';
import {
  type GrantCandidates,
  offerOf,
  scopeFor,
  mintedOf,
  targetOf,
  unselected,
  withOthers,
} from './target.ts';

/**
 * Reads where a request ends and which authority it is for.
 *
 * @throws SidekeyError as `framingOf` and `targetOf`
 */
export function receive(request: Request): void {
  const { inbound, config, services, record, plan } = request;
  const { head, client } = inbound;
  const { placeholders } = services;
  const fieldFacts = plan.facts(head, config.limits, placeholders);
  const target = targetOf(head, client.tunnel, fieldFacts.hosts);
  if (!(target instanceof SidekeyError)) record.target(target);
  request.fieldFacts = fieldFacts;
  request.framing = orThrow(fieldFacts.framing);
  request.target = orThrow(target);
  request.placeholders = placeholdersInHead(head.target, fieldFacts.placeholders, placeholders);
}

/**
 * Identifies the caller, and the grant that the caller selects.
 *
 * @throws SidekeyError `bad_request`, `store_unavailable`; the refusals of `AgentAuthenticator.identify`
 */
export function authenticate(request: Request): Identity | Promise<Identity> {
  const { inbound, config, services, record, plan } = request;
  const { head, client } = inbound;
  const presented = client.tunnel?.presented ?? readPresented(head.fields, client.certificate);
  const { address, loopback, owner } = client;
  const facts = { address, loopback, owner, mode: config.agents, heard: record };
  return whenReady(services.agents.identify(presented, facts), (identified) => {
    const caller = plan.caller(orThrow(identified), head.fields);
    if (client.tunnel === null) client.authenticated?.();
    record.identity(caller);
    return caller;
  });
}

/**
 * Decides on a request. If rules look at its body, reads the body ahead and judges the request again, by the
 * config and the time of that moment.
 *
 * @throws SidekeyError the denial of policy, or `grant_missing`, `grant_ambiguous`; as `authenticate`
 */
export function authorize(request: Request): void | Promise<void> {
  return whenReady(evaluate(request), (decision) => {
    const { candidates, record, config, target } = request;
    return whenReady(config.redactPath(target, candidates), (redactedPath) => {
      request.redactedPath = redactedPath;
      record.path(redactedPath);
      recordSelected(request);
      const isRead = decision.needsBody || (decision.outcome !== 'deny' && mayShowInBody(request));
      return isRead ? authorizeBody(request, decision) : allow(request, decision);
    });
  });
}

async function authorizeBody(request: Request, { needsBody }: Decision): Promise<void> {
  const { config, services, reply } = request;
  if (request.body !== null) reply.continue();
  if (mayShowInBody(request)) request.shownInBody = await placeholdersInBody(request);
  if (needsBody) await readFacts(request, config.limits.rule_body_bytes);
  request.config = await services.config();
  let decision = await evaluate(request);
  // Other rules may apply to the grant that the body selects.
  if (decision.needsBody && request.bodyFacts === null) {
    await readFacts(request, config.limits.rule_body_bytes);
    decision = await evaluate(request);
  }
  recordSelected(request);
  await allow(request, decision);
}

function recordSelected({ candidates, record }: Request): void {
  if (candidates?.selected.kind === 'selected') record.selected(candidates.selected.grant);
}

/** Reports whether a placeholder in the body may select a grant. A chunked body may never end. */
function mayShowInBody({ body, framing, provider, config, placeholders, inbound }: Request): boolean {
  if (body === null || framing.kind !== 'length' || placeholders.all.length > 0) return false;
  if (provider?.placeholders.includes('body') !== true || !config.hasMints(provider.name)) return false;
  return syntaxOf(inbound.head.fields) !== null;
}

function allow(request: Request, decision: Decision): void | Promise<void> {
  const { candidates, provider, facts, accepted, services, record } = request;
  record.decided(decision, facts);
  if (accepted !== null) record.approved(accepted.proposal);
  if (decision.outcome === 'deny')
    return refusalOf(decision, request).then((refusal) => {
      throw refusal;
    });
  if (decision.reported !== null) services.audit.note(record.reported(decision.reported));
  request.decision = decision;
  if (decision.outcome === 'tunnel') return allowUncredentialed(request, decision);
  const mayLogIn = candidates?.selected.kind !== 'selected' || provider?.capturesLogins === true;
  request.login = mayLogIn ? loginGrant(request) : null;
  request.grant = isOfLogin(request, decision) ? null : grantOf(request, decision);
  return undefined;
}

/** Allows a request without a credential if the caller named no grant and may use the host. */
async function allowUncredentialed(request: Request, decision: Decision): Promise<void> {
  const { caller, facts, accepted } = request;
  const { grant } = caller.selectors;
  if (grant !== null) throw await uncredentialed(grant, facts.authority, decision, request);
  // A person has accepted the host for the caller of an accepted proposal.
  if (accepted === null) orThrow(await egressRefusal(caller, facts.authority));
}

/** Reports whether a request without a selected grant is a part of a login that creates the grant later. */
function isOfLogin(request: Request, { outcome }: GrantDecision): boolean {
  if (request.candidates?.selected.kind === 'selected') return false;
  // A person is asked for a request with a grant alone.
  return request.login !== null || (outcome !== 'approve' && precedesLogin(request));
}

/** A placeholder in a request to a host that is not listed is the more likely mistake. */
async function refusalOf(
  decision: Extract<Decision, { outcome: 'deny' }>,
  request: Request,
): Promise<SidekeyError> {
  const { authority } = request.target;
  return request.placeholders.all.length > 0 && decision.code === 'domain_not_allowed'
    ? notFor(authorityText(authority))
    : deniedRequest(decision, authority, request);
}

/**
 * Judges a request by the config, grants, labels and time of this moment. A request that has waited, for its
 * body or for a person, is judged again, because its sender decides how long it waits.
 *
 * @throws SidekeyError as `authenticate`
 */
export function evaluate(request: Request): Decision | Promise<Decision> {
  return whenReady(authenticate(request), (caller) => {
    request.caller = caller;
    request.accepted = null;
    return whenReady(judge(request), (decision) =>
      decision.rule === unlistedRule ? judgeByProposals(request, decision) : decision,
    );
  });
}

/** Judges a request to a host that is not listed by the accepted proposals of its caller. */
async function judgeByProposals(request: Request, unlisted: Decision): Promise<Decision> {
  const { services, target, config, caller } = request;
  const { authority } = target;
  const accepted = await acceptedFor(caller, ({ domains }) => domains.match(authority), services.proposals);
  if (accepted === null) return unlisted;
  request.accepted = accepted;
  request.config = { ...config, policy: accepted.policy };
  return judge(request);
}

/** Judges a request of a caller by the policy of its config. */
function judge(request: Request): Decision | Promise<Decision> {
  return whenReady(candidatesOf(request), (candidates) =>
    whenReady(labelsOf(request.caller, candidates), (grantLabels) => {
      const { target, config } = request;
      const selected = candidates?.selected.kind === 'selected' ? candidates.selected.grant : null;
      request.candidates = candidates;
      request.provider = selected === null ? undefined : config.provider(selected.provider);
      request.placement = selected === null ? null : config.placementFor(selected, target);
      request.facts = factsOf(request, grantLabels, judgedPath(request));
      return decideRequest(config.policy, request.facts);
    }),
  );
}

/** Returns the grants that the domain map offers a request; null: it offers none there. */
function candidatesOf(request: Request): GrantCandidates | null | Promise<GrantCandidates | null> {
  const { target, plan, placeholders, config, caller, services } = request;
  const domain = config.policy.domains.match(target.authority);
  if (domain?.action.kind !== 'grant') return null;
  const { grant } = domain.action;
  const shown = request.shownInBody.length > 0 ? request.shownInBody : placeholders.all;
  const shows = shown.length === 0 ? undefined : showsGrant(shown, caller, services.placeholders);
  const scope = scopeFor(grant, caller);
  const selector = shows === undefined ? caller : { ...caller, shows };
  // A placeholder may be of a grant that has no place.
  const isFound = ({ selected }: GrantCandidates) =>
    shows === undefined ? selected.kind !== 'missing' : selected.kind === 'selected' && shows(selected.grant);
  const withMinted = async (all: readonly Grant[], offer: GrantCandidates) => {
    const parents = all.filter(({ provider }) => config.hasMints(provider));
    const minted = await mintedOf(parents, selector, shown, services.grants);
    if (minted === null) return null;
    const candidates = [...offer.candidates, minted];
    return { ...offer, candidates, selected: { kind: 'selected', grant: minted } as const };
  };
  const beyond = async (near: readonly Grant[], offer: GrantCandidates) => {
    const minted = await withMinted(near, offer);
    if (minted !== null || scope === null || caller.selectors.user !== null) return minted ?? offer;
    const all = await withOthers(near, grant, services.grants);
    const ofAll = offerOf(all, domain, selector);
    return isFound(ofAll) ? ofAll : ((await withMinted(all, ofAll)) ?? ofAll);
  };
  return whenReady(services.grants.find(grant, scope), (near) => {
    const offer = shows === undefined ? plan.offer(near, domain, caller) : offerOf(near, domain, selector);
    return isFound(offer) ? offer : beyond(near, offer);
  });
}

/** Returns the labels of the grant that rules judge. */
export function labelsOf(
  caller: Identity,
  offer: GrantCandidates | null,
): readonly string[] | Promise<readonly string[]> {
  const isJudged = offer?.ruled === true && offer.selected.kind === 'selected';
  return isJudged ? caller.grantLabels(offer.selected.grant) : none;
}

const none: readonly string[] = [];

/** Returns the selected grant of a request. @throws SidekeyError `grant_missing`, `grant_ambiguous` */
export function grantOf({ candidates, caller, config, facts }: Request, { grant }: GrantDecision): Grant {
  if (candidates === null) throw new Error('policy gives a request a grant that the map does not offer');
  const { selected, candidates: offered } = candidates;
  if (selected.kind !== 'selected') {
    const host = authorityText(facts.authority);
    throw unselected(selected, { grant, host, offered }, caller, config.provider);
  }
  return selected.grant;
}

/** The parts of a request from which its facts follow. */
type JudgedRequest = Pick<
  Request,
  'inbound' | 'fieldFacts' | 'plan' | 'target' | 'bodyFacts' | 'caller' | 'candidates' | 'provider'
> & { readonly services: Pick<Request['services'], 'now'> };

/**
 * Returns the facts of a request for policy.
 *
 * @param grantLabels labels of the grant
 * @param path the path that rules judge
 */
export function factsOf(
  { inbound, fieldFacts, plan, target, bodyFacts, caller, candidates, provider, services }: JudgedRequest,
  grantLabels: readonly string[],
  path = target.path,
): RequestFacts {
  const { head, body, upgrades, protocols } = inbound;
  return {
    authority: target.authority,
    method: head.method,
    methodFields: fieldFacts.methodFields,
    pathFields: fieldFacts.pathFields,
    methodParameters: provider?.methodOverrideParameters ?? none,
    upgrades: protocols === undefined && (upgrades ?? fieldFacts.asksForWebSocket),
    protocols,
    path,
    client: plan.address,
    agent: caller.agent,
    user: userOf(caller, candidates),
    labels: plan.labels(caller.labels, grantLabels),
    reason: fieldFacts.reason,
    contentType: fieldFacts.contentType,
    contentLength: body === null ? 0 : fieldFacts.contentLength,
    now: services.now(),
    body: bodyFacts,
  };
}

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
export async function readFacts(
  request: Pick<Request, 'inbound' | 'fieldFacts' | 'body' | 'bodyFacts'>,
  maxBytes: number,
): Promise<void> {
  const { bytes, isWhole, body } = await readAhead(request.body, maxBytes);
  const encodings = valuesOf(request.inbound.head.fields, 'content-encoding');
  const contentEncoding = encodings.length === 0 ? null : encodings.join(', ');
  const { contentType } = request.fieldFacts;
  request.body = body;
  request.bodyFacts = readBodyFacts({ contentType, contentEncoding, bytes }, isWhole, maxBytes);
}

/**
 * Returns the path that rules judge. A credential in the path is not a part of the requested resource, so its
 * place is left out. Only a place that every upstream reads in the same way counts as one.
 */
function judgedPath({ target: { path }, placement }: Request): string {
  if (placement === null || placement instanceof SidekeyError) return path;
  const prefixes = pathPrefixesOf(placement);
  return prefixes.length === 0 ? path : pathWithout(path, prefixes);
}
