import { missingConsent } from '../grants/messages.ts';
import type { ReadyToken, RefusedToken } from '../grants/token-result.ts';
import { plainRequest, type RawFields, valuesOf } from './http/fields.ts';
import { readAhead } from './http/message.ts';
import { isGuardable } from './leak-guard/patterns.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { hintText } from '../lib/hint.ts';
import { asTyped } from '../lib/package-files.ts';
import { type SubstitutedFields, substitutePlaceholders } from './placeholders/substitute.ts';
import { howToPropose } from './policy/decide.ts';
import { leakSearchFor } from './policy/domain-map.ts';
import { applyScheme } from './schemes/apply.ts';
import { needsProof, originOf, type ProofAnswer, readProofAnswer } from './schemes/dpop.ts';
import { schemeOf } from './schemes/placement.ts';
import type { BodyNeed } from './schemes/scheme.ts';
import { sha256 } from './schemes/sigv4/signature.ts';
import { type AdditionalCredential, applyAlso, joinApplied, obtainAlso } from './also.ts';
import { type AuthorizedRequest, type GrantedRequest, isGranted } from './authorize.ts';
import { responseBound } from './rule-limits.ts';
import { useProposal } from './proposed.ts';
import type { ExchangeRecord } from './record.ts';
import type { ProxyServices } from './services.ts';
import {
  type AppliedCredential,
  hasBody,
  type PreparedExchange,
  type PreparedRequest,
  type UpstreamRequest,
} from './upstream-request.ts';

/** The token of a grant, and how the request carries it. */
export type ObtainedCredential = Pick<AppliedCredential, 'token' | 'placement' | 'also'>;

/**
 * Returns the token of the request's grant from memory, the store, or a refresh. Null: the request gets none.
 *
 * @throws SidekeyError `policy_violation`: it carries no credential; `too_many_leaks`; why there is no token
 */
export function obtainCredential({
  prepared: { method, authority: destination },
  authorized,
  services: { tokens, leakLimit },
}: PreparedExchange): ObtainedCredential | null | Promise<ObtainedCredential> {
  if (!isGranted(authorized)) return null;
  const { grant, also } = authorized;
  // A response to TRACE is the request itself, with its credential (RFC 9110 §9.3.8).
  if (method === 'TRACE')
    throw new SidekeyError('policy_violation', 'TRACE would show the credential to its sender.');
  const barred = leakLimit.refusal(leakKeyOf(authorized));
  if (barred !== null) throw barred;
  const placement = orThrow(authorized.placement!);
  const ready = tokens.peek(grant.id);
  if (ready !== null && also.length === 0) return { token: ready, placement, also: none };
  return withTokens();

  async function withTokens(): Promise<ObtainedCredential> {
    const token = ready ?? (await tokens.tokenFor(grant.id, { destination }));
    if (token.kind === 'refused') throw refusedToken(token);
    return { token, placement, also: await obtainAlso(also, destination, { tokens }) };
  }
}

const none: readonly AdditionalCredential[] = [];

/**
 * Counts the use of a lease, and checks that the rights of the caller have not ended while the request
 * waited. A request that a limit or a person refused is no use. All credentials of a request are one use.
 *
 * @throws SidekeyError as `Identity.spend`
 */
export async function countUse({
  authorized: { caller, accepted, received, config },
  credential,
  services,
}: PreparedExchange & { readonly credential: ObtainedCredential | null }): Promise<void> {
  const also = credential?.also ?? none;
  for (const { token } of also)
    orThrow(await caller.holds(token.grant, { mode: config.agents, used: false }));
  // The proposals of a person name no additional grants.
  if (accepted?.isOnce === true && also.length === 0)
    await useProposal(accepted, received.target.authority, services);
  if (credential !== null) orThrow(await caller.spend(credential.token.grant));
}

/**
 * Applies the credential to the request. A request whose client brings its own stays as it is.
 *
 * @throws SidekeyError as `applyScheme`; `policy_violation`: the secret is too short for the leak guard
 */
