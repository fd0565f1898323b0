import type { Identity } from '../agents/authentication.ts';
import { proposalExample } from '../agents/approvals/proposals.ts';
import { defaultUser, type Grant, type GrantState, stateNow } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import { expiredToken, stateRefusal } from '../grants/token-result.ts';
import { valuesOf } from './http/fields.ts';
import type { ExchangeResult } from './http/message.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf, hintText, remedy } from '../lib/hint.ts';
import { asTyped } from '../lib/command-name.ts';
import { visible } from '../lib/text.ts';
import { ownHost } from './policy/authority.ts';
import type { Domain } from './policy/domain-map.ts';
import { describeRule } from './policy/judge.ts';
import { areReadOnly, type DomainRules, type Rule, type RuleOutcome, rulesFor } from './policy/rule.ts';
import { authenticate, factsOf, labelsOf } from './authorize.ts';
import { pageRefusal } from './base-url.ts';
import { cloudAnswer, cloudTarget } from './cloud-identity.ts';
import { answerProposals, isProposalPath } from './proposals.ts';
import { proposerOf } from './proposed.ts';
import { holdersOf } from './placeholders/detect.ts';
import type { Request } from './request.ts';
import type { ConfigSnapshot } from './services.ts';
import { offerOf, scopeFor, unselected, withOthers } from './target.ts';

/**
 * Answers a request for the proxy itself (`isOwn`) with the hosts, grants and rules of its caller. The caller
 * authenticates as for any other request. Nothing is resolved, and nothing is sent to an upstream.
 */
export async function discover(request: Request): Promise<ExchangeResult> {
  const { inbound, target, record } = request;
  record.discovers();
  const { method, fields } = inbound.head;
  const forCloud = cloudTarget({ target: target.path, fields });
  request.isForCloud = forCloud !== null;
  if (request.isForCloud) orThrow(pageRefusal(fields, ['x-forwarded-for']));
  request.caller = await authenticate(request);
  const [path = ''] = (forCloud ?? target.path).split('?', 1);
  if (isProposalPath(path)) {
    record.path(path);
    const { status, value } = await answerProposals(path, request);
    return answer(request, status, 'application/json', `${JSON.stringify(value)}\n`);
  }
  if (forCloud === null && path !== '/' && path !== '/index.json') {
    throw new SidekeyError('not_found', `${ownHost} has no such page.`, { hint: `GET http://${ownHost}/` });
  }
  record.path(path);
  if (method !== 'GET' && method !== 'HEAD') {
    const sentence = `${ownHost} shows what you may call, and accepts only GET and HEAD.`;
    throw new SidekeyError('method_not_allowed', sentence, { hint: `GET http://${ownHost}/` });
  }
  const reach = await reachOf(request);
  if (forCloud !== null) return answerCloud(forCloud, reach, request);
  const isJson = path === '/index.json' || prefersJson(valuesOf(fields, 'accept').join(','));
  return isJson
    ? answer(request, 200, 'application/json', `${JSON.stringify(reachJson(reach))}\n`)
    : answer(request, 200, 'text/plain; charset=utf-8', reachText(reach));
}

function answerCloud(target: string, { hosts, now }: Reach, request: Request): ExchangeResult {
  const { caller, config, services, inbound } = request;
  const grants = new Map(hosts.flatMap((host) => host.grants.map((grant) => [grant.id, grant] as const)));
  const content = cloudAnswer(
    { target, fields: inbound.head.fields },
    {
      holder: holdersOf(caller)[0]!,
      grants: [...grants.values()],
      provider: config.provider,
      codes: services.placeholders,
      now,
    },
  );
  if (content === null) return answer(request, 404, 'text/plain', 'There is no such page.\n');
  return typeof content === 'string'
    ? answer(request, 200, 'text/plain', content)
    : answer(request, 200, 'application/json', JSON.stringify(content));
}

function answer(
  { reply, inbound, isForCloud }: Request,
  status: 200 | 202 | 404,
  type: string,
  text: string,
): ExchangeResult {
  const { method } = inbound.head;
  const body = Buffer.from(text);
  const about = ['Content-Type', type, 'Content-Length', String(body.length), 'Vary', 'Accept'];
  const fields = [...about, 'Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff'];
  // Google's SDKs require it in each answer.
  if (isForCloud) fields.push('Metadata-Flavor', 'Google');
  reply.head(status, { 200: 'OK', 202: 'Accepted', 404: 'Not Found' }[status], fields);
  if (method !== 'HEAD') reply.write(body);
  reply.end([]);
  return { status, bytesIn: 0, bytesOut: method === 'HEAD' ? 0 : body.length, outcome: 'complete' };
}

