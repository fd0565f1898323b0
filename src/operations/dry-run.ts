import { type Grant, stateNow, titleOf } from '../domain/grant.ts';
import type { SealedCredential } from '../domain/credential.ts';
import type { Placement } from '../domain/provider.ts';
import type { Identity } from '../agents/authentication.ts';
import { describeSource } from '../grants/sources/source.ts';
import { expiredToken, standingOf, type TokenResult } from '../grants/token-result.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import { nearRemedy } from '../proxy/allow-remedy.ts';
import { exchange, type Forwarder } from '../proxy/exchange.ts';
import type { InboundRequest, Presented } from '../proxy/http/message.ts';
import { type Authority, authorityText } from '../proxy/policy/authority.ts';
import { decideRequest, type Decision, unlistedRule } from '../proxy/policy/decide.ts';
import {
  type GrantUse,
  matchesAnyPattern,
  type NearEntry,
  nearestEntry,
  patternsOf,
} from '../proxy/policy/domain-map.ts';
import { describeStep } from '../proxy/policy/judge.ts';
import type { RequestFacts } from '../proxy/policy/request.ts';
import type { RuleStep } from '../proxy/policy/rule.ts';
import { ExchangeRecord } from '../proxy/record.ts';
import { carriedAs } from '../proxy/schemes/placement.ts';
import { type ConfigSnapshot, type ProxyServices, snapshotOf } from '../proxy/services.ts';
import type { UpstreamRequest } from '../proxy/request.ts';
import type { LeaseRecord, Store } from '../store/store.ts';
import { refreshRefusal, type RefreshView } from './dry-run-refresh.ts';
import { identify, idleServices, silentReply, withSomeToken } from './dry-run-services.ts';
import {
  clocksText,
  decisionText,
  describeFields,
  dialText,
  foreignTexts,
  howCarried,
  leakGuardTexts,
  purposeText,
  tokenEndText,
} from './dry-run-texts.ts';
import { findOffered } from './find.ts';
import { dateTime, relativeTime, spanText } from './format.ts';
import { grantOf } from '../store/grants.ts';
import { leaseGrantsText } from './lease-text.ts';
import type { Reading } from './operation.ts';
import type { Question } from './dry-run-request.ts';

const ownOutcome = 'answered by Sidekey itself';

/** Parts that a dry run reads. */
export type View = Pick<Reading, 'store'> & RefreshView;

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
  | 'answer'
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
  /** Adds the credential to a request that is forwarded without one; null: unknown, or it has one. */
  readonly advice: Hint | null;
}

/** Store records of a question. */
interface Asked {
  readonly lease: LeaseRecord | null;
  /** Credentials of the caller, or why it has none. */
  readonly presented: Presented | SidekeyError;
  /** Grants of the lease. */
  readonly grants: readonly Grant[];
}

