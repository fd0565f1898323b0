import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { isUnchanged } from '../../../src/cli/skill.ts';
import { home, runProgram, sourceProgram } from '../../support/command-line.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const read = (file: string) => readFile(file, 'utf8');

test('the skill is installed only in the folders of installed agents', async () => {
  const at = await home();
  for (const folder of ['.claude', '.codex', '.config/opencode'])
    await mkdir(at.at(folder), { recursive: true });
  const { exit, stdout } = await at.run(['skill', 'install']);
  expect(exit).toBe(0);
  expect(stdout).toBe(
    [
      'Wrote .claude/skills/sidekey/SKILL.md (claude)',
      'Wrote .agents/skills/sidekey/SKILL.md (codex)',
      'Wrote .config/opencode/skills/sidekey/SKILL.md (opencode)\n',
    ].join('\n'),
  );
  const text = await read(at.at('.claude/skills/sidekey/SKILL.md'));
  expect(text).toMatch(/^---\nname: sidekey\n/);
  expect(isUnchanged(text)).toBe(true);
  expect((await at.run(['skill', 'install', '--for', 'claude'])).stdout).toMatch(/^Already installed: /);
});

test('the skill is written to the common folder if no agent folder exists', async () => {
  const at = await home();
  const { stdout, stderr } = await at.run(['skill', 'install']);
  expect(stdout).toBe('Wrote .agents/skills/sidekey/SKILL.md (agents)\n');
  expect(stderr).toContain('No known agent found');
});

test.each([
  ['claude', '.claude/skills'],
  ['codex', '.agents/skills'],
  ['copilot', '.github/skills'],
  ['cursor', '.cursor/skills'],
  ['gemini', '.gemini/skills'],
  ['opencode', '.opencode/skills'],
])('for a project and %s the skill is in %s', async (agent, folder) => {
  const at = await home();
  const done = await at.json(['skill', 'install', '--project', '--for', agent]);
  expect(done).toMatchObject([{ agents: [agent], what: 'written' }]);
  expect(await read(at.at(folder, 'sidekey/SKILL.md'))).toMatch(/^---\nname: sidekey\n/);
});

test('a skill file that a person wrote or changed is kept, unless --force is given', async () => {
  const at = await home();
  const file = at.at('.claude/skills/sidekey/SKILL.md');
  const install = (...more: string[]) => at.run(['skill', 'install', '--for', 'claude', ...more]);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, 'my own');
  expect(await install()).toMatchObject({ exit: 1, stdout: expect.stringMatching(/^Not changed: /) });
  expect(await read(file)).toBe('my own');
  expect(await install('--force')).toMatchObject({ exit: 0, stdout: expect.stringMatching(/^Updated /) });
  const ours = await read(file);
  await writeFile(file, `${ours}- And be kind.\n`);
  expect(await install()).toMatchObject({ exit: 1, stderr: expect.stringContaining('--force') });
  expect(await read(file)).toMatch(/And be kind/);
});

test('a skill file of an older version is replaced', async () => {
  const at = await home();
  const file = at.at('.claude/skills/sidekey/SKILL.md');
  await mkdir(dirname(file), { recursive: true });
  const { markedSkill } = await import('../../../src/cli/skill.ts');
  await writeFile(file, markedSkill('---\nname: sidekey\n---\n\nAs it was.\n'));
  expect((await at.run(['skill', 'install', '--for', 'claude'])).stdout).toMatch(/^Updated /);
  expect(await read(file)).not.toContain('As it was.');
});

test('show and --print write nothing', async () => {
  const at = await home();
  const before = await at.everything();
  expect((await at.run(['skill', 'install', '--print'])).stdout).toMatch(/^---\nname: sidekey\n/);
  expect(isUnchanged((await at.run(['skill', 'install', '--print'])).stdout)).toBe(true);
  expect(await at.everything()).toEqual(before);
});

test('in a checkout, the skill names the program by its path, which works in any folder', async () => {
  const env = { npm_command: undefined };
  const { stdout } = await runProgram(['skill', 'install', '--print'], await tempFolder(), {
    env,
    entryFile: sourceProgram,
  });
  expect(stdout).toContain(`\nnode ${sourceProgram} fetch `);
  expect(stdout).not.toMatch(/[`\n]sidekey /);
});

test.each([
  [['--for', 'clade'], 'did you mean claude?'],
  [['--project', '--user'], 'both given'],
])('%j is refused', async (args, sentence) => {
  const at = await home();
  expect(await at.run(['skill', 'install', ...args])).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining(sentence),
  });
});
