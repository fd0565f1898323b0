import type { Conditions, ConditionName } from './rule.ts';
import { weekdayNames, type TimeWindow } from './time-window.ts';

type Words = { readonly [K in ConditionName]: (condition: NonNullable<Conditions[K]>) => string };

const list = (items: readonly (string | { readonly text: string })[]) =>
  items.map((item) => (typeof item === 'string' ? item : item.text)).join(', ');

const words: Words = {
  methods: (methods) => `methods ${list(methods)}`,
  paths: (paths) => `paths ${list(paths)}`,
  query: (query) => `query ${[...query].map(([name, globs]) => `${name}=${list(globs)}`).join(' ')}`,
  contentTypes: (types) => `content_types ${list(types)}`,
  bodySize: ({ min, max }) => `body_size ${min} to ${max ?? 'any number of'} bytes`,
  times: (times) => `times ${times.map(describeWindow).join(', ')}`,
  clients: (blocks) => `clients ${blocks.map(({ address, prefix }) => `${address}/${prefix}`).join(', ')}`,
  agents: (globs) => `agents ${list(globs)}`,
  users: (globs) => `users ${list(globs)}`,
  labels: (globs) => `labels ${list(globs)}`,
  graphql: ({ types, names }) => describeBoth('graphql', ['types', types], ['names', names]),
  jsonrpc: ({ methods, tools }) => describeBoth('jsonrpc', ['methods', methods], ['tools', tools]),
};

/** A condition that is given, as the config file says it. */
export function describeCondition<K extends ConditionName>(conditions: Pick<Conditions, K>, name: K): string {
  return words[name](conditions[name] as NonNullable<Conditions[K]>);
}

type Part = readonly [name: string, items: readonly (string | { readonly text: string })[] | null];

function describeBoth(name: string, ...parts: readonly Part[]): string {
  const given = parts.flatMap(([part, items]) => (items === null ? [] : [`${part} ${list(items)}`]));
  return [name, ...given].join(' ');
}

/** `mon, tue 09:00-17:30 Europe/Berlin` */
export function describeWindow({ from, to, weekdays, zone }: TimeWindow): string {
  const days = weekdays.length === 7 ? '' : `${weekdays.map((day) => weekdayNames[day]).join(' ')} `;
  return `${days}${clock(from)}-${clock(to)} ${zone}`;
}

function clock(minute: number): string {
  return [Math.floor(minute / 60), minute % 60].map((part) => String(part).padStart(2, '0')).join(':');
}
