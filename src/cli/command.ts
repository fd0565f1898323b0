import type { Context } from './context.ts';

/**
 * The handler of a command. Returns the exit code where it is not 0, and rejects with SidekeyError. After the context it
 * takes the arguments of the command line, then the options.
 */
type Handler = (context: Context, ...args: never[]) => Promise<number | void>;

/** Details of an option that few options have. */
interface OptionDetails {
  readonly required?: true;
  /** The only values that the option takes. */
  readonly choices?: readonly string[];
  readonly default?: string;
  /** The option may be given several times, one value each. */
  readonly repeated?: true;
  /** Neither the help nor the man page nor a completion names the option. */
  readonly hidden?: true;
}

/** Flags in the notation of commander (`-o, --output <file>`), and a summary. */
export type OptionRow = readonly [flags: string, summary: string, details?: OptionDetails];
/** `<needed>` or `[optional]`, with `...` where several are taken, a summary, and the only values, where they are known. */
export type ArgumentRow = readonly [name: string, summary: string, choices?: readonly string[]];

/** A command or a group of commands. */
export interface CommandRow {
  readonly name: string;
  readonly summary: string;
  readonly arguments?: readonly ArgumentRow[];
  /** A text between the rows is a heading for the rows after it. */
  readonly options?: readonly (OptionRow | string)[];
  /** Lines to paste. The help of a group shows one of each of its commands. */
  readonly examples?: readonly string[];
  /** A text at the end of the help. */
  readonly notes?: string;
  /** The command runs where its group is named alone. */
  readonly isDefault?: true;
  readonly load?: () => Promise<Handler>;
  readonly commands?: readonly CommandRow[];
}

/** Top-level commands under headings. */
export type Sections = readonly (readonly [heading: string, commands: readonly CommandRow[]])[];

/** Options that every command has. */
export const commonOptions: readonly OptionRow[] = [
  ['--config <file>', 'the config file (default: SIDEKEY_CONFIG, then the usual places)'],
  ['--json', 'print results and failures as JSON'],
];

/** Lines to paste of a command; of a group, the first of each of its commands. */
export function examplesOf({ examples = [], commands = [] }: CommandRow): readonly string[] {
  return [...examples, ...commands.flatMap((command) => examplesOf(command).slice(0, 1))];
}