/** The steps of a dry run, reported by the exchange's record and its services. */
export class Explanation {
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
  #grantUse: GrantUse | null = null;
  /** Credentials that the client sends itself. */
  readonly #found: string[] = [];
  #refusal: SidekeyError | null = null;
  /** Reason why the credential does not fit the request; null: it fits. */
  #misplaced: SidekeyError | null = null;
  #outcome = 'refused';
  #held = false;
  #caller: Identity | null = null;
  /** The entry that almost covers a request without an entry. */
  #near: NearEntry | null = null;
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
      placementFor: (grant, to) => {
        const placement = snapshot.placementFor(grant, to);
        if (placement instanceof SidekeyError) this.#misplaced = placement;
        else this.placement = placement;
        return placement;
      },
    };
  }

  async run(inbound: InboundRequest): Promise<DryRun> {
    const forwarder: Forwarder = {
      send: (sending) => {
        this.#describe(sending.request);
        sending.done({ status: 200, bytesIn: 0, bytesOut: 0, outcome: 'complete' });
      },
      watch: null,
    };
    const [services, record] = [this.#services(), this.#record(inbound)];
    await exchange({ inbound, reply: silentReply(), services, forwarder, record });
    if (this.#failure !== null) throw this.#failure;
    if (this.#refusal === null && this.#authority !== null && this.#outcome !== ownOutcome) {
      this.#next = 'address';
      const address = await dialText(this.#view.config.upstream, this.#authority);
      if (address instanceof SidekeyError) this.#refused(address);
      else this.#passed('address', address);
    }
    return {
      steps: this.#steps,
      refusal: this.#refusal,
      outcome: this.#outcome,
      held: this.#held,
      advice: await this.#adviceOf(services),
    };
  }

  async #adviceOf(services: ProxyServices): Promise<Hint | null> {
    const [near, authority, caller] = [this.#near, this.#authority, this.#caller];
    if (near === null || authority === null || caller === null || this.#refusal !== null) return null;
    return nearRemedy(near, authority, { caller, config: this.#snapshot, services });
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

  /** Returns a record of the exchange that reports its steps. */
  #record(inbound: InboundRequest): ExchangeRecord {
    const record = new ExchangeRecord(inbound, () => this.#question.at);
    const [outcome, refused] = [record.outcome.bind(record), record.refused.bind(record)];
    let isOwn = false;
    const reporting: Partial<ExchangeRecord> = {
      target: ({ authority }) => {
        this.#authority = authority;
        this.#passed('authority', `${authority.scheme}://${authority.host}:${authority.port}`, 'agent');
      },
      identity: ({ agent }) => this.#passed('agent', agent ?? 'none; this caller needs no token', 'decision'),
      foreign: (found) => void this.#found.push(...found),
      decided: (decision, facts) => this.#decisionSteps(decision, facts),
      discovers: () => void (isOwn = true),
      outcome: (carried) => {
        if (isOwn) this.#passed('decision', 'for the proxy itself, which lists what the caller may use');
        if (isOwn) this.#outcome = ownOutcome;
        return outcome(carried);
      },
      refused: (error, status) => {
        if (error instanceof SidekeyError) this.#refused(error);
        return refused(error, status);
      },
    };
    return Object.assign(record, reporting);
  }

  #decisionSteps(decision: Decision, facts: RequestFacts): void {
    const domain = this.#authority && this.#snapshot.policy.domains.match(this.#authority);
    const isListed = domain || decision.rule === unlistedRule;
    const near = this.#authority && !domain ? nearestEntry(this.#view.config.domains, this.#authority) : null;
    if (decision.outcome === 'tunnel') this.#near = near;
    const otherwise = [
      'no entry covers it',
      ...(isListed ? [] : [`allowed by ${decision.rule}`]),
      ...(near === null ? [] : [`the entry ${near.entry.pattern.text} ${near.difference}`]),
    ].join('; ');
    this.#passed('domain', domain ? `${domain.pattern.text}: ${domain.origin}` : otherwise);
    const steps: RuleStep[] = [];
    decideRequest(this.#snapshot.policy, facts, steps);
    for (const step of steps) this.#steps.push({ step: 'rule', ok: true, text: describeStep(step) });
    this.#next = 'decision';
    if ('grant' in decision) this.#grantUse = decision;
    if (decision.outcome !== 'deny') this.#passed('decision', decisionText(decision), 'grant');
  }

  /** Returns services that change nothing and record their calls. */
  #services(): ProxyServices {
    const { store } = this.#view;
    return {
      ...idleServices(this.#view, this.#question.at, this.#snapshot),
      agents: { identify: () => this.#identify() },
      grants: {
        find: (reference, scope = null) => findOffered(store, reference, scope),
        first: async (reference) =>
          ((await store?.grants.find({ reference, limit: 2_000 })) ?? []).map(grantOf),
        minted: async (_key, query, isChosen) =>
          ((await store?.grants.minted({ ...query, limit: 1_000 })) ?? []).map(grantOf).find(isChosen) ??
          null,
      },
      tokens: {
        peek: () => null,
        tokenFor: (id) => this.#token(id),
        forceRefresh: async () => ({ kind: 'unchanged' }),
      },
      keepLogin: async ({ name, user, client }) => {
        this.#outcome = `the login of ${client.program} becomes the grant ${titleOf({ name, user })}, and gets placeholders`;
        return { kind: 'declined', status: 200, answer: {}, isForm: false };
      },
      approvals: { ask: ({ who }) => this.#approval(who), stands: async () => true },
      log: {
        error: ({ err }: { readonly err?: unknown }) => void (this.#failure ??= err),
        warn() {},
        info() {},
        debug() {},
      },
    };
  }

  async #identify(): Promise<Identity | SidekeyError> {
    const { lease, presented, grants } = this.#asked;
    if (presented instanceof SidekeyError) return presented;
    if (lease !== null) this.#passed('lease', purposeText(lease, leaseGrantsText(lease, grants)), 'agent');
    const identity = await identify(this.#view, this.#question, presented);
    if (identity instanceof SidekeyError) return identity;
    if (lease !== null) this.#passed('lease', clocksText(lease, this.#question.at), 'agent');
    this.#caller = identity;
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
    const grant = (await this.#view.store!.grants.get(grantId))!;
    this.#passed('grant', `${titleOf(grant)}: provider ${grant.provider}, ${stateNow(grant, at)}`, 'token');
    let opened;
    try {
      opened = (await (await this.#view.registry())?.read(grantId)) ?? null;
    } catch (error) {
      this.#failure = error;
      throw error;
    }
    const clock = { now: at, skewMs: tokens.skewMs, unwanted: null };
    const tokenState = standingOf(opened, grantId, clock, (name) => providers.get(name));
    switch (tokenState.kind) {
      case 'refused':
        return tokenState;
      case 'ended':
        return expiredToken(grant, providers.get(grant.provider));
      case 'unchanged':
        throw new SidekeyError('internal', 'No token was refused, yet it was kept.');
      case 'usable':
        this.#passed(
          'token',
          `valid, ${tokenEndText(grant, at)}${tokenState.due ? '; a new one is fetched in the background' : ''}`,
        );
        break;
      case 'needed': {
        const refusal = await refreshRefusal(this.#view, tokenState.opened);
        if (refusal !== null) return refusal;
        const { credential } = tokenState.opened.sealed;
        const how =
          credential.type === 'source'
            ? `the source ${describeSource(credential)} is asked before the request is sent, where no value is in memory`
            : 'no valid token: a new one is fetched before the request is sent';
        this.#passed('token', how);
        break;
      }
    }
    const { sealed } = tokenState.opened;
    const some = withSomeToken(sealed, this.placement, tokenState.kind === 'needed');
    // The first one belongs to the main grant.
    this.#sealed ??= some;
    return { kind: 'ready', grant: tokenState.opened.grant, sealed: some };
  }

  async #approval(who: Parameters<Store['approvals']['standing']>[0]) {
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
    this.#next = 'audience';
    if (!matchesAnyPattern(patternsOf(audience), authority)) return;
    this.#passed('audience', `${authorityText(authority)} is within ${audience.join(', ')}`, 'injection');
  }

  #foreignStep({ foreignCredentials }: GrantUse): void {
    if (foreignCredentials === undefined && this.#found.length === 0) return;
    const names = this.#found.length === 0 ? 'none found' : this.#found.join(', ');
    this.#passed('other credentials', `${foreignTexts[foreignCredentials ?? 'unset']}; ${names}`, this.#next);
  }

  #describe({ carriesGrant, credential, permission, fields, carriedIn, mints }: UpstreamRequest): void {
    this.#outcome = 'unchanged, without a credential';
    const { grant } = permission;
    if (!carriesGrant || grant === null || this.placement === null) return;
    if (credential === null) {
      this.#passed('injection', `${carriedAs(this.placement)} (set by the provider ${grant.provider})`);
      return;
    }
    const names = fields.filter((name, i) => i % 2 === 0 && carriedIn?.has(name.toLowerCase()) === true);
    this.#passed('injection', `${describeFields(names, grant, this.placement)} (${howCarried(grant)})`);
    for (const { token, placement } of credential.also)
      this.#passed('injection', `${carriedAs(placement)} (the grant ${titleOf(token.grant)})`);
    if (this.#grantUse !== null) this.#foreignStep(this.#grantUse);
    this.#passed('leaks', leakGuardTexts[this.#grantUse?.leakGuard ?? 'auto'].inFull);
    for (const { name, members, goesTo } of mints?.rows ?? []) {
      const paths = members.map((names) => names.join('.')).join(' or ');
      this.#passed(
        'answer',
        `${paths} becomes a grant (${name}) for ${goesTo.join(', ')}; the client gets a placeholder`,
      );
    }
    const all = [grant, ...credential.also.map(({ token }) => token.grant)];
    this.#outcome = `with the credential of ${all.map(titleOf).join(' and ')}`;
  }
}
