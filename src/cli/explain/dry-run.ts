import { callerMode, type Identity } from '../../agents/authentication.ts';
import { type AuthenticatorParts, createAgentAuthenticator } from '../../agents/authenticator.ts';
import { leaseStanding } from '../../domain/lease.ts';
import type { TokenIdentities } from '../../agents/token-identity.ts';
import type { View } from '../../app/state.ts';
import { createProposedPolicies } from '../../agents/approvals/proposals.ts';
import type { Config } from '../../config/config.ts';
import { type HeldCredential, keysText, type SealedCredential } from '../../domain/credential.ts';
import { type Grant, matches, stateNow, titleOf } from '../../domain/grant.ts';
import type { Placement } from '../../domain/provider.ts';
import { describeSource } from '../../grants/sources/source.ts';
import { expiredToken, standingOf, type TokenResult } from '../../grants/token-result.ts';
import {
  createGone,
  type ExchangeResult,
  type InboundRequest,
  type Presented,
  type Reply,
} from '../../proxy/http/message.ts';
import { SidekeyError } from '../../lib/errors.ts';
import {
  type Authority,
  authorityText,
  bareHost,
  createAddressGuard,
  isAddress,
  parseCidr,
} from '../../proxy/policy/authority.ts';
import { decideRequest, type Decision, type GrantUse, unlistedRule } from '../../proxy/policy/decide.ts';
import { isPattern, matchesPattern, parsePattern } from '../../proxy/policy/domain-map.ts';
import { describeStep } from '../../proxy/policy/judge.ts';
import { boundOf } from '../../proxy/policy/limits.ts';
import type { RequestFacts } from '../../proxy/policy/request.ts';
import type { RuleStep } from '../../proxy/policy/rule.ts';
import { exchange, type Forwarder } from '../../proxy/exchange.ts';
import { AgentLoad } from '../../proxy/rule-limits.ts';
import { ExchangeRecord } from '../../proxy/record.ts';
import { type ConfigSnapshot, type ProxyServices, snapshotOf } from '../../proxy/services.ts';
import type { UpstreamRequest } from '../../proxy/upstream-request.ts';
import { newDpopKey } from '../../proxy/schemes/dpop-proof.ts';
import { schemeOf } from '../../proxy/schemes/placement.ts';
import type { LeaseRecord } from '../../store/store.ts';
import { createResolver } from '../../proxy/upstream/resolve.ts';
import { isLive } from '../../operations/agent-token.ts';
import { identityRules } from '../../agents/identity-rules.ts';
import { foreignTexts, leakGuardTexts } from '../domain.ts';
import { dateTime, relativeTime, spanText, when } from '../../operations/format.ts';
import { expiryOf } from '../grant/format.ts';
import { leaseGrantsText, leaseStateText, usesText } from '../lease-text.ts';
import { pickLease } from '../../operations/lookup.ts';
import { carriedAs } from '../provider.ts';
import { once, type Question } from './question.ts';

interface Step {
  readonly step: StepName;
  readonly ok: boolean;
  readonly text: string;
}

/** The steps in the proxy's order. */
type StepName =
  | 'authority'
  | 'lease'
  | 'agent'
  | 'domain'
  | 'rule'
  | 'decision'
  | 'grant'
  | 'token'
  | 'approval'
  | 'other credentials'
  | 'audience'
  | 'injection'
  | 'leaks'
  | 'address';

/** An exchange that ran to its end or its refusal. */
export interface DryRun {
  readonly steps: readonly Step[];
  /** Null: the request would be sent, or wait for a person. */
  readonly refusal: SidekeyError | null;
  /** Describes the forwarding, as the end of a sentence. */
  readonly outcome: string;
  /** True if approval is requested first. */
  readonly held: boolean;
}

/**
 * Runs the stages of the proxy on a hypothetical request. Its services only read: they count no use, refresh
 * no token, request no approval and send nothing.
 *
 * @throws errors of the store and the vault; SidekeyError as `pickLease`
 */
