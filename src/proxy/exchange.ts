import { requestFields, trailerFields } from '../http/fields.ts';
import { framingOf } from '../http/framing.ts';
import { type InboundRequest, type ExchangeResult, Meter, type Reply } from '../http/message.ts';
import { denialOf, refuse } from '../http/problem.ts';
import { SidekeyError } from '../lib/errors.ts';
import { notFor } from '../placeholders/substitute.ts';
import { authorityText, isOwn } from '../policy/authority.ts';
import type { BodyFacts } from '../policy/body.ts';
import { hold } from './approval.ts';
import { callerOf } from './authenticate.ts';
import { bodyFacts, type AuthorizedRequest, grantedBy, judge, type Judgement } from './authorize.ts';
import type { ProxyServices, ConfigSnapshot } from './deps.ts';
import { discovery } from './discovery.ts';
import type { UpstreamRequest } from './forward.ts';
import { type Admitted, type Consent, withCredential, withKnownBody } from './inject.ts';
import { responseBound, takeLimits } from './limits.ts';
import {
  type PlaceholderContext,
  detectInHead,
  showsGrant,
  unexpectedInHead,
  detectPlaceholders,
} from '../placeholders/detect.ts';
import { beginRecord, type ExchangeRecord } from './record.ts';
import { wholeBody } from './request-body.ts';
import { targetOf } from './target.ts';
import { answerTokenRequest, isTokenRequest } from './token-endpoint.ts';

/** Sends a request that has been admitted, and streams what comes back into the reply. */
export type Forwarder = (
  request: UpstreamRequest,
  meter: Meter,
  reply: Reply,
  settings: ConfigSnapshot,
) => Promise<ExchangeResult>;

/**
 * One request and its response: the whole product on one screen. Each step goes on with what the one before found, or
 * refuses. Whatever happens, the client gets an answer or a closed connection, and the audit says which.
 */
export async function exchange(
  inbound: InboundRequest,
  reply: Reply,
  services: ProxyServices,
  carry: Forwarder,
): Promise<void> {
  const record = beginRecord(inbound, services.now);
  let end: ExchangeResult | SidekeyError;
  let meter: Meter | undefined;
  try {
    const admitted = await admit(inbound, reply, services, await services.config(), record);
    if (admitted instanceof SidekeyError || 'outcome' in admitted) end = admitted;
    else {
      const { departure: request, settings } = admitted;
      meter = new Meter(request.spend, request.countEcho);
      end = await carry(request, meter, reply, settings);
    }
  } catch (error) {
    if (!(error instanceof SidekeyError)) services.log.error({ err: error }, 'an exchange failed');
    end = error instanceof SidekeyError ? error : new SidekeyError('internal');
  }
  meter?.close();
  if (meter !== undefined && meter.echoes > 0) {
    record.echoed(meter.echoes);
    const { exchange: id } = record;
    services.log.warn(
      { exchange: id, echoes: meter.echoes },
      'a response showed the credential of its request',
    );
  }
  // Nobody reads on: what still comes of the body must not stand before the next request.
  void inbound.body?.return?.();
  if (end instanceof SidekeyError)
    services.audit.note(record.refused(end, refuse(reply, end, inbound.head.method), meter));
  else services.audit.note(record.outcome(end));
}

/**
 * From what arrived to what may leave, or to the end of what does not: it was refused, or it was for the proxy itself and
 * is answered. When it answers with a request, the access is on disk.
 */
