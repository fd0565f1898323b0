import { type Account, type ExchangeResult, Meter } from './http/message.ts';
import { valuesOf } from './http/fields.ts';
import type { ExchangeTrace } from './telemetry/traces.ts';
import { refuse } from './http/problem.ts';
import { SidekeyError } from '../lib/errors.ts';
import { detectPlaceholders, refuseUnexpectedInHead } from './placeholders/detect.ts';
import { isOwn } from './policy/authority.ts';
import type { Sending } from './attempt.ts';
import { selectAdditionalGrants } from './also.ts';
import { approve } from './approve.ts';
import { authorize, receive } from './authorize.ts';
import { applyCredential, countUse, CredentialRenewal, obtainCredential } from './credential.ts';
import { discover } from './discovery.ts';
import { type LimitedRequest, limitsOf, spendBytes, takeLimits } from './rule-limits.ts';
import { guardForeign, isTokenRequest, prepare, readForScheme } from './prepare.ts';
import { answerTokenRequest } from './token-request.ts';
import { ExchangeRecord } from './record.ts';
import { type AdditionalCredential, isGranted, Request, type UpstreamRequest } from './request.ts';
import type { ProxyServices } from './services.ts';

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
interface ExchangeParts extends Pick<Request, 'inbound' | 'reply' | 'services'> {
  readonly forwarder: Forwarder;
  /** Absent: a new one. */
  readonly record?: ExchangeRecord;
}

/**
 * The stages of an exchange, in their order. A stage reads fields of the exchange and sets others. It returns
 * a promise only if it waits, and throws a SidekeyError if it refuses the request.
 */
const stages: readonly ((exchange: Exchange) => void | Promise<void>)[] = [
  (exchange) => exchange.readConfig(),
  receive, // 1 one authority (RFC 9110 §7.1)
  (exchange) => exchange.answerOwnHost(),
  authorize, // 2, 3
  (exchange) => exchange.selectAdditionalGrants(),
  prepare,
  guardForeign,
  (exchange) => exchange.answerTokenRequest(),
  readForScheme,
  detectPlaceholders,
  (exchange) => exchange.obtainCredential(), // 4
  (exchange) => exchange.takeLimits(),
  (exchange) => exchange.approve(), // by a person, if a rule asks for one
  countUse,
  (exchange) => exchange.applyCredential(), // 5 the only code that sees both; 6 on disk first
  (exchange) => exchange.send(), // 7
];

/** A request on its way through the stages, and its end. */
export class Exchange extends Request implements Account, Sending {
  /** The request as it is sent. */
  request!: UpstreamRequest;
  meter!: Meter;
  credentials!: CredentialRenewal;
  readonly #forwarder: Forwarder;
  readonly #ended: (error: unknown) => void;
  /** The request as its limits were taken, before a person was asked. */
  #limited!: LimitedRequest;
  #watched: Watched | null = null;
  #isOver = false;
  /** The agent whose load counts it; undefined: none does yet. */
  #counted: string | null | undefined;
  /** Time at which the exchange began, in milliseconds of the monotonic clock. */
  readonly #begunAt = performance.now();
  /** Time at which the request was sent, in milliseconds of the monotonic clock; null: it was not sent. */
  #sentAt: number | null = null;
  readonly #trace: ExchangeTrace | null;
  /** Milliseconds that a person took to answer. */
  #heldMs = 0;

