import { BlockList } from 'node:net';
import type { Cidr } from './address.ts';
import { pathCovers, type PathGlob } from './path.ts';
import { readRequest, type ReadRequest, type RequestFacts } from './request.ts';
import { type Glob, globCovers } from './text.ts';
import type { TimeWindow } from './time-window.ts';

/** What happens to a request that a rule matches. `tunnel`: it goes on as it is, without a credential. */
export type RuleOutcome = 'allow' | 'deny' | 'approve' | 'tunnel';

/** What a request must be for a rule to match; null: anything. All that are given must hold. */
export interface Conditions {
  /** Methods, in capitals. */
  readonly methods: readonly string[] | null;
  readonly paths: readonly PathGlob[] | null;
  /** Parameters of the query, each with what its values may be; the parameter must be there. */
  readonly query: ReadonlyMap<string, readonly Glob[]> | null;
  /** Media types without parameters, lower case, such as `application/json` and `text/*`. */
  readonly contentTypes: readonly Glob[] | null;
  /** Bytes of the body that the head announces, both ends included. */
  readonly bodySize: { readonly min: number; readonly max: number | null } | null;
  /** One of them is enough. */
  readonly times: readonly TimeWindow[] | null;
  readonly clients: readonly Cidr[] | null;
  readonly agents: readonly Glob[] | null;
  readonly users: readonly Glob[] | null;
  /** One of them is enough. */
  readonly labels: readonly Glob[] | null;
  readonly graphql: GraphqlCondition | null;
  readonly jsonrpc: JsonRpcCondition | null;
}

/** What every operation of a GraphQL request must be. */
export interface GraphqlCondition {
  readonly types: readonly ('query' | 'mutation' | 'subscription')[] | null;
  /** Names of operations; one without a name has the name ''. */
  readonly names: readonly Glob[] | null;
}

/** What every call of a JSON-RPC 2.0 request must be. */
export interface JsonRpcCondition {
  readonly methods: readonly Glob[] | null;
  /** Names of tools: what `tools/call` of the Model Context Protocol calls. No other method has one. */
  readonly tools: readonly Glob[] | null;
}

/** Names of conditions, as in `Conditions`. */
export type ConditionName = keyof Conditions;

/** Conditions that hold for every request. */
export const noConditions: Conditions = Object.freeze({
  methods: null,
  paths: null,
  query: null,
  contentTypes: null,
  bodySize: null,
  times: null,
  clients: null,
  agents: null,
  users: null,
  labels: null,
  graphql: null,
  jsonrpc: null,
});

/** Whose requests are counted together. */
export type LimitScope = 'agent' | 'grant' | 'rule';

/** How often, or how much. It is counted elsewhere; policy says only what counts. */
export type RuleLimit =
  | {
      readonly kind: 'rate';
      readonly per: LimitScope;
      /** So many requests in `perMs` milliseconds; after a pause, `burst` at once. */
      readonly count: number;
      readonly perMs: number;
      readonly burst: number;
      /** The same for as long as the rule is: what its counter is called. */
      readonly key: string;
    }
  | {
      readonly kind: 'budget';
      readonly per: LimitScope;
      /** A day in UTC; null: no bound. */
      readonly requests: number | null;
      readonly bytes: number | null;
      readonly key: string;
    };

/** One rule of a domain, as the config file says it. */
export interface Rule {
  /** The name that the file gives it. */
  readonly name: string | null;
  /** Where it stands, for people: `domains["api.github.com"].rules[0] (sidekey.yaml:12)`. */
  readonly origin: string;
  /**
   * The same for as long as what it matches and does is, whatever it is called and wherever it is moved. Of one that asks, also
   * for as long as the domain and the rules before it are.
   */
  readonly key: string;
  readonly outcome: RuleOutcome;
  readonly conditions: Conditions;
  /** True if a request that it matches is refused where it gives no `Sidekey-Reason`. */
  readonly requireReason: boolean;
  readonly limits: readonly RuleLimit[];
  /** Bytes of a response body; null: any. */
  readonly maxResponse: number | null;
}

/** The rules of a domain, ready to be asked; the first that matches counts. */
export interface DomainRules {
  readonly rules: readonly CompiledRule[];
  /** What happens to a request that no rule matches, and where the file says so. */
  readonly default: RuleOutcome;
  readonly defaultOrigin: string;
  /** The same for as long as the domain is, and what its rules match and do, in their order. */
  readonly key: string;
  /** `report`: every request is let through, and what the rules say is only recorded. */
  readonly mode: 'enforce' | 'report';
  /** Where the rules stand, for people. */
  readonly origin: string;
  /** True if a rule, or a person, looks at the method: then a request that names another one besides is refused. */
  readonly readsMethods: boolean;
  /** True if a rule, or a person, looks at the path, or a rule at the query: then one that has two readings is refused. */
  readonly readsPath: boolean;
  readonly readsQuery: boolean;
}

/** A rule that is ready to be asked. */
export interface CompiledRule {
  readonly rule: Rule;
  /** Those that look at the body come last. */
  readonly checks: readonly Check[];
  /**
   * True if passing the rule over could let more through than the rule does: it refuses, asks, withholds the credential, or
   * limits. Such a rule refuses what it cannot tell; an `allow` without more is passed over.
   */
  readonly restricts: boolean;
  readonly matched: RuleStep;
}

/**
 * How a condition stands to a request. `unclear`: it holds for one reading of the request, or for one part of it, and not
 * for another.
 */
export type ConditionResult = 'yes' | 'no' | 'unclear';

