import { didYouMean } from '../../did-you-mean.ts';
import { SidekeyError } from '../../errors.ts';
import { isName, type Grant } from '../../grants/grant.ts';

/** How a command names one grant: by id or name, and by user where several have one of that name. */
export interface GrantReference {
  readonly grant: string;
  readonly user?: string | undefined;
}

/**
 * The one grant that is meant. Unlike a domain's reference, a provider's name is none: a command acts on what was named.
 *
 * @throws SidekeyError `grant_missing`, `grant_ambiguous`
 */
export function pickGrant(grants: readonly Grant[], { grant: reference, user }: GrantReference): Grant {
  const byId = grants.filter(({ id }) => id === reference);
  const named = byId.length > 0 ? byId : grants.filter(({ name }) => name === reference);
  const [only, ...more] = named.filter((grant) => user === undefined || grant.user === user);
  if (only === undefined) throw missing(grants, named, { grant: reference, user });
  if (more.length === 0) return only;
  const users = [only, ...more].map((grant) => grant.user).join(', ');
  throw new SidekeyError('grant_ambiguous', `Several users have a grant ${reference}: ${users}.`, {
    hint: `say whose: --user ${only.user}`,
  });
}

/** Between the look and the deed somebody else removed the grant. */
export function grantGone(): SidekeyError {
  return new SidekeyError('grant_missing', 'The grant was removed by somebody else at the same time.', {
    hint: 'sidekey grant list',
  });
}

function missing(
  grants: readonly Grant[],
  named: readonly Grant[],
  { grant, user }: GrantReference,
): SidekeyError {
  // What cannot be a name may be a secret in the wrong place.
  const shown = isName(grant) ? ` ${grant}` : ' of that name';
  const [other] = named;
  if (other !== undefined) {
    const users = named.map((each) => each.user).join(', ');
    return new SidekeyError('grant_missing', `The user ${user ?? ''} has no grant${shown}; ${users} has.`, {
      hint: 'sidekey grant list',
    });
  }
  const near = didYouMean(
    grant,
    grants.map(({ name }) => name),
  );
  const meant = near === null ? '.' : `; did you mean ${near}?`;
  return new SidekeyError('grant_missing', `There is no grant${shown}${meant}`, {
    hint: grants.length === 0 ? 'sidekey connect PROVIDER' : 'sidekey grant list',
  });
}
