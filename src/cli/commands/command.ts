import type { Command } from 'commander';
import type { Context } from '../context.ts';

/** What a command does. Answers its exit code where it is not 0. Rejects with SidekeyError. */
type Run<Args extends readonly unknown[]> = (context: Context, ...args: Args) => Promise<number | void>;

/** Makes an action of a command that is imported when it is run: what a command needs is loaded for it alone. */
export type Bind = <Args extends readonly unknown[]>(
  load: () => Promise<Run<Args>>,
) => (...args: Args) => Promise<void>;

/** Each command puts itself on the program. */
export type Register = (program: Command, bind: Bind) => void;

/** A command that only holds others. */
export function group(program: Command, name: string, description: string): Command {
  return program.command(name).description(description);
}

/** Adds lines to paste to a command's help. */
export function examples(command: Command, ...lines: readonly string[]): Command {
  const heading = lines.length === 1 ? 'Example:' : 'Examples:';
  return command.addHelpText('after', ['', heading, ...lines.map((line) => `  ${line}`)].join('\n'));
}
