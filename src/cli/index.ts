import { Argument, Command, CommanderError, Option } from 'commander';
import { askOnTerminal } from '../lib/prompt.ts';
import {
  type CommandRow,
  commonOptions,
  environmentVariables,
  examplesOf,
  exitMeanings,
  firstCommands,
  type OptionRow,
  type Sections,
} from './command.ts';
import { commandTable } from './commands.ts';
import { assertOutsideRun, createContext } from './context.ts';
import { wrapMessage, wrapWords } from './display.ts';
import { createAsk, createScreen, type Input, openLines, readInput } from './terminal.ts';
import { createOutput, type Streams } from './output.ts';
import { packageVersion } from '../lib/package-files.ts';
import { didYouMean } from '../lib/text.ts';
import { inputInvalid, failureOf, SidekeyError } from '../lib/errors.ts';
import { exitCode } from '../lib/failures.ts';
import { remedy } from '../lib/hint.ts';
import { wallClock } from '../lib/wall-clock.ts';

interface CommonOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** Common options, and the words of the command: `sidekey grant import`. */
type Invocation = CommonOptions & { readonly commandWords: string };

/** The process that the program runs in; a test gives another. */
type Host = Pick<NodeJS.Process, 'env'> & Streams & { readonly stdin: Input };

/** Runs one command of the command line, and resolves with its exit code (see `exitCode`). Never rejects. */
export async function run(argv: readonly string[], host: Host = process): Promise<number> {
  let options: CommonOptions = { json: argv.includes('--json') };
  let exit: number = exitCode.ok;
  let commandWords = 'sidekey';
  /** Help or version. */
  const shown: string[] = [];
  const output = createOutput(host, () => options.json === true);
  const ask = createAsk(host.stdin, host.stderr);
  if (ask !== null) askOnTerminal((question) => ask(question, { secret: true }));
  const context = createContext({
    output,
    env: host.env,
    now: wallClock,
    readInput: () => readInput(host.stdin),
    stdin: host.stdin,
    openLines: () => openLines(host.stdin, host.stderr as NodeJS.WritableStream),
    ask,
    openScreen: createScreen(host.stdin, host.stdout, host.env),
    configOption: () => options.config,
    commandWords: () => commandWords,
  });
  if (host === process) {
    exitQuietlyOnClosedOutput();
    // Node would print the message and all properties of the error, which may contain a secret.
    process.on('uncaughtException', (error) => {
      output.fail(failureOf(error));
      process.exit(exitCode.failure);
    });
  }
  const program = createProgram(
    async (row, args, given) => {
      options = given;
      commandWords = given.commandWords;
      if (row.insideRun !== true) assertOutsideRun(host.env);
      assertFolder();
      const handler = await row.load?.();
      exit = (await handler?.(context, ...(args as never[]))) ?? exitCode.ok;
    },
    (text) => shown.push(text),
    { table: await commandTable(argv), first: argv[0] },
  );
  try {
    // "help grant list" as "grant list --help".
    const written = argv[0] === 'version' || argv[0] === '-V' ? ['--version', ...argv.slice(1)] : argv;
    const words = argv[0] === 'help' && argv.length > 2 ? [...argv.slice(1), '--help'] : written;
    await program.parseAsync(words, { from: 'user' });
    return exit;
  } catch (error) {
    if (error instanceof CommanderError) {
      const text = shown.join('').trimEnd();
      output.result({ [error.code === 'commander.version' ? 'version' : 'help']: text }, text);
      return exitCode.ok;
    }
    const failure = failureOf(error);
    output.fail(failure);
    return failure.exit;
  }
}

/**
 * @throws SidekeyError `input_invalid` if the working folder was removed: relative paths have no meaning
 * there
 */
function assertFolder(): void {
  try {
    process.cwd();
  } catch (cause) {
    throw new SidekeyError('input_invalid', 'The working folder of this shell does not exist any more.', {
      hint: 'change to a folder that exists, such as: cd ~',
      cause,
    });
  }
}

/** Columns of the help. */
const helpWidth = 80;

/** Runs a command with its arguments and options. */
type Action = (row: CommandRow, args: readonly unknown[], invocation: Invocation) => Promise<void>;

/**
 * Returns the table of commands as a program of commander, which throws SidekeyError `input_invalid`.
 *
 * @param parts `first`: first argument. If it is a command, only that one is created, in a fifth of the time.
 */
