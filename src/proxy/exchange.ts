import { type Account, type ExchangeResult, type InboundRequest, Meter, type Reply } from './http/message.ts';
import { valuesOf } from './http/fields.ts';
import type { ExchangeTrace } from './telemetry/traces.ts';
import { refuse } from './http/problem.ts';
import { SidekeyError } from '../lib/errors.ts';
import { detectPlaceholders, refuseUnexpectedInHead } from './placeholders/detect.ts';
import { isOwn } from './policy/authority.ts';
import type { Ending, Sending } from './attempt.ts';
import { type AdditionalCredential, withAdditionalGrants } from './also.ts';
import { approve } from './approve.ts';
import {
  authorize,
  type AuthorizedRequest,
  isGranted,
  receive,
  type ReceivedExchange,
  type ReceivedRequest,
} from './authorize.ts';
import {
  applyCredential,
  countUse,
  CredentialRenewal,
  type ObtainedCredential,
  obtainCredential,
  readForScheme,
} from './credential.ts';
import { discover } from './discovery.ts';
import { guardForeign } from './foreign-credentials.ts';
import { type LeakKey, limitsOf, spendBytes, takeLimits } from './rule-limits.ts';
import { answerTokenRequest } from './token-request.ts';
import { ExchangeRecord } from './record.ts';
import type { ConfigSnapshot, ExchangeContext, ProxyServices } from './services.ts';
import {
  isTokenRequest,
  type PreparedExchange,
  type PreparedRequest,
  upstreamRequest,
  type UpstreamRequest,
} from './upstream-request.ts';

/** Sends requests to their upstreams. */
export interface Forwarder {
  /** Sends a request, streams the response into the reply, and reports the result. */
  send(sending: Sending): void;
  /** Watches the exchange, and cuts it when its permission ends. Null: it is not watched. */
  readonly watch: ((request: UpstreamRequest, meter: Meter) => Watched) | null;
}

/** An exchange that may be cut. */
interface Watched {
  /** The exchange has ended. Returns why it was cut; null: it was not. */
  end(): SidekeyError | null;
}

/**
 * Runs one request and its response, and resolves when they have ended. The client always gets an answer or a
 * closed connection, and the audit records which.
 */
export function exchange(parts: ExchangeParts): Promise<void> {
  return new Promise((resolve, reject) => {
    new Exchange(parts, (error) => (error === null ? resolve() : reject(error))).run();
  });
}

/** Parts that an exchange starts with. */
interface ExchangeParts extends Pick<ExchangeContext, 'inbound' | 'reply' | 'services'> {
  readonly forwarder: Forwarder;
  /** Absent: a new one. */
  readonly record?: ExchangeRecord;
}

/**
 * The stages of an exchange, in their order. A stage reads the exchange and sets one field. It returns a
 * promise only if it waits, and throws a SidekeyError if it refuses the request.
 */
const stages: readonly ((exchange: Exchange) => void | Promise<void>)[] = [
  (exchange) => exchange.readConfig(),
  (exchange) => exchange.receive(), // 1 one authority (RFC 9110 §7.1)
  (exchange) => exchange.answerOwnHost(),
  (exchange) => exchange.authorize(), // 2, 3
  (exchange) => exchange.selectAdditionalGrants(),
  (exchange) => exchange.prepare(),
  (exchange) => exchange.guardForeign(),
  (exchange) => exchange.answerTokenRequest(),
  (exchange) => exchange.readForScheme(),
  (exchange) => exchange.detectPlaceholders(),
  (exchange) => exchange.obtainCredential(), // 4
  (exchange) => exchange.takeLimits(),
  (exchange) => exchange.approve(), // by a person, if a rule asks for one
  (exchange) => exchange.countUse(),
  (exchange) => exchange.applyCredential(), // 5 the only code that sees both; 6 on disk first
  (exchange) => exchange.send(), // 7
];

/** An exchange on its way through the stages. */
export class Exchange implements Ending, ReceivedExchange, PreparedExchange {
  readonly inbound: InboundRequest;
  readonly reply: Reply;
  readonly services: ProxyServices;
  readonly record: ExchangeRecord;
  config!: ConfigSnapshot;
  received!: ReceivedRequest;
  authorized!: AuthorizedRequest;
  prepared!: PreparedRequest;
  credential: ObtainedCredential | null = null;
  readonly #forwarder: Forwarder;
  readonly #ended: (error: unknown) => void;
  #request!: UpstreamRequest;
  #account!: ExchangeAccount;
  #meter: Meter | null = null;
  #watched: Watched | null = null;
  #isOver = false;
  /** The agent whose load counts it; undefined: none does yet. */
  #counted: string | null | undefined;
  /** Milliseconds of the monotonic clock; null: the request was not sent. */
  readonly #begunAt = performance.now();
  #sentAt: number | null = null;
  readonly #trace: ExchangeTrace | null;
  /** Milliseconds that a person took to answer. */
  #heldMs = 0;

