import { counted, expiryOf } from '../../operations/format.ts';
import { stateNow, titleOf } from '../../domain/grant.ts';
import { shapes } from '../../grants/credential-shape.ts';
import { shellWord } from '../../lib/text.ts';
import { type Imported, importGrants } from '../../operations/grant-import.ts';
import type { CommandRow } from '../command.ts';
import type { Context } from '../context.ts';
import { details } from '../display.ts';
import { type GivenOptions, optionRows, perform } from '../operation-command.ts';
import { readSecretFile } from '../terminal.ts';
import { accountText, certificateRows, scopesOf } from './format.ts';

const providerWords = {
  provider: { summary: 'the service that it is for (default: the name of the grant)', value: 'name' },
} as const;

const choiceWords = {
  user: { summary: 'owner of the account', value: 'name' },
  audience: { summary: "hosts that it may be sent to, instead of the provider's", value: 'host' },
  replace: { summary: 'replace the grant of that name' },
  verify: { none: 'store the credentials without asking the providers whether they are accepted' },
} as const;

const resumeWords = {
  resume: { summary: 'skip credentials that an interrupted import has stored' },
} as const;

const words = { ...providerWords, ...choiceWords, ...resumeWords };

/** Size in bytes of a file: a text of V8 has at most 512 Mi characters. */
const maxFile = 511 * 1_048_576;

/** Number of grants that are shown one by one. */
const maxShown = 50;

const question = 'Paste the credential (it is not shown); after JSON or PEM, an empty line';

/** Exit code of a command that Ctrl-C ended. */
const interruptedExit = 130;

/**
 * `sidekey grant import`: verifies and stores the credentials of the input, a thousand at a time. Ctrl-C ends
 * it between two of them.
 */
async function importCredentials(
  context: Context,
  name: string | undefined,
  { file, ...options }: GivenOptions & { readonly file?: string },
): Promise<number | void> {
  const { output } = context;
  // First, so that nobody pastes a credential in vain.
  await context.readConfig();
  const credentials =
    file === undefined || file === '-'
      ? ((await context.ask?.(question, { secret: true, hasLines: true })) ?? (await context.readInput()))
      : await readSecretFile('--file', file, output, maxFile);
  const given = { words, options, fixed: { name, credentials } };
  const { result, answer } = await perform(context, importGrants, given);
  const { added, skipped, left } = result;
  if (left > 0) {
    const stored = `${added.length} of ${counted(added.length + left, 'credential')}`;
    output.note(
      { interrupted: true, stored: added.length, left },
      `Interrupted: ${stored} were stored. The same command with --resume stores the rest.`,
    );
    return interruptedExit;
  }
  const isOne = added.length === 1 && skipped === 0;
  const lines = added.slice(0, maxShown).map(({ grant, replaced, audience, check, credential, at }) =>
    details(
      output.display,
      replaced ? `Replaced the credential of ${titleOf(grant)}.` : `Stored ${titleOf(grant)}.`,
      {
        provider: grant.provider,
        user: grant.user,
        account: accountText(check.details ?? {}),
        type: grant.type,
        ...certificateRows(credential, at),
        state: stateNow(grant, at),
        check: check.says,
        scopes: scopesOf(grant),
        expires: expiryOf(grant, at),
        'refresh token': grant.refreshable ? 'yes' : 'no',
        audience: audience.join(', '),
      },
    ),
  );
  if (added.length > maxShown || added.length === 0) lines.splice(0, Infinity, totalOf(added));
  output.result(isOne ? answer[0] : answer, lines.join('\n'));
  if (skipped > 0)
    output.say(`${counted(skipped, 'credential')} ${skipped === 1 ? 'was' : 'were'} stored before.`);
  // Grants of many users share a note.
  const notes = [...new Set(added.flatMap((each) => notesOf(each, isOne)))];
  notes.slice(0, maxShown).forEach((note) => output.say(note));
  if (notes.length > maxShown) output.say(`${notes.length - maxShown} more notes are not shown.`);
}

function totalOf(added: Imported['added']): string {
  const replaced = added.filter((each) => each.replaced).length;
  return `Stored ${counted(added.length, 'credential')}${replaced === 0 ? '' : `; ${replaced} of them replaced another`}.`;
}

function notesOf(
  { grant, domains, audience, warnings }: Imported['added'][number],
  isOne: boolean,
): readonly string[] {
  const notes = warnings.map((warning) => `Note: ${isOne ? '' : `${titleOf(grant)}: `}${warning}`);
  if (domains.length > 0) return notes;
  const [host = 'HOST'] = audience;
  return [
    ...notes,
    `No domain uses it yet:\n  → sidekey domain allow ${shellWord(host)} --grant ${grant.name}`,
  ];
}

export const importCommandRow: CommandRow = {
  name: 'import',
  summary: 'store credentials that you have, from standard input or a file',
  arguments: [['[name]', "name of the grant (default: the provider's name)"]],
  options: [
    ...optionRows(importGrants, providerWords),
    ['--file <file>', 'read this file instead of standard input'],
    ...optionRows(importGrants, choiceWords),
    ...optionRows(importGrants, resumeWords),
  ],
  examples: [
    'sidekey grant import github < token.json',
    'pass show work/stripe | sidekey grant import stripe-work --provider stripe',
    'sidekey grant import --file grants.json',
    'sidekey grant import --file grants.jsonl --resume',
  ],
  notes: [
    'The input is a key or token alone, PEM, or JSON of these forms. An array, or an object in each line, stores several; each has a "name" and may have a "provider" and a "user":',
    ...Object.values(shapes),
  ].join('\n  '),
  load: async () => importCredentials,
};
