import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { didYouMean, errorPhrase, exitCode, SidekeyError } from '../lib/errors.ts';
import type { Bind, Register } from './commands/command.ts';
import { registerConnect, registerGrant, registerProvider } from './commands/credentials.ts';
import { registerAudit, registerCa } from './commands/evidence.ts';
import {
  registerAgent,
  registerApprove,
  registerDomain,
  registerExplain,
  registerLease,
  registerPolicy,
} from './commands/permissions.ts';
import {
  registerDemo,
  registerDoctor,
  registerEnv,
  registerFetch,
  registerRun,
  registerSkill,
  registerStart,
  registerStatus,
} from './commands/run.ts';
import { createContext } from './context.ts';
import { createOutput, type Streams } from './output.ts';
import { createAsk, createScreen, type Input, openLines, readInput } from './terminal.ts';

const sections: readonly (readonly [heading: string, commands: readonly Register[]])[] = [
  ['Run:', [registerRun, registerStart, registerEnv, registerFetch, registerSkill, registerDemo]],
  ['Look:', [registerStatus, registerDoctor]],
  ['Credentials:', [registerConnect, registerGrant, registerProvider]],
  [
    'Who and where:',
    [registerDomain, registerAgent, registerLease, registerApprove, registerExplain, registerPolicy],
  ],
  ['Evidence and trust:', [registerAudit, registerCa]],
];

interface CommonOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** What the program is run in: the process, unless a test gives another. */
type Host = Pick<NodeJS.Process, 'env'> & Streams & { readonly stdin: Input };

/** The command line: runs one command, and answers its exit code (see `exitCode`). Never rejects. */
export async function run(argv: readonly string[], host: Host = process): Promise<number> {
  let options: CommonOptions = { json: argv.includes('--json') };
  let answer: number = exitCode.ok;
  const output = createOutput(host, () => options.json === true);
  const context = createContext({
    output,
    env: host.env,
    now: Date.now,
    readInput: () => readInput(host.stdin),
    stdin: host.stdin,
    openLines: () => openLines(host.stdin, host.stderr as NodeJS.WritableStream),
    ask: createAsk(host.stdin, host.stderr),
    openScreen: createScreen(host.stdin, host.stdout, host.env),
    configOption: () => options.config,
  });
  const bind: Bind =
    (load) =>
    async (...args) => {
      const command = await load();
      answer = (await command(context, ...args)) ?? exitCode.ok;
    };
  const program = new Command('sidekey')
    .description('Adds credentials to the requests of agents, so that the agents hold none.')
    .version(packageVersion(), '--version', 'show the version')
    .helpCommand('help [command]', 'show the help of a command')
    .addHelpText('after', '\nsidekey COMMAND --help says more of each, with an example.');
  for (const [heading, commands] of sections) {
    program.commandsGroup(heading);
    for (const register of commands) register(program, bind);
  }
  for (const command of family(program)) {
    command
      .configureHelp({ subcommandTerm })
      .optionsGroup('Of every command:')
      .option('--config <file>', 'the config file (else SIDEKEY_CONFIG, else the default)')
      .option('--json', 'results and failures as JSON')
      .helpOption('-h, --help', 'show this help')
      .exitOverride((error) => {
        throw usageFailure(error, command);
      })
      .configureOutput({ writeOut: (text) => host.stdout.write(text), writeErr: () => {} });
  }
  program.hook('preAction', (_program, action) => {
    options = action.optsWithGlobals<CommonOptions>();
  });
  if (host === process) {
    endQuietlyWhenNobodyReads();
    // Node itself would print the message, which may quote a secret, and whatever hangs on the error.
    process.on('uncaughtException', (error) => {
      output.fail(failureOf(error));
      process.exit(exitCode.failure);
    });
  }
  try {
    if (asksNothing(argv)) program.outputHelp();
    else await program.parseAsync(argv, { from: 'user' });
    return answer;
  } catch (error) {
    if (error instanceof CommanderError) return exitCode.ok;
    const failure = failureOf(error);
    output.fail(failure);
    return failure.exit;
  }
}

function failureOf(error: unknown): SidekeyError {
  if (error instanceof SidekeyError) return error;
  return new SidekeyError('internal', `Sidekey failed in a way that it should not: ${errorPhrase(error)}.`, {
    cause: error,
  });
}

