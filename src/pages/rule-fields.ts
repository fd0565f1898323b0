/** Rules of a domain as texts of form fields. */

/** A rule as the config file has it. */
export type Rule = Readonly<Record<string, unknown>>;

/** Texts of the fields by their names. */
type Texts = Readonly<Record<string, string>>;

interface RuleField {
  readonly label: string;
  /** An example. */
  readonly placeholder?: string;
  readonly show: (rule: Rule) => string;
  /** Returns the members of the rule; null if the text is not complete. */
  readonly take: (text: string) => Rule | null;
}

/** Returns the words of a text, between spaces or commas. */
export const words = (text: string) => text.split(/[\s,]+/).filter((word) => word !== '');

const joined = (value: unknown) => (Array.isArray(value) ? value.join(', ') : '');

/** A field of words, in a member or in a member of that. */
function list(label: string, placeholder: string, name: string, inner?: string): RuleField {
  return {
    label,
    placeholder,
    show: ({ [name]: value }) => joined(inner === undefined ? value : (value as Rule | undefined)?.[inner]),
    take(text) {
      const value = words(text);
      if (value.length === 0) return {};
      return { [name]: inner === undefined ? value : { [inner]: value } };
    },
  };
}

/** A field of things between commas. */
function several(
  [label, placeholder, name]: readonly [string, string, string],
  show: (value: Rule) => string,
  take: (text: string) => Rule | null,
): RuleField {
  return {
    label,
    placeholder,
    show: ({ [name]: value }) => joined((value as readonly Rule[] | undefined)?.map(show)),
    take(text) {
      const parts = text.split(',').map((part) => part.trim());
      const taken = parts.filter((part) => part !== '').map(take);
      return taken.includes(null) ? null : taken.length === 0 ? {} : { [name]: taken };
    },
  };
}

const limits = several(
  ['Limits', '60/1m per agent, 1000/day', 'limits'],
  ({ rate, requests_per_day: daily, per }) =>
    `${(rate ?? `${daily as number}/day`) as string}${per === undefined ? '' : ` per ${per as string}`}`,
  (text) => {
    const [, rate = '', count, per] = /^((\d+)\/\w+)(?: per (agent|grant|rule))?$/.exec(text) ?? [];
    if (rate === '') return null;
    return {
      ...(rate.endsWith('/day') ? { requests_per_day: Number(count) } : { rate }),
      ...(per && { per }),
    };
  },
);

const times = several(
  ['Times', '09:00-17:30 mon-fri UTC', 'times'],
  ({ from, to, weekdays, zone }) =>
    [
      ...(from === undefined ? [] : [`${from as string}-${to as string}`]),
      ...words(joined(weekdays)),
      zone,
    ].join(' '),
  (text) => {
    const form = /^(?:(\d\d:\d\d)-(\d\d:\d\d) )?((?:[a-z]{3}(?:-[a-z]{3})? )*)([A-Z][\w/+-]*)$/;
    const [, from, to, days = '', zone] = form.exec(text) ?? [];
    return zone === undefined
      ? null
      : { ...(from && { from, to }), ...(days && { weekdays: words(days) }), zone };
  },
);

const bounds = /^(-?[\d.]*?)\.\.(-?[\d.]*)$/;

const parameters: RuleField = {
  label: 'Parameters, one a line',
  placeholder: 'query state = open, closed\njson $.amount = ..100',
  show: (rule) =>
    ['query', 'json', 'form']
      .flatMap((place) =>
        Object.entries((rule[place] ?? {}) as Readonly<Record<string, Rule>>).map(([name, value]) => {
          const { min = '', max = '' } = value as Readonly<Record<string, number | string>>;
          return `${place} ${name} = ${joined(value) || `${min}..${max}`}`;
        }),
      )
      .join('\n'),
  take(text) {
    const rule: Record<string, Record<string, unknown>> = {};
    for (const line of text.split('\n').filter((each) => each.trim() !== '')) {
      const [, place, name, value = ''] = /^\s*(query|json|form) (.+?) *= *(.*)$/.exec(line) ?? [];
      if (place === undefined || name === undefined || value.trim() === '') return null;
      const [range, min, max] = bounds.exec(value.trim()) ?? [];
      const numbers = { ...(min && { min: Number(min) }), ...(max && { max: Number(max) }) };
      (rule[place] ??= {})[name] = range === undefined ? words(value) : numbers;
    }
    return rule;
  },
};

export const fields: Readonly<Record<string, RuleField>> = {
  outcome: {
    label: 'Outcome',
    show: ({ outcome = 'allow' }) => outcome as string,
    take: (outcome) => (outcome === 'allow' ? {} : { outcome }),
  },
  methods: list('Methods', 'GET, HEAD', 'methods'),
  paths: list('Paths', '/repos/acme/**, /user', 'paths'),
  agents: list('Agents', 'ci, triage-*', 'agents'),
  tools: list('MCP tools', 'search, read_*', 'jsonrpc', 'tools'),
  limits,
  times,
  require_reason: {
    label: 'Needs a reason',
    show: (rule) => (rule['require_reason'] === true ? 'yes' : ''),
    take: (text) => (text === '' ? {} : { require_reason: true }),
  },
  parameters,
};

/** Returns the texts of a rule; null if the fields cannot show all of it. */
export function textsOf(rule: Rule): Texts | null {
  try {
    const texts = Object.fromEntries(Object.entries(fields).map(([name, { show }]) => [name, show(rule)]));
    return same({ outcome: 'allow', ...ruleOf(texts) }, { outcome: 'allow', ...rule }) ? texts : null;
  } catch {
    // A member of another type.
    return null;
  }
}

/** Returns the rule of the texts; null if a text is not complete. */
export function ruleOf(texts: Texts): Rule | null {
  const parts = Object.entries(fields).map(([name, { take }]) => take(texts[name] ?? ''));
  return parts.includes(null) ? null : (Object.assign({}, ...parts) as Rule);
}

/** Compares values, without the order of members. */
export function same(one: unknown, other: unknown): boolean {
  if (!isMap(one) || !isMap(other)) return one === other;
  return Object.keys({ ...one, ...other }).every((name) => same(one[name], other[name]));
}

const isMap = (value: unknown): value is Rule => typeof value === 'object' && value !== null;
