import type { JWTVerifyOptions } from 'jose';
import { LRUCache } from 'lru-cache';
import type { AgentIssuer } from '../config/agent-issuers.ts';
import { isJsonObject, type JsonObject, parseStrictJson } from '../lib/json.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { Reading } from '../lib/reading.ts';
import { untrusted } from '../lib/text.ts';
import { mismatch } from '../proxy/policy/claims.ts';
import { hashKey, unauthenticated } from './authentication.ts';
import { type IssuerKeys, readIssuerKeys } from './issuer-keys.ts';

/** An agent that a token of an issuer, or a client certificate, identifies. */
export interface TokenIdentity {
  readonly agent: string;
  /** Key of `agent_issuers`; null: a client certificate identifies it. */
  readonly issuer: string | null;
  /** The name in the certificate; or `sub` without control characters, cut at 200 characters. */
  readonly subject: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

/** Identifies agents by JWTs of configured issuers (RFC 7519, OpenID Connect Core §2, SPIFFE JWT-SVID). */
export interface TokenIdentities {
  /** Reports whether a result still applies: the config and the keys are those of its verification. */
  applies(identity: TokenIdentity): boolean;
  /** Returns the result of an earlier verification that still applies. It may have expired. */
  find(tokenHash: Uint8Array): TokenIdentity | null;
  /** Verifies a token, or returns why it identifies no agent: `agent_auth_required`, `issuer_unavailable`. */
  verify(jwt: string, tokenHash: Uint8Array): Promise<TokenIdentity | SidekeyError>;
}

interface IdentityParts {
  /** The issuers of the config in force: another object after each change. */
  readonly issuers: () => readonly AgentIssuer[];
  readonly readKeys: (issuer: AgentIssuer) => Promise<string>;
  readonly now: () => number;
  /** Reports whether refusals name agents of the config. Strangers at a public issuer must not learn them. */
  readonly namesAgents: boolean;
}

const maxTokenLength = 16_384;
const skewSeconds = 30;
const maxVerified = 10_000;
/** Milliseconds for which a key set is not read again; a file may be replaced at any time. */
const freshMs = { url: 600_000, file: 10_000 };
const maxPauseMs = 300_000;

/** Signatures by key pairs. An `alg` of HMAC, or `none`, would let whoever knows the public key sign. */
const algorithms = ['RS', 'PS', 'ES'].flatMap((kind) => [256, 384, 512].map((bits) => `${kind}${bits}`));
const checks = {
  algorithms: [...algorithms, 'EdDSA', 'Ed25519'],
  requiredClaims: ['sub', 'exp', 'iat', 'aud'],
  clockTolerance: skewSeconds,
} as const satisfies JWTVerifyOptions;

/** Creates the identities. Reads nothing before the first token. */
export function createTokenIdentities({
  issuers,
  readKeys,
  now,
  namesAgents,
}: IdentityParts): TokenIdentities {
  const verified = new LRUCache<string, Verified>({ max: maxVerified });
  let sources = new Map<string, Reading<IssuerKeys>>();
  let last = issuers();

  /** Returns the issuers in force. Keys from unchanged places stay. */
  function current(): readonly AgentIssuer[] {
    const next = issuers();
    if (next !== last) sources = new Map(next.map((issuer) => [sourceOf(issuer), keysOf(issuer)]));
    return (last = next);
  }

  function keysOf(issuer: AgentIssuer): Reading<IssuerKeys> {
    const source = sourceOf(issuer);
    const keys =
      sources.get(source) ??
      new Reading<IssuerKeys>({
        read: (before) => readIssuerKeys(`agent_issuers.${issuer.name}`, () => readKeys(issuer), before),
        freshMs: issuer.jwksFile === null ? freshMs.url : freshMs.file,
        maxPauseMs,
        now,
      });
    sources.set(source, keys);
    return keys;
  }

  /** @throws SidekeyError as `verify` returns it, and errors of jose */
  async function check(jwt: string, isKnown: boolean): Promise<Verified> {
    if (jwt.length > maxTokenLength) throw refusal('is longer than 16 KiB', 'shorten it at its issuer');
    const [header, claims] = jwt.split('.', 2).map(readPart);
    if (header === undefined || claims === undefined)
      throw refusal('has no header and claims that every parser reads alike');
    const config = current();
    const issuer = issuerOf(claims, config);
    const source = keysOf(issuer);
    const { jwtVerify, errors } = await import('jose');
    const options = { ...checks, audience: issuer.audience, maxTokenAge: issuer.maxAgeMs / 1_000 };
    let keys = await source.current(isKnown);
    const verifyNow = async () =>
      (await jwtVerify(jwt, keys.find, { ...options, currentDate: new Date(now()) })).payload;
    const { exp = 0, iat = 0 } = await verifyNow()
      .catch(async (error: unknown) => {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        keys = await source.again();
        return verifyNow();
      })
      .catch((error: unknown) => {
        throw error instanceof SidekeyError ? error : describe(error, issuer);
      });
    checkType(header);
    const subject = subjectOf(claims);
    const agent = agentOf(issuer, claims, { subject, namesAgents });
    const expiresAt = Math.min(exp * 1_000, iat * 1_000 + issuer.maxAgeMs);
    return { agent, issuer: issuer.name, subject, expiresAt, config, source, keys };
  }

  function applies(identity: TokenIdentity): boolean {
    const { config, source, keys } = identity as Verified;
    source.touch();
    return config === current() && source.isCurrent(keys);
  }

  return {
    applies,
    find(tokenHash) {
      const identity = verified.get(hashKey(tokenHash));
      return identity !== undefined && applies(identity) ? identity : null;
    },
    async verify(jwt, tokenHash) {
      const key = hashKey(tokenHash);
      try {
        const identity = await check(jwt, verified.has(key));
        verified.set(key, identity);
        return identity;
      } catch (error) {
        if (!(error instanceof SidekeyError)) throw error;
        if (error.code !== 'issuer_unavailable') verified.delete(key);
        return error;
      }
    },
  };
}

/** A verified identity, with the config and key set that verified it. */
interface Verified extends TokenIdentity {
  readonly config: readonly AgentIssuer[];
  readonly source: Reading<IssuerKeys>;
  readonly keys: IssuerKeys;
}

/** Returns the settings of an issuer that determine its keys, as one text. */
function sourceOf({ name, issuer, jwksUrl, jwksFile, ca, token }: AgentIssuer): string {
  return JSON.stringify([name, issuer, jwksUrl, jwksFile, ca, token]);
}

function readPart(part: string): JsonObject | undefined {
  const value = parseStrictJson(Buffer.from(part, 'base64url').toString('utf8'));
  return isJsonObject(value) ? value : undefined;
}

/** Returns the issuer in `iss`, or the one of the trust domain in `sub`: a JWT-SVID needs no `iss`. */
function issuerOf(claims: JsonObject, issuers: readonly AgentIssuer[]): AgentIssuer {
  const [url, subject] = [claims.get('iss'), claims.get('sub')];
  const [, domain] = typeof subject === 'string' ? (/^spiffe:\/\/([^/]*)\/./.exec(subject) ?? []) : [];
  const issuer =
    issuers.find(({ issuer }) => issuer !== null && issuer === url) ??
    issuers.find(({ trustDomain }) => trustDomain !== null && trustDomain === domain);
  if (issuer !== undefined) return issuer;
  const named = typeof url === 'string' ? `the issuer ${shown(url)}` : 'no issuer';
  throw refusal(`has ${named}, which agent_issuers does not list`, 'add the issuer to agent_issuers');
}

/** Refuses other kinds of JWTs, such as logout tokens and proofs (RFC 8725 §3.11). */
function checkType(header: JsonObject): void {
  const type = header.get('typ') ?? 'JWT';
  if (typeof type !== 'string' || !/^(?:application\/)?(?:jwt|jose|at\+jwt)$/i.test(type))
    throw refusal('has a type in its header that is not JWT, JOSE or at+jwt');
}

function subjectOf(claims: JsonObject): string {
  const subject = claims.get('sub');
  if (typeof subject !== 'string' || subject === '') throw refusal('has no subject');
  return shown(subject);
}

function agentOf(
  { name, rules }: AgentIssuer,
  claims: JsonObject,
  { subject, namesAgents }: { readonly subject: string } & Pick<IdentityParts, 'namesAgents'>,
): string {
  const agents = new Set(
    rules.filter(({ patterns }) => mismatch(patterns, claims) === null).map(({ agent }) => agent),
  );
  const [agent, another] = agents;
  if (agent === undefined) {
    const misses = rules.flatMap(({ agent: of, patterns }) => {
      const missed = mismatch(patterns, claims);
      return missed === null ? [] : [`${of}: ${missed.path.join('/')} differs`];
    });
    const which = namesAgents ? ` (${[...new Set(misses)].slice(0, 5).join(', ')})` : '';
    throw refusal(
      `with the subject ${subject} fits no agent of agent_issuers.${name}${which}`,
      `correct the subject or the claims of the agent in agent_issuers.${name}`,
    );
  }
  if (another !== undefined) {
    throw refusal(
      `with the subject ${subject} fits more than one agent${namesAgents ? `: ${[...agents].join(', ')}` : ''}`,
      `make the agents of agent_issuers.${name} narrower, so that one fits`,
    );
  }
  return agent;
}

/** Describes why jose refuses a token. */
function describe(error: unknown, { name, audience }: AgentIssuer): SidekeyError {
  const { code = '', claim } = error as { readonly code?: string; readonly claim?: string };
  const of = `agent_issuers.${name}`;
  if (code === 'ERR_JWT_EXPIRED') {
    const how = claim === 'exp' ? 'has expired' : `is older than max_age of ${of}`;
    return refusal(how, 'get a new one from its issuer');
  }
  if (code === 'ERR_JWT_CLAIM_VALIDATION_FAILED') {
    return claim === 'aud'
      ? refusal(`has not the audience ${audience}`, `ask the issuer for a token with the audience of ${of}`)
      : refusal(`has a claim ${claim} that is missing or not valid now`, 'check the clocks and the issuer');
  }
  return refusal(
    code === 'ERR_JWKS_NO_MATCHING_KEY'
      ? `is signed with a key that ${of} has not`
      : (signatureFaults.get(code) ?? 'is not a JWT that is accepted here'),
  );
}

const signatureFaults = new Map([
  [
    'ERR_JWKS_MULTIPLE_MATCHING_KEYS',
    'names none of the keys of its issuer, and more than one could be meant',
  ],
  ['ERR_JWS_SIGNATURE_VERIFICATION_FAILED', 'has a signature that is not valid'],
  ['ERR_JOSE_ALG_NOT_ALLOWED', 'is signed with an algorithm that is not accepted'],
]);

function shown(text: string): string {
  return untrusted(text).slice(0, 200);
}

function refusal(what: string, hint = 'get a new token from its issuer'): SidekeyError {
  return unauthenticated(`This token ${what}.`, hintOf`${hint}; "${remedy('agent.check')}" tries a token`);
}