export function createProgram(
  act: Action,
  writeOut: (text: string) => void,
  { table, first }: { readonly table: Sections; readonly first?: string | undefined },
): Command {
  const isKnown = table.some(([, rows]) => rows.some(({ name }) => name === first));
  const program = new Command('sidekey')
    .description(
      [
        'A local proxy that adds credentials to the requests of AI agents. The agents hold none.',
        ...section('Start here', firstCommands),
      ].join('\n'),
    )
    .optionsGroup('Global options:')
    .version(packageVersion(), '-v, --version', 'show the version')
    .helpCommand('help [command]', 'show the help of a command')
    .addHelpText(
      'after',
      [
        ...section('Environment', environmentVariables),
        ...section(
          'Exit codes',
          exitMeanings.map(([exit, meaning]) => [String(exit), meaning]),
        ),
        '',
        '"sidekey COMMAND --help" shows the options and examples of a command.',
        'Documentation: docs/README.md in the source repository, and "man sidekey".',
      ].join('\n'),
    );
  for (const [heading, rows] of table) {
    program.commandsGroup(heading);
    for (const row of rows) if (!isKnown || row.name === first) addCommand(program, row, act);
  }
  for (const command of withSubcommands(program)) {
    command.configureHelp({ subcommandTerm, visibleCommands }).optionsGroup('Global options:');
    for (const [flags, summary] of commonOptions) command.option(flags, summary);
    command
      .helpOption('-h, --help', 'show this help')
      .exitOverride((error) => {
        throw usageFailure(error, command);
      })
      .configureOutput({ writeOut, writeErr: () => {} });
  }
  return program;
}

/** `--help` replaces the command `help`. */
function visibleCommands({ commands }: Command): Command[] {
  return commands.filter((each) => each.name() !== 'help');
}

/** Lines of a section of the help. */
function section(heading: string, rows: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(...rows.map(([term]) => term.length)) + 2;
  return ['', `${heading}:`, ...rows.map(([term, summary]) => `  ${term.padEnd(width)}${summary}`)];
}

function addCommand(parent: Command, row: CommandRow, act: Action): void {
  const command = parent.command(row.name).description(row.summary);
  if (row.alias !== undefined) command.alias(row.alias);
  for (const [name, summary, choices] of row.arguments ?? []) {
    const argument = new Argument(name, summary);
    command.addArgument(choices === undefined ? argument : argument.choices(choices));
  }
  for (const option of row.options ?? []) {
    if (typeof option === 'string') command.optionsGroup(option);
    else command.addOption(createOption(option));
  }
  for (const each of row.commands ?? []) addCommand(command, each, act);
  const examples = examplesOf(row);
  const heading = examples.length === 1 ? 'Example:' : 'Examples:';
  command.addHelpText('after', ['', heading, ...examples.map(folded)].join('\n'));
  if (row.notes !== undefined)
    command.addHelpText('after', `\n${wrapMessage(row.notes, { width: helpWidth })}`);
  if (row.load !== undefined) {
    command.action((...args: unknown[]) =>
      act(row, args.slice(0, -1), {
        ...command.optsWithGlobals<CommonOptions>(),
        commandWords: invocationOf(command),
      }),
    );
  }
}

/** Folds an example before its options, as a shell reads it. A comment that would be folded goes first. */
function folded(line: string): string {
  const parts = `  ${line}`.split(/ (?=--?[a-z]|'|\| )/);
  // It fits with "npx " too.
  const text = wrapWords(parts, helpWidth - 6, ' '.repeat(6)).join(' \\\n');
  const [call = '', comment] = line.split(/ +# /);
  return / # .*\\$/m.test(text) ? `  # ${comment}\n${folded(call)}` : text;
}

function createOption([flags, summary, details = {}]: OptionRow): Option {
  const option = new Option(flags, summary)
    .makeOptionMandatory(details.required === true)
    .hideHelp(details.hidden === true);
  if (details.default !== undefined) option.default(details.default);
  if (details.choices !== undefined) option.choices(details.choices);
  if (details.repeated === true) {
    option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
  }
  return option;
}

/** `add <name>`, without the `[options]` that every command has. */
function subcommandTerm(command: Command): string {
  // The list of all commands has names only.
  if (command.parent?.parent === null) return command.name();
  const names = command.registeredArguments.map((argument) =>
    argument.required ? `<${argument.name()}>` : `[${argument.name()}]`,
  );
  return [[command.name(), ...command.aliases()].join('|'), ...names].join(' ');
}

function withSubcommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withSubcommands)];
}

