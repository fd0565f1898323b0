import type { ReadyToken, RefusedToken } from '../grants/token-result.ts';
import { plainRequest, type RawFields } from '../http/fields.ts';
import type { Reply } from '../http/message.ts';
import { isGuardable } from '../leak-guard/patterns.ts';
import { SidekeyError } from '../lib/errors.ts';
import { substitutePlaceholders } from '../placeholders/substitute.ts';
import { echoPlan } from '../policy/leak-guard.ts';
import { fieldNameAsRead } from '../policy/text.ts';
import { applyScheme } from '../schemes/apply.ts';
import { needsProof, originOf } from '../schemes/dpop.ts';
import { schemeOf } from '../schemes/placement.ts';
import type { AppliedRequest, BodyNeed, MessageFacts } from '../schemes/scheme.ts';
import { sha256 } from '../schemes/sigv4/signature.ts';
import { consentHint, createProofs } from './attempt.ts';
import type { AuthorizedRequest } from './authorize.ts';
import type { ProxyServices, ConfigSnapshot } from './deps.ts';
import type { UpstreamRequest } from './forward.ts';
import { responseBound, takeLimits } from './limits.ts';
import type { ExchangeRecord } from './record.ts';
import { readAhead } from '../http/read-ahead.ts';

/** Waits for the person whom policy wants to be asked. Answers with what holds after that, or why it may not leave. */
export type Consent = (granted: AuthorizedRequest) => Promise<AuthorizedRequest | SidekeyError>;

/** A request that may leave, and what held when that was decided. */
export interface Admitted {
  readonly departure: UpstreamRequest;
  readonly settings: ConfigSnapshot;
}

/**
 * Puts the grant's credential on a request that policy let through; where the provider says that the client has its own,
 * the request goes on as it is, by the same right. The access is in the audit file before this
 * answers with a departure: a credential that nobody wrote down does not leave.
 *
 * @param consent null: nobody is to be asked
 */
export async function withCredential(
  departure: UpstreamRequest,
  granted: AuthorizedRequest,
  consent: Consent | null,
  services: ProxyServices,
  record: ExchangeRecord,
): Promise<Admitted | SidekeyError> {
  const { authority } = departure;
  const echoed = echoRefusal(departure.method);
  if (echoed !== null) return echoed;
  const asker = {
    caller: granted.caller,
    grant: granted.grant.id,
    limit: granted.decision.leakLimit,
  };
  const barred = services.leakLimit.refusal(asker);
  if (barred !== null) return barred;
  const planOf = ({ settings, grant }: AuthorizedRequest) => settings.injectPlan(grant.provider, departure);
  // Nobody is asked for what cannot leave.
  let plan = planOf(granted);
  if (plan instanceof SidekeyError) return plan;
  const { id } = granted.grant;
  let token = await services.tokens.tokenFor(id);
  if (token.kind === 'refused') return refusedToken(token);
  // Before the person: they bound how often one is asked.
  const taken = await takeLimits(granted.decision, { agent: granted.caller.agent, grant: id }, services);
  if (!taken.ok) return taken.refusal;
  let agreed = granted;
  if (consent !== null) {
    const answer = await consent(granted);
    if (answer instanceof SidekeyError) return answer;
    agreed = answer;
    plan = planOf(agreed);
    if (plan instanceof SidekeyError) return plan;
    // What it was good for has ended meanwhile, perhaps.
    token = await services.tokens.tokenFor(id);
    if (token.kind === 'refused') return refusedToken(token);
  }
  const { settings, caller, facts, decision } = agreed;
  // After the limits: a request that they refuse is no use of a lease.
  const refused = await caller.spend(token.grant);
  if (refused !== null) return refused;
  const first = token;
  const leaving: UpstreamRequest = {
    ...departure,
    carriesGrant: true,
    permission: { caller, facts, grant: first.grant, approval: agreed.approval },
    maxResponse: responseBound(decision),
    spend: taken.spend,
  };
  if (plan.kind === 'own') {
    await services.audit.append(record.access());
    return { departure: leaving, settings };
  }
  const carried = plan;
  const places = settings.provider(first.grant.provider)?.echoPaths;
  const isShown = schemeOf(carried).isRepeated === true || departure.placeholders?.inContent === true;
  const echo = echoPlan(decision.leakGuard ?? 'auto', {
    host: authority.host,
    path: departure.path,
    places,
    isShown,
  });
  const fields = echo?.covers === 'all' ? plainRequest(departure.fields) : departure.fields;
  let left: ReadyToken = first;

  const origin = needsProof(first.sealed.credential, carried) ? originOf(authority) : null;

  const injected = ({ sealed }: ReadyToken): AppliedRequest => {
    const facts = messageFacts(departure, settings.limits, services.now());
    const applied = applyScheme(
      { path: departure.path, fields },
      {
        sealed,
        placement: carried,
        authority,
        insecure: decision.insecure,
        facts: origin === null ? facts : { ...facts, nonce: services.nonces.of(origin) },
      },
    );
    const { placeholders } = departure;
    return placeholders === undefined
      ? applied
      : substitutePlaceholders(applied, placeholders, sealed.credential, carried);
  };

  const arm = async (ready: ReadyToken): Promise<AppliedRequest> => {
    const { grant, sealed } = ready;
    const request = injected(ready);
    if (echo?.isAsked === true && request.secrets?.texts.every(isGuardable) !== true) throw unguardable();
    record.grant(grant, services.fingerprint(sealed));
    await services.audit.append(record.access());
    left = ready;
    if (request.identity !== undefined) services.identities.watch(ready, request.identity);
    return request;
  };

  const renew = async (replayable: boolean): Promise<AppliedRequest | null> => {
    const fresh = await services.tokens.forceRefresh(first);
    // The right may have been taken away while that was asked for. The use is counted already.
    const ended = await caller.holds(first.grant, { mode: settings.agents, used: false });
    if (ended instanceof SidekeyError) throw ended;
    if (fresh.kind === 'ready') return replayable ? arm(fresh) : null;
    // The upstream's own 401 says more than a refresh that could not be made; a grant that has ended says so itself.
    if (fresh.kind === 'unchanged' || fresh.code === 'refresh_failed') return null;
    throw refusedToken(fresh);
  };
  const armed = await arm(first);
  const renewed = first.grant.refreshable ? renew : undefined;
  const hint = consentHint(() => left, settings, record, services);
  const proofs = origin === null ? undefined : createProofs(services.nonces, origin, () => injected(left));
  // Services repeat addresses on every page of a list.
  const isInAddress = armed.path !== departure.path;
  const countEcho = async () => {
    const refusal = await services.leakLimit.count(asker);
    if (refusal?.code === 'too_many_echoes') {
      services.audit.note(record.limited());
      services.log.warn({ exchange: record.exchange, grant: asker.grant }, refusal.message);
    }
    return refusal;
  };
  const trailers = () => withoutNamed(departure.trailers(), armed.carriedIn);
  return {
    departure: {
      ...leaving,
      ...armed,
      trailers,
      echo,
      countEcho: isInAddress ? undefined : countEcho,
      renew: renewed,
      proofs,
      consentHint: hint,
    },
    settings,
  };
}

