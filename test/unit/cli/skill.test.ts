import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { failures } from '../../../src/lib/failures.ts';
import { home } from '../../support/command-line.ts';

const root = join(import.meta.dirname, '../../..');
const page = await readFile(join(root, 'skills/sidekey/SKILL.md'), 'utf8');
const told = new Set([...page.matchAll(/^\| `([a-z_]+)`/gm)].map(([, code]) => code));

/** Codes that only people get: at the command line, and when they answer approvals. */
const all = Object.keys(failures);
const met = all.slice(0, all.indexOf('input_invalid')).filter((code) => code !== 'approval_over');

test('the skill has the front matter that agents read, and is short', () => {
  const [, front = ''] = /^---\n([^]*?)\n---\n/.exec(page) ?? [];
  const { name, description } = parse(front) as { name: string; description: string };
  expect(name).toBe('sidekey');
  expect(description.length).toBeGreaterThan(100);
  expect(description.length).toBeLessThanOrEqual(1_024);
  expect(page.split('\n').length).toBeLessThan(150);
});

test('the table of the skill has every code that an agent can get, and no other', () => {
  expect(met).toContain('internal');
  expect(told).toEqual(new Set(met));
});

test('every command in the skill exists', async () => {
  const commands = new Set(
    [...page.matchAll(/(?:`|^|→ )sidekey ((?:[a-z]+ ?){1,2})/gm)].map(([, words = '']) => words.trim()),
  );
  expect(commands.size).toBeGreaterThan(8);
  const at = await home();
  const groups = new Set(['domain', 'agent', 'lease', 'grant', 'ca']);
  for (const command of commands) {
    const [first = '', second] = command.split(' ');
    const words = groups.has(first) && second !== undefined ? [first, second] : [first];
    const { stdout } = await at.run([...words, '--help']);
    expect(stdout, command).toMatch(new RegExp(`^Usage: sidekey ${words.join(' ')}\\b`));
  }
});

const read = async (name: string) =>
  JSON.parse(await readFile(join(root, name), 'utf8')) as Record<string, unknown>;

test('the plugin of Claude Code has the version of the package, and starts the MCP server', async () => {
  const [plugin, { version }] = [await read('.claude-plugin/plugin.json'), await read('package.json')];
  expect(plugin).toMatchObject({ version, mcpServers: { sidekey: { command: 'sidekey', args: ['mcp'] } } });
  const { plugins } = await read('.claude-plugin/marketplace.json');
  expect(plugins).toMatchObject([{ name: plugin['name'], source: './' }]);
  const { stdout } = await (await home()).run(['mcp', '--help']);
  expect(stdout).toMatch(/^Usage: sidekey mcp/);
});

test('the files of the skill are in the package', async () => {
  const { files } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { files: string[] };
  expect(files).toContain('skills');
});
