import { Readable } from 'node:stream';
import type { CommandCall, CommandResult, RunCommand } from '../api/parts.ts';
import type { State, View } from '../app/state.ts';
import { withOrigin } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import type { CommandRow, OptionRow, Sections } from './command.ts';
import { type Context, createContext } from './context.ts';
import { withRightsInMemory } from '../store/rights-in-memory.ts';
import { createDisplay } from './display.ts';
import type { Output } from './terminal.ts';

/** Commands of the command line in a running proxy, for the API (decision 81). */

/** Parts of the running proxy. */
interface RunningParts {
  readonly state: State;
  /** Returns the config in force. */
  readonly config: () => Promise<Config>;
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Returns the function that runs commands. They use the open state of the proxy, and nobody can be asked. */
export function createCommandRunner(sections: Sections, running: RunningParts): RunCommand {
  const commands = new Map<string, Promise<Command>>();
  const state = { ...running.state, store: withRightsInMemory(running.state.store) };
  const commandOf = (name: string) => {
    const command = commands.get(name) ?? loadCommand(sections, name);
    commands.set(name, command);
    return command;
  };
  return async ({ command, args = [], options = {}, input = '' }: CommandCall, origin) => {
    const { handler, row, defaults } = await commandOf(command);
    const { output, result } = collectingOutput();
    const context = contextOf({ ...running, state }, output, input, origin);
    // The parser gives every argument, and the defaults of options.
    const given = (row.arguments ?? []).map((_, index) => args[index]);
    await handler(context, ...([...given, { ...defaults, ...options }] as never[]));
    return result();
  };
}

interface Command {
  readonly row: CommandRow;
  readonly handler: Awaited<ReturnType<NonNullable<CommandRow['load']>>>;
  readonly defaults: Readonly<Record<string, string>>;
}

async function loadCommand(sections: Sections, name: string): Promise<Command> {
  const row = await rowOf(sections, name);
  const handler = await row.load?.();
  if (handler === undefined) throw new Error(`"${name}" is no command`);
  return { row, handler, defaults: defaultsOf(row) };
}

/** Returns the row of a command: `grant list`. */
async function rowOf(sections: Sections, command: string): Promise<CommandRow> {
  let rows: readonly CommandRow[] = sections.flatMap(([, commands]) => commands);
  let found: CommandRow | undefined;
  for (const word of command.split(' ')) {
    found = rows.find(({ name }) => name === word);
    rows = found?.commands ?? (await found?.loadCommands?.()) ?? [];
  }
  if (found === undefined) throw new Error(`"${command}" is no command`);
  return found;
}

function defaultsOf({ options = [] }: CommandRow): Record<string, string> {
  const rows = options.filter((option): option is OptionRow => typeof option !== 'string');
  return Object.fromEntries(
    rows.flatMap(([flags, , details]) => {
      const [, name = ''] = /--([a-z-]+)/.exec(flags) ?? [];
      const camel = name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
      return details?.default === undefined ? [] : [[camel, details.default]];
    }),
  );
}

/** Returns an output that keeps what `--json` prints. */
function collectingOutput(): { readonly output: Output; readonly result: () => CommandResult } {
  let value: unknown = null;
  const pieces: Uint8Array[] = [];
  const output: Output = {
    json: true,
    isTerminal: false,
    display: createDisplay({ isTTY: false }, {}),
    result: (it) => void (value = it),
    bytes: (content) => void pieces.push(content),
    drained: async () => {},
    say() {},
    note() {},
    fail() {},
    during: (_text, work) => work(),
  };
  return { output, result: () => ({ value, bytes: Buffer.concat(pieces) }) };
}

function contextOf(
  { state, config, env, now }: RunningParts,
  output: Output,
  input: string,
  origin: Parameters<RunCommand>[1],
): Context {
  const context = createContext({
    output,
    env,
    now,
    readInput: async () => input,
    stdin: Readable.from([Buffer.from(input)]),
    ask: null,
    openLines: () => ({ isTerminal: false, next: async () => null, close() {} }),
    openScreen: null,
    configOption: () => state.config.file,
  });
  return {
    ...context,
    config,
    readConfig: config,
    async withState(use) {
      return use({ ...state, config: await config(), audit: withOrigin(state.audit, origin) });
    },
    async withView(use) {
      return use(viewOf(state, await config()));
    },
  };
}

/** Returns the open state as a view, which its users do not close. */
function viewOf({ store, vault, grants }: State, config: Config): View {
  return {
    config,
    store,
    grants: () => grants.list(),
    vault: async () => vault,
    vaultWithoutStore: async () => vault,
    registry: async () => grants,
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}
