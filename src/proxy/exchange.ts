import { type ExchangeResult, type InboundRequest, Meter, type Reply } from '../http/message.ts';
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

/** Sends a request to its upstream and streams the response into the reply. */
export type Forwarder = (
  request: UpstreamRequest,
  reply: Reply,
  config: ConfigSnapshot,
  meter: Meter,
  credentials: CredentialRenewal,
) => Promise<ExchangeResult>;

/**
 * One request and its response. The stages run in this order; each returns its value or throws a SidekeyError, the refusal.
 * The client always gets an answer or a closed connection, and the audit records which.
 */
export async function exchange(
  inbound: InboundRequest,
  reply: Reply,
  services: ProxyServices,
  forward: Forwarder,
  record = new ExchangeRecord(inbound, services.now),
): Promise<void> {
  const { audit, placeholders } = services;
  let meter: Meter | null = null;
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
        meter = meterOf(request, authorized, services, record);
        const renewal = new CredentialRenewal(services, record);
        end = await forward(request, reply, approved.config, meter, renewal); // 7
      }
    }
  } catch (error) {
    end = refusalOf(error, services);
  }
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
 * Returns the meter of both bodies: bytes count against the limits that the request was taken from, leaks against the leak
 * limit.
 *
 * @param authorized the request as its limits were taken, before a person was asked
 */
function meterOf(
  { leakKey }: UpstreamRequest,
  authorized: AuthorizedRequest,
  services: ProxyServices,
  record: ExchangeRecord,
): Meter {
  const { audit, leakLimit, log } = services;
  const isLimited = limitsOf(authorized.decision).length > 0;
  const countLeak = async (key: LeakKey) => {
    const refusal = await leakLimit.count(key);
    if (refusal?.code === 'too_many_leaks') {
      audit.note(record.limited());
      log.warn({ exchange: record.exchange, grant: key.grant }, refusal.message);
    }
    return refusal;
  };
  return new Meter(
    isLimited ? (bytes) => spendBytes(authorized, bytes, services) : undefined,
    leakKey === null ? undefined : () => countLeak(leakKey),
  );
}

function reportLeaks(leaks: number, record: ExchangeRecord, { log }: Pick<ProxyServices, 'log'>): void {
  record.addLeaks(leaks);
  log.warn({ exchange: record.exchange, leaks }, 'a response showed the credential of its request');
}
