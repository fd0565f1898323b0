/** Options of the command line that follow from the inputs of operations. */
import { describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import type { Context } from '../../../src/cli/context.ts';
import { agentCommands } from '../../../src/cli/agent.ts';
import { domainCommands } from '../../../src/cli/domain.ts';
import { leaseCommands } from '../../../src/cli/lease.ts';
import { optionRows, perform } from '../../../src/cli/operation-command.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { apiKeyCommands } from '../../../src/cli/api-key.ts';
import { personCommands } from '../../../src/cli/person.ts';
import * as keys from '../../../src/operations/api-key.ts';
import * as people from '../../../src/operations/person.ts';
import * as agents from '../../../src/operations/agent.ts';
import * as domains from '../../../src/operations/domain.ts';
import * as leases from '../../../src/operations/lease.ts';
import { uses } from '../../../src/operations/members.ts';
import { changing, readingConfig } from '../../../src/operations/operation.ts';

const echo = changing({
  id: 'thing.echo',
  summary: 'Return the input.',
  scope: 'access:write',
  input: z.strictObject({
    thing: z.string(),
    names: z.array(z.string()).min(1).optional().describe('Names.'),
    max_size: z.int('is not a size').optional(),
    long: z.boolean().optional(),
    text: z.string().transform((value) => value.length),
    file: z
      .array(z.string())
      .optional()
      .transform((lines) => lines ?? []),
  }),
  output: z.unknown(),
  run: async (_parts, input) => input,
  answer: (input) => input,
});

const words = {
  names: { summary: 'the names', name: 'name' },
  max_size: { summary: 'the size', value: 'bytes' },
  long: { summary: 'in full' },
  text: { summary: 'the text' },
  file: { summary: 'the lines', read: async (_context: Context, path: string) => [path] },
};

const context = {
  env: {},
  commandWords: () => 'sidekey thing echo',
  now: () => 1_000,
  withState: (use: (state: object) => Promise<unknown>) => use({ config: { admin: { listen: null } } }),
} as unknown as Context;

const run = (options: object) =>
  perform(context, echo, { words, options: options as Record<string, unknown>, fixed: { thing: 'x' } });

describe('the options of an operation', () => {
  test('have the choices and the default of the input, and accept one value at each repetition', () => {
    const input = z.strictObject({
      role: z.enum(['reader', 'writer']),
      scopes: z.array(z.enum(['a', 'b'])).optional(),
      expires: z.string().default('90d').describe('A span.'),
    });
    expect(
      optionRows(
        { input },
        {
          role: { summary: 'the role' },
          scopes: { summary: 'a scope', name: 'scope', repeated: true },
          expires: { summary: 'the end', value: 'when' },
        },
      ),
    ).toEqual([
      ['--role <role>', 'the role', { required: true, choices: ['reader', 'writer'] }],
      ['--scope <scope>', 'a scope', { choices: ['a', 'b'], repeated: true }],
      ['--expires <when>', 'the end', { default: '90d' }],
    ]);
  });

  test('accept one, several or no values as the input does, and are required if the input has no default', () => {
    expect(optionRows(echo, words)).toEqual([
      ['--name <name...>', 'the names'],
      ['--max-size <bytes>', 'the size'],
      ['--long', 'in full'],
      ['--text <text>', 'the text', { required: true }],
      ['--file <file>', 'the lines'],
    ]);
  });

  test('become the members of the input', async () => {
    const options = { name: ['a'], maxSize: '7', long: true, text: 'four', file: 'path' };
    expect(await run(options)).toMatchObject({
      result: { thing: 'x', names: ['a'], max_size: 7, long: true, text: 4, file: ['path'] },
      at: 1_000,
    });
  });

  test('are named without their value when they are invalid', async () => {
    const refused = run({ maxSize: 'secret', text: 'four' });
    await expect(refused).rejects.toMatchObject({
      code: 'input_invalid',
      message: '--max-size is not a size.',
      hint: 'sidekey thing echo --help',
    });
  });

  test('name the choices of a value, and the command that was run', async () => {
    const options = { role: 'operator', scope: ['grants:reed'] };
    const given = {
      words: { role: {}, scopes: { name: 'scope' } },
      options,
      fixed: { name: 'x' },
    };
    await expect(perform(context, keys.createApiKey, given)).rejects.toMatchObject({
      message: expect.stringMatching(
        /^--scope does not take that value\. Allowed choices are grants:read, .*, status:read\.$/,
      ) as string,
      hint: 'sidekey thing echo --help',
    });
  });
});

describe('a number of the command line', () => {
  test.each(['', ' 1', '1 ', '+1', '-1', '1e3', '0x10', '1.0', '1_000', '\u0661'])(
    'is not %j',
    async (maxSize) => {
      await expect(run({ maxSize, text: 'four' })).rejects.toMatchObject({
        message: '--max-size is not a size.',
      });
    },
  );
});

describe('a count of requests', () => {
  test.each([0, 1.5, 1_000_000_000, Number.MAX_SAFE_INTEGER])('is not %j', (count) => {
    expect(uses.safeParse(count).error?.issues).toMatchObject([
      { message: 'is not a number of requests, from 1 to 999999999' },
    ]);
  });

  test.each([1, 999_999_999])('is %j', (count) => {
    expect(uses.parse(count)).toBe(count);
  });
});

/** Commands whose names are not the verbs of their operations. */
const commandOf: Readonly<Record<string, string>> = {
  'agent.get': 'list',
  'agent.change': 'set',
  'api_key.get': 'list',
  'domain.get': 'list',
  'lease.get': 'list',
  'lease.revokeAll': 'revoke',
  'person.get': 'list',
  'person.change': 'set',
};

/** Members that a command gets from an argument or an option of another name. */
const otherNames: Readonly<Record<string, readonly string[]>> = {
  agent: ['name'],
  agent_labels: ['agent-label'],
  acts_for: ['for'],
  disabled: ['disable', 'enable'],
  key: ['name'],
  person: ['name'],
  token: ['no-token'],
};

function refuse(): never {
  throw new SidekeyError('input_invalid', 'No.');
}

describe('an input that is refused', () => {
  const opened = vi.fn<() => Promise<never>>();
  const closed = { ...context, withState: opened, withView: opened } as unknown as Context;

  test('by the operation does not open the store', async () => {
    const refusing = { ...echo, check: refuse };
    const given = { words, options: { text: 'x' }, fixed: { thing: 'x' } };
    await expect(perform(closed, refusing, given)).rejects.toMatchObject({ message: 'No.' });
    expect(opened).not.toHaveBeenCalled();
  });

  test('by the config file does not open the store', async () => {
    const refusing = { ...echo, checkConfig: async () => refuse() };
    const given = { words, options: { text: 'x' }, fixed: { thing: 'x' } };
    const configured = { ...closed, readConfig: async () => ({}) } as unknown as Context;
    await expect(perform(configured, refusing, given)).rejects.toMatchObject({ message: 'No.' });
    expect(opened).not.toHaveBeenCalled();
  });

  test.each([
    ['an invalid credential of a lease', leases.createLease, { grants: ['x'], credentials: () => refuse() }],
    ['an invalid host', leases.createLease, { egress: ['a b'], credentials: () => [] }],
    ['an expiry of a token in the past', agents.createAgent, { name: 'x', expires: '2020-01-01' }],
    ['a token in place of a token label', agents.rotateAgent, { token_label: 'sidekey_agent_x' }],
    ['a binding to nothing', agents.bindAgent, { agent: 'x' }],
    ['a change of an agent without any change', agents.changeAgent, { agent: 'x' }],
    ['a change of a person without any change', people.changePerson, { person: 'x' }],
    [
      'an API key of the role user without a user',
      keys.createApiKey,
      { name: 'x', role: 'user', expires: '90d' },
    ],
    [
      'an expiry of an API key in the past',
      keys.createApiKey,
      { name: 'x', role: 'auditor', expires: '2020-01-01' },
    ],
    ['a revocation without a selection of leases', leases.revokeLeases, {}],
    ['an entry whose host is a URL', domains.tunnelHost, { host: 'https://x.example.com/' }],
    ['an entry whose grant is no name', domains.allowHost, { host: 'x.example.com', grant: 'a b' }],
    ['the entry of a URL', domains.getDomain, { host: 'https://x.example.com/' }],
  ])('may be %s', (_, operation, input) => {
    expect(() => operation.check?.(input as never, 1_800_000_000_000)).toThrow(SidekeyError);
  });

  test('by its schema reads no file', async () => {
    const read = vi.fn<() => Promise<string[]>>();
    const file = { summary: 'the lines', read };
    const given = { words: { ...words, file }, options: { file: '-', text: 'x' }, fixed: { thing: 7 } };
    await expect(perform(closed, echo, given)).rejects.toMatchObject({ code: 'input_invalid' });
    expect(read).not.toHaveBeenCalled();
  });
});

test('an operation that reads only the config does not open the store', async () => {
  const opened = vi.fn<() => Promise<never>>();
  const config = { admin: { listen: null } };
  const closed = { ...context, withState: opened, withView: opened, readConfig: async () => config };
  const operation = readingConfig({
    id: 'thing.list',
    summary: 'Return the config.',
    scope: 'grants:read',
    input: z.strictObject({}),
    output: z.unknown(),
    run: async (parts) => parts.config,
    answer: (result) => result,
  });
  expect((await perform(closed as unknown as Context, operation)).result).toBe(config);
  expect(opened).not.toHaveBeenCalled();
});

const { previewDomain: _ofTheApi, ...domainsOfCommands } = domains;

test.each([
  { noun: 'agent', commands: agentCommands, operations: agents },
  { noun: 'domain', commands: domainCommands, operations: domainsOfCommands },
  { noun: 'lease', commands: leaseCommands, operations: leases },
  { noun: 'API key', commands: apiKeyCommands, operations: keys },
  { noun: 'person', commands: personCommands, operations: people },
])('each member of an input of a $noun is an option or an argument of a command', ({ commands, ...rest }) => {
  const named = commands.flatMap(({ name, options = [], arguments: args = [] }) => [
    ...options.map((option) => `${name} ${/--([a-z-]+)/.exec(option[0] ?? '')?.[1]}`),
    ...args.map(([argument]) => `${name} ${/\w+/.exec(argument)?.[0]}`),
  ]);
  const operations = Object.values(rest.operations).filter((value) => typeof value === 'object');
  const missing = operations.flatMap(({ id, input }) => {
    const command = commandOf[id] ?? id.split('.')[1]!;
    return Object.keys(input.shape).filter((member) => {
      const names = [member.replaceAll('_', '-'), member.replace(/s$/, ''), ...(otherNames[member] ?? [])];
      return !names.some((name) => named.includes(`${command} ${name}`));
    });
  });
  expect(operations.length).toBeGreaterThan(3);
  expect(missing).toEqual([]);
});