/** One condition of a rule, ready to be asked. */
export interface Check {
  readonly condition: ConditionName;
  readonly test: (request: ReadRequest) => ConditionResult;
  /** What is told where it does not hold, and where nobody can tell. */
  readonly no: RuleStep;
  readonly unclear: RuleStep;
}

/** What one rule said of a request. */
export interface RuleStep {
  /** Where the rule stands, with its line. */
  readonly rule: string;
  /** Null: it is the default. */
  readonly name: string | null;
  readonly outcome: RuleOutcome;
  readonly result: ConditionResult;
  /** The condition that decided, for people, such as `methods GET, HEAD`; null where all hold. */
  readonly condition: string | null;
}

/** Who asks, and from where. */
type CallerSide = Pick<RequestFacts, 'agent' | 'user' | 'labels' | 'client'>;

/** The conditions that are about that; all others are about what is asked for, and when. */
const aboutCaller: ReadonlySet<ConditionName> = new Set(['agents', 'users', 'labels', 'clients']);

/**
 * The rules that a caller can meet, without what they say of callers: a caller learns what it may do, and not who else
 * there is. Where it cannot be told whether a rule is for this caller, it is among them.
 */
export function rulesFor({ rules }: Pick<DomainRules, 'rules'>, caller: CallerSide): readonly Rule[] {
  const request = readRequest({ ...anything, ...caller });
  return rules
    .filter(({ checks }) =>
      checks.every(({ condition, test }) => !aboutCaller.has(condition) || test(request) !== 'no'),
    )
    .map(({ rule }) => ({
      ...rule,
      conditions: { ...rule.conditions, agents: null, users: null, labels: null, clients: null },
    }));
}

/** What the checks of callers do not look at. */
const anything: RequestFacts = {
  authority: { scheme: 'https', host: 'any.invalid', port: 443 },
  method: 'GET',
  methodFields: [],
  pathFields: [],
  methodParameters: [],
  upgrades: false,
  path: '/',
  client: '',
  agent: null,
  user: null,
  labels: [],
  reason: null,
  contentType: null,
  contentLength: 0,
  now: 0,
  body: null,
};

/** Methods that change nothing (RFC 9110 §9.2.1), as far as they can reach an upstream. */
const reading: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Reports whether these rules let nothing through but what only reads. Of rules that only report, nothing is certain. */
export function areReadOnly(
  rules: readonly Pick<Rule, 'outcome' | 'conditions'>[],
  { default: otherwise, mode }: Pick<DomainRules, 'default' | 'mode'>,
): boolean {
  if (mode === 'report' || otherwise !== 'deny') return false;
  return rules.every(
    ({ outcome, conditions: { methods } }) =>
      outcome === 'deny' || methods?.every((method) => reading.has(method)) === true,
  );
}

/**
 * Reports whether every request that `inner` is meant for meets `outer` too, so that a rule with `inner` is never reached behind one
 * with `outer`. May say no where it is so; never yes where it is not.
 */
export function conditionsCover(outer: Conditions, inner: Conditions): boolean {
  return (Object.keys(coverings) as ConditionName[]).every((name) => covered(name, outer, inner));
}

function covered<K extends ConditionName>(
  name: K,
  outer: Pick<Conditions, K>,
  inner: Pick<Conditions, K>,
): boolean {
  const wide = outer[name];
  if (wide === null) return true;
  const narrow = inner[name];
  return narrow !== null && coverings[name](wide, narrow);
}

type Covering = {
  readonly [K in ConditionName]: (
    outer: NonNullable<Conditions[K]>,
    inner: NonNullable<Conditions[K]>,
  ) => boolean;
};

/** Each of `inner` is covered by one of `outer`. */
function all<T>(
  covers: (outer: T, inner: T) => boolean,
): (outer: readonly T[], inner: readonly T[]) => boolean {
  return (outer, inner) => inner.every((narrow) => outer.some((wide) => covers(wide, narrow)));
}

const globs = all(globCovers);
const same = all<unknown>((a, b) => a === b);

const coverings: Covering = {
  methods: same,
  paths: all(pathCovers),
  query: (outer, inner) =>
    [...outer].every(([name, wide]) => {
      const narrow = inner.get(name);
      return narrow !== undefined && globs(wide, narrow);
    }),
  contentTypes: globs,
  bodySize: (outer, inner) =>
    outer.min <= inner.min && (outer.max === null || (inner.max !== null && inner.max <= outer.max)),
  times: all(
    (a, b) =>
      a.from === b.from &&
      a.to === b.to &&
      a.zone === b.zone &&
      b.weekdays.every((day) => a.weekdays.includes(day)),
  ),
  clients: all(blockCovers),
  agents: globs,
  users: globs,
  labels: globs,
  graphql: (outer, inner) => orAny(same, outer.types, inner.types) && orAny(globs, outer.names, inner.names),
  // Without methods, tools are about tools/call alone: the two say different things.
  jsonrpc: (outer, inner) =>
    (outer.methods === null) === (inner.methods === null) &&
    orAny(globs, outer.methods, inner.methods) &&
    orAny(globs, outer.tools, inner.tools),
};

function orAny<T>(
  covers: (outer: readonly T[], inner: readonly T[]) => boolean,
  outer: readonly T[] | null,
  inner: readonly T[] | null,
): boolean {
  return outer === null || (inner !== null && covers(outer, inner));
}

function blockCovers(outer: Cidr, inner: Cidr): boolean {
  if (outer.family !== inner.family || outer.prefix > inner.prefix) return false;
  const list = new BlockList();
  list.addSubnet(outer.address, outer.prefix, outer.family);
  return list.check(inner.address, inner.family);
}
