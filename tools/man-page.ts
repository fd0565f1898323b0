import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../src/lib/package-files.ts';
import {
  type CommandRow,
  commonOptions,
  environmentVariables,
  examplesOf,
  exitMeanings,
  type OptionRow,
} from '../src/cli/command.ts';
import { commandTable } from '../src/cli/commands.ts';

/** The manual page `sidekey(1)` in the man macros of roff, made from the table of commands. */
export async function renderManPage(): Promise<string> {
  const sections = await commandTable();
  return [
    '.\\" Made by "npm run man" from src/cli/commands.ts.',
    '.TH SIDEKEY 1 "" Sidekey "User Commands"',
    '.SH NAME',
    'sidekey \\- add credentials to the requests of agents that hold none',
    '.SH SYNOPSIS',
    '.B sidekey',
    '.I command',
    '.RI [ options ]',
    '.RI [ arguments ]',
    '.SH DESCRIPTION',
    text(
      'Sidekey is a local forward proxy. It adds credentials to the requests of agents, so that the agents hold none.',
    ),
    '.SH GLOBAL OPTIONS',
    ...commonOptions.flatMap(optionLines),
    ...optionLines(['-h, --help', 'show the help of a command']),
    ...optionLines(['-v, --version', 'show the version']),
    ...sections.flatMap(([heading, commands]) => [
      `.SH ${text(heading.replace(/:$/, '').toUpperCase())}`,
      ...commands.flatMap((row) => commandLines(row, 'sidekey')),
    ]),
    '.SH EXIT STATUS',
    ...exitMeanings.flatMap(([exit, meaning]) => ['.TP', `.B ${exit}`, text(sentence(meaning))]),
    '.SH ENVIRONMENT',
    ...environmentVariables.flatMap(([name, what]) => ['.TP', `.B ${text(name)}`, text(sentence(what))]),
    '.SH FILES',
    text(
      'The config file: $SIDEKEY_HOME/config/sidekey.yaml, else sidekey/sidekey.yaml in $XDG_CONFIG_HOME.',
    ),
    '.SH SEE ALSO',
    text('The pages in the docs folder of the source repository.'),
    '',
  ].join('\n');
}

function commandLines(row: CommandRow, parent: string): readonly string[] {
  const { name, alias, summary, options = [], commands = [], notes } = row;
  const invocation = `${parent} ${name}`;
  if (commands.length > 0) {
    return [
      `.SS ${text(invocation)}`,
      text(sentence(summary)),
      ...commands.flatMap((command) => commandLines(command, invocation)),
    ];
  }
  const args = row.arguments ?? [];
  return [
    `.SS ${[alias === undefined ? invocation : `${invocation}|${alias}`, ...args.map(([argument]) => argument)].map(text).join(' ')}`,
    text(sentence(summary)),
    ...args.flatMap(([argument, what]) => [
      '.TP',
      `.I ${text(argument.replace(/[<>[\].]/g, ''))}`,
      text(what),
    ]),
    ...options.flatMap((option) =>
      typeof option === 'string'
        ? ['.PP', text(option)]
        : option[2]?.hidden === true
          ? []
          : optionLines(option),
    ),
    ...literal(examplesOf(row)),
    ...(notes === undefined ? [] : literal(notes.split('\n'))),
  ];
}

/** `--lines <count>` with the value in italics. */
function optionLines([flags, summary, details]: OptionRow): readonly string[] {
  const [, names = '', value = ''] = /^(.*?)((?: <.*>)?)$/.exec(flags) ?? [];
  const argument = value.replace(/[<>.\s]/g, '');
  const usual = details?.default === undefined ? '' : ` (default: ${details.default})`;
  return [
    '.TP',
    argument === '' ? `.B ${text(names)}` : `.BI "${text(names)} " ${text(argument)}`,
    text(`${summary}${usual}`),
  ];
}

/** Formats preformatted lines. */
function literal(lines: readonly string[]): readonly string[] {
  return ['.PP', '.nf', '.RS', ...lines.map(text), '.RE', '.fi'];
}

function sentence(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
}

/** Escapes a text for roff. */
function text(plain: string): string {
  return plain
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replace(/^(?=[.'])/, '\\&')
    .replaceAll('…', '...');
}

// npm run man
if (import.meta.main) {
  mkdirSync(join(packageRoot, 'man'), { recursive: true });
  writeFileSync(join(packageRoot, 'man', 'sidekey.1'), await renderManPage());
}
