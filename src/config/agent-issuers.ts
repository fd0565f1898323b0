import { z } from 'zod';
import { optional, text } from '../lib/text.ts';
import { certainlyMeet, type ClaimPattern } from '../proxy/policy/claims.ts';
import type { ConfigDocument } from './document.ts';
import { marks } from './marks.ts';
import type { Path, Problem } from './problem.ts';
import { duration, endpoint, issuer, keyOf, name, pathText, secretReference } from './scalar.ts';
import type { SecretReference } from './secret-reference.ts';

/** The `agent_issuers` part of the config file: its schema and its settings. */

const pattern = (description: string) =>
  text<string>({ description, examples: ['repo:acme/app:ref:refs/heads/main'] }, (value) => {
    if (!/^[\x21-\x7e]{1,512}$/.test(value)) return { problem: 'must be 1 to 512 printable characters' };
    return /\*[^/:]*\*/.test(value) ? { problem: 'has two * between slashes or colons' } : value;
  });

type ClaimValues = { readonly [name: string]: string | number | boolean | ClaimValues };

const claimName = z.string().regex(/^[^\p{Cc}]{1,200}$/u, { error: 'is not the name of a claim' });

/** Claims with up to so many levels of members: the schema of an editor has no recursion. */
function claimsOf(levels: number): z.ZodType<ClaimValues, ClaimValues> {
  const text = pattern('The value; * stands for characters other than / and :.');
  const values = z.union([text, z.int(), z.boolean(), ...(levels === 0 ? [] : [claimsOf(levels - 1)])], {
    error: 'must be a value such as main, or a map of members with their values',
  });
  return z.record(claimName, values);
}

const rule = z
  .strictObject({
    subject: pattern('The claim sub; * stands for characters other than / and :.').optional(),
    claims: optional(claimsOf(2), 'Other claims, with their values.'),
  })
  .refine(({ subject, claims }) => subject !== undefined || Object.keys(claims ?? {}).length > 0, {
    error: 'must have a subject, claims or both',
  });

/** The schema of `agent_issuers`. */
export const agentIssuersSchema = z.record(
  keyOf(name('name'), 'A name for the issuer.'),
  z
    .strictObject({
      issuer: issuer('The claim iss of the tokens, as the issuer writes it.').optional(),
      trust_domain: text<string>(
        { description: 'The SPIFFE trust domain, for JWT-SVIDs.', examples: ['example.org'] },
        (value) => (/^[a-z0-9._-]{1,255}$/.test(value) ? value : { problem: 'is not a SPIFFE trust domain' }),
      ).optional(),
      audience: z
        .string()
        .regex(/^[\x21-\x7e]{1,512}$/, { error: 'must be 1 to 512 printable characters' })
        .meta({ description: 'The audience of the tokens: a name of this proxy that nothing else has.' }),
      jwks_url: endpoint('The key set. Default: that of the discovery document of the issuer.')
        .register(marks, { mark: 'destination' })
        .optional(),
      jwks: pathText('A file with the key set, instead of a URL.').optional(),
      ca: pathText('PEM file with a trust anchor of the issuer, in addition to upstream.ca.').optional(),
      token: secretReference('A bearer token that jwks_url requires.').optional(),
      max_age: duration('The longest time from the issue of a token to its last use.', 60_000).prefault('1d'),
      agents: z
        .record(
          keyOf(name('name'), 'The name of the agent.'),
          z.union([rule, z.array(rule).min(1)], { error: 'must be { subject, claims }, or a list of them' }),
        )
        .meta({ description: 'Agents, and the tokens that identify each.' }),
    })
    .refine((it) => (it.issuer === undefined) !== (it.trust_domain === undefined), {
      error: 'must have one of issuer and trust_domain',
    })
    .refine((it) => it.jwks === undefined || it.jwks_url === undefined, {
      error: 'must have one of jwks and jwks_url, or neither',
    })
    .refine((it) => it.issuer !== undefined || it.jwks !== undefined || it.jwks_url !== undefined, {
      error: 'must have jwks or jwks_url: a trust domain has no discovery document',
    })
    .refine(({ token, jwks_url: url }) => token === undefined || url !== undefined, {
      error: 'has a token, which is for jwks_url alone',
    }),
);

