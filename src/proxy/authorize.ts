import type { Identity } from '../agents/authentication.ts';
import { defaultUser, type Grant, type Selected, selectGrant } from '../grants/grant.ts';
import { type RawFields, valuesOf } from '../http/fields.ts';
import type { InboundRequest } from '../http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Authority } from '../policy/authority.ts';
import { type BodyFacts, readBodyFacts } from '../policy/body.ts';
import { decideRequest, type Decision } from '../policy/decide.ts';
import { overridesMethod } from '../policy/method-override.ts';
import { overridesPath } from '../policy/path.ts';
import type { RequestFacts } from '../policy/request.ts';
import { pathWithout } from '../schemes/path.ts';
import { type Destination, pathPrefixesOf } from '../schemes/placement.ts';
import type { ProxyServices, ConfigSnapshot } from './deps.ts';
import { readAhead } from '../http/read-ahead.ts';
import type { GivenApproval } from './revalidate.ts';
import type { Target } from './target.ts';

/** What holds for a request at one moment, and what policy says of it. */
export interface Judgement<Known = ConfigSnapshot> {
  readonly settings: Known;
  readonly caller: Identity;
  /** Null: the map offers no grant there. */
  readonly offer: GrantCandidates | null;
  readonly facts: RequestFacts;
  readonly decision: Decision;
}

/** Policy lets a request have a grant, for itself or once a person has agreed. */
export type GrantDecision = Extract<Decision, { readonly grant: string }>;

/** The same with the grant that is meant. */
export interface AuthorizedRequest extends Pick<Judgement, 'settings' | 'caller' | 'facts'> {
  readonly decision: GrantDecision;
  readonly grant: Grant;
  /** Absent: nobody was asked. */
  readonly approval?: GivenApproval;
}

/** A request whose caller is known. */
interface AuthenticatedRequest {
  readonly inbound: InboundRequest;
  readonly target: Target;
  readonly caller: Identity;
  readonly shows?: GrantSelector['shows'];
}

/**
 * Judges a request by what holds now: config, grants, labels and time. One that has waited, for its body or for a
 * person, is judged anew: how long that was, its sender decides.
 *
 * @param body null: it was not read
 */
export async function judge<Known extends Pick<ConfigSnapshot, 'policy' | 'injectPlan' | 'provider'>>(
  { inbound, target, caller, shows }: AuthenticatedRequest,
  body: BodyFacts | null,
  settings: Known,
  services: Pick<ProxyServices, 'grants' | 'now'>,
): Promise<Judgement<Known>> {
  const { authority } = target;
  const offer = await offerOf(authority, { ...caller, shows }, services, settings);
  const judged = { authority, path: judgedPath(target, offer, settings) };
  const { selected } = offer ?? {};
  const provider = selected?.kind === 'selected' ? settings.provider(selected.grant.provider) : undefined;
  const seen = await requestFacts(
    inbound,
    judged,
    caller,
    offer,
    services.now(),
    provider?.methodOverrideParameters ?? [],
  );
  const facts = body === null ? seen : { ...seen, body };
  return { settings, caller, offer, facts, decision: decideRequest(settings.policy, facts) };
}

/** The one grant that is meant, or why there is none. */
export function grantedBy(
  { settings, caller, facts, offer }: Judgement,
  decision: GrantDecision,
): AuthorizedRequest | SidekeyError {
  if (offer === null) throw new Error('policy lets a request have a grant that the map does not offer');
  const { selected } = offer;
  if (selected.kind !== 'selected') return unselected(selected, decision, caller);
  return { settings, caller, facts, decision, grant: selected.grant };
}

/**
 * What policy may look at of a request, its body left out. Labels of the grant that is meant count too.
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
 * What a request's body says, read ahead within bounds; and the body, whole again, to be sent on.
 *
 * @throws SidekeyError `bad_request` where the client left in the middle of it
 */
export async function bodyFacts(
  { head, body }: InboundRequest,
  most: number,
): Promise<{ readonly facts: BodyFacts; readonly body: InboundRequest['body'] }> {
  const peeked = await readAhead(body, most);
  const encodings = valuesOf(head.fields, 'content-encoding');
  const facts = readBodyFacts(
    {
      contentType: contentTypeOf(head.fields),
      contentEncoding: encodings.length === 0 ? null : encodings.join(', '),
      bytes: peeked.bytes,
    },
    peeked.isWhole,
  );
  return { facts, body: peeked.body };
}

/** `127.0.0.1:4711`, `[::1]:4711` without the port. */
export function addressOf(text: string): string {
  return text.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1');
}

