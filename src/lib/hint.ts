import { shellWord } from './text.ts';

/** Next steps: sentences, in which actions are data. Each front end shows an action in its way. */

/** An action that helps, with the known part of its input. */
export interface Remedy {
  /** Id of an operation (`domain.allow`), or of an action that only the command line has (`connect`). */
  readonly operation: RemedyId;
  /** Members of the input by name; null if the person chooses the value. */
  readonly input: Readonly<Record<string, InputValue>>;
}

export type RemedyInput = Readonly<Record<string, InputValue | undefined>>;

type InputValue = string | number | boolean | readonly string[] | null;

/** A sentence, an action, or parts of a sentence with actions between them. */
export type Hint = string | Remedy | readonly (string | Remedy)[];

/** Commands of operations that the API has. A word in capitals is a member of the input: the argument. */
const operationCommands = {
  'agent.bind': 'agent bind AGENT',
  'agent.change': 'agent set AGENT',
  'agent.create': 'agent create NAME',
  'agent.get': 'agent show AGENT',
  'agent.list': 'agent list',
  'agent.remove': 'agent remove AGENT',
  'agent.rotate': 'agent rotate AGENT',
  'api_key.create': 'api-key create NAME',
  'api_key.list': 'api-key list',
  'api_key.revoke': 'api-key revoke KEY',
  'approval.answer': 'approve APPROVAL',
  'approval.list': 'approve --list',
  'approval.revoke': 'approve --revoke APPROVAL',
  'audit.verify': 'audit verify',
  'domain.allow': 'domain allow HOST',
  'domain.deny': 'domain deny HOST',
  'domain.explain': 'explain METHOD URL',
  'domain.list': 'domain list',
  'domain.remove': 'domain remove HOST',
  'domain.tunnel': 'domain tunnel HOST',
  'environment.get': 'env',
  'grant.change': 'grant set GRANT',
  'grant.get': 'grant show GRANT',
  'grant.list': 'grant list',
  'grant.refresh': 'grant refresh GRANT',
  'grant.remove': 'grant remove GRANT',
  'grant.revoke': 'grant revoke GRANT',
  'health.examine': 'doctor',
  'health.status': 'status',
  'key.rotate': 'key rotate',
  'key.status': 'key status',
  'lease.create': 'lease create',
  'lease.list': 'lease list',
  'lease.renew': 'lease renew LEASE',
  'lease.revoke': 'lease revoke LEASE',
  'lease.revokeAll': 'lease revoke',
  'node.list': 'node list',
  'node.revoke': 'node revoke NODE',
  'person.change': 'person set PERSON',
  'person.link': 'person link PERSON',
  'person.list': 'person list',
  'proposal.get': 'proposal show PROPOSAL',
  'proposal.list': 'proposal list',
  'provider.get': 'provider show PROVIDER',
  'provider.list': 'provider list',
} as const;

/** Commands of actions that only the command line has. */
const machineCommands = {
  'agent.check': 'agent check',
  'audit.anchor': 'audit verify --write-anchor FILE',
  'audit.query': 'audit query',
  'audit.tail': 'audit tail',
  'ca.install': 'ca install',
  'config.edit': 'config edit',
  'domain.find': 'domain list HOST',
  'config.path': 'config path',
  'environment.print': 'env --shell SHELL',
  connect: 'connect PROVIDER',
  fetch: 'fetch GRANT URL',
  'grant.import': 'grant import NAME',
  'grant.placeholder': 'grant show GRANT --placeholder',
  'grant.source': 'grant source GRANT SOURCE',
  login: 'login',
  'node.enroll': 'node enroll NAME',
  'node.join': 'node join',
  open: 'open',
  run: 'run COMMAND',
  'service.install': 'service install',
  'service.logs': 'service logs',
  start: 'start',
  'store.copy': 'store copy FROM TO',
  'transparent.rules': 'transparent rules',
} as const;

const commands = { ...operationCommands, ...machineCommands };

export type RemedyId = keyof typeof commands;

export const remedyIds = Object.keys(commands) as RemedyId[];

/** Options whose name, or whose word for the value, differs from the name of the member. */
const optionForms: Readonly<Record<string, string>> = {
  agent_labels: 'agent-label LABEL',
  app_id: 'app-id ID',
  assume_role: 'assume-role ARN',
  client_id: 'client-id ID',
  from: 'from SOURCE',
  grants: 'grant GRANT',
  headers: 'header HEADER',
  installation_id: 'installation-id ID',
  key: 'key FILE',
  max_uses: 'uses COUNT',
  method: 'request METHOD',
  only: 'only NAME',
  providers: 'provider PROVIDER',
  purpose: 'purpose TEXT',
  scopes: 'scope SCOPES',
};