export function applyCredential(
  prepared: PreparedRequest,
  authorized: AuthorizedRequest,
  credential: ObtainedCredential | null,
  services: Pick<ProxyServices, 'nonces' | 'now' | 'certificates'>,
): UpstreamRequest {
  const { caller, facts, decision, config, approval, accepted } = authorized;
  const also = credential?.also ?? none;
  const grants = also.length === 0 ? undefined : also.map(({ token }) => token.grant);
  const grant = credential?.token.grant ?? null;
  const permission = { caller, facts, grant, also: grants, approval, accepted };
  const maxResponse = responseBound(decision);
  if (credential === null || credential.placement.kind === 'own' || !isGranted(authorized)) {
    const carriesGrant = credential !== null;
    const none = { credential: null, leakGuard: null, leakKey: null };
    return { ...prepared, peer: prepared.authority, carriesGrant, permission, maxResponse, ...none };
  }
  const { token, placement } = credential;
  const { authority, path, method, fields, placeholders } = prepared;
  const { sealed } = token;
  const leakGuard = leakSearchFor(authorized.decision.leakGuard ?? 'auto', {
    host: authority.host,
    path,
    places: authorized.provider?.echoPaths,
    isShown:
      schemeOf(placement).isRepeated === true ||
      placeholders?.inContent === true ||
      also.some((each) => schemeOf(each.placement).isRepeated === true),
  });
  const planned = authorized.received.plan.applied;
  const received = leakGuard?.covers === 'all' ? plainRequest(fields) : fields;
  let substituted: SubstitutedFields | null =
    placeholders === undefined && also.length === 0
      ? planned.find(received, sealed, placement, authority)
      : null;
  let sentPath = path;
  // Fields with a proof are of one request: no plan has them.
  let nonceOrigin: string | null = null;
  if (substituted === null) {
    if (needsProof(sealed.credential, placement)) nonceOrigin = originOf(authority);
    const facts = {
      method,
      hasBody: hasBody(prepared),
      bodyHash: prepared.bodyHash ?? null,
      body: prepared.wholeBody ?? null,
      now: services.now(),
      chunkBytes: config.limits.signed_body_bytes,
      nonce: nonceOrigin === null ? null : services.nonces.of(nonceOrigin),
    };
    const { allowPlainHttp } = authorized.decision;
    const use = { authority, allowPlainHttp };
    const request = { path, fields: received };
    const others = also.length === 0 ? null : applyAlso(request, also, use);
    const main = applyScheme(others ?? request, { ...use, sealed, placement, facts }, planned);
    const applied = others === null ? main : joinApplied(main, placement, others.all, also);
    const whole =
      placeholders === undefined
        ? applied
        : substitutePlaceholders(applied, placeholders, sealed.credential, placement);
    sentPath = whole.path;
    substituted = whole;
  }
  if (leakGuard?.isAsked === true && substituted.secrets?.texts.every(isGuardable) !== true)
    throw unguardable();
  const { identity } = substituted;
  if (identity !== undefined) services.certificates.watch(token, identity);
  return {
    authority,
    protocol: prepared.protocol,
    method,
    path: sentPath,
    fields: substituted.fields,
    planned,
    framing: substituted.reframed ?? prepared.framing,
    body: prepared.body,
    trailers: prepared.trailers,
    conceal: substituted.conceal,
    carriedIn: substituted.carriedIn,
    secrets: substituted.secrets,
    rewriteBody: substituted.rewriteBody,
    peer: identity === undefined ? authority : { ...authority, identity },
    messages: substituted.messages,
    isListed: prepared.isListed,
    carriesGrant: true,
    permission,
    maxResponse,
    credential: { token, placement, also, authorized, prepared, nonceOrigin },
    leakGuard,
    // Services repeat the addresses of requests on every page of a list: such a leak is no guess.
    leakKey: sentPath === path ? leakKeyOf(authorized) : null,
  };
}

/** Applies another token or proof to a request that its upstream refused. */
export class CredentialRenewal {
  readonly #services: ProxyServices;
  readonly #record: ExchangeRecord;

  constructor(services: ProxyServices, record: ExchangeRecord) {
    this.#services = services;
    this.#record = record;
  }

