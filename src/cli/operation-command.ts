import { z } from 'zod';
import type { State } from '../app/state.ts';
import type { Config } from '../config/config.ts';
import { SidekeyError } from '../lib/errors.ts';
import { callerAtMachine } from '../operations/caller.ts';
import { pagesUrl } from '../operations/format.ts';
import type { Call, Changing, Operation } from '../operations/operation.ts';
import type { OptionRow } from './command.ts';
import { atCommandLine, type Context, withUpstreamClient } from './context.ts';
import { probeOf } from './status/ask-proxy.ts';
import { onInterrupt } from './terminal.ts';
import type { Output } from './output.ts';

/** Operations as commands: options follow from the input of an operation. */

/** Words for a member of an input. */
interface OptionWords {
  /** Absent: there is only the option that takes the value away. */
  readonly summary?: string;
  /** Summary of the option that takes the value away: `--no-for`. */
  readonly none?: string;
  /** Name of its option; default: the name of the member, with dashes. */
  readonly name?: string;
  /** Word for its value in the help; default: the name of the option. */
  readonly value?: string;
  /** True: the option may be given several times, one value each. */
  readonly repeated?: true;
  /** Reads the value that an option stands for, such as the content of a file. */
  readonly read?: (context: Context, value: never) => Promise<unknown>;
}

type Words = Readonly<Record<string, OptionWords>>;

/** Returns the options for these members of an input, in the order of their words. */
export function optionRows({ input }: Pick<Operation, 'input'>, allWords: Words): readonly OptionRow[] {
  return Object.entries(allWords).flatMap(([member, words]): OptionRow[] => {
    const { summary, none, value, read, repeated } = words;
    const name = optionName(member, words.name);
    const shape = input.shape[member]!;
    const { type, isRequired, choices, defaultValue } = factsOf(shape);
    const many = type === 'array' && read === undefined && repeated !== true ? '...' : '';
    const flags = `--${name}${type === 'boolean' ? '' : ` <${value ?? name}${many}>`}`;
    const details = {
      ...(isRequired ? { required: true as const } : {}),
      ...(choices === undefined ? {} : { choices }),
      ...(defaultValue === undefined ? {} : { default: defaultValue }),
      ...(repeated === undefined ? {} : { repeated }),
    };
    const rows: OptionRow[] = [];
    if (summary !== undefined)
      rows.push(Object.keys(details).length > 0 ? [flags, summary, details] : [flags, summary]);
    if (none !== undefined) rows.push([`--no-${name}`, none]);
    return rows;
  });
}

/** Options of a command line, as the parser returns them: by their names in camel case. */
export type GivenOptions = Readonly<Record<string, unknown>>;

/** Words for `pageInput`. */
export const pageWords = {
  limit: { summary: 'at most this many entries (default and maximum: 1000)', value: 'number' },
  cursor: { summary: 'continue a list at the cursor that its last message has', value: 'text' },
} as const;

/** Prints how a list continues; with `--json`, a line with the cursor on stderr. */
export function sayNext({ output }: Context, cursor: string | null): void {
  if (cursor === null) return;
  output.note({ next_cursor: cursor }, `More follow:\n  → repeat the command with --cursor ${cursor}`);
}

interface PerformOptions {
  readonly words?: Words;
  readonly options?: GivenOptions;
  /** Members that no option has, such as arguments. */
  readonly fixed?: GivenOptions;
  readonly onProgress?: Changing['onProgress'];
}

/**
 * Runs an operation with options and arguments. Returns its result, the answer for programs, and the time
 * at which it began.
 *
 * @throws SidekeyError `input_invalid` for a value that the operation does not accept; errors of the operation
 */
export async function perform<Input extends z.ZodObject, Output extends z.ZodType, Result>(
  context: Context,
  operation: Operation<Input, Output, Result>,
  { words = {}, options = {}, fixed = {}, onProgress = () => {} }: PerformOptions = {},
): Promise<{ readonly result: Result; readonly answer: z.input<Output>; readonly at: number }> {
  const values = Object.entries(words).flatMap(([member, { name, read }]) => {
    const option = optionName(member, name).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    return options[option] === undefined ? [] : [{ member, read, value: options[option] }];
  });
  const given: Record<string, unknown> = { ...fixed };
  for (const { member, read, value } of values)
    if (read === undefined) given[member] = valueOf(operation.input.shape[member], value);
  const checked = operation.input.safeParse(given, { reportInput: false });
  if (!checked.success) throw refusalOf(checked.error, words, context.commandWords());
  const input = checked.data;
  // Last, so that an option that is not valid does not use up standard input.
  for (const { member, read, value } of values)
    if (read !== undefined) Object.assign(input, { [member]: await read(context, value as never) });
  let at = context.now();
  operation.check?.(input, at);
  if (operation.checkConfig !== undefined) await operation.checkConfig(input, await context.readConfig(), at);
  // Opening the store may correct the clock, so the time is read again.
  const run = async (): Promise<Result> => {
    const { withState } = context;
    switch (operation.effect) {
      case 'read_config': {
        const config = await context.readConfig();
        return operation.run({ config, ...callOf(context, config) }, input, at);
      }
      case 'read':
        return context.withView((view) =>
          operation.run(
            {
              ...view,
              ...callOf(context, view.config),
              withState,
              proxy: probeOf(view.config),
              probePrograms: async (...probe) =>
                (await import('./doctor/probe.ts')).probeProgramsOf(context)(...probe),
            },
            input,
            (at = context.now()),
          ),
        );
      case 'change':
        return withState(async (state) =>
          operation.run(await changingParts(context, state, onProgress), input, (at = context.now())),
        );
    }
  };
  const result = await run();
  return { result, answer: operation.answer(result, at), at };
}

