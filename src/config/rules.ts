import { z } from 'zod';
import { didYouMean, optional, text } from '../lib/text.ts';
import { knownMethods } from '../proxy/policy/method-override.ts';
import { parseJsonPath } from '../proxy/policy/parameters.ts';
import { parsePathGlob, type PathGlob } from '../proxy/policy/path.ts';
import {
  type Conditions,
  isZone,
  type LimitScope,
  noConditions,
  type Parameters,
  type Rule,
  type RuleLimit,
  type RuleOutcome,
  weekdayNames,
} from '../proxy/policy/rule.ts';
import { type Glob, parseGlob } from '../proxy/policy/text.ts';
import { clientBlock, name, parseDuration, size } from './scalar.ts';

/** Value types of rules: see `scalar.ts`. */

/** A non-empty list: an empty one would be ambiguous. */
export function some<T extends z.ZodType>(item: T, description: string): z.ZodArray<T> {
  return z.array(item).min(1, 'is empty; say what it may be, or take the key out').meta({ description });
}

/** A name, or a glob of names. */
function glob(description: string): z.ZodType<Glob, string> {
  return text<Glob>({ description }, parseGlob);
}

/**
 * A method (RFC 9110 §9.1), in capitals like all registered methods. A service may have methods of its own,
 * but a name that nearly is a known method is a typing error.
 */
function method(description: string): z.ZodType<string, string> {
  const meta = { description, examples: ['GET', 'POST'], pattern: "^[!#$%&'*+.^_`|~0-9A-Z-]+$" };
  return text<string>(meta, (value) => {
    if (!/^[!#$%&'*+.^_`|~0-9A-Z-]+$/.test(value))
      return { problem: 'is not a method in capitals, such as GET' };
    const near = knownMethods.has(value) ? null : didYouMean(value, [...knownMethods]);
    return near === null ? value : { problem: `is not a known method; did you mean ${near}?` };
  });
}

/** A path glob: `*` matches a segment or a part of one, `**` any number of segments. */
export function pathGlob(description: string): z.ZodType<PathGlob, string> {
  return text<PathGlob>(
    { description, examples: ['/v1/users/*', '/gmail/**'], pattern: '^/' },
    parsePathGlob,
  );
}

/** RFC 9110 §8.3.1 without parameters; `*` stands for any characters. */
function mediaType(description: string): z.ZodType<Glob, string> {
  return text<Glob>({ description, examples: ['application/json', 'text/*'] }, (value) =>
    /^[!#$&^_.+*0-9A-Za-z-]+\/[!#$&^_.+*0-9A-Za-z-]+$/.test(value)
      ? parseGlob(value.toLowerCase())
      : { problem: 'is not a media type such as application/json, without parameters' },
  );
}

/** A protocol of `Upgrade` (RFC 9110 §7.8). Its name has no case. */
function protocol(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['SPDY/3.1', 'tcp'] }, (value) => {
    if (/^(?:websocket$|(?:http|tls)\/)/i.test(value))
      return { problem: 'cannot be listed: WebSockets need no entry, and HTTP and TLS are never forwarded' };
    if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?$/.test(value)) return value;
    return { problem: 'is not a protocol such as SPDY/3.1 or tcp' };
  });
}

/** `HH:MM` in minutes since midnight; `24:00` is the end of the day. */
function timeOfDay(description: string): z.ZodType<number, string> {
  const meta = {
    description,
    examples: ['09:00', '17:30'],
    pattern: '^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$',
  };
  return text<number>({ ...meta, kind: 'a time of day such as 09:00' }, (value) => {
    const [, hours, minutes] = /^([01][0-9]|2[0-4]):([0-5][0-9])$/.exec(value) ?? [];
    const minute = Number(hours) * 60 + Number(minutes);
    return hours !== undefined && minute <= 1_440
      ? minute
      : { problem: 'is not a time of day such as 09:00' };
  });
}