  /** @param ended called when it has ended; the error is null, or one of Sidekey itself */
  constructor(
    { inbound, reply, services, forwarder, record }: ExchangeParts,
    ended: (error: unknown) => void,
  ) {
    this.inbound = inbound;
    this.reply = reply;
    this.services = services;
    this.record = record ?? new ExchangeRecord(inbound, services.now);
    const { tracer } = services;
    this.#trace = tracer === null ? null : tracer.begin(valuesOf(inbound.head.fields, 'traceparent'));
    this.#forwarder = forwarder;
    this.#ended = ended;
  }

  /** Runs the stages until the exchange ends, or its request is sent. */
  run(): void {
    void this.#runStages();
  }

  async #runStages(): Promise<void> {
    try {
      for (const stage of stages) {
        const wait = stage(this);
        if (wait !== undefined) await wait;
        if (this.#isOver) return;
      }
    } catch (error) {
      this.failed(error);
    }
  }

  /** Sets a field, at once if its value is at hand: decision 124 has the cost of a promise for each stage. */
  #set<Field extends 'config' | 'authorized' | 'prepared' | 'credential'>(
    field: Field,
    value: this[Field] | Promise<this[Field]>,
  ): void | Promise<void> {
    if (value instanceof Promise) return value.then((result) => void (this[field] = result));
    this[field] = value;
    return undefined;
  }

  readConfig(): void | Promise<void> {
    return this.#set('config', this.services.config());
  }

  receive(): void {
    this.received = receive(this);
  }

  answerOwnHost(): void | Promise<void> {
    if (!isOwn(this.received.target.authority)) return undefined;
    return discover(this).then((result) => this.done(result));
  }

  authorize(): void | Promise<void> {
    return this.#set('authorized', authorize(this));
  }

  selectAdditionalGrants(): void | Promise<void> {
    const { authorized, services } = this;
    if (!isGranted(authorized) || authorized.decision.also === undefined) return undefined;
    return this.#set('authorized', withAdditionalGrants(authorized, authorized.decision.also, services));
  }

  prepare(): void | Promise<void> {
    return this.#set('prepared', upstreamRequest(this));
  }

  guardForeign(): void | Promise<void> {
    return this.#set('prepared', guardForeign(this));
  }

  answerTokenRequest(): void | Promise<void> {
    refuseUnexpectedInHead(this.prepared, this.authorized, this.services.placeholders);
    if (!isTokenRequest(this)) return undefined;
    return answerTokenRequest(this).then((answered) => {
      if ('status' in answered) this.done(answered);
      else this.prepared = answered;
    });
  }

  readForScheme(): void | Promise<void> {
    return this.#set('prepared', readForScheme(this));
  }

  detectPlaceholders(): void | Promise<void> {
    const { prepared, authorized, services } = this;
    return this.#set('prepared', detectPlaceholders(prepared, authorized, services.placeholders, this));
  }

  /** A placeholder in the body is forwarded. */
  passed(): void {
    this.services.audit.note(this.record.unexpectedPlaceholder());
  }

  obtainCredential(): void | Promise<void> {
    const { authorized } = this;
    if (isGranted(authorized)) this.#trace?.waits(authorized.grant.id);
    const wait = this.#set('credential', obtainCredential(this));
    if (wait !== undefined) return wait.then(() => this.#trace?.obtained());
    this.#trace?.obtained();
    return undefined;
  }

  takeLimits(): void {
    const { authorized, services } = this;
    takeLimits(authorized, services);
    const { agent } = authorized.caller;
    services.load.begin(agent, authorized.config.limits.agent_exchanges);
    this.#counted = agent;
    this.#account = new ExchangeAccount(authorized, services, this.record);
  }

  approve(): void | Promise<void> {
    return this.authorized.decision.outcome === 'approve' ? this.#askPerson() : undefined;
  }

  async #askPerson(): Promise<void> {
    const askedAt = performance.now();
    this.authorized = await approve(this, this.credential!);
    this.#heldMs = performance.now() - askedAt;
    this.credential = await obtainCredential(this);
  }

  countUse(): void | Promise<void> {
    return countUse(this);
  }

  applyCredential(): void | Promise<void> {
    const { prepared, authorized, credential, services } = this;
    const request = applyCredential(prepared, authorized, credential, services);
    this.#request = request;
    const { audit, fingerprint } = services;
    const access = this.record.access(request.credential?.token, fingerprint);
    const also = request.credential?.also ?? none;
    // The promise of the last one is that of all.
    for (const { token } of also) void audit.write(this.record.added(token, fingerprint));
    return audit.write(access);
  }

  send(): void {
    const { reply, authorized, services, record } = this;
    const request = this.#request;
    this.#account.leakKey = request.leakKey;
    this.#meter = new Meter(this.#account);
    if (this.#forwarder.watch !== null) this.#watched = this.#forwarder.watch(request, this.#meter);
    const credentials = new CredentialRenewal(services, record);
    this.#sentAt = performance.now();
    this.#trace?.sent();
    const { config } = authorized;
    this.#forwarder.send({ request, reply, config, meter: this.#meter, credentials, ending: this });
  }

  done(result: ExchangeResult): void {
    this.#end(result);
  }

  failed(error: unknown): void {
    this.#end(refusalOf(error, this.services));
  }

  #end(result: ExchangeResult | SidekeyError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    let fault: unknown = null;
    try {
      this.#conclude(result);
    } catch (error) {
      fault = error;
    }
    this.#ended(fault);
  }

  #conclude(result: ExchangeResult | SidekeyError): void {
    const { inbound, reply, record } = this;
    const { audit, log } = this.services;
    const meter = this.#meter;
    if (this.#counted !== undefined) this.services.load.end(this.#counted);
    const cut = this.#watched === null ? null : this.#watched.end();
    let end = result;
    if (cut !== null) end = end instanceof SidekeyError ? cut : { ...end, code: cut.code };
    if (meter !== null) {
      meter.close();
      if (meter.leaks > 0) {
        record.addLeaks(meter.leaks);
        const { exchange: id } = record;
        log.warn({ exchange: id, leaks: meter.leaks }, 'a response showed the credential of its request');
      }
    }
    // The rest of a body that nobody reads must not stand before the next request.
    void inbound.body?.return?.();
    const event =
      end instanceof SidekeyError
        ? record.refused(end, refuse(reply, end, inbound.head.method), meter ?? undefined)
        : record.outcome(end);
    audit.note(event);
    this.#count(event.outcome);
    this.#trace?.end(event, record.facts(event));
  }

  #count(outcome: string | undefined): void {
    const now = performance.now();
    const sentAt = this.#sentAt ?? now;
    const ownMs = sentAt - this.#begunAt - this.#heldMs;
    // A WebSocket lasts as long as its user wants, and would hide the latency of requests.
    const isTimed = this.#sentAt !== null && this.inbound.upgrades !== true;
    const { figures } = this.services;
    figures.exchanged(this.record.provider, outcome, {
      wholeMs: now - this.#begunAt,
      ownMs: isTimed ? ownMs : null,
      upstreamMs: now - sentAt,
    });
  }
}

