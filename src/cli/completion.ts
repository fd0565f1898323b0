import { basename } from 'node:path';
import { type CommandRow, commonOptions, type OptionRow, type Sections } from './command.ts';
import type { Context } from './context.ts';
import { inputInvalid } from '../lib/errors.ts';
import { shellQuoted } from '../lib/text.ts';

/** Shells with a completion script. */
export type Shell = 'bash' | 'zsh' | 'fish';

/**
 * `sidekey completion`: prints the completion script, generated from the table of commands.
 *
 * @throws SidekeyError `input_invalid` if no shell is given, and `SHELL` names no known one
 */
export async function printCompletion(
  { env, output }: Context,
  given: Shell | undefined,
  table: Sections,
): Promise<void> {
  const shell = given ?? basename(env['SHELL'] ?? '');
  if (!isShell(shell)) {
    throw inputInvalid(
      'Which shell? The variable SHELL names none of bash, zsh and fish.',
      'sidekey completion bash',
    );
  }
  const script = writers[shell](commandsOf(table));
  output.result({ shell, script }, script);
}

function isShell(name: string): name is Shell {
  return Object.hasOwn(writers, name);
}

/** A command or group with its completions. */
interface Completed {
  /** Path of the command, such as ` grant import`; empty for `sidekey`. Scripts derive it from the line. */
  readonly path: string;
  readonly summary: string;
  readonly subcommands: readonly CommandRow[];
  readonly options: readonly CompletedOption[];
  /** Values of the command's first argument. */
  readonly choices: readonly string[];
}

interface CompletedOption {
  /** `-o`, `--output` */
  readonly flags: readonly string[];
  readonly summary: string;
  /** `none`: the option takes no value. `text`: a value that the script cannot complete. */
  readonly value: 'none' | 'text' | 'file' | readonly string[];
}

function commandsOf(table: Sections): readonly Completed[] {
  const rows = table.flatMap(([, commands]) => commands);
  const options = [['-v, --version', 'show the version']] as const;
  return withSubcommands({ name: '', summary: '', commands: rows, options }, '');
}

function withSubcommands(row: CommandRow, path: string): Completed[] {
  const { summary, options = [] } = row;
  const commands = (row.commands ?? []).flatMap((each) =>
    each.alias === undefined ? [each] : [each, { ...each, name: each.alias }],
  );
  const own = options.filter((option) => typeof option !== 'string');
  const shown = [...own, ...commonOptions, ['-h, --help', 'show the help'] as const];
  return [
    {
      path,
      summary,
      subcommands: commands,
      options: shown.filter(([, , details]) => details?.hidden !== true).map(completedOption),
      choices: row.arguments?.[0]?.[2] ?? [],
    },
    ...commands.flatMap((command) => withSubcommands(command, `${path} ${command.name}`)),
  ];
}

function completedOption([text, summary, details]: OptionRow): CompletedOption {
  const flags = text.replace(/ [<[].*$/, '').split(', ');
  const [, value] = /[<[](\w+)/.exec(text) ?? [];
  if (value === undefined) return { flags, summary, value: 'none' };
  return { flags, summary, value: details?.choices ?? (value === 'file' ? 'file' : 'text') };
}

/** Patterns for `case` in bash and zsh: a command path and one of its options with a value. */
function patternsOf(commands: readonly Completed[], wanted: 'text' | 'file'): string {
  return commands
    .flatMap(({ path, options }) =>
      options
        .filter(({ value }) => value === wanted)
        .flatMap(({ flags }) => flags.map((flag) => shellQuoted(`${path} ${flag}`))),
    )
    .join('|');
}

function choicesOf(commands: readonly Completed[]): readonly (readonly [after: string, values: string])[] {
  return commands.flatMap(({ path, options }) =>
    options.flatMap(({ flags, value }) =>
      typeof value === 'string' ? [] : flags.map((flag) => [`${path} ${flag}`, value.join(' ')] as const),
    ),
  );
}

const pathsOf = (commands: readonly Completed[]): string =>
  commands.flatMap(({ path }) => (path === '' ? [] : [shellQuoted(path)])).join('|');

function bash(commands: readonly Completed[]): string {
  const words = ({ subcommands, options, choices }: Completed): string =>
    [...subcommands.map(({ name }) => name), ...choices, ...options.flatMap(({ flags }) => flags)].join(' ');
  return `# bash completion of sidekey, made by "sidekey completion bash"
_sidekey() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command= words= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ \${COMP_WORDS[i]} == -- ]]; then
      ((i == COMP_CWORD - 1)) && COMPREPLY=($(compgen -c -- "$current"))
      return
    fi
    case "$command \${COMP_WORDS[i]}" in
      ${pathsOf(commands)}) command+=" \${COMP_WORDS[i]}" ;;
    esac
  done
  case "$command $before" in
${choicesOf(commands)
  .map(([after, values]) => `    ${shellQuoted(after)}) words=${shellQuoted(values)} ;;`)
  .join('\n')}
    ${patternsOf(commands, 'file')}|${patternsOf(commands, 'text')}) return ;;
    *) case "$command" in
${commands.map((command) => `      ${shellQuoted(command.path)}) words=${shellQuoted(words(command))} ;;`).join('\n')}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _sidekey sidekey`;
}

