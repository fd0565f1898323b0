import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../../src/lib/package-files.ts';

/** The pages for users. */
export const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'skills/sidekey/SKILL.md',
  ...globSync('docs/*.md', { cwd: packageRoot }).toSorted(),
];

export function textOf(page: string): string {
  return readFileSync(path.join(packageRoot, page), 'utf8');
}

/** Fenced blocks of a page, without the indentation of a list. */
export function blocksOf(page: string, languages: readonly string[]): readonly string[] {
  return Array.from(textOf(page).matchAll(/^( *)```(\w*)\n([^]*?)^ *```/gm))
    .filter(([, , language = '']) => languages.includes(language))
    .map(([, indent = '', , block = '']) => block.replaceAll(new RegExp(`^${indent}`, 'gm'), ''));
}

/** A call of the program as a page shows it. */
export interface DocCommand {
  /** The line, from the program on. */
  readonly line: string;
  /** The arguments. */
  readonly words: readonly string[];
}

/** The calls in the blocks of a page that a shell reads. */
export function blockCommands(page: string): readonly DocCommand[] {
  const inputs = [
    ...blocksOf(page, ['sh']).flatMap(linesOf),
    ...blocksOf(page, ['console', '']).flatMap((block) =>
      linesOf(block).flatMap((line) => (line.startsWith('$ ') ? [line.slice(2)] : [])),
    ),
  ];
  return inputs.flatMap(callsIn);
}

/** The calls in the sentences of a page. `a|b` stands for two commands. */
export function spanCommands(page: string): readonly DocCommand[] {
  const text = textOf(page).replaceAll(/^ *```[^]*?^ *```/gm, '');
  return Array.from(text.matchAll(/`((?:npx )?sidekey [^`]+)`/g), ([, span = '']) => span).flatMap((span) => {
    const [, before = '', choices = '', after = ''] =
      /^(sidekey \w+ )([a-z-]+(?:\|[a-z-]+)+)(.*)$/.exec(span) ?? [];
    const spans = choices === '' ? [span] : choices.split('|').map((each) => before + each + after);
    return spans.flatMap(callsIn);
  });
}

/** Whole lines without comments, which are sentences. */
function linesOf(block: string): readonly string[] {
  return block
    .replaceAll(/\\\n\s*/g, ' ')
    .replaceAll(/(?:^|\s+)# .*$/gm, '')
    .split('\n');
}

function callsIn(line: string): DocCommand[] {
  const call = /(?<![^\s(|"'])(?:npx )?sidekey (?=(?!sidekey\b)[a-z]|--help)/g;
  return Array.from(line.matchAll(call), ({ index }) => {
    // A substitution is one word, and an ellipsis none.
    const rest = line
      .slice(index)
      .replace(/^npx /, '')
      .replaceAll(/\$\([^)]*\)/g, 'TEXT')
      .replaceAll(/ …(?=\s|$)/g, '');
    return { line: rest.trim(), words: wordsOf(rest) };
  });
}

/**
 * The arguments after `sidekey` in a shell line, up to a pipe, a redirection, a comment or a closing bracket.
 */
export function wordsOf(line: string): string[] {
  const [, rest = ''] = /(?:^|[\s(])sidekey ?(.*)$/.exec(line) ?? [];
  const [call = ''] = /^(?:'[^']*'|"[^"]*"|[^'"|<>#);&]|(?<=\S)#)*/.exec(rest) ?? [];
  return Array.from(call.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g), ([word]) => word.replace(/['"]/g, ''));
}
