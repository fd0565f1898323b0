import type { ExpiredSign } from '../domain/provider.ts';
import { missingConsent } from '../grants/messages.ts';
import { audienceRemedy, type ReadyToken, type TokenResult } from '../grants/token-result.ts';
import { plainRequest, type RawFields, valuesOf } from './http/fields.ts';
import { isGuardable } from './leak-guard/patterns.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { hintText } from '../lib/hint.ts';
import { whenReady } from '../lib/timers.ts';
import { asTyped } from '../lib/command-name.ts';
import { substitutePlaceholders } from './placeholders/substitute.ts';
import { howToPropose } from './policy/decide.ts';
import { leakSearchFor } from './policy/domain-map.ts';
import { type AppliedFields, applyScheme } from './schemes/apply.ts';
import { needsProof, originOf, type ProofAnswer, readProofAnswer } from './schemes/dpop.ts';
import { schemeOf } from './schemes/placement.ts';
import { applyAlso, joinApplied } from './also.ts';
import { responseBound } from './rule-limits.ts';
import { useProposal } from './proposed.ts';
import {
  type AdditionalCredential,
  type GrantedRequest,
  isGranted,
  type ObtainedCredential,
  type Request,
  type UpstreamRequest,
} from './request.ts';

/**
 * Sets the token of the request's grant from memory, the store, or a refresh.
 *
 * @throws SidekeyError `policy_violation`: it carries no credential; `too_many_leaks`; why there is no token
 */
export function obtainCredential(request: Request): void | Promise<void> {
  if (!isGranted(request)) return undefined;
  const { grant, also, services } = request;
  // A response to TRACE is the request itself, with its credential (RFC 9110 §9.3.8).
  if (request.method === 'TRACE')
    throw new SidekeyError('policy_violation', 'TRACE would show the credential to its sender.', {
      hint: 'use another method, such as GET or HEAD',
    });
  const barred = services.leakLimit.refusal(leakKeyOf(request));
  if (barred !== null) throw barred;
  const placement = orThrow(request.placement!);
  const ready = services.tokens.peek(grant.id);
  if (ready === null || also.length > 0) return withTokens();
  request.credential = { token: ready, placement, also: none };
  return undefined;

  async function withTokens(): Promise<void> {
    const { authority: destination } = request;
    const { tokens } = services;
    const tokenOf = async (id: string, cached: ReadyToken | null) =>
      cached ?? usable(await tokens.tokenFor(id, { destination }));
    const token = await tokenOf(grant.id, ready);
    const others = also.map(async ({ grant: { id }, placement: place }) => {
      return { token: await tokenOf(id, tokens.peek(id)), placement: place };
    });
    request.credential = { token, placement, also: await Promise.all(others) };
  }
}

const none: readonly AdditionalCredential[] = [];

/**
 * Counts the use of a lease, and checks that the rights of the caller have not ended while the request
 * waited. A request that a limit or a person refused is no use. All credentials of a request are one use.
 *
 * @throws SidekeyError as `Identity.spend`
 */
export function countUse(request: Request): void | Promise<void> {
  const { caller, accepted, credential } = request;
  const also = credential?.also ?? none;
  const others = accepted?.isOnce === true || also.length > 0 ? countOthers(request, also) : undefined;
  return whenReady(others, () => {
    if (credential === null) return undefined;
    return whenReady(caller.spend(credential.token.grant), (refusal) => void orThrow(refusal));
  });
}

async function countOthers(request: Request, also: ObtainedCredential['also']): Promise<void> {
  const { caller, accepted, config, services } = request;
  for (const { token } of also)
    orThrow(await caller.holds(token.grant, { mode: config.agents, used: false }));
  // The proposals of a person name no additional grants.
  if (accepted?.isOnce === true && also.length === 0)
    await useProposal(accepted, request.authority, services);
}

/**
 * Applies the credential to the request. A request whose client brings its own stays as it is.
 *
 * @throws SidekeyError as `applyScheme`; `policy_violation`: the secret is too short for the leak guard
 */
