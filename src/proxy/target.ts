import type { Identity } from '../agents/authentication.ts';
import { type GrantScope, places } from '../domain/lease.ts';
import { type Grant, isId, matches, type Selected, selectGrant } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import type { Placement, Provider } from '../domain/provider.ts';
import type { Registry } from '../grants/registry.ts';
import { valuesOf } from './http/fields.ts';
import { Malformed } from './http/h1/scan.ts';
import type { FoundCode } from './placeholders/codes.ts';
import type { RequestHead } from './http/head.ts';
import type { InterceptedTunnel } from './http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import { connectNamed, hintOf, remedy } from '../lib/hint.ts';
import { orMeant } from '../lib/text.ts';
import {
  type AbsoluteTarget,
  type Authority,
  authorityText,
  parseAbsoluteTarget,
  parseAuthority,
  parseConnectTarget,
  sameAuthority,
} from './policy/authority.ts';
import { howToPropose } from './policy/decide.ts';
import type { Domain } from './policy/domain-map.ts';

/** Authority of a request, and its raw path and query. */
export type Target = AbsoluteTarget;

/**
 * Accepts targets without blanks, control bytes and fragments. A request target has no fragment (RFC 9112
 * §3.2): some servers remove it, and others read it as a part of the path.
 */
const sendablePath = /^\/[\x21\x22\x24-\x7e]*$/;

/** Not encoded here: a recipient must not correct a target and continue (RFC 9112 §3.2). */
const beyondAscii = /[^\0-\x7f]/;

/**
 * Returns the one authority of a request: that of its tunnel inside CONNECT, that of its target outside. A
 * `Host` or SNI that differs is refused, because a request with two readings can leak a credential.
 *
 * @param hosts values of the `Host` fields of the head
 */
export function targetOf(
  head: RequestHead,
  tunnel: InterceptedTunnel | null,
  hosts: readonly string[] = valuesOf(head.fields, 'host'),
): Target | SidekeyError {
  if (head.version === 'other') return unknownVersion();
  if (hosts.length > 1) return new SidekeyError('bad_request', 'The request has more than one Host field.');
  const host = hosts[0];
  if (beyondAscii.test(head.target)) return new Malformed('request', 'raw_target');
  const target = tunnel === null ? parseAbsoluteTarget(head.target) : targetInTunnel(head, tunnel);
  if (target === null || !sendablePath.test(target.path)) {
    return new SidekeyError('bad_request', 'The request target is not one that a proxy can forward.', {
      hint: 'use CONNECT, or a target such as https://host/path',
    });
  }
  if (host === undefined && head.authority === undefined && head.version !== '1.0') {
    return new SidekeyError('bad_request', 'The request has no Host field.');
  }
  const wanted = tunnel?.authority ?? target.authority;
  if (!sameAuthority(target.authority, wanted)) return mismatch('The request target', wanted);
  if (head.authority !== undefined && !names(head.authority, wanted))
    return mismatch('The :authority', wanted);
  if (host !== undefined && !names(host, wanted)) return mismatch('The Host field', wanted);
  if (
    tunnel !== null &&
    tunnel.serverName !== null &&
    tunnel.serverName !== wanted.host &&
    !names(tunnel.serverName, { ...wanted, scheme: 'https', port: 443 })
  ) {
    return mismatch('The TLS server name', wanted);
  }
  return target;
}

/**
 * Returns the authority of a CONNECT. Its `Host` is ignored (RFC 9112 §3.2.3), because some clients name the
 * proxy there. Requests in the tunnel are compared with the authority.
 */
export function connectTargetOf({ target: text, fields, version }: RequestHead): Authority | SidekeyError {
  const target = parseConnectTarget(text);
  if (target === null) return new SidekeyError('bad_request', 'CONNECT has no host and port.');
  if (version === 'other') return unknownVersion();
  if (valuesOf(fields, 'host').length > 1)
    return new SidekeyError('bad_request', 'The request has more than one Host field.');
  return target;
}

/** Refusal of another HTTP version, which has another framing (RFC 9112 §2.3). */
function unknownVersion(): SidekeyError {
  return new SidekeyError('bad_request', 'The request is neither HTTP/1.1 nor HTTP/1.0.');
}

function targetInTunnel(
  { target: text, version }: RequestHead,
  { authority }: InterceptedTunnel,
): Target | null {
  if (text.startsWith('/')) return { authority, path: text };
  // `:path` has no other form that is carried (RFC 9113 §8.3.1).
  return version === '2' ? null : parseAbsoluteTarget(text);
}