export async function dryRun(view: View, question: Question): Promise<DryRun> {
  const { store } = view;
  const lease =
    question.lease === null ? null : pickLease((await store?.leases.list()) ?? [], question.lease);
  const asked = { lease, presented: await presentedOf(question, lease, view), grants: await view.grants() };
  const first = new Explanation(view, question, asked);
  const run = await first.run(question.inbound);
  // A credential in the body needs a body. Without a given one, uses the shortest.
  const { placement } = first;
  const sample =
    question.inbound.body === null && placement !== null && placement.kind !== 'own'
      ? schemeOf(placement).sample?.(placement)
      : undefined;
  if (sample === undefined || sample.body === null) return run;
  const { head } = question.inbound;
  const fields = [...head.fields, ...sample.fields, 'Content-Length', String(sample.body.length)];
  const inbound = { ...question.inbound, head: { ...head, fields }, body: once(sample.body) };
  return new Explanation(view, question, asked).run(inbound);
}

/** Store records of the question. */
interface Asked {
  readonly lease: LeaseRecord | null;
  /** Credentials of the caller, or why it has none. */
  readonly presented: Presented | SidekeyError;
  readonly grants: readonly Grant[];
}

/** The steps of a dry run, reported by the exchange's record and its services. */
class Explanation {
  /** Placement of the credential; null: none is needed. */
  placement: Placement | null = null;
  readonly #view: View;
  readonly #question: Question;
  readonly #asked: Asked;
  readonly #snapshot: ConfigSnapshot;
  readonly #steps: Step[] = [];
  /** The step of a refusal at this point. */
  #next: StepName = 'authority';
  #authority: Authority | null = null;
  #sealed: SealedCredential | null = null;
  /** Credentials that the client sends itself. */
  readonly #found: string[] = [];
  #refusal: SidekeyError | null = null;
  /** Reason why the credential does not fit the request; null: it fits. */
  #misplaced: SidekeyError | null = null;
  #outcome = 'refused';
  #held = false;
  /** An error of the store or the vault, as opposed to a refusal. */
  #failure: unknown = null;