export function applyCredential(request: Request, credential = request.credential): UpstreamRequest {
  const { authority, method, path, fields, framing, body, detected, services } = request;
  const { isListed, mints } = request;
  const { caller, facts, config, approval, accepted, plan } = request;
  const { head, trailers } = request.inbound;
  const protocol = head.version === '2' ? 'h2' : 'http/1.1';
  const also = credential?.also ?? none;
  const grants = also.length === 0 ? undefined : also.map(({ token }) => token.grant);
  const grant = credential?.token.grant ?? null;
  const permission = { caller, facts, grant, also: grants, approval, accepted };
  const maxResponse = responseBound(request.decision);
  if (credential === null || credential.placement.kind === 'own' || !isGranted(request)) {
    const message = { authority, protocol, method, path, fields, framing, body, trailers } as const;
    const carriesGrant = credential !== null;
    const withoutCredential = { carriesGrant, credential: null, leakGuard: null, leakKey: null };
    return { ...message, isListed, peer: authority, permission, maxResponse, ...withoutCredential };
  }
  const { token, placement } = credential;
  const { sealed } = token;
  const leakGuard = leakSearchFor(request.decision.leakGuard ?? 'auto', {
    host: authority.host,
    path,
    places: request.provider?.echoPaths,
    isShown:
      schemeOf(placement).isRepeated === true ||
      detected?.inContent === true ||
      also.some((each) => schemeOf(each.placement).isRepeated === true),
  });
  const planned = plan.applied;
  const received = leakGuard?.covers === 'all' ? plainRequest(fields) : fields;
  let substituted: AppliedFields | null =
    detected === null && also.length === 0 ? planned.find(received, sealed, placement, authority) : null;
  let sentPath = path;
  // Fields with a proof are of one request: no plan has them.
  let nonceOrigin: string | null = null;
  if (substituted === null) {
    if (needsProof(sealed.credential, placement)) nonceOrigin = originOf(authority);
    const message = {
      method,
      hasBody: request.hasBody,
      bodyHash: request.bodyHash,
      body: request.wholeBody,
      now: services.now(),
      chunkBytes: config.limits.signed_body_bytes,
      nonce: nonceOrigin === null ? null : services.nonces.of(nonceOrigin),
    };
    const { allowPlainHttp } = request.decision;
    const use = { authority, allowPlainHttp };
    const unauthenticated = { path, fields: received };
    const others = also.length === 0 ? null : applyAlso(unauthenticated, also, use, config.provider);
    const main = applyScheme(
      others ?? unauthenticated,
      {
        ...use,
        sealed,
        placement,
        facts: message,
        allowHost: (host) => audienceRemedy(token.grant, sealed, host, request.provider),
      },
      planned,
    );
    const applied = others === null ? main : joinApplied(main, placement, others.all, also);
    const whole =
      detected === null ? applied : substitutePlaceholders(applied, detected, sealed.credential, placement);
    sentPath = whole.path;
    substituted = whole;
  }
  if (leakGuard?.isAsked === true && substituted.secrets?.texts.every(isGuardable) !== true)
    throw unguardable();
  const { identity } = substituted;
  if (identity !== undefined) services.certificates.watch(token, identity);
  return {
    authority,
    protocol,
    method,
    path: sentPath,
    fields: substituted.fields,
    planned,
    framing: substituted.reframed ?? framing,
    body,
    trailers,
    conceal: substituted.conceal,
    carriedIn: substituted.carriedIn,
    secrets: substituted.secrets,
    rewriteBody: substituted.rewriteBody,
    peer: identity === undefined ? authority : { ...authority, identity },
    messages: substituted.messages,
    isListed,
    mints,
    carriesGrant: true,
    permission,
    maxResponse,
    credential: { token, placement, also, nonceOrigin },
    leakGuard,
    // Services repeat the addresses of requests on every page of a list: such a leak is no guess.
    leakKey: sentPath === path ? leakKeyOf(request) : null,
  };
}

/** Applies another token or proof to a request that its upstream refused. */
export class CredentialRenewal {
  readonly #request: Request;

  constructor(request: Request) {
    this.#request = request;
  }