function names(text: string, authority: Authority): boolean {
  // The usual case needs no parsing.
  if (text === authorityText(authority)) return true;
  const parsed = parseAuthority(text, authority.scheme);
  return parsed !== null && sameAuthority(parsed, authority);
}

function mismatch(what: string, wanted: Authority): SidekeyError {
  const sentence = `${what} differs from ${wanted.host}:${wanted.port}, where the request was to go.`;
  const hint = 'send the request through a connection of its own';
  return new SidekeyError('authority_mismatch', sentence, { hint });
}

/** Grants that the domain map offers a request, and the one that it selects. */
export interface GrantCandidates {
  /** Id, name or provider of a grant, as written in the domain. */
  readonly reference: string;
  /** Grants among which this caller's request selects. */
  readonly candidates: readonly Grant[];
  readonly selected: Selected;
  /** True if the domain has rules, which may require more of the grant. */
  readonly ruled: boolean;
}

/** A grant whose credential a request gets besides that of its main grant. */
export interface AdditionalGrant {
  readonly grant: Grant;
  readonly placement: Placement;
}

/**
 * Returns the grants that an entry of the domain map offers a caller. Policy decides who gets one.
 *
 * @param named the grants that the entry names
 */
export function offerOf(
  named: readonly Grant[],
  { action, rules, additionalRules }: Pick<Domain, 'action' | 'rules' | 'additionalRules'>,
  caller: GrantSelector,
): GrantCandidates {
  const reference = action.kind === 'grant' ? action.grant : '';
  const selected = selectFor(caller, named, reference);
  return {
    reference,
    candidates: named.filter(
      (grant) => isInScope(grant, caller) || (selected.kind === 'selected' && selected.grant === grant),
    ),
    selected,
    ruled: rules !== undefined || additionalRules !== undefined,
  };
}

/** Returns grants with others of their reference, which `find` left out for its scope. */
export async function withOthers(
  near: readonly Grant[],
  reference: string,
  grants: Pick<Registry, 'first'>,
): Promise<readonly Grant[]> {
  const others = await grants.first(reference);
  return [...new Map([...near, ...others].map((grant) => [grant.id, grant])).values()];
}

/** Maximum parents whose minted grants are searched. */
const maxParents = 200;

/** Returns the minted grant that a request shows, or names, below one of these grants; null: none. */
export async function mintedOf(
  near: readonly Grant[],
  { lease, selectors, reaches, shows }: GrantSelector,
  shown: readonly FoundCode[],
  grants: Pick<Registry, 'minted'>,
): Promise<Grant | null> {
  const { grant: named, user } = selectors;
  if (shown.length === 0 && named === null) return null;
  const parents = near.filter(reaches).slice(0, maxParents);
  if (parents.length === 0) return null;
  const isNamed = ({ id, name }: Grant) => id === named || name === named;
  const key = [lease?.id, user, named, ...shown.map(({ code }) => code)].join(' ');
  const minted = await grants.minted(
    key,
    { parents: parents.map(({ id }) => id), lease: lease?.id ?? null },
    (grant) => shows?.(grant) === true || isNamed(grant),
  );
  const parent = parents.find(({ id }) => id === minted?.parent);
  if (minted === null || parent === undefined) return null;
  return named === null || isNamed(minted) || matches(parent, named) ? minted : null;
}

/** Returns the grants with a place among which a caller selects by a reference; null: any. */
export function scopeFor(
  reference: string,
  { selectors: { grant, user }, scope }: Pick<GrantSelector, 'selectors' | 'scope'>,
): GrantScope | null {
  if (user !== null) return { users: [user], ids: [] };
  const wanted = grant ?? reference;
  return scope === null || wanted.length !== idLength || !isId(wanted)
    ? scope
    : { ...scope, ids: [...scope.ids, wanted] };
}

/** Length of an ID. The usual case needs no pattern. */
const idLength = 36;

/** A caller that selects a grant, and the grants that it may have. */
interface GrantSelector extends Pick<
  Identity,
  'agent' | 'lease' | 'selectors' | 'reaches' | 'placeOf' | 'scope'
> {
  /** Reports whether the request contains the caller's placeholder of a grant; absent: no placeholder. */
  readonly shows?: ((grant: Grant) => boolean) | undefined;
}

