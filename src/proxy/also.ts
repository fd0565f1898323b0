import { noSelectors } from '../agents/authentication.ts';
import { defaultUser } from '../domain/grant.ts';
import type { Placement, Provider } from '../domain/provider.ts';
import { audienceRemedy } from '../grants/token-result.ts';
import type { GuardedSecrets } from './leak-guard/patterns.ts';
import { applyScheme, type CredentialUse } from './schemes/apply.ts';
import { schemeOf } from './schemes/placement.ts';
import { type AppliedRequest, refused } from './schemes/scheme.ts';
import { type AdditionalCredential, bringsOwn, type GrantDecision, type Request } from './request.ts';
import { type AdditionalGrant, offerOf, scopeFor, unselected } from './target.ts';

/**
 * Selects the additional grants of a domain for a request. A selector for a user chooses the grants of that
 * user, otherwise the grants without a user.
 * @throws SidekeyError `grant_missing`, `grant_ambiguous`
 */
export async function selectAdditionalGrants(
  request: Request,
  entries: NonNullable<GrantDecision['also']>,
): Promise<void> {
  if (bringsOwn(request)) return;
  const { grants } = request.services;
  const { user } = request.caller.selectors;
  const chosen: AdditionalGrant[] = [];
  for (const { grant, as } of entries) {
    const scope =
      user === null
        ? scopeFor(grant, { ...request.caller, selectors: noSelectors })
        : { users: [user, defaultUser], ids: [] };
    const all = await grants.find(grant, scope);
    const isOfUser = all.some((each) => each.user === user);
    const others = all.filter((each) => user === null || each.user === defaultUser);
    const caller = { ...request.caller, selectors: { grant: null, user: isOfUser ? user : null } };
    const action = { kind: 'grant', grant, allowPlainHttp: false } as const;
    const offer = offerOf(isOfUser ? all : others, { action }, caller);
    if (offer.selected.kind !== 'selected')
      throw unselected(offer.selected, { grant }, caller, request.config.provider);
    chosen.push({ grant: offer.selected.grant, placement: as });
  }
  request.also = chosen;
}

/** A request with additional credentials, and the secrets and fields to record and guard. */
interface AlsoApplied extends Pick<AppliedRequest, 'path' | 'fields'> {
  readonly all: readonly AppliedRequest[];
}

/** Adds the additional credentials before the main one, which may sign them. @throws as `applyScheme` */
export function applyAlso(
  { path, fields }: Pick<AppliedRequest, 'path' | 'fields'>,
  also: readonly AdditionalCredential[],
  use: Pick<CredentialUse, 'authority' | 'allowPlainHttp'>,
  provider: (name: string) => Provider | undefined,
): AlsoApplied {
  const all: AppliedRequest[] = [];
  let request: Pick<AppliedRequest, 'path' | 'fields'> = { path, fields };
  for (const { token, placement } of also) {
    const { sealed, grant } = token;
    const allowHost = (host: string) => audienceRemedy(grant, sealed, host, provider(grant.provider));
    const applied = applyScheme(request, { ...use, sealed, placement, allowHost, isAdditional: true });
    all.push(applied);
    request = applied;
  }
  return { ...request, all };
}

/**
 * Combines the facts of all credentials of a request.
 * @throws SidekeyError `policy_violation`: two credentials use the same place, so that one would be lost
 */
export function joinApplied(
  main: AppliedRequest,
  placement: Placement,
  all: readonly AppliedRequest[],
  also: readonly AdditionalCredential[],
): AppliedRequest {
  const placements = [placement, ...also.map((each) => each.placement)];
  const parameters = placements.flatMap((each) => schemeOf(each).queryParameter?.(each) ?? []);
  const names = [main, ...all].flatMap(({ carriedIn = [] }) => [...carriedIn]);
  const places = [...names, ...parameters.map((name) => `?${name.toLowerCase()}`)];
  if (new Set(places).size < places.length) {
    const sentence = 'Two credentials of this domain would stand in the same place of the request.';
    throw refused(sentence, 'give each entry of also a field of its own: as: { header: NAME }');
  }
  return {
    ...main,
    carriedIn: new Set(names),
    secrets: all.reduce<GuardedSecrets | undefined>((one, { secrets }) => joined(one, secrets), main.secrets),
    conceal: (fields) => [main, ...all].reduce((left, { conceal }) => conceal?.(left) ?? left, fields),
  };
}

/** One object per pair while both credentials are open: the leak guard caches its search by this object. */
const pairs = new WeakMap<GuardedSecrets, WeakMap<GuardedSecrets, GuardedSecrets>>();

function joined(one?: GuardedSecrets, other?: GuardedSecrets): GuardedSecrets | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  let others = pairs.get(one);
  if (others === undefined) pairs.set(one, (others = new WeakMap<GuardedSecrets, GuardedSecrets>()));
  let both = others.get(other);
  if (both === undefined) others.set(other, (both = { texts: [...one.texts, ...other.texts] }));
  return both;
}