/** `add <name>`, without the `[options]` that every command has. */
function subcommandTerm(command: Command): string {
  const names = command.registeredArguments.map((argument) =>
    argument.required ? `<${argument.name()}>` : `[${argument.name()}]`,
  );
  return [command.name(), ...names].join(' ');
}

function family(command: Command): Command[] {
  return [command, ...command.commands.flatMap(family)];
}

/** `sidekey audit query | head`: the reader has what it wanted, and that is no failure. */
function endQuietlyWhenNobodyReads(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(exitCode.ok);
    throw error;
  });
  // Words that nobody hears are no failure either, and must not take the place of how the command ended.
  process.stderr.on('error', () => {});
}

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : '';
}

/** Whether nothing was asked for: then the help is the answer. */
function asksNothing(argv: readonly string[]): boolean {
  return argv.every((word) => word === '--json');
}

/**
 * What commander found wrong with a command line, as one sentence. Its own messages are passed on where they name what
 * is known (options, commands, arguments), and not where they repeat what was written: that may be a secret in the
 * wrong place, and messages get into logs.
 *
 * @returns the error itself where it is none, such as after `--help`
 */
function usageFailure(error: CommanderError, command: Command): CommanderError | SidekeyError {
  if (error.exitCode === 0) return error;
  const hint = `${invocationOf(command)} --help`;
  switch (error.code) {
    case 'commander.help':
      return new SidekeyError('input_invalid', needsCommand(command), { hint });
    case 'commander.unknownCommand':
      return unknownCommand(command);
    case 'commander.excessArguments':
      return isDefaultOfItsGroup(command) && command.parent !== null
        ? unknownCommand(command.parent)
        : new SidekeyError('input_invalid', tooMany(command), { hint });
    default:
      return new SidekeyError('input_invalid', sentence(error.message), { hint });
  }
}

function needsCommand(command: Command): string {
  const what = command.parent === null ? 'A command is' : `After "${pathOf(command)}" a command is`;
  return `${what} needed: ${namesOf(command)}.`;
}

function unknownCommand(command: Command): SidekeyError {
  const [written = ''] = command.args;
  const near = didYouMean(
    written,
    command.commands.map((each) => each.name()),
  );
  const prefix = command.parent === null ? '' : `${pathOf(command)} `;
  // What is near to a command is no secret.
  const message =
    near === null
      ? `There is no such command; ${prefix === '' ? 'it' : `after "${prefix.trim()}" it`} is one of ${namesOf(command)}.`
      : `There is no command "${prefix}${written}"; did you mean "${prefix}${near}"?`;
  return new SidekeyError('input_invalid', message, { hint: `${invocationOf(command)} --help` });
}

function tooMany(command: Command): string {
  const expected = command.registeredArguments.length;
  const takes = expected === 0 ? 'no arguments' : expected === 1 ? 'one argument' : `${expected} arguments`;
  return `"${pathOf(command)}" takes ${takes}, and was given ${command.args.length}.`;
}

/** Commander gives the words of a group to its default command; then the first of them was meant for the group. */
function isDefaultOfItsGroup(command: Command): boolean {
  return command.parent !== null && command.parent.args[0] !== command.name();
}

/** `grant add` */
function pathOf(command: Command): string {
  if (command.parent === null) return '';
  return `${pathOf(command.parent)} ${command.name()}`.trim();
}

/** `sidekey grant add` */
function invocationOf(command: Command): string {
  return command.parent === null ? command.name() : `${invocationOf(command.parent)} ${command.name()}`;
}

function namesOf(command: Command): string {
  return command.commands.map((each) => each.name()).join(', ');
}

/** `error: unknown option '--tokn=…'\n(Did you mean --token?)` without the value, as one sentence. */
function sentence(message: string): string {
  const text = message
    .replace(/^error: /, '')
    .replace(/'(--?[A-Za-z][A-Za-z0-9-]*)=[^]*?'(?=\n|$)/, "'$1'")
    .replace(/\n\(Did you mean (?:one of )?([^?]+)\?\)$/, '; did you mean $1?');
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?)]$/.test(capital) ? capital : `${capital}.`;
}
