import { createApiKey, getApiKey, listApiKeys, revokeApiKey } from '../operations/api-key.ts';
import { lastUse, relativeTime } from '../operations/format.ts';
import type { ApiKeyRecord } from '../store/store.ts';
import type { CommandRow } from './command.ts';
import type { Context } from './context.ts';
import { table } from './display.ts';
import { type GivenOptions, optionRows, pageWords, perform, sayNext } from './operation-command.ts';

/** Commands for the keys of programs that call the API. */

const createWords = {
  role: { summary: 'what it may do (docs/api.md)' },
  scopes: {
    summary:
      'only this scope of the role; may be given several times. tokens:read returns secrets, and no role has it',
    name: 'scope',
    repeated: true,
  },
  user: { summary: 'only for the grants of this user', value: 'name' },
  person: {
    summary: 'the person whose key it is: it ends with the person, and has at most that role',
    value: 'name',
  },
  expires: { summary: 'its end: 90d, a date, or none', value: 'when' },
} as const;

/** Prints the key, which cannot be retrieved later. */
async function create(context: Context, name: string, options: GivenOptions): Promise<void> {
  const given = { words: createWords, options, fixed: { name } };
  const { result, answer, at } = await perform(context, createApiKey, given);
  const { key, secret, pages } = result;
  context.output.result(answer, secret);
  context.output.say(
    [
      `Copy the key ${name} from that line now: it is shown only once. It ends ${endText(key, at)}.`,
      pages === null
        ? 'The config file names no address of the API: set "admin: { listen: 127.0.0.1:8378 }", and start the proxy again.'
        : `  → curl -H 'X-API-Key: KEY' ${pages}/v2/grants`,
    ].join('\n'),
  );
}

async function list(context: Context, name: string | undefined, options: GivenOptions): Promise<void> {
  const { output } = context;
  const { result, answer, at } =
    name === undefined
      ? await perform(context, listApiKeys, { words: pageWords, options })
      : await perform(context, getApiKey, { fixed: { key: name } });
  const keys = 'rows' in result ? result.rows : [result];
  const rows = keys.map((key) => [
    key.name,
    key.role,
    key.scopes?.join(' ') ?? 'all of the role',
    key.user ?? '-',
    endText(key, at),
    lastUse(key.usedAt, at),
    relativeTime(key.createdAt, at),
  ]);
  const headings = ['NAME', 'ROLE', 'SCOPES', 'USER', 'ENDS', 'LAST USED', 'CREATED'];
  output.result(
    answer,
    rows.length === 0
      ? 'There are no API keys yet.\n  → sidekey api-key create NAME --role operator'
      : table(output.display, headings, rows, { least: ['CREATED', 'USER', 'SCOPES', 'LAST USED'] }),
  );
  if ('rows' in result) sayNext(context, result.next);
}

async function revoke(context: Context, name: string): Promise<void> {
  const { answer } = await perform(context, revokeApiKey, { fixed: { key: name } });
  context.output.result(answer, `Revoked the key ${name}: it is refused from now on.`);
}

/** `in 90 d`, `2 h ago`, `never`. */
function endText({ expiresAt }: ApiKeyRecord, now: number): string {
  if (expiresAt === null) return 'never';
  return `${expiresAt <= now ? 'ended ' : ''}${relativeTime(expiresAt, now)}`;
}

export const apiKeyCommands: readonly CommandRow[] = [
  {
    name: 'create',
    summary: 'create a key, and show it once',
    arguments: [['<name>', 'its name in the audit log']],
    options: optionRows(createApiKey, createWords),
    examples: [
      'sidekey api-key create backend --role operator',
      'sidekey api-key create app --role user --user alice --expires 30d',
    ],
    load: async () => create,
  },
  {
    name: 'list',
    alias: 'show',
    summary: 'list the keys, or show one',
    arguments: [['[name]', 'its name']],
    options: optionRows(listApiKeys, pageWords),
    examples: ['sidekey api-key list'],
    load: async () => list,
  },
  {
    name: 'revoke',
    summary: 'end a key at once',
    arguments: [['<name>', 'its name']],
    examples: ['sidekey api-key revoke backend'],
    load: async () => revoke,
  },
];
