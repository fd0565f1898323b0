import { createHash, randomBytes } from 'node:crypto';
import type { ProxyConfig } from '../config/proxy.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../lib/hint.ts';
import { type Grant, isName, isUserName } from '../domain/grant.ts';
import type { BoundGrant, GrantScope, placeOf } from '../domain/lease.ts';
import { valuesOf, type RawFields } from '../proxy/http/fields.ts';
import type { Client, Presented, Selectors } from '../proxy/http/message.ts';
import { percentDecoded } from '../proxy/policy/text.ts';
import type { EgressLists } from './egress.ts';

/** Identity of a caller: the grant that it selects, and the grants that it may use. */
export interface Identity {
  /** Name of the agent; null: a loopback caller without a token, if the config permits that. */
  readonly agent: string | null;
  /** The user that the agent acts for; null: no user. */
  readonly agentUser: string | null;
  /** Labels of the agent at its identification. */
  readonly labels: readonly string[];
  /** Lease of the token; null: a token of the agent, or none. */
  readonly lease: LeaseFacts | null;
  /** Subject of the OIDC token that identifies the agent; null: the caller has an agent token or a lease. */
  readonly subject: string | null;
  readonly selectors: Selectors;
  /**
   * Reports whether the caller may have this grant: it is bound to the agent, and to the lease if there is
   * one. To the caller, all other grants look as if they did not exist. A caller without a token may use
   * every grant that a domain offers.
   */
  readonly reaches: (grant: BoundGrant) => boolean;
  /** Returns the place of a grant that the caller reaches, for requests that name no user; see `placeOf`. */
  readonly placeOf: (grant: BoundGrant) => ReturnType<typeof placeOf>;
  /** All grants with a place are within it; null: any grant may be. */
  readonly scope: GrantScope | null;
  /** Returns the present labels of the agent. */
  readonly labelsNow: () => readonly string[] | Promise<readonly string[]>;
  /** Returns the hosts that the caller may use now without a credential. */
  readonly egressNow: () => EgressLists | Promise<EgressLists>;
  /** Returns the labels that people gave a grant, as they are now. */
  readonly grantLabels: (grant: Grant) => readonly string[] | Promise<readonly string[]>;
  /**
   * Returns why the credential of a grant may not be sent, by current rights and its expiry; null if it may.
   * Called once for each request, right before the credential is sent. Counts the use of a lease that has a
   * maximum, so a request that is refused afterwards has used it.
   */
  readonly spend: (grant: Grant) => SidekeyError | null | Promise<SidekeyError | null>;
  /**
   * Returns when the clock ends the right of an open connection (milliseconds since the epoch; Infinity: no
   * end is known), or why the right has ended. Counts no use: a connection that had the last use of a lease
   * keeps it until its own end.
   *
   * @param grant whose credential went along; null: none did
   */
  readonly holds: (grant: Grant | null, lasting: LastingFacts) => Promise<number | SidekeyError>;
}

/** Facts of an open connection or stream. */
export interface LastingFacts extends Pick<CallerFacts, 'mode'> {
  /** True if bytes were transferred since the last read of this member. The lease is then not idle. */
  readonly used: boolean;
}

interface LeaseFacts {
  /** UUID. */
  readonly id: string;
  readonly purpose: string;
  /** Milliseconds since the epoch; it may end before, if it is revoked or idle. */
  readonly expiresAt: number;
}

/** A caller that chooses nothing. */
export const noSelectors: Selectors = { grant: null, user: null };
const malformed = (problem: string, hint?: Hint): Presented => ({ kind: 'malformed', problem, hint });

/** Returns a token of 256 random bits, so a plain hash resists guessing. Secret scanners match the prefix. */
export function newSecret(owner: 'agent' | 'lease'): string {
  return `sidekey_${owner}_${randomBytes(32).toString('base64url')}`;
}

/** Returns the SHA-256 of an agent's token, which the store keeps. */
export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}

/** Returns a hash as a key of maps. */
export function hashKey(hash: Uint8Array): string {
  return Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString('latin1');
}

/** The compact form of a JWS with a JSON header (RFC 7515 §7.1). */
const jwtForm = /^eyJ[\w-]*\.[\w-]+\.[\w-]+$/;

function presentedToken(name: string | null, token: string, selectors: Selectors): Presented {
  const hashed = { kind: 'token', name, tokenHash: hashToken(token), selectors } as const;
  return jwtForm.test(token) ? { ...hashed, jwt: token } : hashed;
}

/**
 * Returns what a client shows: `Proxy-Authorization` (RFC 9110 §11.7.2), its certificate, or both. A token
 * beside a certificate must be one of the same agent, or of a lease of it.
 */
export function readPresented(fields: RawFields, certificate?: Client['certificate']): Presented {
  const read = readToken(fields);
  if (certificate === undefined || read.kind === 'malformed') return read;
  if ('problem' in certificate) return malformed(certificate.problem, certificateHint);
  const { agent: name } = certificate;
  if (read.kind !== 'token') {
    const { selectors } = read.kind === 'selectors' ? read : { selectors: noSelectors };
    return { kind: 'token', name, tokenHash: noHash, certificate, selectors };
  }
  return read.name === null || read.name === name
    ? { ...read, name }
    : malformed('The token and the client certificate are those of two agents.', certificateHint);
}

const certificateHint =
  'use a certificate that a CA in proxy.tls.client_ca has signed, with a name in proxy.tls.agents; or a token and no certificate';

/** Hash of a caller with a client certificate, which has no token. */
const noHash = Buffer.alloc(0);