/** What the map offers for a request, and which of it is meant. */
export interface GrantCandidates {
  /** Id, name or provider of a grant, as the domain has it. */
  readonly reference: string;
  readonly candidates: readonly Grant[];
  readonly selected: Selected;
  /** Whether the domain has rules, which may ask for more of the grant. */
  readonly ruled: boolean;
}

/** Null: the map offers no grant there. Whether a caller gets it is for the decision to say. */
export async function offerOf(
  authority: Authority,
  caller: GrantSelector,
  { grants }: Pick<ProxyServices, 'grants'>,
  { policy }: Pick<ConfigSnapshot, 'policy'>,
): Promise<GrantCandidates | null> {
  const domain = policy.domains.match(authority);
  if (domain?.action.kind !== 'grant') return null;
  const reference = domain.action.grant;
  const candidates = await grants.find(reference);
  const selected = selectFor(caller, candidates, reference);
  return {
    reference,
    candidates,
    selected,
    ruled: domain.rules !== undefined || domain.additionalRules !== undefined,
  };
}

/**
 * The path that rules judge: without the credential's place, where that of the grant which is meant stands in the path.
 * It is no part of what is asked for. Only what no upstream reads as anything else counts as one.
 */
function judgedPath(
  to: Destination,
  offer: Pick<GrantCandidates, 'selected'> | null,
  { injectPlan }: Pick<ConfigSnapshot, 'injectPlan'>,
): string {
  if (offer?.selected.kind !== 'selected') return to.path;
  const plan = injectPlan(offer.selected.grant.provider, to);
  return plan instanceof SidekeyError ? to.path : pathWithout(to.path, pathPrefixesOf(plan));
}

/** Who chooses, and what they may have. */
interface GrantSelector extends Pick<Identity, 'agent' | 'agentUser' | 'lease' | 'selectors' | 'reaches'> {
  /** Whether the request shows the caller's placeholder of a grant; absent: it shows none. */
  readonly shows?: ((grant: Grant) => boolean) | undefined;
}

/**
 * The grant for a caller, of those that match the domain's reference. What the caller does not reach is not there. Of
 * several that are left, the one whose placeholder the request shows is meant, then that of the user that the agent acts for,
 * unless another user is named.
 */
export function selectFor(
  { agentUser, selectors, reaches, shows }: GrantSelector,
  candidates: readonly Grant[],
  reference: string,
): Selected {
  const reached = candidates.filter(reaches);
  const selected = selectGrant(reached, { reference, ...selectors });
  if (selected.kind === 'ambiguous' && shows !== undefined) {
    const [shown, ...more] = selected.candidates.filter(shows);
    if (shown !== undefined && more.length === 0) return { kind: 'selected', grant: shown };
  }
  if (selected.kind !== 'ambiguous' || agentUser === null || selectors.user !== null) return selected;
  const own = selectGrant(reached, { reference, ...selectors, user: agentUser });
  return own.kind === 'missing' ? selected : own;
}

/** Why no grant, or no single one, stands for the request. */
export function unselected(
  selected: Exclude<Selected, { kind: 'selected' }>,
  { grant: reference }: { readonly grant: string },
  { agent, lease, selectors: { grant, user } }: Pick<GrantSelector, 'agent' | 'lease' | 'selectors'>,
): SidekeyError {
  const wanted = `${grant ?? reference}${user === null ? '' : ` of the user ${user}`}`;
  if (selected.kind === 'missing') {
    const beyond = grant === null || grant === reference ? '' : ` among those of ${reference}`;
    const add = `sidekey connect PROVIDER --name ${grant ?? reference}`;
    // The same words whether the grant is not bound or not there: an agent is not to find out which.
    const bind =
      lease === null
        ? `sidekey agent bind ${agent} --grant ${grant ?? reference}`
        : `sidekey lease create --agent ${agent} --grant ${grant ?? reference} --purpose TEXT`;
    const whose = agent === null ? '' : ` for the agent ${agent}${lease === null ? '' : ' under this lease'}`;
    return new SidekeyError('grant_missing', `There is no grant ${wanted}${beyond}${whose}.`, {
      hint: agent === null ? add : `${bind} (or, where there is none yet: ${add})`,
    });
  }
  const names = selected.candidates.map(describe).join(', ');
  return new SidekeyError('grant_ambiguous', `More than one grant fits ${wanted}: ${names}.`, {
    hint: 'choose one with +grant=NAME or +user=NAME in the proxy user name, or with the header Sidekey-Grant',
  });
}

function describe({ name, user }: Grant): string {
  return `${name} (user ${user})`;
}