/** Trailers that nobody takes for the field that the credential stands in. */
function withoutNamed(trailers: RawFields, names: ReadonlySet<string> | undefined): RawFields {
  if (trailers.length === 0 || names === undefined) return trailers;
  const gone = new Set([...names].map(fieldNameAsRead));
  return trailers.filter((_, index) => !gone.has(fieldNameAsRead(trailers[index - (index % 2)]!)));
}

/** An answer to TRACE is the request itself, credential and all (RFC 9110 §9.3.8). Null: it is another method. */
export function echoRefusal(method: string): SidekeyError | null {
  if (method !== 'TRACE') return null;
  return new SidekeyError('policy_violation', 'TRACE would show the credential to whoever sent it.');
}

function unguardable(): SidekeyError {
  return new SidekeyError(
    'policy_violation',
    'A part of the credential of this grant is too short to be found in responses, and the domain wants it guarded.',
    {
      hint: 'set leak_guard: auto or off on the domain, or use a credential whose every secret part has 8 characters at least',
    },
  );
}

function refusedToken({ code, message, hint, retryAfterMs }: RefusedToken): SidekeyError {
  return new SidekeyError(code, message, { hint, retryAfterMs });
}

/**
 * A request whose body was read, where the grant's credential cannot be put into it before that is known: it is signed, or
 * the credential stands in it. Else as it was.
 *
 * @throws SidekeyError `policy_violation`: such a request cannot carry it in any case; `body_too_large`; `bad_request` where
 * the client left in the middle of it
 */
export async function withKnownBody(
  departure: UpstreamRequest,
  { settings, grant }: AuthorizedRequest,
  reply: Pick<Reply, 'continue'>,
): Promise<UpstreamRequest> {
  const plan = settings.injectPlan(grant.provider, departure);
  if (plan instanceof SidekeyError || plan.kind === 'own') return departure;
  const need = schemeOf(plan).needs?.({ ...departure, hasBody: hasBody(departure) }, plan) ?? null;
  const { body } = departure;
  if (need === null || body === null) return departure;
  const most = settings.limits[need.limit];
  // None of it is asked for, where that much is announced.
  if (departure.framing.kind === 'length' && departure.framing.bytes > most) throw tooLarge(need, most);
  reply.continue();
  const read = await readAhead(body[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>, most);
  if (!read.isWhole) throw tooLarge(need, most);
  const { bytes } = read;
  if (need.of === 'hash') return { ...departure, body: read.body, bodyHash: sha256(bytes) };
  need.check?.(bytes);
  return { ...departure, body: once(bytes), wholeBody: bytes };
}

/** What a way to carry a credential may have to know of a request. */
function messageFacts(
  departure: UpstreamRequest,
  limits: AuthorizedRequest['settings']['limits'],
  now: number,
): MessageFacts {
  return {
    method: departure.method,
    hasBody: hasBody(departure),
    bodyHash: departure.bodyHash ?? null,
    body: departure.wholeBody ?? null,
    now,
    chunkBytes: limits.signed_body_bytes,
  };
}

function hasBody({ framing }: UpstreamRequest): boolean {
  return framing.kind === 'chunked' || (framing.kind === 'length' && framing.bytes > 0);
}

function tooLarge({ what, limit }: BodyNeed, most: number): SidekeyError {
  return new SidekeyError('body_too_large', `${what} has at most ${most} bytes.`, {
    hint: `send less, or raise limits.${limit}`,
  });
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
