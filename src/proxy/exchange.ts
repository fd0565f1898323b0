import {
  type Account,
  type ExchangeResult,
  type InboundRequest,
  Meter,
  type Reply,
} from '../http/message.ts';
import { refuse } from '../http/problem.ts';
import { SidekeyError } from '../lib/errors.ts';
import { detectPlaceholders, refuseUnexpectedInHead } from '../placeholders/detect.ts';
import { isOwn } from '../policy/authority.ts';
import { approve } from './approve.ts';
import { authorize, type AuthorizedRequest, receive } from './authorize.ts';
import {
  applyCredential,
  countUse,
  CredentialRenewal,
  obtainCredential,
  readForScheme,
} from './credential.ts';
import { discover } from './discovery.ts';
import { type LeakKey, limitsOf, spendBytes, takeLimits } from './limits.ts';
import { answerTokenRequest, isTokenRequest } from './token-endpoint.ts';
import { ExchangeRecord } from './record.ts';
import type { ConfigSnapshot, ProxyServices } from './services.ts';
import { type PreparedRequest, upstreamRequest, type UpstreamRequest } from './upstream-request.ts';

/** Sends requests to their upstreams. */
export interface Forwarder {
  /** Sends a request, and streams the response into the reply. */
  send(
    request: UpstreamRequest,
    reply: Reply,
    config: ConfigSnapshot,
    meter: Meter,
    credentials: CredentialRenewal,
  ): Promise<ExchangeResult>;
  /** Cuts the exchange when its permission ends. Null: nobody watches it. */
  readonly watch: ((request: UpstreamRequest, meter: Meter) => Watched) | null;
}

/** An exchange that may be cut. */
export interface Watched {
  /** The exchange has ended. Returns why it was cut; null: it was not. */
  end(): SidekeyError | null;
}

/**
 * One request and its response. The stages run in this order; each returns its value or throws a SidekeyError, the refusal.
 * The client always gets an answer or a closed connection, and the audit records which.
 */
export async function exchange(
  inbound: InboundRequest,
  reply: Reply,
  services: ProxyServices,
  forwarder: Forwarder,
  record = new ExchangeRecord(inbound, services.now),
): Promise<void> {
  const { audit, placeholders } = services;
  let meter: Meter | null = null;
  let watched: Watched | null = null;
  let end: ExchangeResult | SidekeyError;
  try {
    // Most stages have their value at hand. An await of it would cost a turn of the microtask queue.
    let config = services.config();
    if (config instanceof Promise) config = await config;
    const received = receive(inbound, config, services, record); // 1 one authority (RFC 9110 §7.1)
    if (isOwn(received.target.authority)) {
      end = await discover(received, reply, config, services, record);
    } else {
      let authorized = authorize(received, reply, config, services, record); // 2 the caller, 3 policy
      if (authorized instanceof Promise) authorized = await authorized;

      let prepared: PreparedRequest | ExchangeResult | Promise<PreparedRequest>;
      prepared = upstreamRequest(authorized, reply);
      if (prepared instanceof Promise) prepared = await prepared;
      refuseUnexpectedInHead(prepared, authorized, placeholders);
      if (isTokenRequest(prepared, authorized))
        prepared = await answerTokenRequest(prepared, authorized, reply, services, record);
      if ('status' in prepared) end = prepared;
      else {
        prepared = readForScheme(prepared, authorized, reply);
        if (prepared instanceof Promise) prepared = await prepared;
        prepared = detectPlaceholders(prepared, authorized, placeholders, reply, () =>
          audit.note(record.unexpectedPlaceholder()),
        );
        if (prepared instanceof Promise) prepared = await prepared;

        let credential = obtainCredential(prepared, authorized, services); // 4 memory → store → refresh
        if (credential instanceof Promise) credential = await credential;
        takeLimits(authorized, services);
        let approved = authorized;
        if (authorized.decision.outcome === 'approve') {
          approved = await approve(authorized, reply, services, record); //   a person, where a rule asks
          credential = await obtainCredential(prepared, approved, services);
        }
        const counted = countUse(approved, credential);
        if (counted instanceof Promise) await counted;
        const request = applyCredential(prepared, approved, credential, services); // 5 the only code that sees both
        const access = record.access(request.credential?.token, services.fingerprint);
        const written = audit.write(access); // 6 on disk first
        if (written instanceof Promise) await written;
        meter = new Meter(new ExchangeAccount(authorized, request.leakKey, services, record));
        if (forwarder.watch !== null) watched = forwarder.watch(request, meter);
        const renewal = new CredentialRenewal(services, record);
        end = await forwarder.send(request, reply, approved.config, meter, renewal); // 7
      }
    }
  } catch (error) {
    end = refusalOf(error, services);
  }
  const cut = watched === null ? null : watched.end();
  if (cut !== null) end = end instanceof SidekeyError ? cut : { ...end, code: cut.code };
  if (meter !== null) {
    meter.close();
    if (meter.leaks > 0) reportLeaks(meter.leaks, record, services);
  }
  // The rest of a body that nobody reads must not stand before the next request.
  void inbound.body?.return?.();
  if (end instanceof SidekeyError)
    audit.note(record.refused(end, refuse(reply, end, inbound.head.method), meter ?? undefined));
  else audit.note(record.outcome(end));
}

function refusalOf(error: unknown, { log }: Pick<ProxyServices, 'log'>): SidekeyError {
  if (error instanceof SidekeyError) return error;
  log.error({ err: error }, 'an exchange failed');
  return new SidekeyError('internal');
}

/**
 * Counts the bytes of both bodies against the limits that the request was taken from, and leaks against the leak limit.
 */
class ExchangeAccount implements Account {
  readonly #authorized: AuthorizedRequest;
  readonly #leakKey: LeakKey | null;
  readonly #services: ProxyServices;
  readonly #record: ExchangeRecord;

  /** @param authorized the request as its limits were taken, before a person was asked */
  constructor(
    authorized: AuthorizedRequest,
    leakKey: LeakKey | null,
    services: ProxyServices,
    record: ExchangeRecord,
  ) {
    this.#authorized = authorized;
    this.#leakKey = leakKey;
    this.#services = services;
    this.#record = record;
  }

  spend(bytes: number): SidekeyError | null {
    if (limitsOf(this.#authorized.decision).length === 0) return null;
    return spendBytes(this.#authorized, bytes, this.#services);
  }

  async countLeak(): Promise<SidekeyError | null> {
    const key = this.#leakKey;
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

function reportLeaks(leaks: number, record: ExchangeRecord, { log }: Pick<ProxyServices, 'log'>): void {
  record.addLeaks(leaks);
  log.warn({ exchange: record.exchange, leaks }, 'a response showed the credential of its request');
}
