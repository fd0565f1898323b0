import { SidekeyError } from '../errors.ts';
import type { Grant } from '../grants/grant.ts';
import { selectGrant, type Selected } from '../grants/select-grant.ts';
import { pathWithout } from '../inject/path.ts';
import type { Destination } from '../inject/place.ts';
import type { Authority } from '../policy/authority.ts';
import type { Identity } from './agent.ts';
import type { Rooms, Settings } from './rooms.ts';

/** What the map offers for a request, and which of it is meant. */
export interface Offer {
  /** Id, name or provider of a grant, as the domain has it. */
  readonly reference: string;
  readonly candidates: readonly Grant[];
  readonly selected: Selected;
  /** Whether the domain has rules, which may ask for more of the grant. */
  readonly ruled: boolean;
}

/** Null: the map offers no grant there. Whether a caller gets it is for the decision to say. */
export async function offerOf(
  authority: Authority,
  caller: Chooser,
  { grants }: Pick<Rooms, 'grants'>,
  { policy }: Pick<Settings, 'policy'>,
): Promise<Offer | null> {
  const domain = policy.domains.match(authority);
  if (domain?.action.kind !== 'grant') return null;
  const reference = domain.action.grant;
  const candidates = await grants.find(reference);
  const selected = selectFor(caller, candidates, reference);
  return {
    reference,
    candidates,
    selected,
    ruled: domain.rules !== undefined || domain.besides !== undefined,
  };
}

/**
 * The path that rules judge: without the credential's place, where that of the grant which is meant stands in the path.
 * It is no part of what is asked for. Only what no upstream reads as anything else counts as one.
 */
export function judgedPath(
  to: Destination,
  offer: Pick<Offer, 'selected'> | null,
  { injectPlan }: Pick<Settings, 'injectPlan'>,
): string {
  if (offer?.selected.kind !== 'selected') return to.path;
  const plan = injectPlan(offer.selected.grant.provider, to);
  const inPath = !(plan instanceof SidekeyError) && plan.kind === 'path';
  return inPath ? pathWithout(to.path, plan.prefixes) : to.path;
}

/** Who chooses, and what they may have. */
export interface Chooser extends Pick<Identity, 'agent' | 'agentUser' | 'lease' | 'selectors' | 'reaches'> {
  /** Whether the request shows the caller's placeholder of a grant; absent: it shows none. */
  readonly shows?: ((grant: Grant) => boolean) | undefined;
}

/**
 * The grant for a caller, of those that match the domain's reference. What the caller does not reach is not there. Of
 * several that are left, the one whose placeholder the request shows is meant, then that of the user that the agent acts for,
 * unless another user is named.
 */
export function selectFor(
  { agentUser, selectors, reaches, shows }: Chooser,
  candidates: readonly Grant[],
  reference: string,
): Selected {
  const reached = candidates.filter(reaches);
  const selected = selectGrant(reached, { reference, ...selectors });
  if (selected.kind === 'ambiguous' && shows !== undefined) {
    const [shown, ...more] = selected.candidates.filter(shows);
    if (shown !== undefined && more.length === 0) return { kind: 'selected', grant: shown };
  }
  if (selected.kind !== 'ambiguous' || agentUser === null || selectors.user !== null) return selected;
  const own = selectGrant(reached, { reference, ...selectors, user: agentUser });
  return own.kind === 'missing' ? selected : own;
}

/** Why no grant, or no single one, stands for the request. */
export function unselected(
  selected: Exclude<Selected, { kind: 'selected' }>,
  { grant: reference }: { readonly grant: string },
  { agent, lease, selectors: { grant, user } }: Pick<Chooser, 'agent' | 'lease' | 'selectors'>,
): SidekeyError {
  const wanted = `${grant ?? reference}${user === null ? '' : ` of the user ${user}`}`;
  if (selected.kind === 'missing') {
    const beyond = grant === null || grant === reference ? '' : ` among those of ${reference}`;
    const add = `sidekey connect PROVIDER --name ${grant ?? reference}`;
    // The same words whether the grant is not bound or not there: an agent is not to find out which.
    const bind =
      lease === null
        ? `sidekey agent bind ${agent} --grant ${grant ?? reference}`
        : `sidekey lease create --agent ${agent} --grant ${grant ?? reference} --purpose TEXT`;
    const whose = agent === null ? '' : ` for the agent ${agent}${lease === null ? '' : ' under this lease'}`;
    return new SidekeyError('grant_missing', `There is no grant ${wanted}${beyond}${whose}.`, {
      hint: agent === null ? add : `${bind} (or, where there is none yet: ${add})`,
    });
  }
  const names = selected.candidates.map(describe).join(', ');
  return new SidekeyError('grant_ambiguous', `More than one grant fits ${wanted}: ${names}.`, {
    hint: 'choose one with +grant=NAME or +user=NAME in the proxy user name, or with the header Sidekey-Grant',
  });
}

function describe({ name, user }: Grant): string {
  return `${name} (user ${user})`;
}
