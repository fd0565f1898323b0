import { BlockList } from 'node:net';
import type { FailureCode } from '../../lib/failures.ts';
import type { Cidr } from './authority.ts';
import { pathCovers, type PathGlob } from './path.ts';
import { ReadRequest, type RequestFacts } from './request.ts';
import { type Glob, globCovers } from './text.ts';

/** Outcome of a rule. `tunnel`: forwards the request unchanged, without a credential. */
export type RuleOutcome = 'allow' | 'deny' | 'approve' | 'tunnel';

/** Conditions of a rule, all of which must hold. Null: any. */
export interface Conditions {
  /** Methods, in capitals. */
  readonly methods: readonly string[] | null;
  readonly paths: readonly PathGlob[] | null;
  /** Required parameters of the query, each with its allowed values. */
  readonly query: Parameters | null;
  /** Media types without parameters, lower case, such as `application/json` and `text/*`. */
  readonly contentTypes: readonly Glob[] | null;
  /** Range of the announced body size in bytes, inclusive. */
  readonly bodySize: { readonly min: number; readonly max: number | null } | null;
  /** Time windows, of which at least one must match. */
  readonly times: readonly TimeWindow[] | null;
  readonly clients: readonly Cidr[] | null;
  readonly agents: readonly Glob[] | null;
  readonly users: readonly Glob[] | null;
  /** Labels, of which at least one must match. */
  readonly labels: readonly Glob[] | null;
  readonly graphql: GraphqlCondition | null;
  readonly jsonrpc: JsonRpcCondition | null;
  /** Members of a JSON body by their paths; see `parseJsonPath`. */
  readonly json: Parameters | null;
  /** Parameters of a form-encoded body. */
  readonly form: Parameters | null;
}

/** Conditions of the body. */
export const bodyConditions = ['graphql', 'jsonrpc', 'json', 'form'] as const;

/** Parameters by name, each with its condition. */
export type Parameters = ReadonlyMap<string, ValueCondition>;

/** Condition for a parameter, required unless `optional`: one of the globs, or all members of the object. */
export type ValueCondition =
  | readonly Glob[]
  | {
      /** Allowed values; null: any value. */
      readonly values: readonly Glob[] | null;
      /** Inclusive bounds of a number. */
      readonly min: number | null;
      readonly max: number | null;
      /** True if the parameter may be absent. */
      readonly optional: boolean;
    };

/** Condition for every operation of a GraphQL request. */
export interface GraphqlCondition {
  readonly types: readonly ('query' | 'mutation' | 'subscription')[] | null;
  /** Names of operations; '' for an anonymous one. */
  readonly names: readonly Glob[] | null;
}

/** Condition for every call of a JSON-RPC 2.0 request. */
export interface JsonRpcCondition {
  readonly methods: readonly Glob[] | null;
  /** Names of tools in `tools/call` of the Model Context Protocol. Other methods have none. */
  readonly tools: readonly Glob[] | null;
  /** Arguments of `tools/call` by their paths. Absent: any. */
  readonly arguments?: Parameters | undefined;
}

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
  json: null,
  form: null,
});

/** Scope of a counter. */
export type LimitScope = 'agent' | 'grant' | 'rule';

/** A limit on requests or bytes, which the quota counts. */
export type RuleLimit = {
  /** Position of its rule, for messages; absent: a limit of Sidekey itself. */
  readonly origin?: string;
} & (
  | {
      readonly kind: 'rate';
      readonly per: LimitScope;
      /** Requests in `perMs` milliseconds. After a pause, `burst` at once. */
      readonly count: number;
      readonly perMs: number;
      readonly burst: number;
      /** Key of its counter, stable while the rule exists. */
      readonly key: string;
    }
  | {
      readonly kind: 'budget';
      readonly per: LimitScope;
      /** Requests per day in UTC; null: no limit. */
      readonly requests: number | null;
      readonly bytes: number | null;
      readonly key: string;
    }
);

/** A rule of a domain. */
export interface Rule {
  /** Its name in the file. */
  readonly name: string | null;
  /** Its position, for messages: `domains["api.github.com"].rules[0] (sidekey.yaml:12)`. */
  readonly origin: string;
  /**
   * Key of its conditions and effect, independent of its name and position. For `approve` it also depends on
   * the domain and the preceding rules.
   */
  readonly key: string;
  readonly outcome: RuleOutcome;
  readonly conditions: Conditions;
  /** True if a matching request without `Sidekey-Reason` is refused. */
  readonly requireReason: boolean;
  readonly limits: readonly RuleLimit[];
  /** Maximum bytes of a response body; null: any. */
  readonly maxResponse: number | null;
  /** Protocols besides WebSocket that a matching request may switch to. */
  readonly upgrades: readonly string[];
}

