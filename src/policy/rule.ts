import type { Glob } from './glob.ts';
import type { PathGlob } from './path-glob.ts';
import type { Cidr } from './address.ts';
import type { ReadRequest } from './read-request.ts';
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
  /** Whether a request that it matches is refused where it gives no `Sidekey-Reason`. */
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
  /** Whether a rule, or a person, looks at the method: then a request that names another one besides is refused. */
  readonly readsMethods: boolean;
  /** Whether a rule, or a person, looks at the path, or a rule at the query: then one that has two readings is refused. */
  readonly readsPath: boolean;
  readonly readsQuery: boolean;
}

/** A rule that is ready to be asked. */
export interface CompiledRule {
  readonly rule: Rule;
  /** Those that look at the body come last. */
  readonly checks: readonly Check[];
  /**
   * Whether passing the rule over could let more through than the rule does: it refuses, asks, withholds the credential, or
   * limits. Such a rule refuses what it cannot tell; an `allow` without more is passed over.
   */
  readonly restricts: boolean;
  readonly matched: Step;
}

/**
 * How a condition stands to a request. `unclear`: it holds for one reading of the request, or for one part of it, and not
 * for another.
 */
export type Verdict = 'yes' | 'no' | 'unclear';

/** One condition of a rule, ready to be asked. */
export interface Check {
  readonly condition: ConditionName;
  readonly test: (request: ReadRequest) => Verdict;
  /** What is told where it does not hold, and where nobody can tell. */
  readonly no: Step;
  readonly unclear: Step;
}

/** What one rule said of a request. */
export interface Step {
  /** Where the rule stands, with its line. */
  readonly rule: string;
  /** Null: it is the default. */
  readonly name: string | null;
  readonly outcome: RuleOutcome;
  readonly verdict: Verdict;
  /** The condition that decided, for people, such as `methods GET, HEAD`; null where all hold. */
  readonly condition: string | null;
}
