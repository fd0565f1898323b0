import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CommandRow } from '../../../src/cli/command.ts';
import { commandTable } from '../../../src/cli/commands.ts';
import {
  asMembers,
  hintOf,
  hintText,
  remediesOf,
  remedy,
  type RemedyId,
  remedyIds,
  type RemedyInput,
} from '../../../src/lib/hint.ts';
import { routes } from '../../../src/api/routes.ts';
import type { Operation } from '../../../src/operations/operation.ts';
import { sourceFiles } from '../source-files.ts';

describe('a hint', () => {
  it('shows an action as a command, and null as a word in capitals', () => {
    const hint = hintOf`log in: ${remedy('connect', { provider: 'github', scopes: ['repo', 'gist'] })}, or ask`;
    expect(hintText(hint)).toBe("log in: sidekey connect github --scope 'repo gist', or ask");
    expect(hintText(remedy('domain.allow', { host: null, grant: null }))).toBe(
      'sidekey domain allow HOST --grant GRANT',
    );
  });

  it.each([
    [remedy('agent.change', { agent: 'ci', disabled: false }), 'sidekey agent set ci --enable'],
    [remedy('agent.create', { name: 'ci', token: false }), 'sidekey agent create ci --no-token'],
    [
      remedy('approval.answer', { approval: 'k3', answer: 'for', span: '15m' }),
      'sidekey approve k3 --for 15m',
    ],
    [remedy('approval.answer'), 'sidekey approve'],
    [remedy('health.examine', { only: ['git', 'a b'] }), "sidekey doctor --only git 'a b'"],
    [remedy('lease.renew', { lease: '$(id)', uses: 3 }), "sidekey lease renew '$(id)' --uses 3"],
    [
      remedy('grant.refresh', { grant: 'g', user: undefined, force: true }),
      'sidekey grant refresh g --force',
    ],
    [remedy('domain.allow', { host: '--help', grant: null }), 'sidekey domain allow --grant GRANT -- --help'],
    [
      remedy('domain.explain', { method: 'GET', url: '-u', agent: 'ci' }),
      'sidekey explain GET --agent ci -- -u',
    ],
    [remedy('store.copy', { from: '-a', to: null }), 'sidekey store copy -- -a TO'],
    [remedy('approval.revoke', { approval: '-k' }), 'sidekey approve --revoke -k'],
  ])('shows %j as a command', (hint, command) => {
    expect(hintText(hint)).toBe(command);
  });

  it('lists its operations for programs, including those of a nested hint', () => {
    const inner = hintOf`first ${remedy('grant.refresh', { grant: 'g' })}`;
    const outer = hintOf`${inner}, then ${remedy('start')}`;
    expect(remediesOf(outer)).toEqual([{ operation: 'grant.refresh', input: { grant: 'g' } }]);
    expect(remediesOf('a sentence')).toEqual([]);
  });
});

const folder = join(import.meta.dirname, '../../../src/operations');
const modules: readonly object[] = await Promise.all(
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => import(join(folder, file)) as Promise<object>),
);
const operations = new Map(
  modules
    .flatMap((module) => Object.values(module) as unknown[])
    .filter((value): value is Operation => typeof value === 'object' && value !== null && 'effect' in value)
    .filter((value) => 'input' in value)
    .map((operation) => [operation.id as string, operation]),
);

/** Rows without commands of their own, by their words. */
function leavesOf(rows: readonly CommandRow[], words: readonly string[] = []): [string, CommandRow][] {
  return rows.flatMap((row) =>
    row.commands === undefined
      ? [row.name, row.alias ?? row.name].map((name): [string, CommandRow] => [
          [...words, name].join(' '),
          row,
        ])
      : leavesOf(row.commands, [...words, row.name]),
  );
}
const commands = new Map(leavesOf((await commandTable()).flatMap(([, rows]) => rows)));

const literals: Readonly<Record<string, string | boolean>> = { true: true, false: false, "'for'": 'for' };

/** Actions in the source, with the members of their input. Values that are no literals are null. */
const remedies = [...sourceFiles()].flatMap(([file, text]) =>
  Array.from(text.matchAll(/\bremedy\(\s*'([\w.]+)'(?:,\s*\{([^{}]*)\})?/g), ([, id, written = '']) => {
    const members = written.split(',').map((member) => member.split(':').map((part) => part.trim()));
    const input = members
      .filter(([member = '']) => /^\w+$/.test(member))
      .map(([member, value = '']) => [member, literals[value] ?? null]);
    return [file, id as RemedyId, Object.fromEntries(input) as RemedyInput] as const;
  }),
);

describe('the actions of hints', () => {
  it('are found in the source', () => {
    expect(remedies.length).toBeGreaterThan(150);
  });

  it.each(remedyIds)(
    '%s is an operation with a route or exists only on the command line, and some hint uses it',
    (id) => {
      expect(remediesOf(remedy(id)).length > 0).toBe(
        routes.some(({ operations = [] }) => operations.includes(id)),
      );
      const made = sourceFiles();
      made.delete('lib/hint.ts');
      // `grantRemedy('refresh', …)` makes the ids of actions on a grant.
      const uses = [`'${id}'`, `grantRemedy('${id.replace('grant.', '')}'`];
      expect([...made.values()].some((text) => uses.some((use) => text.includes(use)))).toBe(true);
    },
  );

  it.each(remedies)('%s: %s %j is a command, with input that its operation accepts', (_file, id, input) => {
    const words = hintText(remedy(id, input)).split(' ').slice(1);
    const count = [2, 1].find((length) => commands.has(words.slice(0, length).join(' '))) ?? 0;
    const row = commands.get(words.slice(0, count).join(' '));
    expect(row, words.join(' ')).toBeDefined();
    const flags = (row?.options ?? []).flatMap((option) =>
      typeof option === 'string' ? [] : option[0].split(/[ ,]+/),
    );
    const options = words.filter((word) => word.startsWith('--'));
    expect(flags).toEqual(expect.arrayContaining(options));
    const values = [...words.slice(count), '--'].findIndex((word) => word.startsWith('--'));
    expect(values).toBeLessThanOrEqual(row?.arguments?.length ?? 0);
    const members = Object.keys(operations.get(id)?.input.shape ?? input);
    expect(members).toEqual(expect.arrayContaining(Object.keys(input)));
  });
});

describe('the text for a program', () => {
  it.each([
    ['--expires is not a time.', 'expires is not a time.'],
    ['name the user: --user ada', 'name the user: user ada'],
    ['give --max-ttl, or leave out --uses', 'give max_ttl, or leave out max_uses'],
    ['sidekey connect acme --name dev', 'sidekey connect acme --name dev'],
    [
      'node /opt/sidekey/src/sidekey.js connect acme --name dev',
      'node /opt/sidekey/src/sidekey.js connect acme --name dev',
    ],
    [
      "node '/a b/src/sidekey.js' connect acme --name dev",
      "node '/a b/src/sidekey.js' connect acme --name dev",
    ],
    ['sidekey lease list; or --agent NAME', 'sidekey lease list; or agent NAME'],
    ['a--b, -- and ---', 'a--b, -- and ---'],
  ])('has members of the input for the options of %j', (text, shown) => {
    expect(asMembers(text)).toBe(shown);
  });
});