/** Formats words with descriptions for `_describe` of zsh. */
const described = (rows: readonly (readonly [word: string, summary: string])[]): string =>
  rows.map(([word, summary]) => shellQuoted(`${word}:${summary}`)).join(' ');

function zsh(commands: readonly Completed[]): string {
  const names = ({ subcommands, choices }: Completed) =>
    described([
      ...subcommands.map(({ name, summary }) => [name, summary] as const),
      ...choices.map((choice) => [choice, choice] as const),
    ]);
  const options = (command: Completed) =>
    described(command.options.flatMap(({ flags, summary }) => flags.map((flag) => [flag, summary] as const)));
  return `#compdef sidekey
# zsh completion of sidekey, made by "sidekey completion zsh"
_sidekey() {
  local command= i
  local -a names options
  for ((i = 2; i < CURRENT; i++)); do
    if [[ \${words[i]} == -- ]]; then
      shift $i words
      ((CURRENT -= i))
      _normal
      return
    fi
    case "$command \${words[i]}" in
      (${pathsOf(commands)}) command+=" \${words[i]}" ;;
    esac
  done
  case "$command \${words[CURRENT-1]}" in
${choicesOf(commands)
  .map(([after, values]) => `    (${shellQuoted(after)}) compadd -- ${values}; return ;;`)
  .join('\n')}
    (${patternsOf(commands, 'file')}) _files; return ;;
    (${patternsOf(commands, 'text')}) _message value; return ;;
  esac
  case "$command" in
${commands
  .map((each) => `    (${shellQuoted(each.path)}) names=(${names(each)}) options=(${options(each)}) ;;`)
  .join('\n')}
  esac
  if [[ \${words[CURRENT]} == -* ]]; then
    _describe -o option options
  elif ((\${#names})); then
    _describe command names
  else
    _files
  fi
}
if [[ \${funcstack[1]} == _sidekey ]]; then _sidekey "$@"; else compdef _sidekey sidekey; fi`;
}

function fish(commands: readonly Completed[]): string {
  const lines = commands.flatMap(({ path, subcommands, options, choices }) => {
    const at = `complete -c sidekey -n ${shellQuoted(`__sidekey_at "${path}"`)}`;
    return [
      ...subcommands.map(({ name, summary }) => `${at} -f -a ${name} -d ${fishQuoted(summary)}`),
      ...(choices.length === 0 ? [] : [`${at} -f -a ${shellQuoted(choices.join(' '))}`]),
      ...options.map(({ flags, summary, value }) => {
        const names = flags.map((flag) =>
          flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
        );
        const takes =
          value === 'none'
            ? ''
            : value === 'file'
              ? ' -r -F'
              : value === 'text'
                ? ' -x'
                : ` -x -a ${shellQuoted(value.join(' '))}`;
        return `${at} ${names.join(' ')}${takes} -d ${fishQuoted(summary)}`;
      }),
    ];
  });
  return `# fish completion of sidekey, made by "sidekey completion fish"
function __sidekey_at
    set -l command
    for word in (commandline -opc)[2..-1]
        test "$word" = --; and return 1
        switch "$command $word"
            case ${pathsOf(commands).replaceAll('|', ' ')}
                set command "$command $word"
        end
    end
    test "$command" = "$argv[1]"
end
${lines.join('\n')}`;
}

/** fish unescapes only `\'` and `\\` in single quotes. */
function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

const writers: Readonly<Record<Shell, (commands: readonly Completed[]) => string>> = { bash, zsh, fish };
