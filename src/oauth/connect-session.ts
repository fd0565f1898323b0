import { hash } from 'node:crypto';
import type { DpopKey } from '../grants/credential.ts';
import { isDpopKey } from '../schemes/dpop-proof.ts';

/**
 * The state of an authorization code flow that waits for its callback, where that may be another process: its
 * text, which is sealed in the store, and the name that it is found by.
 */

/** A begun flow, and what is to become of it. */
export interface ConnectSession {
  readonly provider: string;
  /** The endpoints and the client of the consent: none of it may change. */
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly clientId: string;
  readonly redirectUri: string;
  readonly state: string;
  /** Null: the flow has no PKCE. */
  readonly codeVerifier: string | null;
  /** See `Authorization`; absent: as null. */
  readonly proofKey?: DpopKey | null;
  /** The requested scopes. */
  readonly scopes: readonly string[];
  /** Name and user of the grant. */
  readonly name: string;
  readonly user: string;
  /** Domain patterns for the map; null: those of the provider. */
  readonly allowedDomains: readonly string[] | null;
  readonly widen: boolean;
  /** False: the allowed-domains map is left alone. */
  readonly domains: boolean;
}

const version = 1;

/** Returns the id of a session, which does not reveal the state to a reader of the store (RFC 6749 §10.12). */
export function sessionId(state: string): string {
  return hash('sha256', state);
}

/** Returns the text that is sealed. */
export function writeSession(session: ConnectSession): Uint8Array {
  return Buffer.from(JSON.stringify({ v: version, ...session }), 'utf8');
}

/** Parses the sealed text; null where it has another form, such as that of another version. */
export function readSession(bytes: Uint8Array): ConnectSession | null {
  try {
    const { v, ...session } = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>;
    return v === version && isSession(session) ? session : null;
  } catch {
    return null;
  }
}

const texts = [
  'provider',
  'authorizationEndpoint',
  'tokenEndpoint',
  'clientId',
  'redirectUri',
  'state',
  'name',
  'user',
] as const satisfies readonly (keyof ConnectSession)[];

function isSession(value: object): value is ConnectSession {
  const fields: Readonly<Record<string, unknown>> = { ...value };
  const { codeVerifier, proofKey = null, scopes, allowedDomains, widen, domains } = fields;
  return (
    texts.every((name) => typeof fields[name] === 'string') &&
    (codeVerifier === null || typeof codeVerifier === 'string') &&
    (proofKey === null || isDpopKey(proofKey)) &&
    isTexts(scopes) &&
    (allowedDomains === null || isTexts(allowedDomains)) &&
    typeof widen === 'boolean' &&
    typeof domains === 'boolean'
  );
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