/** Returns the parts of an operation that changes something. */
export async function changingParts(
  context: Context,
  state: State,
  onProgress: Changing['onProgress'] = () => {},
): Promise<Changing & Pick<State, 'activity'>> {
  const { refreshParts } = await import('../app/refresh-parts.ts');
  const { env, now } = context;
  return {
    ...state,
    ...callOf(context, state.config),
    onProgress,
    listening: null,
    renewal: (fetch) => refreshParts(state, { config: () => state.config, fetch: () => fetch, now, env }),
  };
}

function callOf({ env, now, output }: Context, config: Config): Call {
  return {
    caller: callerAtMachine(atCommandLine(env).by ?? 'the command line'),
    now,
    env,
    pages: pagesUrl(config.admin),
    withFetch: (use) => withUpstreamClient(config, env, ({ fetch }) => use(fetch)),
    during: (step, work) => duringStep(output, step, work),
    onInterrupt,
  };
}

/** Shows a step on a terminal, with the share that is done and the pace, while it takes over a second. */
export function duringStep<T>(
  output: Pick<Output, 'during'>,
  step: string,
  work: (onShare: (share: number, pace?: string) => void) => Promise<T>,
): Promise<T> {
  let done = '';
  return output.during(
    () => `${step}${done}`,
    () =>
      work((share, pace) => {
        done = `: ${Math.floor(100 * share)} %${pace === undefined ? '' : `, ${pace}`}`;
      }),
  );
}

/** Names the option whose value is not valid. Values are not repeated, since they may be secrets. */
function refusalOf({ issues: [issue] }: z.ZodError, words: Words, commandWords: string): SidekeyError {
  const member = String(issue?.path[0] ?? '');
  const place = Object.hasOwn(words, member)
    ? `--${optionName(member, words[member]?.name)}`
    : `The ${member}`;
  const problem =
    issue?.code === 'invalid_value'
      ? `does not take that value. Allowed choices are ${issue.values.join(', ')}`
      : (issue?.message ?? 'is not valid');
  return new SidekeyError('input_invalid', `${place} ${problem}.`, { hint: `${commandWords} --help` });
}

/** Returns the value of a member for that of an option. False stands for no value, as `--no-for` does. */
function valueOf(shape: z.core.$ZodType, value: unknown): unknown {
  const kind = factsOf(shape).type;
  if (value === false) return z.safeParse(shape, null).success ? null : kind === 'array' ? [] : false;
  // Decimal digits only: Number('') is 0, and Number('1e3') is 1000.
  return kind === 'number' && /^[0-9]+$/.test(value as string) ? Number(value) : value;
}

function optionName(member: string, name = member.replaceAll('_', '-')): string {
  return name;
}

interface Facts {
  readonly type: string;
  readonly isRequired: boolean;
  /** The allowed values of the member, or of its elements. */
  readonly choices?: readonly string[];
  readonly defaultValue?: string;
}

/** Returns the facts of a member behind `optional`, `default`, `describe` and transforms. */
function factsOf(shape: z.core.$ZodType): Facts {
  const isRequired = !z.safeParse(shape, undefined).success;
  const { def } = shape as z.ZodType;
  if ('innerType' in def) {
    const inner = factsOf(def.innerType as z.ZodType);
    const value = 'defaultValue' in def ? { defaultValue: String(def.defaultValue) } : {};
    return { ...inner, ...value, isRequired };
  }
  if ('in' in def) return { ...factsOf(def.in as z.ZodType), isRequired };
  if ('element' in def) {
    const { choices } = factsOf(def.element as z.ZodType);
    return { type: def.type, isRequired, ...(choices === undefined ? {} : { choices }) };
  }
  const choices = shape instanceof z.ZodEnum ? { choices: shape.options as readonly string[] } : {};
  return { type: def.type, isRequired, ...choices };
}