  /**
   * Refreshes the token that an upstream answered with 401. Returns the new request; null: the 401 stands.
   *
   * @param isReplayable whether the request can be sent again; if not, the next request has the new token
   * @throws SidekeyError where the caller's permission or the grant has ended
   */
  async renew({ credential }: UpstreamRequest, isReplayable: boolean): Promise<UpstreamRequest | null> {
    if (credential === null) return null;
    const { token, placement, also, prepared, authorized } = credential;
    const { config, audit, fingerprint } = this.#services;
    // Nobody says which of several credentials the upstream refused.
    const [main, ...others] = await Promise.all(
      [token, ...also.map((each) => each.token)].map((each) => this.#refresh(each)),
    );
    // The permission may have ended while the provider was asked. The use is counted already.
    const { agents } = await config();
    for (const { grant } of [token, ...also.map((each) => each.token)])
      orThrow(await authorized.caller.holds(grant, { mode: agents, used: false }));
    if ([main, ...others].every((fresh) => fresh === null) || !isReplayable) return null;
    const fresh = {
      token: main ?? token,
      placement,
      also: also.map((each, index) => ({ ...each, token: others[index] ?? each.token })),
    };
    const renewed = applyCredential(prepared, authorized, fresh, this.#services);
    for (const each of fresh.also) await audit.append(this.#record.added(each.token, fingerprint));
    await audit.append(this.#record.access(fresh.token, fingerprint));
    return renewed;
  }

  /** Refreshes a token; null: it stays, and so does the 401. @throws SidekeyError if the grant has ended */
  async #refresh(token: ReadyToken): Promise<ReadyToken | null> {
    const fresh = await this.#services.tokens.forceRefresh(token);
    if (fresh.kind === 'ready') return fresh;
    if (fresh.kind === 'unchanged' || fresh.code === 'refresh_failed') return null;
    throw refusedToken(fresh);
  }

  /** Returns the request with a new proof and the current nonce, because a proof is good for one request. */
  prove(request: UpstreamRequest): UpstreamRequest {
    if (request.credential === null) return request;
    const { prepared, authorized } = request.credential;
    return applyCredential(prepared, authorized, request.credential, this.#services);
  }

  /**
   * Remembers the nonce of a response of any status for later requests.
   *
   * @param values returns the values of a field, by its name in lower case
   */
  readProof(
    { credential }: UpstreamRequest,
    status: number,
    values: (name: string) => readonly string[],
  ): ProofAnswer {
    const origin = credential?.nonceOrigin ?? null;
    return origin === null ? 'nothing' : readProofAnswer(this.#services.nonces, origin, status, values);
  }

  /**
   * Returns the `Sidekey-Hint` field for a 401 or 403 that says that the grant lacks a consent (RFC 6750
   * §3.1); no field otherwise. The names of the missing scopes are recorded.
   *
   * @param fields those of the response
   */
  consentHint({ credential }: UpstreamRequest, fields: RawFields): RawFields {
    if (credential === null) return [];
    const { token, authorized } = credential;
    const provider = authorized.config.provider(token.grant.provider);
    const missing = missingConsent((name) => valuesOf(fields, name), token, provider);
    if (missing === null) return [];
    if (missing.scopes !== null) {
      this.#record.lacks(missing.reason);
      this.#services.activity.lacked(token.grant.id, missing.scopes);
    }
    const way = missing.scopes === null ? '' : `; ${howToPropose}`;
    return ['Sidekey-Hint', `${asTyped(hintText(missing.hint))}${way}`];
  }
}

function leakKeyOf({ caller, grant, decision }: GrantedRequest) {
  return { caller, grant: grant.id, limit: decision.leakLimit };
}

function unguardable(): SidekeyError {
  const sentence =
    'A part of the credential of this grant is too short to be found in responses, and leak_guard of the domain requires that.';
  return new SidekeyError('policy_violation', sentence, {
    hint: 'set leak_guard: auto or off on the domain, or use a credential whose every secret part has 8 characters at least',
  });
}

function refusedToken({ code, message, hint, retryAfterMs }: RefusedToken): SidekeyError {
  return new SidekeyError(code, message, { hint, retryAfterMs });
}

/**
 * Reads the body of a request whose scheme signs it or writes into it.
 *
 * @throws SidekeyError `policy_violation`: the request can never carry the credential; `body_too_large`;
 * `bad_request`: the client left in the middle of the body
 */
export function readForScheme({
  prepared,
  authorized: { config, grant, placement },
  reply,
}: PreparedExchange): PreparedRequest | Promise<PreparedRequest> {
  if (grant === null || placement === null || placement instanceof SidekeyError || placement.kind === 'own')
    return prepared;
  const need = schemeOf(placement).needs?.({ ...prepared, hasBody: hasBody(prepared) }, placement) ?? null;
  const { body, framing } = prepared;
  if (need === null || body === null) return prepared;
  const maxBytes = config.limits[need.limit];
  // Nothing of a body that announces more is asked for.
  if (framing.kind === 'length' && framing.bytes > maxBytes) throw tooLarge(need, maxBytes);
  reply.continue();
  return withReadBody(prepared, body, need, maxBytes);
}

async function withReadBody(
  request: PreparedRequest,
  body: AsyncIterable<Buffer>,
  need: BodyNeed,
  maxBytes: number,
): Promise<PreparedRequest> {
  const read = await readAhead(body[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>, maxBytes);
  if (!read.isWhole) throw tooLarge(need, maxBytes);
  const { bytes } = read;
  if (need.of === 'hash') return { ...request, body: read.body, bodyHash: sha256(bytes) };
  need.check?.(bytes);
  return { ...request, body: once(bytes), wholeBody: bytes };
}

function tooLarge({ what, limit }: BodyNeed, maxBytes: number): SidekeyError {
  return new SidekeyError('body_too_large', `${what} has at most ${maxBytes} bytes.`, {
    hint: `send less, or raise limits.${limit}`,
  });
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
