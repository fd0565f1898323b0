import { relativeTime } from '../operations/format.ts';
import { enabledState } from '../operations/members.ts';
import {
  changePerson,
  createPerson,
  getPerson,
  linkPerson,
  listPeople,
  removePerson,
} from '../operations/person.ts';
import { inputInvalid } from '../lib/errors.ts';
import type { ArgumentRow, CommandRow } from './command.ts';
import type { Context } from './context.ts';
import { table } from './display.ts';
import { type GivenOptions, optionRows, pageWords, perform, sayNext } from './operation-command.ts';

/** Commands for the people who sign in at the pages. */

const createWords = {
  role: { summary: 'what the person may do (docs/api.md)' },
  user: {
    summary: 'only for the grants of this user; of the role user, by default that of the same name',
    value: 'name',
  },
};

const setWords = {
  role: { summary: 'the new role' },
  subject: { summary: 'let the account with this subject at the issuer of admin.oidc sign in' },
};

async function create(context: Context, name: string, options: GivenOptions): Promise<void> {
  const given = { words: createWords, options, fixed: { name } };
  const { result, answer } = await perform(context, createPerson, given);
  context.output.result(answer, `Created the person ${name} with the role ${result.role}.`);
  context.output.say(`To sign in:\n  → sidekey person link ${name}`);
}

async function list(context: Context, name: string | undefined, options: GivenOptions): Promise<void> {
  const { output } = context;
  const { result, answer, at } =
    name === undefined
      ? await perform(context, listPeople, { words: pageWords, options })
      : await perform(context, getPerson, { fixed: { person: name } });
  const people = 'people' in result ? result.people : [result];
  const rows = people.map((person) => [
    person.name,
    person.role,
    person.user ?? '-',
    enabledState(person),
    String(person.passkeys.length),
    relativeTime(person.createdAt, at),
  ]);
  const headings = ['NAME', 'ROLE', 'USER', 'STATE', 'PASSKEYS', 'CREATED'];
  output.result(
    answer,
    rows.length === 0
      ? 'There are no people yet.\n  → sidekey person create NAME --role operator'
      : table(output.display, headings, rows, { least: ['CREATED', 'USER'] }),
  );
  if ('people' in result) sayNext(context, result.next);
}

async function set(context: Context, name: string, options: GivenOptions): Promise<void> {
  const { disable = false, enable = false } = options;
  if (disable === true && enable === true) {
    throw inputInvalid('--disable and --enable exclude each other.', 'give one of them');
  }
  const state = disable === true ? { disabled: true } : enable === true ? { disabled: false } : {};
  const given = { words: setWords, options, fixed: { person: name, ...state } };
  const { answer } = await perform(context, changePerson, given);
  context.output.result(answer, `Changed ${name}; it takes effect on the next request.`);
  if (disable === true) {
    context.output.say(
      `All sign-ins and API keys of ${name} have ended, and stay so when you enable ${name} again.`,
    );
  }
}

async function remove(context: Context, name: string): Promise<void> {
  const { answer } = await perform(context, removePerson, { fixed: { person: name } });
  context.output.result(answer, `Removed ${name}: the sessions and keys of ${name} are refused from now on.`);
}

async function link(context: Context, name: string): Promise<void> {
  const { result, answer, at } = await perform(context, linkPerson, { fixed: { person: name } });
  context.output.result(answer, result.url);
  context.output.say(
    `The first person to open it is signed in as ${name}. It works once and expires ${relativeTime(result.expiresAt, at)}.`,
  );
}

const oneName: readonly ArgumentRow[] = [['<name>', 'the name']];

export const personCommands: readonly CommandRow[] = [
  {
    name: 'create',
    summary: 'create a person',
    arguments: [['<name>', 'the name in the audit log']],
    options: optionRows(createPerson, createWords),
    examples: ['sidekey person create alice --role operator'],
    load: async () => create,
  },
  {
    name: 'list',
    alias: 'show',
    summary: 'list the people, or show one',
    arguments: [['[name]', 'the name']],
    options: optionRows(listPeople, pageWords),
    examples: ['sidekey person list'],
    load: async () => list,
  },
  {
    name: 'set',
    summary: 'change the role of a person; disable or enable the person; link an account',
    arguments: oneName,
    options: [
      ...optionRows(changePerson, { role: setWords.role }),
      ['--disable', 'end the sessions and keys of the person'],
      ['--enable', 'accept them again'],
      ...optionRows(changePerson, { subject: setWords.subject }),
    ],
    examples: ['sidekey person set alice --role auditor', 'sidekey person set alice --disable'],
    load: async () => set,
  },
  {
    name: 'remove',
    summary: 'remove a person with passkeys and sessions',
    arguments: oneName,
    examples: ['sidekey person remove alice'],
    load: async () => remove,
  },
  {
    name: 'link',
    summary: 'print an address that signs a person in, once',
    arguments: oneName,
    examples: ['sidekey person link alice'],
    load: async () => link,
  },
];