  constructor(view: View, question: Question, asked: Asked) {
    this.#view = view;
    this.#question = question;
    this.#asked = asked;
    // The forwarder of a dry run opens no connection.
    const snapshot = snapshotOf(view.config, {} as Parameters<typeof snapshotOf>[1]);
    this.#snapshot = {
      ...snapshot,
      redactPath: ({ path }) => path,
      placementFor: (provider, to) => {
        const placement = snapshot.placementFor(provider, to);
        if (placement instanceof SidekeyError) this.#misplaced = placement;
        else this.placement = placement;
        return placement;
      },
    };
  }

  async run(inbound: InboundRequest): Promise<DryRun> {
    const forwarder: Forwarder = {
      send: ({ request, ending }) => {
        this.#describe(request);
        ending.done({ status: 200, bytesIn: 0, bytesOut: 0, outcome: 'complete' });
      },
      watch: null,
    };
    const [services, record] = [this.#services(), this.#record(inbound)];
    await exchange({ inbound, reply: silentReply(), services, forwarder, record });
    if (this.#failure !== null) throw this.#failure;
    if (this.#refusal === null && this.#authority !== null && this.#outcome !== ownOutcome)
      await this.#addressStep(this.#authority);
    return { steps: this.#steps, refusal: this.#refusal, outcome: this.#outcome, held: this.#held };
  }

  /** Adds a passed step. A stage that runs again after an approval adds nothing. */
  #passed(step: StepName, text: string, next: StepName = step): void {
    this.#next = next;
    if (!this.#steps.some((each) => each.step === step && each.text === text))
      this.#steps.push({ step, ok: true, text });
  }

  #refused(refusal: SidekeyError): void {
    let step = refusal.code === 'lease_expired' ? 'lease' : this.#next;
    if (refusal.code === 'foreign_credential') step = 'other credentials';
    if (refusal === this.#misplaced) step = 'injection';
    this.#steps.push({ step, ok: false, text: refusal.message });
    this.#refusal = refusal;
    this.#outcome = 'refused';
    this.#held = false;
  }

  #record(inbound: InboundRequest): ExchangeRecord {
    return new ExplainedRecord(inbound, () => this.#question.at, {
      target: (authority) => {
        this.#authority = authority;
        this.#passed('authority', `${authority.scheme}://${authority.host}:${authority.port}`, 'agent');
      },
      identity: ({ agent }) => this.#passed('agent', agent ?? 'none; this caller needs no token', 'decision'),
      foreign: (found) => this.#found.push(...found),
      decided: (decision, facts) => this.#decisionSteps(decision, facts),
      discovered: () => {
        this.#passed('decision', 'for the proxy itself, which lists what the caller may use');
        this.#outcome = ownOutcome;
      },
      refused: (refusal) => this.#refused(refusal),
    });
  }

  #decisionSteps(decision: Decision, facts: RequestFacts): void {
    const domain = this.#authority && this.#snapshot.policy.domains.match(this.#authority);
    const isListed = domain || decision.rule === unlistedRule;
    const otherwise = isListed ? 'no entry covers it' : `no entry covers it; allowed by ${decision.rule}`;
    this.#passed('domain', domain ? `${domain.pattern.text}: ${domain.origin}` : otherwise);
    const steps: RuleStep[] = [];
    decideRequest(this.#snapshot.policy, facts, steps);
    for (const step of steps) this.#steps.push({ step: 'rule', ok: true, text: describeStep(step) });
    this.#next = 'decision';
    if (decision.outcome !== 'deny') this.#passed('decision', decisionText(decision), 'grant');
  }

  /** Returns services that change nothing and record their calls. */
  #services(): ProxyServices {
    const { at } = this.#question;
    const config = () => this.#snapshot;
    return {
      config,
      lastConfig: config,
      agents: { identify: () => this.#identify() },
      grants: {
        find: (reference) => Promise.resolve(this.#asked.grants.filter((it) => matches(it, reference))),
      },
      certificates: { watch() {} },
      tokens: {
        peek: () => null,
        tokenFor: (id) => this.#token(id),
        forceRefresh: async () => ({ kind: 'unchanged' }),
      },
      activity: { lacked() {} },
      keepLogin: async ({ name, user, client }) => {
        this.#outcome = `the login of ${client.program} becomes the grant ${titleOf({ name, user })}, and gets placeholders`;
        return { kind: 'declined', status: 200, answer: {}, isForm: false };
      },
      nonces: { of: () => null, remember() {} },
      audit: { append: async () => {}, write: () => undefined, note() {}, close: async () => {} },
      quota: { take: () => ({ ok: true }), spend: () => ({ ok: true }), close() {} },
      figures: { exchanged() {} },
      tracer: null,
      leakLimit: { refusal: () => null, count: async () => null },
      load: new AgentLoad(),
      approvals: { ask: ({ who }) => this.#approval(who), stands: async () => true },
      proposals: this.#proposals(),
      fingerprint: () => '',
      placeholders: { make: () => '', find: () => [], isOf: () => false },
      leafFor() {
        throw new Error('a dry run intercepts nothing');
      },
      log: {
        error: ({ err }: { readonly err?: unknown }) => void (this.#failure ??= err),
        warn() {},
        info() {},
        debug() {},
      },
      now: () => at,
      timers: { after: () => () => {} },
    };
  }

  /** Reads the proposals of the store. Creates and uses none. */
  #proposals(): ProxyServices['proposals'] {
    const { store, config } = this.#view;
    const { at } = this.#question;
    const nothing = { answer: null, usedAt: null };
    const empty = { policyFor: () => null };
    const policies =
      store === null
        ? empty
        : createProposedPolicies({ store, now: () => at, restrict: () => config.restrict });
    return {
      ...policies,
      propose: async (asked) => ({ ...asked, ...nothing, id: '', askedAt: at, expiresAt: at }),
      get: async (id) => (await store?.proposals.get(id)) ?? null,
      list: async () => (await store?.proposals.list()) ?? [],
      connected: async (proposal) => proposal,
      use: async () => true,
    };
  }

  /** Authenticates the caller with the authenticator of the proxy. */
  async #identify(): Promise<Identity | SidekeyError> {
    const { store, config } = this.#view;
    const { at, inbound } = this.#question;
    const { lease, presented, grants } = this.#asked;
    if (presented instanceof SidekeyError) return presented;
    if (lease !== null) this.#passed('lease', purposeText(lease, leaseGrantsText(lease, grants)), 'agent');
    const get = async (id: string) => (await store?.leases.get(id)) ?? null;
    const authenticator = createAgentAuthenticator({
      store:
        store === null
          ? emptyStore
          : {
              epoch: () => store.epoch(),
              changesSince: (epoch) => store.changesSince(epoch),
              rights: store.rights,
              leases: { get, use: async (id) => (await get(id))?.uses ?? null },
            },
      now: () => at,
      uses: { used() {} },
      tokenIdentities: anyToken(this.#question.agent),
    });
    const { loopback, owner } = inbound.client;
    const mode = callerMode(config.proxy);
    const identity = await authenticator.identify(presented, { loopback, owner, mode });
    if (identity instanceof SidekeyError) return identity;
    if (lease !== null) this.#passed('lease', clocksText(lease, at), 'agent');
    return {
      ...identity,
      spend: async (grant) => {
        const refused = await identity.spend(grant);
        if (refused === null) this.#audienceStep();
        else this.#next = 'grant';
        return refused;
      },
    };
  }

  async #token(grantId: string): Promise<TokenResult> {
    const { at } = this.#question;
    const { tokens, providers } = this.#view.config;
    const grant = this.#asked.grants.find(({ id }) => id === grantId)!;
    this.#passed('grant', `${titleOf(grant)}: provider ${grant.provider}, ${stateNow(grant, at)}`, 'token');
    let opened;
    try {
      opened = (await (await this.#view.registry())?.read(grantId)) ?? null;
    } catch (error) {
      this.#failure = error;
      throw error;
    }
    const clock = { now: at, skewMs: tokens.skewMs, unwanted: null };
    const standing = standingOf(opened, grantId, clock, (name) => providers.get(name));
    switch (standing.kind) {
      case 'refused':
        return standing;
      case 'ended':
        return expiredToken(grant, providers.get(grant.provider));
      case 'unchanged':
        throw new SidekeyError('internal', 'No token was refused, yet it was kept.');
      case 'usable': {
        const due = standing.due ? '; a new one is fetched in the background' : '';
        const unknown = grant.refreshable ? 'expiry not known' : 'no expiry';
        const expiry = grant.expiresAt === null ? unknown : `expires ${expiryOf(grant, at)}`;
        this.#passed('token', `valid, ${expiry}${due}`);
        break;
      }
      case 'needed': {
        const { credential } = standing.opened.sealed;
        const how =
          credential.type === 'source'
            ? `the source ${describeSource(credential)} is asked before the request is sent, where no value is in memory`
            : 'no valid token: a new one is fetched before the request is sent';
        this.#passed('token', how);
        break;
      }
    }
    const { sealed } = standing.opened;
    const some = withSomeToken(sealed, this.placement, standing.kind === 'needed');
    // The first one belongs to the main grant.
    this.#sealed ??= some;
    return { kind: 'ready', grant: standing.opened.grant, sealed: some };
  }

  async #approval(who: Parameters<NonNullable<View['store']>['approvals']['standing']>[0]) {
    const { config, store } = this.#view;
    const { at } = this.#question;
    const standing = (await store?.approvals.standing(who, at)) ?? null;
    this.#held = standing === null;
    if (standing === null) {
      const time = spanText(config.approvals.timeoutMs);
      this.#passed('approval', `a person is asked, and the request waits up to ${time} for the answer`);
      return { kind: 'allowed', id: '', by: '', standing: false } as const;
    }
    const until = standing.until === null ? 'as long as the lease' : `until ${dateTime(standing.until)}`;
    this.#passed('approval', `${standing.by} said yes ${relativeTime(standing.at, at)}, ${until}`);
    return { kind: 'allowed', id: standing.id, by: standing.by, standing: true } as const;
  }

  #audienceStep(): void {
    this.#next = 'injection';
    if (this.#authority === null || this.#sealed === null || this.placement?.kind === 'own') return;
    const authority = this.#authority;
    const { audience } = this.#sealed;
    const patterns = audience.map(parsePattern).filter(isPattern);
    this.#next = 'audience';
    if (!patterns.some((pattern) => matchesPattern(pattern, authority))) return;
    this.#passed('audience', `${authorityText(authority)} is within ${audience.join(', ')}`, 'injection');
  }

  #foreignStep({ foreignCredentials }: GrantUse): void {
    if (foreignCredentials === undefined && this.#found.length === 0) return;
    const found = this.#found.length === 0 ? 'none found' : this.#found.join(', ');
    this.#passed('other credentials', `${foreignTexts[foreignCredentials ?? 'unset']}; ${found}`, this.#next);
  }

  #describe({ carriesGrant, credential, permission, fields, carriedIn }: UpstreamRequest): void {
    this.#outcome = 'unchanged, without a credential';
    const { grant } = permission;
    if (!carriesGrant || grant === null || this.placement === null) return;
    if (credential === null) {
      this.#passed('injection', `${carriedAs(this.placement)} (set by the provider ${grant.provider})`);
      return;
    }
    const names = fields.filter((name, i) => i % 2 === 0 && carriedIn?.has(name.toLowerCase()) === true);
    this.#passed('injection', `${describeFields(names, grant, this.placement)} (${howCarried(grant)})`);
    const { decision } = credential.authorized;
    for (const { token, placement } of credential.also)
      this.#passed('injection', `${carriedAs(placement)} (the grant ${titleOf(token.grant)})`);
    const { leakGuard } = decision;
    this.#foreignStep(decision);
    this.#passed('leaks', leakGuardTexts[leakGuard ?? 'auto'].inFull);
    const all = [grant, ...credential.also.map(({ token }) => token.grant)];
    this.#outcome = `with the credential of ${all.map(titleOf).join(' and ')}`;
  }

  /** Names are resolved on connect. Addresses in the config or the URL are checked now. */
  async #addressStep(authority: Authority): Promise<void> {
    const { upstream }: Config = this.#view.config;
    const pinned = upstream.resolve.get(authority.host);
    this.#next = 'address';
    if (pinned === undefined && !isAddress(authority.host)) {
      const proxy = upstream.proxy?.remoteDns === true ? authorityText(upstream.proxy.authority) : null;
      this.#passed(
        'address',
        proxy === null
          ? 'resolved when the connection opens; only public addresses and those in upstream.private_addresses are allowed'
          : `looked up by ${proxy}, unless upstream.no_proxy has the host; no address guard holds there`,
      );
      return;
    }
    const guard = createAddressGuard(
      upstream.privateAddresses.map(parseCidr).filter((block) => block !== null),
    );
    const resolve = createResolver({ guard, pinned: upstream.resolve, lookup: async () => [] });
    try {
      const [first] = await resolve(authority.host);
      const from = pinned === undefined ? '' : ' (pinned by upstream.resolve)';
      this.#passed('address', `${first?.address ?? bareHost(authorityText(authority))}${from} may be dialed`);
    } catch (error) {
      if (!(error instanceof SidekeyError)) throw error;
      this.#refused(error);
    }
  }
}

