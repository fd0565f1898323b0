import type { Lease } from '../domain/lease.ts';
import type { Providers } from '../config/providers.ts';
import { defaultUser, type Grant, isName } from '../domain/grant.ts';
import { type GrantIndex, indexGrants } from '../domain/grant-index.ts';
import type { Provider } from '../domain/provider.ts';
import { orMeant } from '../lib/text.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy, type Remedy, type RemedyInput } from '../lib/hint.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';
import type { Caller } from './caller.ts';

/** Reference to one grant: id or name, with the user if the name is ambiguous. */
export interface GrantReference {
  readonly grant: string;
  readonly user?: string | undefined;
}

/**
 * Returns the referenced grant; of several with a name, the one without an owner. Unlike a domain entry,
 * accepts no provider name.
 *
 * @throws SidekeyError `grant_missing`, `grant_ambiguous`
 */
export function pickGrant(grants: readonly Grant[], { grant: reference, user }: GrantReference): Grant {
  const byId = grants.filter(({ id }) => id === reference);
  const named = byId.length > 0 ? byId : grants.filter(({ name }) => name === reference);
  const [only, ...more] = named.filter((grant) => user === undefined || grant.user === user);
  if (only === undefined) throw missing(grants, named, { grant: reference, user });
  if (more.length === 0) return only;
  const unowned = [only, ...more].find((grant) => grant.user === defaultUser);
  if (unowned !== undefined) return unowned;
  const users = usersOf([only, ...more]);
  throw new SidekeyError('grant_ambiguous', `Several users have a grant ${reference}: ${users}.`, {
    hint: `name the user: --user ${only.user}`,
  });
}

/**
 * Returns the referenced grant if the caller may access it. Errors name no grant of another user.
 *
 * @throws as `pickGrant`
 */
export function pickOwnGrant(
  grants: readonly Grant[],
  { grant, user }: GrantReference,
  { user: limited }: Pick<Caller, 'user'>,
): Grant {
  const mine = limited === null ? grants : grants.filter((each) => each.user === limited);
  return pickGrant(mine, { grant, user: limited ?? user });
}

/** Error for a reference that no grant fits. */
function missing(
  grants: readonly Grant[],
  named: readonly Grant[],
  { grant, user }: GrantReference,
): SidekeyError {
  // An invalid name may be a misplaced secret.
  const shown = isName(grant) ? ` ${grant}` : ' of that name';
  const [other] = named;
  if (other !== undefined) {
    const has = named.length === 1 ? 'has' : 'have';
    const sentence = `The user ${user ?? ''} has no grant${shown}; ${usersOf(named)} ${has}.`;
    return new SidekeyError('grant_missing', sentence, {
      hint: remedy('grant.list'),
    });
  }
  const names = grants.map(({ name }) => name);
  return new SidekeyError('grant_missing', `There is no grant${shown}${orMeant(grant, names)}`, {
    hint: grants.length === 0 ? remedy('connect', { provider: null }) : remedy('grant.list'),
  });
}

/** Users that an error names. */
const maxUsers = 5;

function usersOf(grants: readonly Grant[]): string {
  const users = grants.slice(0, maxUsers).map(({ user }) => user);
  return [users.join(', '), ...(grants.length > maxUsers ? ['and others'] : [])].join(' ');
}

export type Offers = Pick<GrantIndex, 'offered'>;

/** Returns the grants that a domain offers; several if a selector must choose. */
export function offeredBy(domain: Domain, grants: Offers): readonly Grant[] {
  return referencesOf(domain).flatMap((reference) => grants.offered(reference));
}

/** Returns the references to grants of a domain. */
export function referencesOf({ action }: Domain): readonly string[] {
  return action.kind === 'grant' ? [action, ...(action.also ?? [])].map(({ grant }) => grant) : [];
}

/** Groups domains once, and returns a function that returns those that offer a grant, in their order. */
export function domainsByGrant(
  domains: readonly Domain[],
  grants: GrantIndex,
): (grant: Grant) => readonly Domain[] {
  const places = Map.groupBy(
    domains.flatMap((domain, place) => referencesOf(domain).map((reference) => ({ reference, place }))),
    ({ reference }) => reference,
  );
  return (grant) => {
    const references = new Set([grant.id, grant.name, grant.provider]);
    const offering = [...references].filter((reference) => grants.isOffered(grant, reference));
    const found = new Set(offering.flatMap((each) => places.get(each)?.map(({ place }) => place) ?? []));
    return [...found].toSorted((a, b) => a - b).map((place) => domains[place]!);
  };
}

/** Orders grants: first those that domains offer, in domain order. Others add no credential on their own. */
export function offeredFirst(domains: readonly Domain[], grants: readonly Grant[]): readonly Grant[] {
  const index = indexGrants(grants);
  return [...new Set([...domains.flatMap((domain) => offeredBy(domain, index)), ...grants])];
}

/** Returns the unambiguous `--grant` value of a grant. */
export function grantReference({ name, user }: Pick<Grant, 'name' | 'user'>): string {
  return user === defaultUser ? name : `${user}/${name}`;
}

/** An action on a grant. */
export function grantRemedy(
  what: 'change' | 'placeholder' | 'refresh' | 'remove' | 'revoke' | 'source',
  { name, user }: Pick<Grant, 'name' | 'user'>,
  more: RemedyInput = {},
): Remedy {
  const owner = user === defaultUser ? undefined : user;
  return remedy(`grant.${what}`, { grant: name, user: owner, ...more });
}

/** The action that refreshes a grant, even if it is not due. */
export function refreshRemedy(grant: Grant): Remedy {
  return grantRemedy('refresh', grant, { force: true });
}

/** Error for an agent that does not exist. */
export function unknownAgent(name: string, known: readonly string[]): SidekeyError {
  // An invalid name may be a misplaced token.
  const shown = isName(name) && !/^sidekey_(?:agent|lease)_/.test(name) ? ` ${name}` : ' of that name';
  return new SidekeyError('not_found', `There is no agent${shown}${orMeant(name, known)}`, {
    hint: remedy('agent.list'),
  });
}

/** Minimum length of a partial ID. */
const shortest = 4;

/**
 * Returns the lease with this id or id prefix.
 * @throws SidekeyError `not_found`, `input_invalid` if it is ambiguous
 */
export function pickLease<L extends Lease>(leases: readonly L[], id: string): L {
  const isPart = /^[0-9a-f-]+$/.test(id) && id.length >= shortest;
  const [only, ...more] = isPart ? leases.filter((lease) => lease.id.startsWith(id)) : [];
  if (only !== undefined && more.length === 0) return only;
  if (more.length > 0) {
    throw new SidekeyError('input_invalid', `Several leases have an id that begins with ${id}.`, {
      hint: hintOf`write more of it: ${remedy('lease.list', { all: true })}`,
    });
  }
  // An invalid id may be a misplaced token.
  throw new SidekeyError('not_found', `There is no lease ${isPart ? id : 'of that id'}.`, {
    hint: remedy('lease.list', { all: true }),
  });
}

/** Returns the provider of this name. @throws SidekeyError `provider_unknown` */
export function findProvider(providers: Providers, name: string): Provider {
  const provider = providers.get(name);
  if (provider !== undefined) return provider;
  // An invalid name may be a misplaced secret.
  const shown = isName(name) ? ` ${name}` : ' of that name';
  throw new SidekeyError(
    'provider_unknown',
    `There is no provider${shown}${orMeant(name, providers.names)}`,
    {
      hint: hintOf`${remedy('provider.list')} shows them; your own go under "providers" in the config file`,
    },
  );
}
