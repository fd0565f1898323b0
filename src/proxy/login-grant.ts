import type { Identity } from '../agents/authentication.ts';
import { defaultUser, type Grant, isName, matches } from '../domain/grant.ts';
import type { Placement, Provider } from '../domain/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Authority, parseAbsoluteTarget, sameAuthority } from './policy/authority.ts';
import { forgivenPath } from './policy/path.ts';
import type { GrantCandidates, Target } from './target.ts';

/** The grant that the login of a program becomes. */
export interface LoginGrant {
  readonly provider: Provider;
  readonly name: string;
  readonly user: string;
  /** The grant of that name, whose credential is replaced; null: the login makes a new one. */
  readonly existing: Grant | null;
}

/** A request that may be part of a login. */
interface LoginRequest {
  readonly target: Target;
  readonly caller: Pick<Identity, 'agentUser' | 'selectors' | 'reaches'>;
  readonly candidates: GrantCandidates | null;
  /** The provider of the selected grant. */
  readonly provider: Provider | undefined;
  /** The part of the config that selects the logins to capture. */
  readonly config: {
    readonly provider: (name: string) => Provider | undefined;
    readonly placementFor: (grant: { readonly provider: string }, to: Target) => Placement | SidekeyError;
  };
}

/**
 * Returns the grant that a request to a token endpoint may make or replace, if logins of the provider are
 * captured. The grant belongs to the user of the caller, and the caller may use it. Null: the request is no
 * login, or this caller makes no grant. Such a request must not be forwarded.
 *
 * @throws SidekeyError `grant_ambiguous`: the caller has several grants there
 */
export function loginGrant(request: LoginRequest): LoginGrant | null {
  const { target, caller, candidates } = request;
  const provider = capturingProvider(request);
  if (candidates === null || provider === null || !isTokenEndpoint(target, provider)) return null;
  const { agentUser, selectors, reaches } = caller;
  const user = agentUser ?? defaultUser;
  if (selectors.user !== null && selectors.user !== user) return null;
  const owned = candidates.candidates.filter(
    (grant) =>
      grant.user === user &&
      grant.lease === null &&
      (selectors.grant === null || matches(grant, selectors.grant)) &&
      reaches(grant),
  );
  if (owned.length > 1) throw severalGrants(owned);
  const [existing = null] = owned;
  const name = existing?.name ?? selectors.grant ?? candidates.reference;
  // The bindings of the caller say whether it may use what the login would make.
  if (
    !isName(name) ||
    !reaches(existing ?? { id: '', user, provider: provider.name, lease: null, parent: null })
  )
    return null;
  return { provider, name, user, existing };
}

/**
 * Reports whether a request needs no grant, although its domain has one: a program requests a code there
 * before its first login, and the provider's credential is not sent there.
 */
export function precedesLogin(request: LoginRequest): boolean {
  const { candidates, target, config } = request;
  const provider = capturingProvider(request);
  if (candidates?.selected.kind !== 'missing' || provider === null) return false;
  if (isTokenEndpoint(target, provider)) return false;
  const placement = config.placementFor({ provider: provider.name }, target);
  return !(placement instanceof SidekeyError) && placement.kind === 'own';
}

function capturingProvider(request: LoginRequest): Provider | null {
  if (request.candidates === null) return null;
  const { selected, candidates, reference } = request.candidates;
  const isSelected = selected.kind === 'selected';
  const provider = isSelected
    ? request.provider
    : request.config.provider(candidates[0]?.provider ?? reference);
  return provider?.capturesLogins === true ? provider : null;
}

function severalGrants(grants: readonly Grant[]): SidekeyError {
  const sentence = `This login fits more than one grant: ${grants.map(({ name }) => name).join(', ')}.`;
  const hint = 'choose one with +grant=NAME in the proxy user name; a new name makes a new grant';
  return new SidekeyError('grant_ambiguous', sentence, { hint });
}

/** Reports whether a target is the token endpoint of a provider (RFC 6749 §3.2). */
export function isTokenEndpoint(
  { authority, path }: Target,
  provider: Pick<Provider, 'tokenEndpoint'>,
): boolean {
  const endpoint = endpointOf(provider);
  return endpoint !== null && sameAuthority(authority, endpoint.authority) && textOf(path) === endpoint.path;
}

interface Endpoint {
  readonly authority: Authority;
  readonly path: string;
}

/** Read once for each definition: every POST is asked. */
const endpoints = new WeakMap<Pick<Provider, 'tokenEndpoint'>, Endpoint | null>();

function endpointOf(provider: Pick<Provider, 'tokenEndpoint'>): Endpoint | null {
  let endpoint = endpoints.get(provider);
  if (endpoint === undefined) {
    const target = provider.tokenEndpoint === null ? null : parseAbsoluteTarget(provider.tokenEndpoint);
    endpoint = target === null ? null : { authority: target.authority, path: textOf(target.path) };
    endpoints.set(provider, endpoint);
  }
  return endpoint;
}

function textOf(path: string): string {
  return forgivenPath(path).join('/');
}
