import { createHash, timingSafeEqual } from 'node:crypto';
import { SidekeyError } from '../errors.ts';
import type { AgentRecord, Store } from '../store/store.ts';
import { valuesOf, type RawFields } from './fields.ts';

/** Who asks, and which grant they ask for. */
export interface Identity {
  /** Null: a loopback caller without a token, where the config lets those in. */
  readonly agent: string | null;
  readonly selectors: Selectors;
}

/** A caller's choice among the grants that a domain offers; it can never reach beyond them. */
export interface Selectors {
  /** Id or name of a grant. */
  readonly grant: string | null;
  readonly user: string | null;
}

/** What a caller showed, the token already hashed: it is kept for the life of a connection. */
export type Presented =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'malformed'; readonly problem: string }
  | { readonly kind: 'selectors'; readonly selectors: Selectors }
  | {
      readonly kind: 'token';
      /** Null for `Bearer`, which has a token alone. */
      readonly name: string | null;
      readonly tokenHash: Buffer;
      readonly selectors: Selectors;
    };

const noSelectors: Selectors = { grant: null, user: null };
const malformed = (problem: string): Presented => ({ kind: 'malformed', problem });

/** SHA-256: what the store keeps of an agent's token. */
export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}

/** Reads `Proxy-Authorization` (RFC 9110 §11.7.2): Basic with `name+selectors:token`, or Bearer with the token. */
export function readPresented(fields: RawFields): Presented {
  const [value, ...more] = valuesOf(fields, 'proxy-authorization');
  if (value === undefined) return { kind: 'nothing' };
  const [, scheme, credentials] = /^([A-Za-z]+) +([\x21-\x7e]+) *$/.exec(value) ?? [];
  if (more.length > 0 || scheme === undefined || credentials === undefined) {
    return malformed('Proxy-Authorization is neither Basic nor Bearer.');
  }
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return { kind: 'token', name: null, tokenHash: hashToken(credentials), selectors: noSelectors };
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
  const [name = '', ...parts] = userName.split('+');
  const selectors = readSelectors(parts);
  if (selectors === null)
    return malformed('A selector in the proxy user name is not +grant=NAME or +user=NAME.');
  if (token !== '')
    return { kind: 'token', name: name === '' ? null : name, tokenHash: hashToken(token), selectors };
  if (name === '') return { kind: 'selectors', selectors };
  // The name is not repeated: it may well be a token that stands in the wrong place.
  return malformed('The proxy user name came without a token.');
}

const selector = /^(grant|user)=([A-Za-z0-9][A-Za-z0-9._-]{0,63})$/;

function readSelectors(parts: readonly string[]): Selectors | null {
  let selectors = noSelectors;
  for (const part of parts) {
    const [, key, value] = selector.exec(part) ?? [];
    if (value === undefined || (key !== 'grant' && key !== 'user') || selectors[key] !== null) return null;
    selectors = { ...selectors, [key]: value };
  }
  return selectors;
}

/** The selectors of one request: its `Sidekey-Grant` field goes before what the proxy user name said. */
export function selectorsOf(fields: RawFields, connection: Selectors): Selectors | SidekeyError {
  const [grant, ...more] = valuesOf(fields, 'sidekey-grant');
  if (grant === undefined) return connection;
  if (more.length > 0 || !selector.test(`grant=${grant}`)) {
    return new SidekeyError('bad_request', 'Sidekey-Grant is not one name or id of a grant.');
  }
  return { ...connection, grant };
}

/** Checks what callers show against the store; at most one read of the store for each change in it. */
export interface AgentRegister {
  /** Rejects with SidekeyError `store_unavailable` where the store cannot be asked. */
  identify(presented: Presented, caller: CallerFacts): Promise<Identity | SidekeyError>;
}

/** What counts besides what a caller shows. */
export interface CallerFacts {
  readonly loopback: boolean;
  /** `required`: everybody shows a token. `optional`: loopback callers need none. */
  readonly mode: 'required' | 'optional';
}

/** Reads nothing before it is asked. */
export function createAgentRegister(store: Store): AgentRegister {
  let agents: readonly AgentRecord[] = [];
  let readAt: number | undefined;

  async function current(): Promise<readonly AgentRecord[]> {
    const epoch = store.epoch();
    if (epoch !== readAt) {
      agents = await store.agents.list();
      readAt = epoch;
    }
    return agents;
  }

  return {
    async identify(presented, { loopback, mode }) {
      if (presented.kind === 'malformed') return unauthenticated(presented.problem);
      if (presented.kind !== 'token') {
        if (mode === 'required' || !loopback) return unauthenticated('This proxy serves known agents alone.');
        return { agent: null, selectors: presented.kind === 'selectors' ? presented.selectors : noSelectors };
      }
      const { name, tokenHash, selectors } = presented;
      // Every record is compared, in constant time each, so that the time says nothing of which came near.
      const known = (await current()).filter(
        (agent) => timingSafeEqual(agent.tokenHash, tokenHash) && (name === null || agent.name === name),
      );
      const [agent] = known;
      return agent === undefined
        ? unauthenticated('The proxy does not know this agent and token.')
        : { agent: agent.name, selectors };
    },
  };
}

function unauthenticated(sentence: string): SidekeyError {
  return new SidekeyError('agent_auth_required', sentence, {
    hint: 'sidekey agent add NAME, then HTTPS_PROXY=http://NAME:TOKEN@HOST:PORT',
  });
}
