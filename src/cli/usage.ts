import type { Command, CommanderError } from 'commander';
import { didYouMean } from '../did-you-mean.ts';
import { SidekeyError } from '../errors.ts';

/** Whether nothing was asked for: then the help is the answer. */
export function asksNothing(argv: readonly string[]): boolean {
  return argv.every((word) => word === '--json');
}

/**
 * What commander found wrong with a command line, as one sentence. Its own messages are passed on where they name what
 * is known (options, commands, arguments), and not where they repeat what was written: that may be a secret in the
 * wrong place, and messages get into logs.
 *
 * @returns the error itself where it is none, such as after `--help`
 */
export function usageFailure(error: CommanderError, command: Command): CommanderError | SidekeyError {
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