/** Reports whether a caller selects among grants that include this one, if it names no id. */
export function isInScope(
  grant: Grant,
  { selectors: { user }, reaches, placeOf }: Pick<GrantSelector, 'selectors' | 'reaches' | 'placeOf'>,
): boolean {
  return reaches(grant) && (user === null ? placeOf(grant) !== null : grant.user === user);
}

/**
 * Selects the grant for a caller among those that match the domain's reference and that the caller reaches. A
 * placeholder in the request, an id or a selected user says whose grant is meant. Without them, the places of
 * the grants decide, so that grants of other users make no difference.
 */
function selectFor(
  { selectors, reaches, placeOf, shows }: GrantSelector,
  candidates: readonly Grant[],
  reference: string,
): Selected {
  const reached = candidates.filter(reaches);
  const select = (grants: readonly Grant[]) => selectGrant(grants, { reference, ...selectors });
  const shown = shows === undefined ? null : select(reached.filter(shows));
  if (shown?.kind === 'selected') return shown;
  if (selectors.user !== null) return select(reached);
  const wanted = selectors.grant ?? reference;
  const byId = select(reached.filter(({ id }) => id === wanted));
  if (byId.kind === 'selected') return byId;
  for (const place of places) {
    const selected = select(reached.filter((grant) => placeOf(grant) === place));
    if (selected.kind !== 'missing') return selected;
  }
  const users = indexGrants(reached)
    .offered(wanted)
    .map(({ user }) => user);
  return { kind: 'missing', ...(users.length === 0 ? {} : { users: [...new Set(users)] }) };
}

/** The reference of an entry, and what a refusal may name of it. */
interface SelectedFrom {
  readonly grant: string;
  readonly host?: string | null;
  /** Grants of the reference that the caller may use. */
  readonly offered?: readonly Grant[];
}

/** Returns the refusal of a request for which no grant, or no single one, is selected. */
export function unselected(
  selected: Exclude<Selected, { kind: 'selected' }>,
  { grant: reference, host = null, offered = [] }: SelectedFrom,
  { agent, lease, selectors: { grant, user } }: Pick<GrantSelector, 'agent' | 'lease' | 'selectors'>,
  provider: (name: string) => Provider | undefined,
): SidekeyError {
  const wanted = `${grant ?? reference}${user === null ? '' : ` of the user ${user}`}`;
  if (selected.kind === 'missing' && selected.users !== undefined) {
    const users = selected.users.slice(0, 5).join(', ');
    const sentence = `The request names no user, and ${wanted} has only grants of users: ${users}.`;
    const hint = 'choose with +user=NAME in the proxy user name, or with the id of a grant in Sidekey-Grant';
    return new SidekeyError('grant_missing', sentence, { hint });
  }
  if (selected.kind === 'missing') {
    const beyond = grant === null || grant === reference ? '' : ` among those of ${reference}`;
    const add = connectNamed(grant ?? reference, provider(grant ?? reference) !== undefined);
    // An agent must not learn whether a grant exists, so one that is not bound to it has the same text.
    const bind =
      lease === null
        ? remedy('agent.bind', { agent, grants: [grant ?? reference] })
        : remedy('lease.create', { agent, grants: [grant ?? reference], purpose: null });
    // The entry of the host has another grant than the one that the request names.
    const allow = beyond === '' ? '' : remedy('domain.allow', { host, grant });
    const missing = allow === '' ? add : hintOf`${allow} (or, where there is none yet: ${add})`;
    const whose = agent === null ? '' : ` for the agent ${agent}${lease === null ? '' : ' under this lease'}`;
    const meant = orMeant(
      grant ?? reference,
      offered.map(({ name }) => name),
    );
    return new SidekeyError('grant_missing', `There is no grant ${wanted}${beyond}${whose}${meant}`, {
      hint: hintOf`${agent === null ? missing : hintOf`${allow}${allow === '' ? '' : ', and '}${bind} (or, where there is none yet: ${add})`}; ${howToPropose}`,
    });
  }
  const names = selected.candidates.map(({ name, user }) => `${name} (user ${user})`).join(', ');
  return new SidekeyError('grant_ambiguous', `More than one grant fits ${wanted}: ${names}.`, {
    hint: 'choose one with +grant=NAME or +user=NAME in the proxy user name, or with the header Sidekey-Grant',
  });
}