async function admit(
  inbound: InboundRequest,
  reply: Reply,
  services: ProxyServices,
  settings: ConfigSnapshot,
  record: ExchangeRecord,
): Promise<Admitted | ExchangeResult | SidekeyError> {
  const { head, client } = inbound;
  // 1 authority; first of all where the request ends, for what stands behind it depends on that
  const framing = framingOf(head, settings.limits);
  const target = targetOf(head, client.tunnel);
  if (!(target instanceof SidekeyError)) record.target(target);
  if (framing instanceof SidekeyError) return framing;
  if (target instanceof SidekeyError) return target;
  const { authority, path } = target;
  if (isOwn(authority)) return discovery(inbound, target, reply, settings, services, record);

  const inHead = detectInHead(head, services.placeholders);
  let { body } = inbound;
  let read: BodyFacts | null = null;
  /** Steps 2 and 3, by what holds at that moment. */
  const judgeNow = async (by: ConfigSnapshot): Promise<Judgement | SidekeyError> => {
    const caller = await callerOf(inbound, by, services, record);
    if (caller instanceof SidekeyError) return caller;
    const shows = inHead.all.length === 0 ? undefined : showsGrant(inHead.all, caller, services.placeholders);
    return judge({ inbound, target, caller, shows }, read, by, services);
  };
  const judgeAgain = async () => judgeNow(await services.config());

  // 2 agent, 3 decision
  let judgement = await judgeNow(settings);
  if (judgement instanceof SidekeyError) return judgement;
  const shown = await settings.redactPath(target, judgement.offer);
  record.path(shown);
  if (judgement.offer?.selected.kind === 'selected') record.selected(judgement.offer.selected.grant);
  if (judgement.decision.needsBody) {
    if (body !== null) reply.continue();
    ({ facts: read, body } = await bodyFacts(inbound, settings.limits.rule_body_bytes));
    judgement = await judgeAgain();
    if (judgement instanceof SidekeyError) return judgement;
  }
  const { decision, caller, facts, offer } = judgement;
  if (decision.outcome === 'deny') {
    const denial = denialOf(decision);
    return inHead.all.length > 0 && denial.code === 'domain_not_allowed'
      ? notFor(authorityText(authority))
      : denial;
  }
  if (decision.reported !== null) services.audit.note(record.reported(decision.reported));
  const leaves: UpstreamRequest = {
    authority,
    method: head.method,
    path,
    fields: requestFields(head.fields, authorityText(authority), head.version === '2'),
    protocol: head.version === '2' ? 'h2' : 'http/1.1',
    framing,
    body,
    trailers: () => trailerFields(inbound.trailers?.() ?? []),
    carriesGrant: false,
    permission: { caller, facts, grant: null },
    maxResponse: responseBound(decision),
  };
  if (decision.outcome === 'tunnel') {
    const known = { caller, settings: judgement.settings, offer, inHead, grant: null };
    const stray = unexpectedInHead(leaves, known, services.placeholders);
    if (stray !== null) return stray;
    const watched = await detectPlaceholders(leaves, known, services.placeholders, reply, () => {});
    if (watched instanceof SidekeyError) return watched;
    // No grant is used, so the config lets no limit count for one.
    const taken = await takeLimits(decision, { agent: caller.agent, grant: '' }, services);
    if (!taken.ok) return taken.refusal;
    await services.audit.append(record.access());
    return { settings: judgement.settings, departure: { ...watched, spend: taken.spend } };
  }
  // 4 credential, 5 audit, 6 injection
  const granted = grantedBy(judgement, decision);
  if (granted instanceof SidekeyError) return granted;
  let request = leaves;
  let consent: Consent | null = null;
  if (decision.outcome === 'approve') {
    // Read to its end, so that a client that leaves is noticed.
    if (body !== null) reply.continue();
    request = { ...leaves, body: await wholeBody(body, settings.limits.approval_body_bytes) };
    consent = (wanted) =>
      hold({ granted: wanted, path: shown, judgeAgain, client, gone: reply.waiting() }, record, services);
  }
  const ready = await prepare(request, granted, { offer, inHead }, reply, services, record);
  if (ready instanceof SidekeyError || 'outcome' in ready) return ready;
  return withCredential(ready, granted, consent, services, record);
}

/**
 * A request that a grant is meant for, with all that has to be known of it before the credential can be put into it: its
 * placeholders, and its body as far as that is needed. Or the end of it, where it asks for a token and gets a placeholder.
 *
 * @returns SidekeyError why it cannot leave
 * @throws SidekeyError as `withKnownBody`
 */
async function prepare(
  request: UpstreamRequest,
  granted: AuthorizedRequest,
  shown: Pick<PlaceholderContext, 'offer' | 'inHead'>,
  reply: Reply,
  services: ProxyServices,
  record: ExchangeRecord,
): Promise<UpstreamRequest | ExchangeResult | SidekeyError> {
  const { settings, caller, grant } = granted;
  const facts: PlaceholderContext = { ...shown, settings, caller, grant };
  const stray = unexpectedInHead(request, facts, services.placeholders);
  if (stray !== null) return stray;
  let leaving = request;
  if (isTokenRequest(request, settings.provider(grant.provider))) {
    const answered = await answerTokenRequest(request, granted, reply, services, record);
    if (answered instanceof SidekeyError || 'outcome' in answered) return answered;
    leaving = { ...request, ...answered };
  }
  const known = await withKnownBody(leaving, granted, reply);
  return detectPlaceholders(known, facts, services.placeholders, reply, () =>
    services.audit.note(record.strayed()),
  );
}