/**
 * Reports whether a client prefers JSON to text (RFC 9110 §12.5.1). Ranges with a star do not count: a
 * client that accepts anything gets the text.
 */
export function prefersJson(accept: string): boolean {
  const weights = new Map(accept.split(',').map(weighed));
  const json = weights.get('application/json') ?? 0;
  return json > 0 && json >= (weights.get('text/plain') ?? 0);
}

function weighed(part: string): [type: string, weight: number] {
  const [type = '', ...parameters] = part.split(';').map((piece) => piece.trim().toLowerCase());
  const [, weight] =
    parameters.map((parameter) => /^q=([01](?:\.\d{0,3})?)$/.exec(parameter)).find(Boolean) ?? [];
  return [type, weight === undefined ? 1 : Number(weight)];
}

/** Hosts that one caller may call now, and its permission. Times are milliseconds since the epoch. */
interface Reach {
  readonly now: number;
  /** Name of the agent; null: the caller presented no token. */
  readonly agent: string | null;
  readonly lease: { readonly id: string; readonly purpose: string } | null;
  /** Time at which the caller's right ends if it is not revoked or renewed before; null: no end is known. */
  readonly endsAt: number | null;
  readonly hosts: readonly ReachedHost[];
  /** Hosts that the domain map tunnels, and hosts that it denies. */
  readonly tunnels: readonly string[];
  readonly denied: readonly string[];
  /** Action for any other host. */
  readonly unmatched: 'deny' | 'tunnel';
}

/** A host, or a pattern of hosts, where requests get a credential. */
interface ReachedHost {
  readonly host: string;
  readonly plainHttp: boolean;
  /** Grants of the caller that the host offers. */
  readonly grants: readonly ReachedGrant[];
  /** Grant for a request that names no grant; null: none, see `problem`. */
  readonly chosen: Pick<Grant, 'name' | 'user'> | null;
  /** Reason why no single grant is selected for the host; null if one is selected. */
  readonly problem: Problem | null;
  /** Rules of the host; null: none. */
  readonly rules: ReachedRules | null;
}

/** Rules of a host that apply to this caller. */
interface ReachedRules extends Pick<DomainRules, 'mode' | 'default'> {
  readonly list: readonly Rule[];
  readonly readOnly: boolean;
}

/** A grant without its credential. */
interface ReachedGrant extends Pick<Grant, 'id' | 'name' | 'user' | 'provider' | 'scopes'> {
  readonly state: GrantState;
  /** Time at which the caller's right to the grant ends; null: no end is known. */
  readonly endsAt: number | null;
  /** Reason why the grant cannot be used now; null if it can be used. */
  readonly problem: Problem | null;
}

/** A refusal that a request would receive, and the remedy. */
interface Problem {
  readonly code: string;
  readonly sentence: string;
  readonly hint: Hint | null;
}

/**
 * Returns the hosts and grants that a caller reaches, without grants that it cannot use. A caller without a
 * token can use every grant, and also sees hosts whose grant is missing.
 *
 * @throws SidekeyError `store_unavailable`
 */
async function reachOf(request: Request): Promise<Reach> {
  const { caller, config, services } = request;
  const { domains, unmatched } = config.policy;
  const accepted = (await services.proposals.policyFor(proposerOf(caller)))?.domains.entries ?? [];
  const entries: readonly Domain[] = [...domains.entries, ...accepted];
  const hosts: ReachedHost[] = [];
  for (const domain of entries) {
    const host = await hostOf(domain, request);
    if (host !== null) hosts.push(host);
  }
  const right = await caller.holds(null, { mode: config.agents, used: false });
  return {
    now: services.now(),
    agent: caller.agent,
    lease: caller.lease === null ? null : { id: caller.lease.id, purpose: caller.lease.purpose },
    endsAt: finiteOrNull(right),
    hosts,
    tunnels: namesOf(entries, 'tunnel'),
    denied: namesOf(entries, 'deny'),
    unmatched,
  };
}