const none: readonly AdditionalCredential[] = [];

function refusalOf(error: unknown, { log }: Pick<ProxyServices, 'log'>): SidekeyError {
  if (error instanceof SidekeyError) return error;
  log.error({ err: error }, 'an exchange failed');
  return new SidekeyError('internal');
}

/** Counts the bytes of both bodies against the limits of the request, and leaks against the leak limit. */
class ExchangeAccount implements Account {
  leakKey: LeakKey | null = null;
  readonly #authorized: AuthorizedRequest;
  readonly #services: ProxyServices;
  readonly #record: ExchangeRecord;

  /** @param authorized the request as its limits were taken, before a person was asked */
  constructor(authorized: AuthorizedRequest, services: ProxyServices, record: ExchangeRecord) {
    this.#authorized = authorized;
    this.#services = services;
    this.#record = record;
  }

  spend(bytes: number): SidekeyError | null {
    if (limitsOf(this.#authorized.decision).length === 0) return null;
    return spendBytes(this.#authorized, bytes, this.#services);
  }

  async countLeak(): Promise<SidekeyError | null> {
    const key = this.leakKey;
    if (key === null) return null;
    const { audit, leakLimit, log } = this.#services;
    const refusal = await leakLimit.count(key);
    if (refusal?.code === 'too_many_leaks') {
      audit.note(this.#record.limited());
      log.warn({ exchange: this.#record.exchange, grant: key.grant }, refusal.message);
    }
    return refusal;
  }
}