/** The compiled rules of a domain. The first match decides. */
export interface DomainRules {
  readonly rules: readonly CompiledRule[];
  /** Outcome for a request without a matching rule, and its position in the file. */
  readonly default: RuleOutcome;
  readonly defaultOrigin: string;
  /** Key of the domain and the behavior of its rules, in order. */
  readonly key: string;
  /** `report`: all requests are allowed, and the result of the rules is only recorded. */
  readonly mode: 'enforce' | 'report';
  /** Position of the rules, for messages. */
  readonly origin: string;
  /** True if a rule or an approver uses the method. A request with two methods is then refused. */
  readonly readsMethods: boolean;
  /** All methods that its rules name. */
  readonly methods: ReadonlySet<string>;
  /** True if a rule or an approver uses the path, or a rule the query. An ambiguous path is then refused. */
  readonly readsPath: boolean;
  readonly readsQuery: boolean;
  /** True if an enforced rule is about JSON-RPC. Lists of tools are then limited. */
  readonly limitsTools: boolean;
  /** Result of each rule for a matching request, with a reason if the rule requires one. */
  readonly results: readonly RuleResult[];
  readonly defaultStep: RuleStep;
  /** Result of the default; null for a denial, which suggests a rule for the request. */
  readonly defaultResult: RuleResult | null;
}

export interface CompiledRule {
  readonly rule: Rule;
  /** Checks of the body come last. */
  readonly checks: readonly Check[];
  /**
   * True if skipping the rule could allow more: it refuses, requires an approval, withholds the credential,
   * or limits. Such a rule refuses unclear requests; a plain `allow` skips them.
   */
  readonly restricts: boolean;
  readonly matched: RuleStep;
}

/** Result of the rules of a domain for a request, with its reason. */
export interface RuleResult {
  readonly outcome: RuleOutcome;
  /** Position in the config of the deciding rule, with its line. */
  readonly rule: string;
  /** Name of the deciding rule in the config, or null. */
  readonly ruleName: string | null;
  /** For `approve`, the key of an approval, which changes with the rule. Otherwise null. */
  readonly approvalKey: string | null;
  /** The end of a sentence, without any part of the query or the body. */
  readonly reason: string;
  /** Set for a denial. */
  readonly code: FailureCode | null;
  readonly hint: string | null;
  /** Limits that count the request before it is sent; empty for a denial. */
  readonly limits: readonly RuleLimit[];
  /** Maximum bytes of the response body; null: no limit. */
  readonly maxResponse: number | null;
  /** Protocols besides WebSocket that the request may switch to. */
  readonly upgrades: readonly string[];
  /** True if the result assumes an unreadable body because it was not read. Read it, and evaluate again. */
  readonly needsBody: boolean;
}

/** Result of a condition. `unclear`: it holds only for some readings or parts of the request. */
export type ConditionResult = 'yes' | 'no' | 'unclear';

/** A compiled condition. */
export interface Check {
  readonly condition: ConditionName;
  readonly test: (request: ReadRequest) => ConditionResult;
  /** Steps for a condition that does not hold, and for an unclear one. */
  readonly no: RuleStep;
  readonly unclear: RuleStep;
}

/** Result of a rule for a request. */
export interface RuleStep {
  /** Position of the rule, with its line. */
  readonly rule: string;
  /** Null: the default. */
  readonly name: string | null;
  readonly outcome: RuleOutcome;
  readonly result: ConditionResult;
  /** The deciding condition, such as `methods GET, HEAD`; null if all hold. */
  readonly condition: string | null;
}

type CallerSide = Pick<RequestFacts, 'agent' | 'user' | 'labels' | 'client'>;

/** Conditions about the caller. All others are about the request and its time. */
const aboutCaller: ReadonlySet<ConditionName> = new Set(['agents', 'users', 'labels', 'clients']);

/**
 * Returns the rules that may apply to a caller, including unclear ones. Removes their conditions about
 * callers, which could reveal other callers.
 */
export function rulesFor({ rules }: Pick<DomainRules, 'rules'>, caller: CallerSide): readonly Rule[] {
  const request = new ReadRequest({ ...plainRequest, ...caller });
  return rules
    .filter(({ checks }) =>
      checks.every(({ condition, test }) => !aboutCaller.has(condition) || test(request) !== 'no'),
    )
    .map(({ rule }) => ({
      ...rule,
      conditions: { ...rule.conditions, agents: null, users: null, labels: null, clients: null },
    }));
}

