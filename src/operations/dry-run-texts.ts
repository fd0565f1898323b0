import type { Config } from '../config/config.ts';
import { leaseStanding } from '../domain/lease.ts';
import type { Grant } from '../domain/grant.ts';
import type { Placement } from '../domain/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import {
  type Authority,
  authorityText,
  bareHost,
  createAddressGuard,
  isAddress,
  parseCidr,
} from '../proxy/policy/authority.ts';
import type { Decision } from '../proxy/policy/decide.ts';
import type { Domain, ForeignCredentials, LeakGuard } from '../proxy/policy/domain-map.ts';
import { boundOf } from '../proxy/policy/limits.ts';
import { carriedAs, schemeOf } from '../proxy/schemes/placement.ts';
import { createResolver } from '../proxy/upstream/resolve.ts';
import type { LeaseRecord } from '../store/store.ts';
import { expiryOf, spanText, when } from './format.ts';
import { leaseStateText, usesText } from './lease-text.ts';

/** Texts of the steps of a dry run. */

export function decisionText({
  outcome,
  reason,
  reported,
  limits,
  mode,
}: Exclude<Decision, { outcome: 'deny' }>): string {
  const counted = mode === 'report' ? [] : limits;
  return [
    `${outcome}: ${reason}`,
    ...(reported === null ? [] : [`only reported, else ${reported.outcome}: ${reported.reason}`]),
    ...counted.map((limit) => `at most ${boundOf(limit)} per ${limit.per}`),
  ].join('; ');
}

export function purposeText({ id, agent, purpose }: LeaseRecord, grants: string): string {
  return `${id} of ${agent}, for ${grants === '' ? 'no grant' : grants}: ${purpose}`;
}

/** `active, ends in 14 min (2026-11-21 06:15:00Z); at most 5m between two requests; 3 of 10 uses`. */
export function clocksText(lease: LeaseRecord, now: number): string {
  const leaseState = leaseStanding(lease, now);
  const at = leaseState.state === 'active' ? leaseState.endsAt : lease.expiresAt;
  return [
    `${leaseStateText(lease, now)}, ends ${when(at, now)}`,
    ...(lease.idleMs === null ? [] : [`at most ${spanText(lease.idleMs)} between two requests`]),
    ...(lease.maxUses === null ? [] : [`${usesText(lease)} uses`]),
  ].join('; ');
}

/** Describes a credential's place by field names, never by values. One of several values has own fields. */
export function describeFields(names: readonly string[], { type }: Grant, placement: Placement): string {
  if (names.length === 0 || placement.kind === 'own' || schemeOf(placement).accepts !== undefined)
    return carriedAs(placement);
  if (names.includes('DPoP')) return carriedAs({ kind: 'dpop' });
  if (type === 'basic') return 'Authorization: Basic …';
  return type === 'headers' ? names.map((name) => `${name}: …`).join(', ') : carriedAs(placement);
}

export function howCarried({ type, provider }: Grant): string {
  switch (type) {
    case 'basic':
      return 'user name and password';
    case 'headers':
      return 'the headers that the grant names';
    default:
      return `set by the provider ${provider}`;
  }
}

/** `no expiry`, `expires in 54 min`. */
export function tokenEndText(grant: Grant, now: number): string {
  if (grant.expiresAt !== null) return `expires ${expiryOf(grant, now)}`;
  return grant.refreshable ? 'expiry not known' : 'no expiry';
}

/**
 * Describes the address of a connection, or returns why it may not be dialed. Names are resolved on connect:
 * only addresses in the config or the URL are checked.
 */
export async function dialText(
  { resolve: pinned, proxy, privateAddresses }: Config['upstream'],
  authority: Authority,
): Promise<string | SidekeyError> {
  const isPinned = pinned.has(authority.host);
  if (!isPinned && !isAddress(authority.host))
    return proxy?.remoteDns === true
      ? `looked up by ${authorityText(proxy.authority)}, unless upstream.no_proxy has the host; no address guard holds there`
      : 'resolved when the connection opens; only public addresses and those in upstream.private_addresses are allowed';
  const guard = createAddressGuard(privateAddresses.map(parseCidr).filter((block) => block !== null));
  const resolve = createResolver({ guard, pinned, lookup: async () => [] });
  try {
    const [first] = await resolve(authority.host);
    const from = isPinned ? ' (pinned by upstream.resolve)' : '';
    return `${first?.address ?? bareHost(authorityText(authority))}${from} may be dialed`;
  } catch (error) {
    if (error instanceof SidekeyError) return error;
    throw error;
  }
}

/** Texts for responses that contain the credential: a suffix of an entry, and a separate text. */
export const leakGuardTexts: Readonly<
  Record<LeakGuard, { readonly inMap: string; readonly inFull: string }>
> = {
  auto: { inMap: '', inFull: 'removed from error pages and echo endpoints' },
  redact: { inMap: ', leaks redacted', inFull: 'removed from every response' },
  refuse: { inMap: ', leaks refused', inFull: 'a response that has one is refused' },
  off: { inMap: ', leaks not searched', inFull: 'not searched' },
};

/** Texts for credentials that clients send themselves. */
export const foreignTexts: Readonly<Record<ForeignCredentials | 'unset', string>> = {
  unset: 'in header fields and the query: recorded',
  record: 'recorded',
  strip: 'removed, and recorded',
  refuse: 'the request is refused',
};

/** Action of an entry in a few words. */
export function describeAction({ action, as }: Domain): string {
  switch (action.kind) {
    case 'tunnel':
      return 'tunnel (blind, no credential)';
    case 'deny':
      return 'refused';
    case 'grant':
      return [
        `grant ${[action, ...(action.also ?? [])].map(({ grant }) => grant).join(' and ')}`,
        as === undefined ? '' : `, EKS cluster ${as.cluster}`,
        action.allowPlainHttp ? ', also over plain http' : '',
        leakGuardTexts[action.leakGuard ?? 'auto'].inMap,
      ].join('');
  }
}
