import { describe, expect, it, test } from 'vitest';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type CommandRow,
  environmentVariables,
  examplesOf,
  exitMeanings,
  firstCommands,
} from '../../../src/cli/command.ts';
import { commandTable } from '../../../src/cli/commands.ts';
import { createProgram } from '../../../src/cli/index.ts';
import { skillAgents } from '../../../src/cli/skill.ts';
import { packageRoot } from '../../../src/lib/package-files.ts';
import { exitCode } from '../../../src/lib/failures.ts';
import { wordsOf } from '../../support/doc-commands.ts';

const table = await commandTable();
const commands = table.flatMap(([, rows]) => rows.flatMap((row) => flat(row, row.name)));

function flat(row: CommandRow, path: string): { readonly path: string; readonly row: CommandRow }[] {
  return [{ path, row }, ...(row.commands ?? []).flatMap((each) => flat(each, `${path} ${each.name}`))];
}

describe('the table of commands', () => {
  it('has a handler or subcommands in each row', () => {
    for (const { path, row } of commands)
      expect(row.load === undefined, path).toBe((row.commands ?? []).length > 0);
  });

  it.each(commands)('shows an example in the help of $path', ({ path, row }) => {
    const examples = examplesOf(row);
    expect(examples.length).toBeGreaterThan(0);
    let help = '';
    const program = createProgram(
      async () => {},
      (text) => (help += text),
      { table },
    );
    expect(() => program.parse([...path.split(' '), '--help'], { from: 'user' })).toThrow('outputHelp');
    expect(help.replaceAll(/ \\\n {6}/g, ' ')).toContain(`  ${examples[0]}\n`);
    // A command shown with "npx " is longer.
    for (const line of help.replaceAll(/(?<= {2})sidekey /g, 'npx sidekey ').split('\n'))
      expect(line.length, line).toBeLessThanOrEqual(80);
    // A shell reads the end of a line with a comment as a part of the comment.
    expect(help).not.toMatch(/ # .*\\$/m);
    const names = row.alias === undefined ? path : `${path}|${row.alias}`;
    for (const part of [`Usage: sidekey ${names} `, '--config <file>', '--json', '--help'])
      expect(help).toContain(part);
  });

  test.each(commands.flatMap(({ row }) => (row.examples ?? []).map((example) => ({ example, row }))))(
    'parses the example $example',
    async ({ example, row }) => {
      const ran: CommandRow[] = [];
      const program = createProgram(
        async (found) => void ran.push(found),
        () => {},
        { table },
      );
      await program.parseAsync(wordsOf(example), { from: 'user' });
      expect(ran).toEqual([row]);
    },
  );

  it('lists the first commands of the help once each', () => {
    for (const [index, [line]] of firstCommands.entries()) {
      expect(commands.map(({ path }) => path)).toContain(wordsOf(line)[0]);
      expect(firstCommands.findIndex(([other]) => other === line)).toBe(index);
    }
  });

  it('loads every handler', async () => {
    const handlers = await Promise.all(commands.flatMap(({ row }) => row.load?.() ?? []));
    for (const handler of handlers) expect(handler).toBeTypeOf('function');
  });

  it('names the agents for which a skill can be installed', () => {
    const install = commands.find(({ path }) => path === 'skill install');
    const [, summary] = install?.row.options?.[0] ?? [];
    expect(summary).toContain(`: ${skillAgents.join(', ')} (`);
  });
});

describe('docs/cli.md', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'cli.md'), 'utf8');

  it('has a row for each exit code, with the meaning that the help shows', () => {
    const rows = Array.from(page.matchAll(/^\| (\d+) +\| (.*?) +\|$/gm), ([, code, meaning]) => [
      Number(code),
      meaning,
    ]);
    expect(rows).toEqual(exitMeanings);
    expect(exitMeanings.map(([code]) => code)).toEqual(Object.values(exitCode));
  });

  it('has a row for each environment variable of the help', () => {
    const rows = Array.from(page.matchAll(/^\| `([A-Z0-9_]+)` +\|/gm), ([, name]) => name);
    expect(rows).toEqual(environmentVariables.map(([name]) => name));
  });
});