/** Facts of a request without a body and without a caller, to make others of. */
export const plainRequest: RequestFacts = {
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

/** Safe methods (RFC 9110 §9.2.1) that can reach an upstream. */
export const safeMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Reports whether these rules allow only safe methods. False in report mode. */
export function areReadOnly(
  rules: readonly Pick<Rule, 'outcome' | 'conditions' | 'upgrades'>[],
  { default: otherwise, mode }: Pick<DomainRules, 'default' | 'mode'>,
): boolean {
  if (mode === 'report' || otherwise !== 'deny') return false;
  return rules.every(
    ({ outcome, conditions: { methods }, upgrades }) =>
      outcome === 'deny' ||
      (upgrades.length === 0 && methods?.every((method) => safeMethods.has(method)) === true),
  );
}

/**
 * Reports whether `outer` matches all requests that `inner` matches, so that a later rule with `inner` is
 * unreachable. May return a false negative, never a false positive.
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

/** Reports whether each of `inner` is covered by one of `outer`. */
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
  query: parametersCover,
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
  // Without methods, tools restrict to `tools/call`: the two have different meanings.
  jsonrpc: (outer, inner) =>
    (outer.methods === null) === (inner.methods === null) &&
    orAny(globs, outer.methods, inner.methods) &&
    orAny(globs, outer.tools, inner.tools) &&
    (outer.arguments === undefined ||
      (inner.arguments !== undefined && parametersCover(outer.arguments, inner.arguments))),
  json: parametersCover,
  form: parametersCover,
};

function parametersCover(outer: Parameters, inner: Parameters): boolean {
  return [...outer].every(([name, wide]) => {
    const narrow = inner.get(name);
    return narrow !== undefined && valuesCover(boundsOf(wide), boundsOf(narrow));
  });
}

/** Returns the long form of a condition. */
export function boundsOf(condition: ValueCondition): Exclude<ValueCondition, readonly Glob[]> {
  return 'optional' in condition ? condition : { values: condition, min: null, max: null, optional: false };
}

function valuesCover(outer: ReturnType<typeof boundsOf>, inner: typeof outer): boolean {
  return (
    orAny(globs, outer.values, inner.values) &&
    (outer.min === null || (inner.min !== null && outer.min <= inner.min)) &&
    (outer.max === null || (inner.max !== null && outer.max >= inner.max)) &&
    (outer.optional || !inner.optional)
  );
}

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

/** A weekly time window in one zone. */
export interface TimeWindow {
  /** Minutes since midnight. The window ends before `to`, on the next day if `to` is not after `from`. */
  readonly from: number;
  /** Minutes since midnight, at most 1440. */
  readonly to: number;
  /** 0 Sunday … 6 Saturday: the days on which the window starts. */
  readonly weekdays: readonly number[];
  /** IANA name. */
  readonly zone: string;
}

/** Names of the days, in the order of their numbers. */
export const weekdayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;

/**
 * Reports whether the runtime's time-zone database contains this name. Refuses an offset such as +02:00,
 * because it has no daylight saving time.
 */
export function isZone(text: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+/-]*$/.test(text)) return false;
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: text }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** Local time of a zone. */
interface WallClock {
  readonly weekday: number;
  readonly minute: number;
}

/** Limit of `Date` (ECMA-262 §21.4.1.1). */
const lastTime = 8.64e15;

/**
 * Returns a function that reports whether a time (milliseconds since the epoch) is within a window; null for
 * an invalid time. Uses local time with daylight saving time: a repeated hour is within the window twice.
 */
export function createTimeTest(window: TimeWindow): (now: number) => boolean | null {
  const clock = clocks.get(window.zone) ?? createWallClock(window.zone);
  clocks.set(window.zone, clock);
  const days = new Set(window.weekdays);
  const { from, to } = window;
  return (now) => {
    if (!Number.isFinite(now) || Math.abs(now) > lastTime) return null;
    const { weekday, minute } = clock(now);
    if (from < to) return days.has(weekday) && minute >= from && minute < to;
    return (days.has(weekday) && minute >= from) || (days.has((weekday + 6) % 7) && minute < to);
  };
}

/** Clocks by their zone: to make one takes longer than to compile the rest of a rule. */
const clocks = new Map<string, ReturnType<typeof createWallClock>>();

function createWallClock(zone: string): (now: number) => WallClock {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
  });
  // Intl takes microseconds, so the result is cached for a minute.
  let cached: { readonly minute: number; readonly clock: WallClock } | null = null;
  return (now) => {
    const minute = Math.floor(now / 60_000);
    if (cached?.minute !== minute) cached = { minute, clock: readClock(format.formatToParts(now)) };
    return cached.clock;
  };
}

function readClock(parts: readonly Intl.DateTimeFormatPart[]): WallClock {
  const part = (type: Intl.DateTimeFormatPartTypes) => parts.find((it) => it.type === type)?.value ?? '';
  const day = part('weekday').toLowerCase();
  return {
    weekday: weekdayNames.findIndex((name) => name === day),
    minute: Number(part('hour')) * 60 + Number(part('minute')),
  };
}