/** Members of options with another name, by the option. */
const membersOfOptions: ReadonlyMap<string, string> = new Map(
  Object.entries(optionForms).map(([member, form]) => [form.split(' ')[0] ?? form, member]),
);

/** Returns a text with options as the members of an input, for programs. Whole commands stay as they are. */
export function asMembers(text: string): string {
  return text.replace(/(?<!sidekey(?:\.js'?)? [^;"]*)(?<![\w-])--([a-z][a-z-]*)/g, (_option, name: string) =>
    (membersOfOptions.get(name) ?? name).replaceAll('-', '_'),
  );
}

/** Returns an action that helps. Members without a value are left out. */
export function remedy(operation: RemedyId, input: RemedyInput = {}): Remedy {
  const given = Object.entries(input).flatMap(([member, value]) =>
    value === undefined ? [] : [[member, value] as const],
  );
  return { operation, input: Object.fromEntries(given) };
}

/** Adds input to the action that is the whole of a hint. Returns other hints unchanged. */
export function withInput(hint: Hint, more: RemedyInput): Hint {
  return typeof hint === 'object' && 'operation' in hint
    ? remedy(hint.operation, { ...hint.input, ...more })
    : hint;
}

/** Returns the action that connects a grant of a name. A provider of that name needs no other. */
export function connectNamed(name: string, isProvider: boolean): Remedy {
  return remedy('connect', isProvider ? { provider: name } : { provider: null, name });
}

/** Returns a sentence with actions: hintOf`log in again: ${remedy('connect', { provider })}`. */
export function hintOf(texts: TemplateStringsArray, ...values: readonly (Hint | number)[]): Hint {
  return texts
    .flatMap((text, index): readonly (string | Remedy)[] => {
      const value = values[index] ?? '';
      return [text, ...[typeof value === 'number' ? String(value) : value].flat()];
    })
    .filter((part) => part !== '');
}

/** Returns a hint as text, with actions as commands: `sidekey domain allow HOST --grant github`. */
export function hintText(hint: Hint): string {
  return partsOf(hint)
    .map((part) => (typeof part === 'string' ? part : commandText(part)))
    .join('');
}

/** Returns a sentence, and its hint on a line of its own. */
export function withHint(sentence: string, hint: Hint | null): string {
  return hint === null ? sentence : `${sentence}\n  → ${hintText(hint)}`;
}

/** Returns the operations of a hint, for programs. */
export function remediesOf(hint: Hint): readonly Remedy[] {
  return partsOf(hint).filter(
    (part) => typeof part !== 'string' && Object.hasOwn(operationCommands, part.operation),
  ) as readonly Remedy[];
}

function partsOf(hint: Hint): readonly (string | Remedy)[] {
  return [hint].flat();
}

function commandText({ operation, input }: Remedy): string {
  const options = new Map(Object.entries(input));
  const words = ['sidekey'];
  // Arguments from the first one that begins with a dash follow `--`, so that none is read as an option.
  const dashed: string[] = [];
  for (const word of commands[operation].split(' ')) {
    const member = word.toLowerCase();
    const isArgument = member !== word;
    const value = isArgument ? options.get(member) : null;
    if (isArgument) options.delete(member);
    if (value === undefined) continue;
    const isDashed = String(value).startsWith('-') && words.at(-1)?.startsWith('--') !== true;
    const target = isDashed || dashed.length > 0 ? dashed : words;
    target.push(value === null ? word : shellWord(String(value)));
  }
  const end = dashed.length === 0 ? [] : ['--', ...dashed];
  return [...words, ...[...options].flatMap(optionWords), ...end].join(' ');
}

function optionWords([member, value]: [string, InputValue]): readonly string[] {
  if (member === 'disabled') return [value === true ? '--disable' : '--enable'];
  if (member === 'answer') return [`--${String(value)}`];
  if (member === 'span') return [String(value)];
  const dashed = member.replaceAll('_', '-');
  const [name = '', placeholder = ''] = (optionForms[member] ?? `${dashed} ${dashed.toUpperCase()}`).split(
    ' ',
  );
  if (typeof value === 'boolean') return [value ? `--${name}` : `--no-${name}`];
  if (value === null) return [`--${name}`, placeholder];
  // Several scopes are one word, several of anything else are several.
  const words = typeof value !== 'object' ? [String(value)] : member === 'scopes' ? [value.join(' ')] : value;
  return [`--${name}`, ...words.map(shellWord)];
}
