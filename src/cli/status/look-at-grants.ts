import type { Grant, GrantState } from '../../grants/grant.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import type { View } from '../../view.ts';
import { isWithin } from '../grant/audience.ts';
import { domainsOf, offeredBy } from '../grant/offered.ts';
import { stateNow, titleOf } from '../grant/words.ts';
import { finding, type Finding, type Need } from './finding.ts';

/** Grants by their state, and those that a person has to see to. One that was revoked on purpose is none of them. */
export async function lookAtGrants(view: View, now: number): Promise<Finding> {
  const grants = await view.grants();
  const counts = new Map<GrantState, number>();
  const needs: Need[] = [];
  for (const grant of grants) {
    const state = stateNow(grant, now);
    counts.set(state, (counts.get(state) ?? 0) + 1);
    const isUsed = domainsOf(grant, grants, view.config.domains).length > 0;
    if (state === 'active' || (state === 'revoked' && !isUsed)) continue;
    needs.push({ sentence: needOf(grant, state), hint: replaceCommand(grant) });
  }
  const text = [...counts].map(([state, number]) => `${number} ${state}`).join(', ');
  return finding('grants', text === '' ? 'none' : text, Object.fromEntries(counts), needs);
}

function needOf(grant: Grant, state: Exclude<GrantState, 'active'>): string {
  const why = grant.stateReason === null ? '' : `: ${grant.stateReason.replace(/\.$/, '')}`;
  switch (state) {
    case 'expired':
      return `${titleOf(grant)} has expired, and there is no refresh token.`;
    case 'revoked':
      return `${titleOf(grant)} was revoked, and a domain still uses it.`;
    case 'reauth_required':
      return `${titleOf(grant)} needs a new consent${why}.`;
  }
}

/** The map, and its entries that cannot work: without a grant, or outside of the audience of the one that they name. */
export async function lookAtDomains(view: View): Promise<Finding> {
  const { domains } = view.config;
  const [grants, registry] = [await view.grants(), await view.registry()];
  const needs: Need[] = [];
  for (const domain of domains) {
    const { pattern, action } = domain;
    if (action.kind !== 'grant') continue;
    const offered = offeredBy(domain, grants);
    if (offered.length === 0) {
      needs.push({
        sentence: `${pattern.text} uses the grant ${action.grant}, and there is none of that name.`,
        hint: `sidekey grant add ${action.grant} --provider PROVIDER < token.json`,
      });
    }
    for (const grant of offered) {
      const audience = (await registry?.read(grant.id))?.sealed.audience ?? [];
      if (isWithin(audience, pattern)) continue;
      needs.push({
        sentence: `${pattern.text} is not within the audience of ${titleOf(grant)}: ${audience.join(', ')}.`,
        hint: replaceCommand(grant, [...audience, pattern.text]),
      });
    }
  }
  const text = domains.length === 0 ? 'none yet' : String(domains.length);
  return finding('domains', text, { count: domains.length }, needs);
}