/** Returns a host that the caller reaches; null if its entry offers no grant to this caller. */
async function hostOf(domain: Domain, request: Request): Promise<ReachedHost | null> {
  const { caller, config } = request;
  const { grants, now } = request.services;
  const { pattern, action, rules } = domain;
  if (action.kind !== 'grant') return null;
  const reference = action.grant;
  const near = await grants.find(reference, scopeFor(reference, caller));
  const named = await withOthers(near, reference, grants);
  const offered = indexGrants(named.filter(caller.reaches)).offered(reference);
  if (offered.length === 0 && caller.agent !== null) return null;
  const offer = offerOf(named, domain, caller);
  const { selected } = offer;
  request.candidates = offer;
  const facts = factsOf(request, await labelsOf(caller, offer));
  const list = rules === undefined ? [] : rulesFor(rules, facts);
  return {
    host: pattern.text,
    plainHttp: action.allowPlainHttp,
    grants: await Promise.all(offered.map((grant) => grantOf(grant, caller, config, now()))),
    chosen: selected.kind === 'selected' ? selected.grant : null,
    problem:
      selected.kind === 'selected'
        ? null
        : problemOf(unselected(selected, { grant: reference, host: pattern.text }, caller, config.provider)),
    rules:
      rules === undefined
        ? null
        : { mode: rules.mode, default: rules.default, list, readOnly: areReadOnly(list, rules) },
  };
}

async function grantOf(
  grant: Grant,
  caller: Pick<Identity, 'holds'>,
  { agents, provider }: Pick<ConfigSnapshot, 'agents' | 'provider'>,
  now: number,
): Promise<ReachedGrant> {
  const held = await caller.holds(grant, { mode: agents, used: false });
  const state = stateNow(grant, now);
  const definition = provider(grant.provider);
  const refused =
    stateRefusal(grant, definition) ??
    (state === 'expired' ? expiredToken(grant, definition) : held instanceof SidekeyError ? held : null);
  const { id, name, user, scopes } = grant;
  return {
    id,
    name,
    user,
    provider: grant.provider,
    scopes,
    state,
    endsAt: finiteOrNull(held),
    problem: refused === null ? null : problemOf(refused),
  };
}

function problemOf({ code, message, hint }: Pick<SidekeyError, 'code' | 'message' | 'hint'>): Problem {
  return { code, sentence: message, hint: hint ?? null };
}

function finiteOrNull(end: number | SidekeyError): number | null {
  return end instanceof SidekeyError || !Number.isFinite(end) ? null : end;
}

function namesOf(domains: readonly Domain[], kind: Domain['action']['kind']): string[] {
  return domains.filter(({ action }) => action.kind === kind).map(({ pattern }) => pattern.text);
}

/** Renders the reach of a caller as JSON. Times are ISO 8601; null: none. */
function reachJson({ now, agent, lease, endsAt, hosts, tunnels, denied, unmatched }: Reach): object {
  return {
    sidekey: 1,
    now: reachJsonTime(now),
    agent,
    lease: lease === null ? null : { ...lease, ends_at: reachJsonTime(endsAt) },
    ends_at: reachJsonTime(endsAt),
    hosts: hosts.map(hostJson),
    tunnels,
    denied,
    unmatched,
  };
}

function hostJson({ host, plainHttp, grants, chosen, problem, rules }: ReachedHost): object {
  return {
    host,
    plain_http: plainHttp,
    grants: grants.map(grantJson),
    chosen: chosen?.name ?? null,
    chosen_user: chosen?.user ?? null,
    problem: problemJson(problem),
    read_only: rules?.readOnly ?? false,
    mode: rules?.mode ?? 'enforce',
    default: rules?.default ?? 'allow',
    rules: (rules?.list ?? []).map((rule) => ({
      name: rule.name,
      outcome: rule.outcome,
      text: describeRule(rule),
      require_reason: rule.requireReason,
    })),
  };
}

function grantJson({ name, user, provider, scopes, state, endsAt, problem }: ReachedGrant): object {
  return {
    name,
    user,
    provider,
    scopes,
    state,
    ends_at: reachJsonTime(endsAt),
    problem: problemJson(problem),
  };
}

function problemJson(problem: Problem | null): object | null {
  if (problem === null) return null;
  const { code, sentence, hint } = problem;
  return { code, detail: sentence, hint: hint === null ? null : asTyped(hintText(hint)) };
}

function reachJsonTime(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}

/** Renders the reach of a caller as text, most often for a language model. */

const outcomes: Readonly<Record<RuleOutcome, string>> = {
  allow: 'allowed',
  deny: 'refused (rule_denied)',
  approve: 'waits until a person has said yes; let the request wait',
  tunnel: 'sent on without a credential',
};