  /** @param ended called when it has ended; the error is null, or one of Sidekey itself */
  constructor(
    { inbound, reply, services, forwarder, record }: ExchangeParts,
    ended: (error: unknown) => void,
  ) {
    super({ inbound, reply, services, record: record ?? new ExchangeRecord(inbound, services.now) });
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

  readConfig(): void | Promise<void> {
    const config = this.services.config();
    if (config instanceof Promise) return config.then((read) => void (this.config = read));
    this.config = config;
    return undefined;
  }

  answerOwnHost(): void | Promise<void> {
    if (!isOwn(this.authority)) return undefined;
    return discover(this).then((result) => this.done(result));
  }

  selectAdditionalGrants(): void | Promise<void> {
    if (!isGranted(this) || this.decision.also === undefined) return undefined;
    return selectAdditionalGrants(this, this.decision.also);
  }

  answerTokenRequest(): void | Promise<void> {
    refuseUnexpectedInHead(this);
    if (!isTokenRequest(this)) return undefined;
    return answerTokenRequest(this).then((answered) => {
      if (answered !== null) this.done(answered);
    });
  }

  obtainCredential(): void | Promise<void> {
    if (isGranted(this)) this.#trace?.waits(this.grant.id);
    const wait = obtainCredential(this);
    if (wait !== undefined) return wait.then(() => this.#trace?.obtained());
    this.#trace?.obtained();
    return undefined;
  }

  takeLimits(): void {
    const { services, decision, caller, grant } = this;
    takeLimits(this, services);
    services.load.begin(caller.agent, this.config.limits.agent_exchanges);
    this.#counted = caller.agent;
    this.#limited = { decision, caller, grant };
  }

  approve(): void | Promise<void> {
    return this.decision.outcome === 'approve' ? this.#askPerson() : undefined;
  }

  async #askPerson(): Promise<void> {
    const askedAt = performance.now();
    await approve(this);
    this.#heldMs = performance.now() - askedAt;
    await obtainCredential(this);
  }

  applyCredential(): void | Promise<void> {
    const { audit, fingerprint } = this.services;
    const { credential } = (this.request = applyCredential(this));
    const access = this.record.access(credential?.token, fingerprint);
    const also = credential?.also ?? none;
    if (also.length === 0) return audit.write(access);
    const added = also.map(({ token }) => audit.write(this.record.added(token, fingerprint)));
    return Promise.all([...added, audit.write(access)]).then(() => {});
  }

  send(): void {
    this.meter = new Meter(this);
    this.credentials = new CredentialRenewal(this);
    if (this.#forwarder.watch !== null) this.#watched = this.#forwarder.watch(this.request, this.meter);
    this.#sentAt = performance.now();
    this.#trace?.sent();
    this.#forwarder.send(this);
  }

  spend(bytes: number): SidekeyError | null {
    if (limitsOf(this.#limited.decision).length === 0) return null;
    return spendBytes(this.#limited, bytes, this.services);
  }

  async countLeak(): Promise<SidekeyError | null> {
    const key = this.request.leakKey;
    if (key === null) return null;
    const { audit, leakLimit, log } = this.services;
    const refusal = await leakLimit.count(key);
    if (refusal?.code === 'too_many_leaks') {
      audit.note(this.record.limited());
      log.warn({ exchange: this.record.exchange, grant: key.grant }, refusal.message);
    }
    return refusal;
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
    const meter = this.#sentAt === null ? undefined : this.meter;
    if (this.#counted !== undefined) this.services.load.end(this.#counted);
    const cut = this.#watched === null ? null : this.#watched.end();
    let end = result;
    if (cut !== null) end = end instanceof SidekeyError ? cut : { ...end, code: cut.code };
    if (meter !== undefined) {
      meter.close();
      if (meter.leaks > 0) {
        record.addLeaks(meter.leaks);
        const { exchange: id } = record;
        log.warn({ exchange: id, leaks: meter.leaks }, 'a response showed the credential of its request');
      }
    }
    if (!(end instanceof SidekeyError) && end.problem !== undefined)
      log.warn({ exchange: record.exchange }, `a response was cut: ${end.problem}`);
    // The rest of a body that nobody reads must not stand before the next request.
    void inbound.body?.return?.();
    const event =
      end instanceof SidekeyError
        ? record.refused(end, refuse(reply, end, inbound.head.method, this.isForCloud), meter)
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