/** Reads Basic with `name+selectors:token`, or Bearer with the token. */
function readToken(fields: RawFields): Presented {
  const [value, ...more] = valuesOf(fields, 'proxy-authorization');
  if (value === undefined) return { kind: 'nothing' };
  const [, scheme, credentials] = /^([A-Za-z]+) +([\x21-\x7e]+) *$/.exec(value) ?? [];
  if (more.length > 0 || scheme === undefined || credentials === undefined)
    return malformed('Proxy-Authorization is neither Basic nor Bearer.');
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return presentedToken(null, credentials, noSelectors);
    case 'basic':
      return readBasic(credentials);
    default:
      return malformed('Proxy-Authorization is neither Basic nor Bearer.');
  }
}

function readBasic(credentials: string): Presented {
  const text = Buffer.from(credentials, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  const userName = colon < 0 ? text : text.slice(0, colon);
  const token = colon < 0 ? '' : text.slice(colon + 1);
  const read = readUserName(userName);
  if (read === null)
    return malformed('A selector in the proxy user name is not +grant=NAME or +user=NAME.', selectorHint);
  const { name, selectors } = read;
  if (token !== '') return presentedToken(name === '' ? null : name, token, selectors);
  if (name === '') return { kind: 'selectors', selectors };
  // The name is not repeated: it may well be a token that stands in the wrong place.
  return malformed('The proxy user name came without a token.');
}

const selectorHint =
  'correct the part after the + in the user name of the proxy URL: http://AGENT+grant=GRANT:TOKEN@HOST:PORT';

/** Parses `name+grant=GRANT+user=USER`; null if a selector is invalid. The name may be empty. */
export function readUserName(text: string): { readonly name: string; readonly selectors: Selectors } | null {
  // A user name may contain a plus sign, but no equals sign.
  const [name = '', ...pairs] = text.split(/\+(grant|user)=/);
  const selectors = readSelectors(pairs);
  return selectors === null || name.includes('+') ? null : { name, selectors };
}

const isSelected = { grant: isName, user: isUserName };

/** @param pairs each key, followed by its value */
function readSelectors(pairs: readonly string[]): Selectors | null {
  let selectors = noSelectors;
  for (let at = 0; at < pairs.length; at += 2) {
    const key = pairs[at] as keyof Selectors;
    // Some clients do not decode the URL of the proxy. No name contains a percent sign.
    const value = percentDecoded(pairs[at + 1] ?? '');
    if (!isSelected[key](value) || selectors[key] !== null) return null;
    selectors = { ...selectors, [key]: value };
  }
  return selectors;
}

/** Returns the selectors of one request. The `Sidekey-Grant` field overrides the proxy user name. */
export function selectorsOf(fields: RawFields, connection: Selectors): Selectors | SidekeyError {
  const [grant, ...more] = valuesOf(fields, 'sidekey-grant');
  if (grant === undefined) return connection;
  if (more.length > 0 || !isName(grant))
    return new SidekeyError('bad_request', 'Sidekey-Grant is not one name or id of a grant.');
  return { ...connection, grant };
}

/** Returns what the client of a tunnel shows, with the selectors for all requests in the tunnel. */
export function withSelectors(presented: Presented, fields: RawFields): Presented | SidekeyError {
  if (presented.kind === 'malformed' || valuesOf(fields, 'sidekey-grant').length === 0) return presented;
  const shown = presented.kind === 'nothing' ? ({ kind: 'selectors' } as const) : presented;
  const selectors = selectorsOf(fields, 'selectors' in shown ? shown.selectors : noSelectors);
  return selectors instanceof SidekeyError ? selectors : { ...shown, selectors };
}

/** Checks what callers show against the store. */
export interface AgentAuthenticator {
  /**
   * Returns the same identity for the same rights and the same presented object. A promise if a right must be
   * read.
   *
   * @throws SidekeyError `store_unavailable` where the store cannot be asked
   */
  identify(
    presented: Presented,
    caller: CallerFacts,
  ): Identity | SidekeyError | Promise<Identity | SidekeyError>;
}

/**
 * Callers that need no token: none (`required`), programs of the same user on this machine (`same_user`), or
 * all programs of this machine (`any`).
 */
export type CallerMode = 'required' | 'same_user' | 'any';

/** Returns the mode of a config. */
export function callerMode({
  authentication,
  localCallers,
}: Pick<ProxyConfig, 'authentication' | 'localCallers'>): CallerMode {
  return authentication === 'required' ? 'required' : localCallers;
}

export interface CallerFacts {
  /** Address and port of the client; absent if sign-ins are not recorded. */
  readonly address?: string;
  readonly loopback: boolean;
  readonly owner: Client['owner'];
  readonly mode: CallerMode;
  /** Called with the caller as soon as it is identified, even if its right has ended, for the audit. */
  readonly heard?: { identity(who: Pick<Identity, 'agent' | 'lease' | 'subject'>): void };
}

/** Returns the refusal of an unknown caller. */
export function unauthenticated(sentence: string, hint: Hint = createHint): SidekeyError {
  return new SidekeyError('agent_auth_required', sentence, { hint });
}

/** Returns the refusal of a token that does not exist. */
export function unknownToken(): SidekeyError {
  return unauthenticated('The proxy does not know this agent and token.');
}

const createHint = hintOf`${remedy('agent.create', { name: null, grants: null })} (a new token of an agent that exists: ${remedy('agent.rotate', { agent: null })}), then HTTPS_PROXY=http://NAME:TOKEN@HOST:PORT`;
