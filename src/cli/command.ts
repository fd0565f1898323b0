import type { Context } from './context.ts';
import { exitCode } from '../lib/failures.ts';

/** Details of an option that few options have. */
interface OptionDetails {
  readonly required?: true;
  /** The allowed values. */
  readonly choices?: readonly string[];
  readonly default?: string;
  /** The option may be given several times, one value each. */
  readonly repeated?: true;
  /** Neither the help nor the man page nor a completion names the option. */
  readonly hidden?: true;
}

/** Flags in the notation of commander (`-o, --output <file>`), and a summary. */
export type OptionRow = readonly [flags: string, summary: string, details?: OptionDetails];
/** `<needed>` or `[optional]`, with `...` for several values; a summary; the allowed values, if any. */
export type ArgumentRow = readonly [name: string, summary: string, choices?: readonly string[]];

/** A command or a group of commands. */
export interface CommandRow {
  readonly name: string;
  /** Another name, which the help shows behind the first. */
  readonly alias?: string;
  readonly summary: string;
  readonly arguments?: readonly ArgumentRow[];
  /** A text between the rows is a heading for the rows after it. */
  readonly options?: readonly (OptionRow | string)[];
  /** Example command lines. The help of a group contains one example of each command. */
  readonly examples?: readonly string[];
  /** A text at the end of the help. */
  readonly notes?: string;
  /** True if a confined command may call it: it needs no file of Sidekey. */
  readonly insideRun?: true;
  readonly load?: () => Promise<(context: Context, ...args: never[]) => Promise<number | void>>;
  readonly commands?: readonly CommandRow[];
  /** Loads the commands of a group whose options follow from operations. */
  readonly loadCommands?: () => Promise<readonly CommandRow[]>;
  /** Loads the options of a command if they follow from an operation. */
  readonly loadOptions?: () => Promise<readonly OptionRow[]>;
}

/** Top-level commands under headings. */
export type Sections = readonly (readonly [heading: string, commands: readonly CommandRow[]])[];

/** Options that every command has. */
export const commonOptions: readonly OptionRow[] = [
  ['--config <file>', 'the config file, instead of the default'],
  ['--json', 'print results and failures as JSON'],
];

/** First commands of a new user, for `sidekey --help`. */
export const firstCommands: readonly (readonly [command: string, summary: string])[] = [
  ['sidekey init', 'connect the keys of this machine, and set up agents'],
  ['sidekey connect', 'connect a service, such as github'],
  ['sidekey run -- claude', 'run a program whose requests get credentials'],
  ['sidekey status', 'show the state, and the next step'],
];

/** Environment variables that the user can set. `docs/cli.md` describes them. */
export const environmentVariables: readonly (readonly [name: string, summary: string])[] = [
  ['SIDEKEY_HOME', 'folder of the config, store, CA and audit log'],
  ['SIDEKEY_CONFIG', 'the config file'],
  ['SIDEKEY_UNMATCHED', 'deny or tunnel: unlisted hosts in a new config file'],
  ['SIDEKEY_LOCAL_CALLERS', 'same_user or any: proxy.local_callers in a new config file'],
  ['SIDEKEY_P12_PASSWORD', 'password of "sidekey ca export --format p12"'],
  ['NO_COLOR', 'any value: no colors'],
];

/** Meaning of each exit code. */
export const exitMeanings: readonly (readonly [exit: number, meaning: string])[] = [
  [exitCode.ok, 'success'],
  [exitCode.failure, 'the command failed, or found a problem'],
  [exitCode.badInput, 'the command line, the config file or the input is not valid'],
  [exitCode.notAuthenticated, 'the caller is not authenticated'],
  [exitCode.noUsableGrant, 'there is no usable grant'],
  [exitCode.upstreamRefused, 'the provider or the upstream server refused the request'],
  [exitCode.network, 'the network failed'],
];

/** Returns the examples of a command; for a group, the first of each command. */
export function examplesOf({ examples = [], commands = [] }: CommandRow): readonly string[] {
  return [...examples, ...commands.flatMap((command) => examplesOf(command).slice(0, 1))];
}