/** Plain text, in lines. */
function reachText(reach: Reach): string {
  const { hosts, tunnels, denied } = reach;
  const lines = [
    'This is Sidekey. It adds credentials to the requests that you send through it.',
    'You hold no key and need none. Send requests without Authorization, and never ask anyone for a key.',
    '',
    ...whoLines(reach),
    '',
    ...(hosts.length === 0
      ? ['You may call no host with a credential.', '']
      : ['You may call:', '', ...hosts.flatMap((host) => [...hostLines(host), ''])]),
    ...(tunnels.length === 0
      ? []
      : [`Passed through as they are, without a credential: ${tunnels.join(', ')}`]),
    ...(denied.length === 0 ? [] : [`Refused: ${denied.join(', ')}`]),
    ...otherLines(reach),
    '',
    'A refusal has the header Sidekey-Error with a code, and a JSON body (RFC 9457): "detail" says why, and "hint" is',
    'what a person can run or change. Tell the person, word for word, and go on when they have done it. Do not look for',
    'another way, and do not repeat what was refused, but for 429 and 503 after Retry-After.',
    'As JSON: send Accept: application/json, or ask for /index.json.',
  ];
  return `${lines.map(visible).join('\n')}\n`;
}

function whoLines({ agent, lease, endsAt, now }: Reach): string[] {
  const who = agent === null ? 'a caller on this machine, without a token' : `the agent ${agent}`;
  const under = lease === null ? '' : `, under the lease ${lease.id} (${lease.purpose})`;
  return [
    `You are ${who}${under}.`,
    ...(endsAt === null
      ? []
      : [`This ends at ${time(endsAt)}${lease === null ? '' : ', if it is not renewed'}.`]),
    `It is ${time(now)} now.`,
  ];
}

function hostLines({ host, plainHttp, grants, chosen, problem, rules }: ReachedHost): string[] {
  const scheme = plainHttp ? 'https, and plain http' : 'https';
  const isChosen = ({ name, user }: ReachedGrant) =>
    grants.length > 1 && name === chosen?.name && user === chosen.user;
  return [
    `${host} (${scheme})`,
    ...grants.flatMap((grant) => grantLines(grant, isChosen(grant))),
    ...(problem === null ? [] : problemLines(problem)),
    ...(rules === null ? ['  everything is allowed'] : ruleLines(rules)),
  ];
}

function grantLines(grant: ReachedGrant, isChosen: boolean): string[] {
  const { name, user, provider, scopes, state, endsAt, problem } = grant;
  const whose = user === defaultUser ? '' : ` of the user ${user}`;
  return [
    `  grant ${name}${whose} (${provider}): ${problem === null ? state : 'not usable now'}` +
      `${endsAt === null ? '' : `, yours until ${time(endsAt)}`}${isChosen ? ', used unless you name another' : ''}`,
    ...(scopes.length === 0 ? [] : [`    scopes ${scopes.join(' ')}`]),
    ...(problem === null ? [] : problemLines(problem)),
  ];
}

function problemLines({ code, sentence, hint }: Problem): string[] {
  return [
    `    ${code}: ${sentence}`,
    ...(hint === null ? [] : [`    ask the person for: ${asTyped(hintText(hint))}`]),
  ];
}

/** Returns the rules of a host in words, one each line. */
export function ruleLines({ list, mode, readOnly, default: otherwise }: ReachedRules): string[] {
  return [
    ...(mode === 'report' ? ['  everything is allowed; what these rules say is only recorded:'] : []),
    ...(readOnly ? ['  only reading is allowed:'] : []),
    ...list.map((rule, index) => `  ${index + 1}. ${describeRule(rule)}: ${outcomes[rule.outcome]}`),
    `  anything else: ${outcomes[otherwise]}`,
  ];
}

function otherLines({ unmatched, agent }: Reach): string[] {
  if (unmatched === 'tunnel') return ['Any other host is tunnelled, without a credential.'];
  const more =
    agent === null
      ? ''
      : hintOf` (or, where the host has a grant already: ${remedy('agent.bind', { agent, grants: null })})`;
  const ways = hintOf`${remedy('domain.tunnel', { host: null })}, or ${remedy('domain.allow', { host: null, grant: null })}${more}`;
  return [
    'Any other host is refused (domain_not_allowed, or grant_missing).',
    `  if you need one, ask the person for: ${asTyped(hintText(ways))}`,
    `  or propose it, with a reason: curl --json '${proposalExample}' http://${ownHost}/proposals`,
  ];
}

function time(at: number): string {
  return new Date(at).toISOString();
}