/** An issuer of tokens that identify agents. Paths are absolute; times are milliseconds. */
export interface AgentIssuer {
  readonly name: string;
  /** `iss` of its tokens; null: a trust domain. */
  readonly issuer: string | null;
  /** Trust domain of the SPIFFE IDs in `sub`; null: an issuer. */
  readonly trustDomain: string | null;
  readonly audience: string;
  /** Null: a file, or the discovery document. */
  readonly jwksUrl: string | null;
  readonly jwksFile: string | null;
  readonly ca: string | null;
  readonly token: SecretReference | null;
  readonly maxAgeMs: number;
  readonly rules: readonly { readonly agent: string; readonly patterns: readonly ClaimPattern[] }[];
}

/** Converts validated values. Refuses issuers and agents that no token could distinguish. */
export function toAgentIssuers(
  values: z.output<typeof agentIssuersSchema>,
  absolute: (path: string) => string,
  document: ConfigDocument,
): { readonly issuers: readonly AgentIssuer[]; readonly problems: readonly Problem[] } {
  const file = (path: string | undefined) => (path === undefined ? null : absolute(path));
  const issuers = Object.entries(values).map(([key, it]): AgentIssuer => ({
    name: key,
    issuer: it.issuer ?? null,
    trustDomain: it.trust_domain ?? null,
    audience: it.audience,
    jwksUrl: it.jwks_url ?? null,
    jwksFile: file(it.jwks),
    ca: file(it.ca),
    token: it.token ?? null,
    maxAgeMs: it.max_age,
    rules: Object.entries(it.agents).flatMap(([agent, rules]) =>
      [rules].flat().map(({ subject, claims = {} }) => ({
        agent,
        patterns: [
          ...(subject === undefined ? [] : [{ path: ['sub'], pattern: subject }]),
          ...patternsOf(claims, []),
        ],
      })),
    ),
  }));
  const problems = issuers.flatMap((it, index) => {
    const at = (path: Path, message: string): Problem => {
      const full = ['agent_issuers', it.name, ...path];
      return { ...document.position(full, 'key'), path: full, message };
    };
    const isSame = ({ issuer: url, trustDomain }: AgentIssuer) =>
      url === it.issuer && trustDomain === it.trustDomain;
    const same = issuers.slice(0, index).find(isSame);
    const problems =
      same === undefined ? [] : [at([], `has the tokens of agent_issuers.${same.name}; join the two`)];
    for (const [position, { agent, patterns }] of it.rules.entries()) {
      const another = it.rules
        .slice(0, position)
        .find((other) => other.agent !== agent && certainlyMeet(other.patterns, patterns));
      const path = ['agents', agent];
      if (another !== undefined)
        problems.push(at(path, `fits tokens that fit ${another.agent} too; make one of them narrower`));
      if (isOpen(it, patterns)) problems.push(at(path, openText(it)));
    }
    return problems;
  });
  return { issuers, problems };
}

function patternsOf(values: ClaimValues, path: readonly string[]): ClaimPattern[] {
  return Object.entries(values).flatMap(([key, value]) =>
    typeof value === 'object'
      ? patternsOf(value, [...path, key])
      : [{ path: [...path, key], pattern: String(value) }],
  );
}

const gitHub = 'https://token.actions.githubusercontent.com';
const gitHubOwners = ['repository', 'repository_id', 'repository_owner', 'repository_owner_id'];

/** Reports whether strangers can get matching tokens: on GitHub, anybody can for their own repositories. */
function isOpen({ issuer: url }: AgentIssuer, patterns: readonly ClaimPattern[]): boolean {
  if (url !== gitHub) return patterns.every((it) => it.pattern.startsWith('*'));
  return !patterns.some(({ path: [claim = '', ...below], pattern: wanted }) => {
    const owner = claim === 'sub' ? /^repo:([^/:]*)\//.exec(wanted)?.[1] : wanted.split('/', 1)[0];
    const isOwner = claim === 'sub' || (below.length === 0 && gitHubOwners.includes(claim));
    return isOwner && owner !== undefined && !owner.includes('*');
  });
}

function openText({ issuer: url }: AgentIssuer): string {
  return url === gitHub
    ? 'fits repositories of every owner; name the owner in subject, repository or repository_owner_id'
    : 'has only values that begin with *; write out the beginning of one';
}