/** `mon`, or `mon-fri`: numbers of days, 0 is Sunday. */
function weekdays(description: string): z.ZodType<readonly number[], string> {
  const meta = { description, examples: ['mon', 'mon-fri'] };
  return text<readonly number[]>(meta, (value) => {
    const [from, to, ...more] = value.split('-').map((name) => weekdayNames.findIndex((day) => day === name));
    const last = to ?? from;
    if (from === undefined || last === undefined || more.length > 0 || from < 0 || last < 0)
      return { problem: 'is not a day such as mon, or a range of days such as mon-fri' };
    return Array.from({ length: ((last - from + 7) % 7) + 1 }, (_, index) => (from + index) % 7);
  });
}

/** IANA name of a time zone. */
function zone(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['Europe/Berlin', 'UTC'] }, (value) =>
    isZone(value) ? value : { problem: 'is not a time zone such as Europe/Berlin or UTC' },
  );
}

/** `60/1m`: count and time. */
function rate(description: string): z.ZodType<{ readonly count: number; readonly perMs: number }, string> {
  const meta = {
    description,
    examples: ['60/1m', '5/s'],
    pattern: '^[1-9][0-9]{0,8}/([1-9][0-9]*)?(ms|s|m|h|d)$',
  };
  return text<{ readonly count: number; readonly perMs: number }>(
    { ...meta, kind: 'a rate such as 60/1m' },
    (value) => {
      const [, count, period = ''] = /^([1-9][0-9]{0,8})\/([0-9]*[a-z]+)$/.exec(value) ?? [];
      const perMs = parseDuration(/^[0-9]/.test(period) ? period : `1${period}`);
      return count === undefined || perMs === null || perMs === 0
        ? { problem: 'is not a rate such as 60/1m' }
        : { count: Number(count), perMs };
    },
  );
}

/** Rules of a domain and named policies, as the config file has them. */

const outcomes = ['allow', 'deny', 'approve', 'tunnel'] as const satisfies readonly RuleOutcome[];

/** Outcome of a rule. */
export function outcome(description: string): z.ZodType<RuleOutcome, RuleOutcome> {
  return z.enum(outcomes).meta({ description });
}

const times = z
  .strictObject({
    from: timeOfDay('When it begins; default 00:00.').optional(),
    to: timeOfDay('When it ends; before from means on the next day. Default 24:00.').optional(),
    weekdays: some(
      weekdays('A day, or a range of days.'),
      'Days on which it begins; default: all.',
    ).optional(),
    zone: zone('Whose clocks are meant.'),
  })
  .transform(({ from = 0, to = 1_440, weekdays: days, zone }, context) => {
    if (from === to || from === 1_440 || to === 0) {
      const message = to === 0 ? 'ends at 00:00; write to: "24:00"' : 'begins when it ends';
      context.addIssue({ code: 'custom', message });
    }
    return { from, to, weekdays: [...new Set(days?.flat() ?? [0, 1, 2, 3, 4, 5, 6])], zone };
  });

const bodySize = z
  .strictObject({
    min: size('At least so many bytes.').optional(),
    max: size('At most so many bytes.').optional(),
  })
  .transform(({ min = 0, max = null }, context) => {
    if (max !== null && min > max) context.addIssue({ code: 'custom', message: 'has a min above its max' });
    return { min, max };
  });

/** A limit, independent of its domain. */
type LimitDefinition =
  Omit<Extract<RuleLimit, { kind: 'rate' }>, 'key'> | Omit<Extract<RuleLimit, { kind: 'budget' }>, 'key'>;

const scopes = ['agent', 'grant', 'rule'] as const satisfies readonly LimitScope[];

