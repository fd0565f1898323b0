import type { Identity } from '../agents/authentication.ts';
import { type Grant, type Selected, selectGrant } from '../grants/grant.ts';
import type { Registry } from '../grants/registry.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Authority } from '../policy/authority.ts';
import type { Policy } from '../policy/decide.ts';

/** Grants that the domain map offers a request, and the one that it selects. */
export interface GrantCandidates {
  /** Id, name or provider of a grant, as the domain has it. */
  readonly reference: string;
  readonly candidates: readonly Grant[];
  readonly selected: Selected;
  /** True if the domain has rules, which may ask for more of the grant. */
  readonly ruled: boolean;
}

/** Returns the grants that the domain map offers at an authority; null: it offers none. Policy decides who gets one. */
export async function candidatesFor(
  authority: Authority,
  caller: GrantSelector,
  { grants }: { readonly grants: Pick<Registry, 'find'> },
  { policy }: { readonly policy: Policy },
): Promise<GrantCandidates | null> {
  const domain = policy.domains.match(authority);
  if (domain?.action.kind !== 'grant') return null;
  const reference = domain.action.grant;
  const candidates = await grants.find(reference);
  const selected = selectFor(caller, candidates, reference);
  return {
    reference,
    candidates,
    selected,
    ruled: domain.rules !== undefined || domain.additionalRules !== undefined,
  };
}

/** A caller that selects a grant, and the grants that it may have. */
interface GrantSelector extends Pick<Identity, 'agent' | 'agentUser' | 'lease' | 'selectors' | 'reaches'> {
  /** Tells whether the request has the caller's placeholder of a grant; absent: it has none. */
  readonly shows?: ((grant: Grant) => boolean) | undefined;
}

/**
 * Selects the grant for a caller among those that match the domain's reference and that the caller reaches. Of several, the
 * one whose placeholder the request has is selected, then the one of the user that the agent acts for, unless the caller
 * names another user.
 */
export function selectFor(
  { agentUser, selectors, reaches, shows }: GrantSelector,
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

/** Returns the refusal of a request for which no grant, or no single one, is selected. */
export function unselected(
  selected: Exclude<Selected, { kind: 'selected' }>,
  { grant: reference }: { readonly grant: string },
  { agent, lease, selectors: { grant, user } }: Pick<GrantSelector, 'agent' | 'lease' | 'selectors'>,
): SidekeyError {
  const wanted = `${grant ?? reference}${user === null ? '' : ` of the user ${user}`}`;
  if (selected.kind === 'missing') {
    const beyond = grant === null || grant === reference ? '' : ` among those of ${reference}`;
    const add = `sidekey connect PROVIDER --name ${grant ?? reference}`;
    // The text is the same for a grant that is not bound and one that does not exist: an agent must not learn which.
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