/** A closed standard output, as in `sidekey audit query | head`, is not an error. */
function exitQuietlyOnClosedOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(exitCode.ok);
    throw error;
  });
  // A closed standard error must not change the exit code either.
  process.stderr.on('error', () => {});
}

/**
 * Returns a usage error of commander as one sentence. Keeps messages that name known options, commands and
 * arguments; replaces those with user input, which may be a misplaced secret.
 *
 * @returns the error itself if it is none, such as after `--help`
 */
function usageFailure(error: CommanderError, command: Command): CommanderError | SidekeyError {
  if (error.code === 'commander.help' || error.code === 'commander.helpDisplayed') {
    // "help nosuch", "nosuch --help"
    const word = command.args.find((each) => each !== 'help' && !each.startsWith('-'));
    if (word !== undefined && command.commands.length > 0) return unknownCommand(command, word);
    // A group alone.
    if (error.exitCode !== 0) command.outputHelp();
    return error;
  }
  if (error.exitCode === 0) return error;
  const hint = `${invocationOf(command)} --help`;
  switch (error.code) {
    case 'commander.unknownCommand':
      return unknownCommand(command);
    case 'commander.excessArguments':
      return new SidekeyError('input_invalid', tooMany(command), { hint: keyHint(command) ?? hint });
    default:
      return new SidekeyError('input_invalid', sentence(error.message), {
        hint: isAddressOption(error) ? 'set proxy.listen in the config file: sidekey config edit' : hint,
      });
  }
}

function unknownCommand(command: Command, written = command.args[0] ?? ''): SidekeyError {
  const near = didYouMean(
    written,
    command.commands.flatMap((each) => [each.name(), ...each.aliases()]),
  );
  const prefix = command.parent === null ? '' : `${pathOf(command)} `;
  // A short word of lower-case letters, or one that is similar to a command, is not secret.
  const named =
    near !== null || /^[a-z]{1,12}$/.test(written) ? `command "${prefix}${written}"` : 'such command';
  const names = command.commands.map((each) => each.name()).join(', ');
  const choices = prefix === '' ? '.' : `. Commands of "${prefix.trim()}": ${names}.`;
  const message = `There is no ${named}${near === null ? choices : `; did you mean "${prefix}${near}"?`}`;
  const isDashboard = prefix === '' && /^(?:dashboard|ui|web|pages)$/.test(written);
  return inputInvalid(message, isDashboard ? remedy('open') : `${invocationOf(command)} --help`);
}

/** Reports whether an unknown option would set the address of the proxy. */
function isAddressOption({ code, message }: CommanderError): boolean {
  return code === 'commander.unknownOption' && /'--(?:port|host|listen|address|bind)[=']/.test(message);
}

function tooMany(command: Command): string {
  const expected = command.registeredArguments.length;
  const takes = expected === 0 ? 'no arguments' : expected === 1 ? 'one argument' : `${expected} arguments`;
  return `"${pathOf(command)}" takes ${takes}, and was given ${command.args.length}.`;
}

/** `connect NAME --token KEY`. Null: the command reads no key. */
function keyHint(command: Command): string | null {
  if (command.opts()['token'] !== true) return null;
  return 'leave the key out: the command asks for it, or reads standard input. The history of your shell has a key that was an argument, so replace that key';
}

/** `grant import` */
function pathOf(command: Command): string {
  if (command.parent === null) return '';
  return `${pathOf(command.parent)} ${command.name()}`.trim();
}

/** `sidekey grant import` */
function invocationOf(command: Command): string {
  return command.parent === null ? command.name() : `${invocationOf(command.parent)} ${command.name()}`;
}

/** `error: unknown option '--tokn=…'\n(Did you mean --token?)` as one sentence, without values. */
function sentence(message: string): string {
  const text = message
    .replace(/^error: /, '')
    .replace(/'(--?[A-Za-z][A-Za-z0-9-]*)=[^]*?'(?=\n|$)/, "'$1'")
    .replace(/argument '.*' is invalid/s, 'does not take that value')
    .replace(/^command-argument value '.*' is invalid for (argument '\w+')/s, '$1 does not take that value')
    .replace(/\n\(Did you mean (?:one of )?([^?]+)\?\)$/, '; did you mean $1?');
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?)]$/.test(capital) ? capital : `${capital}.`;
}