  /**
   * Refreshes a token that has ended by the response of the upstream. Returns the new request; null: the
   * response stands.
   *
   * @param isReplayable whether the request can be sent again; if not, the next request has the new token
   * @throws SidekeyError where the caller's permission or the grant has ended
   */
  async renew({ credential }: UpstreamRequest, isReplayable: boolean): Promise<UpstreamRequest | null> {
    if (credential === null) return null;
    const { token, placement, also } = credential;
    const { caller, record, services } = this.#request;
    const { config, audit, fingerprint } = services;
    const tokens = [token, ...also.map((each) => each.token)];
    // Nobody says which of several credentials the upstream refused.
    const [main, ...others] = await Promise.all(tokens.map((each) => this.#refresh(each)));
    // The permission may have ended while the provider was asked. The use is counted already.
    const { agents } = await config();
    for (const { grant } of tokens) orThrow(await caller.holds(grant, { mode: agents, used: false }));
    if ([main, ...others].every((fresh) => fresh === null) || !isReplayable) return null;
    const fresh: ObtainedCredential = {
      token: main ?? token,
      placement,
      also: also.map((each, index) => ({ ...each, token: others[index] ?? each.token })),
    };
    const renewed = applyCredential(this.#request, fresh);
    for (const each of fresh.also) await audit.append(record.added(each.token, fingerprint));
    await audit.append(record.access(fresh.token, fingerprint));
    return renewed;
  }

  /** Refreshes a token; null: it and the response stay. @throws SidekeyError if the grant has ended */
  async #refresh(token: ReadyToken): Promise<ReadyToken | null> {
    const fresh = await this.#request.services.tokens.forceRefresh(token);
    if (fresh.kind === 'unchanged') return null;
    return fresh.kind === 'refused' && fresh.code === 'refresh_failed' ? null : usable(fresh);
  }

  /** Returns the responses, besides 401, by which the providers of the credentials report an ended token. */
  expiredSigns({ credential }: UpstreamRequest): readonly ExpiredSign[] {
    const { config, provider } = this.#request;
    const signs = provider?.expired ?? [];
    if (credential === null || credential.also.length === 0) return signs;
    const others = credential.also.map(({ token }) => config.provider(token.grant.provider));
    return [...signs, ...others.flatMap((other) => other?.expired ?? [])];
  }

  /** Returns the request with a new proof and the current nonce, because a proof is good for one request. */
  prove(request: UpstreamRequest): UpstreamRequest {
    return request.credential === null ? request : applyCredential(this.#request, request.credential);
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
    const { nonces } = this.#request.services;
    return origin === null ? 'nothing' : readProofAnswer(nonces, origin, status, values);
  }

  /**
   * Returns the `Sidekey-Hint` field for a 401 or 403 that says that the grant lacks a consent (RFC 6750
   * §3.1); no field otherwise. The names of the missing scopes are recorded.
   *
   * @param fields those of the response
   */
  consentHint({ credential }: UpstreamRequest, fields: RawFields): RawFields {
    if (credential === null) return [];
    const { token } = credential;
    const { config, record, services } = this.#request;
    const provider = config.provider(token.grant.provider);
    const missing = missingConsent((name) => valuesOf(fields, name), token, provider);
    if (missing === null) return [];
    if (missing.scopes !== null) {
      record.lacks(missing.reason);
      services.activity.lacked(token.grant.id, missing.scopes);
    }
    const way = missing.scopes === null ? '' : `; ${howToPropose}`;
    return ['Sidekey-Hint', `${asTyped(hintText(missing.hint))}${way}`];
  }
}

function leakKeyOf({ caller, grant, decision }: GrantedRequest) {
  return { caller, grant: grant.parent ?? grant.id, limit: decision.leakLimit };
}

function unguardable(): SidekeyError {
  const sentence =
    'A part of the credential of this grant is too short to be found in responses, and leak_guard of the domain requires that.';
  return new SidekeyError('policy_violation', sentence, {
    hint: 'set leak_guard: auto or off on the domain, or use a credential whose every secret part has 8 characters at least',
  });
}

/** Returns a token that can be used. @throws SidekeyError the reason, if there is none */
function usable(token: TokenResult): ReadyToken {
  if (token.kind === 'ready') return token;
  const { code, message, hint, retryAfterMs } = token;
  throw new SidekeyError(code, message, { hint, retryAfterMs });
}