const limit = z
  .strictObject({
    per: z.enum(scopes).prefault('rule').meta({
      description:
        'Requests that are counted together: those of an agent, of a grant, or all that the rule matches.',
    }),
    rate: rate('So many requests in that time.').optional(),
    burst: optional(z.int().min(1), 'So many at once after a pause; default: as many as the rate has.'),
    requests_per_day: optional(z.int().min(1), 'Requests in a day (UTC).'),
    bytes_per_day: size('Bytes of bodies in a day (UTC), both ways.', 1).optional(),
  })
  .transform(
    ({ per, rate, burst, requests_per_day: requests, bytes_per_day: bytes }, context): LimitDefinition => {
      const isBudget = requests !== undefined || bytes !== undefined;
      if ((rate !== undefined) === isBudget) {
        const message = 'must have either a rate, or requests_per_day or bytes_per_day';
        context.addIssue({ code: 'custom', message });
      }
      if (rate === undefined) {
        if (burst !== undefined)
          context.addIssue({ code: 'custom', path: ['burst'], message: 'belongs to a rate' });
        return { kind: 'budget', per, requests: requests ?? null, bytes: bytes ?? null };
      }
      return { kind: 'rate', per, ...rate, burst: burst ?? rate.count };
    },
  );

const graphql = z
  .strictObject({
    types: some(z.enum(['query', 'mutation', 'subscription']), 'Types of operations.').optional(),
    names: some(
      glob('The name of an operation.'),
      'Names of operations, as the client gives them.',
    ).optional(),
  })
  .transform(({ types = null, names = null }) => ({ types, names }));

const parameter = text<string>({ description: 'The name of a parameter.' }, (value) =>
  value === '' ? { problem: 'is empty' } : value,
);

const jsonPath = text<string>(
  {
    description: 'The path to a member of JSON.',
    examples: ['$.amount', '$.items[*].price'],
    pattern: '^\\$',
  },
  (value) =>
    parseJsonPath(value) === null
      ? { problem: "is not a path such as $.amount, $.items[*].price or $['a b']" }
      : value,
);

const values = some(glob('A value.'), 'Permitted values; each value must match.');

const value = z.union(
  [
    values,
    z
      .strictObject({
        values: values.optional(),
        min: optional(z.number(), 'The least number.'),
        max: optional(z.number(), 'The largest number.'),
        optional: optional(z.boolean(), 'The parameter may be absent.'),
      })
      .transform(({ values = null, min = null, max = null, optional = false }, context) => {
        const problem = (message: string) => context.addIssue({ code: 'custom', message });
        if (min !== null && max !== null && min > max) problem('has a min above its max');
        if (values === null && min === null && max === null) problem('must have values, min or max');
        return { values, min, max, optional };
      }),
  ],
  {
    error: (issue) =>
      issue.code === 'invalid_union'
        ? 'must be a list of values, or a map of values, min and max'
        : undefined,
  },
);

const parameters = (name: typeof parameter, description: string) =>
  optional(
    z.record(name, value).transform((written): Parameters => new Map(Object.entries(written))),
    description,
  );

const jsonrpc = z
  .strictObject({
    methods: some(glob('A method.'), 'Methods, such as tools/call.').optional(),
    tools: some(glob('A tool.'), 'Tools that tools/call may name (Model Context Protocol).').optional(),
    arguments: parameters(jsonPath, 'Arguments of such a call by their paths, and what they may be.'),
  })
  .transform(({ methods = null, tools = null, arguments: wanted }) => ({
    methods,
    tools,
    ...(wanted === undefined ? {} : { arguments: wanted }),
  }));

/** Keys for conditions of a rule. */
const conditionShape = {
  methods: some(method('A method.'), 'Methods, in capitals.').optional(),
  paths: some(
    pathGlob('A path.'),
    'Paths: * is a segment or a part of one, ** any number of segments. Paths that servers read in different ways are refused.',
  ).optional(),
  query: parameters(parameter, 'Parameters of the query that must be there, and what they may be.'),
  content_types: some(mediaType('A media type.'), 'Media types of the request body.').optional(),
  body_size: optional(bodySize, 'Bytes of the request body, as its length is announced.'),
  times: some(times, 'Times; one of them is enough.').optional(),
  clients: some(
    clientBlock('An address, or a block of addresses.'),
    'Where callers connect from.',
  ).optional(),
  agents: some(glob('The name of an agent.'), 'Agents.').optional(),
  users: some(
    glob('The name of a user.'),
    'Users: the owner of the grant, or the user of the agent if the grant has no owner.',
  ).optional(),
  labels: some(glob('A label.'), 'Labels of the agent or the grant; one of them is enough.').optional(),
  graphql: optional(graphql, 'Every operation of a GraphQL request.'),
  jsonrpc: optional(jsonrpc, 'Every call of a JSON-RPC request, as of an MCP client.'),
  json: parameters(jsonPath, 'Members of a JSON body that must be there, and what they may be.'),
  form: parameters(parameter, 'Parameters of a form-encoded body that must be there, and what they may be.'),
};