const ownOutcome = 'answered by Sidekey itself';

interface Listeners {
  target(authority: Authority): void;
  identity(caller: Pick<Identity, 'agent'>): void;
  foreign(found: readonly string[]): void;
  decided(decision: Decision, facts: RequestFacts): void;
  /** Called if the proxy itself answered the request. */
  discovered(): void;
  refused(refusal: SidekeyError): void;
}

/** The record of an explained exchange. */
class ExplainedRecord extends ExchangeRecord {
  readonly #listeners: Listeners;
  #isOwn = false;

  constructor(inbound: InboundRequest, now: () => number, listeners: Listeners) {
    super(inbound, now);
    this.#listeners = listeners;
  }

  override target({ authority }: { readonly authority: Authority }): void {
    this.#listeners.target(authority);
  }

  override identity(caller: Pick<Identity, 'agent' | 'lease'>): void {
    this.#listeners.identity(caller);
  }

  override foreign(found: readonly string[]): void {
    this.#listeners.foreign(found);
  }

  override decided(decision: Decision, facts: RequestFacts): void {
    this.#listeners.decided(decision, facts);
  }

  override discovers(): void {
    this.#isOwn = true;
  }

  override outcome(carried: ExchangeResult): ReturnType<ExchangeRecord['outcome']> {
    if (this.#isOwn) this.#listeners.discovered();
    return super.outcome(carried);
  }

  override refused(error: unknown, status: number): ReturnType<ExchangeRecord['refused']> {
    if (error instanceof SidekeyError) this.#listeners.refused(error);
    return super.refused(error, status);
  }
}

/** Returns a reply that discards its content. */
function silentReply(): Reply {
  const gone = createGone();
  return {
    started: false,
    gone,
    hold: () => gone,
    expectsContinue: false,
    continue() {},
    informational() {},
    closeAfter() {},
    head() {},
    write: () => true,
    onDrain() {},
    end() {},
    abort() {},
  };
}

/** An empty store knows no callers. */
const emptyStore: AuthenticatorParts['store'] = {
  epoch: () => 0,
  changesSince: () => ({ grants: [], others: false }),
  rights: {
    revision: async () => 0,
    read: async () => ({ revision: 0, agents: [], tokens: [], bindings: [], leases: [], policies: [] }),
  },
  leases: { get: async () => null, use: async () => null },
};

const noHash = Buffer.alloc(0);

/** Identifies an agent as if by a valid token of its issuers. A dry run has no real token to verify. */
function anyToken(agent: string | null): TokenIdentities {
  const identity = { agent: agent ?? '', issuer: '', subject: '', expiresAt: Infinity };
  return { applies: () => true, find: () => identity, verify: async () => identity };
}

/** Returns the credentials that the caller would present: an active token if the agent has several. */
async function presentedOf(
  { agent, selectors, at }: Question,
  lease: LeaseRecord | null,
  { store, config }: View,
): Promise<Presented | SidekeyError> {
  if (lease !== null)
    return { kind: 'token', name: agent, tokenHash: Buffer.from(lease.tokenHash), selectors };
  if (agent === null) return { kind: 'selectors', selectors };
  if (((await store?.agents.get(agent)) ?? null) === null) {
    return unauthenticated(`The proxy does not know the agent ${agent}.`, 'sidekey agent list');
  }
  const tokens = (await store?.agentTokens.list(agent)) ?? [];
  const live = tokens.findLast((token) => isLive(token, at));
  if (live === undefined && identityRules(config, agent).length > 0) {
    return { kind: 'token', name: agent, tokenHash: noHash, jwt: '', selectors };
  }
  const shown = live ?? tokens.at(-1);
  if (shown === undefined) {
    return unauthenticated(`The agent ${agent} has no token.`, `sidekey agent rotate ${agent}`);
  }
  return { kind: 'token', name: agent, tokenHash: Buffer.from(shown.hash), selectors };
}

function unauthenticated(sentence: string, hint: string): SidekeyError {
  return new SidekeyError('agent_auth_required', sentence, { hint });
}

function decisionText({
  outcome,
  reason,
  reported,
  limits,
  mode,
}: Exclude<Decision, { outcome: 'deny' }>): string {
  const counted = mode === 'report' ? [] : limits;
  return [
    `${outcome}: ${reason}`,
    ...(reported === null ? [] : [`only reported, else ${reported.outcome}: ${reported.reason}`]),
    ...counted.map((limit) => `at most ${boundOf(limit)} per ${limit.per}`),
  ].join('; ');
}

function purposeText({ id, agent, purpose }: LeaseRecord, grants: string): string {
  return `${id} of ${agent}, for ${grants === '' ? 'no grant' : grants}: ${purpose}`;
}

/** `active, ends in 14 min (2026-11-21 06:15:00Z); at most 5m between two requests; 3 of 10 uses`. */
function clocksText(lease: LeaseRecord, now: number): string {
  const standing = leaseStanding(lease, now);
  const at = standing.state === 'active' ? standing.endsAt : lease.expiresAt;
  return [
    `${leaseStateText(lease, now)}, ends ${when(at, now)}`,
    ...(lease.idleMs === null ? [] : [`at most ${spanText(lease.idleMs)} between two requests`]),
    ...(lease.maxUses === null ? [] : [`${usesText(lease)} uses`]),
  ].join('; ');
}

/** Replaces the token that a refresh would obtain by a placeholder. */
function withSomeToken(
  sealed: SealedCredential,
  placement: Placement | null,
  isNeeded: boolean,
): SealedCredential {
  const { credential } = sealed;
  if (credential.type === 'source') return { ...sealed, credential: someValue(placement) };
  if (credential.type !== 'oauth2' || !isNeeded) return sealed;
  const { renewal, accessToken, dpop } = credential;
  const token = renewal?.kind === 'aws_role' ? keysText(renewal.keys) : 'token';
  const bound = { key: dpop?.key ?? newDpopKey('ES256'), isBound: true };
  return {
    ...sealed,
    credential: {
      ...credential,
      accessToken: accessToken ?? token,
      ...(placement?.kind === 'dpop' ? { dpop: bound } : {}),
    },
  };
}

/** Returns a placeholder for the credential of a source. */
function someValue(placement: Placement | null): HeldCredential {
  if (placement?.kind === 'aws_sigv4') {
    const keys = { accessKeyId: 'A'.repeat(16), secretAccessKey: 'secret', sessionToken: null };
    return { type: 'aws', ...keys, region: null };
  }
  const isPair = placement !== null && schemeOf(placement).accepts?.(placement) === 'pair';
  return isPair
    ? { type: 'basic', username: 'user', password: 'password' }
    : { type: 'api_key', value: 'token' };
}

/** Describes a credential's place by field names, never by values. One of several values has own fields. */
function describeFields(names: readonly string[], { type }: Grant, placement: Placement): string {
  if (names.length === 0 || placement.kind === 'own' || schemeOf(placement).accepts !== undefined)
    return carriedAs(placement);
  if (names.includes('DPoP')) return carriedAs({ kind: 'dpop' });
  if (type === 'basic') return 'Authorization: Basic …';
  return type === 'headers' ? names.map((name) => `${name}: …`).join(', ') : carriedAs(placement);
}

function howCarried({ type, provider }: Grant): string {
  switch (type) {
    case 'basic':
      return 'user name and password';
    case 'headers':
      return 'the headers that the grant names';
    default:
      return `set by the provider ${provider}`;
  }
}