const ruleShape = {
  name: name('Name of the rule in decisions, tests and the audit log.').optional(),
  outcome: outcome(
    'allow (the default), deny, approve (a person is asked) or tunnel (no credential).',
  ).optional(),
  ...conditionShape,
  require_reason: optional(z.boolean(), 'Refuse a request without the header Sidekey-Reason.'),
  limits: some(limit, 'How often, and how much.').optional(),
  max_response: size('Bytes of a response body that may come back.', 1).optional(),
  upgrades: some(
    protocol('The name of a protocol.'),
    'Protocols besides WebSocket that a request may switch to with Upgrade: SPDY/3.1 for kubectl exec, tcp for docker attach. Sidekey does not read what follows.',
  ).optional(),
};

const rule = z.strictObject(ruleShape);

/** A rule, independent of its position. */
export interface RuleDefinition extends Pick<
  Rule,
  'name' | 'outcome' | 'conditions' | 'requireReason' | 'maxResponse' | 'upgrades'
> {
  readonly limits: readonly LimitDefinition[];
}

type Written = z.output<typeof rule>;

function define(written: Written, context: Pick<z.RefinementCtx, 'addIssue'>): RuleDefinition {
  const { outcome = 'allow' } = written;
  const problem = (key: string, message: string) =>
    context.addIssue({ code: 'custom', path: [key], message });
  if (outcome === 'deny') {
    for (const key of ['require_reason', 'limits', 'max_response', 'upgrades'] as const) {
      if (written[key] !== undefined) problem(key, 'says nothing where the outcome is deny');
    }
  }
  if (outcome === 'tunnel' && written.limits?.some(({ per }) => per === 'grant') === true)
    problem('limits', 'counts per grant, but a tunnel uses none');
  return {
    name: written.name ?? null,
    outcome,
    conditions: conditionsOf(written),
    requireReason: written.require_reason ?? false,
    limits: written.limits ?? [],
    maxResponse: written.max_response ?? null,
    upgrades: written.upgrades ?? [],
  };
}

function conditionsOf(written: Written): Conditions {
  return {
    ...noConditions,
    methods: written.methods ?? null,
    paths: written.paths ?? null,
    query: written.query ?? null,
    contentTypes: written.content_types ?? null,
    bodySize: written.body_size ?? null,
    times: written.times ?? null,
    clients: written.clients ?? null,
    agents: written.agents ?? null,
    users: written.users ?? null,
    labels: written.labels ?? null,
    graphql: written.graphql ?? null,
    jsonrpc: written.jsonrpc ?? null,
    json: written.json ?? null,
    form: written.form ?? null,
  };
}

/** Maximum number of rules, because comparing them takes quadratic time. */
const mostRules = 500;

const tooMany = { error: `has more than ${mostRules} rules` };

/** A named policy: rules for many domains. */
export const policyDefinition = some(rule.transform(define), 'Rules, the first that matches counts.').max(
  mostRules,
  tooMany,
);

/** Rules of a domain, in which `{ policy: NAME }` includes those of a policy. */
export const ruleList = some(
  z
    .strictObject({ policy: name('The policy whose rules apply here.').optional(), ...ruleShape })
    .transform(({ policy, ...written }, context): RuleDefinition | { readonly policy: string } => {
      if (policy === undefined) return define(written, context);
      for (const [key, value] of Object.entries(written)) {
        if (value === undefined) continue;
        const message = 'cannot be used with policy, which has its own rules';
        context.addIssue({ code: 'custom', path: [key], message });
      }
      return { policy };
    }),
  'Rules; the first match decides. { policy: NAME } inserts the rules of a policy.',
).max(mostRules, tooMany);
