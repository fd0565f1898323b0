import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
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
])('for a project and %s the skills are in %s', async (agent, folder) => {
  const at = await home();
  for (const [name, ...service] of [['sidekey'], ['sidekey-github', 'github']] as const) {
    const done = await at.json(['skill', 'install', ...service, '--project', '--for', agent]);
    expect(done).toMatchObject([{ agents: [agent], what: 'written' }]);
    const text = await read(at.at(folder, name, 'SKILL.md'));
    expect(text).toMatch(`---\nname: ${name}\n`);
    expect(isUnchanged(text)).toBe(true);
  }
});

test('the skill of a service has the rules of this machine, unless it is for a project', async () => {
  const at = await home({
    domains: { 'api.github.com': { grant: 'github', rules: [{ methods: ['GET'] }] } },
  });
  const text = async (...more: string[]) =>
    (await at.run(['skill', 'install', 'github', '--print', ...more])).stdout;
  expect(await text()).toContain('1. methods GET: allowed');
  const shared = await text('--project');
  expect(shared).not.toContain('methods GET');
  expect(shared).toContain('They differ between machines.');
});

test('skill list names the services that have a skill', async () => {
  const at = await home({
    providers: { own: { audience: ['api.acme.test'], token: { label: 'key', steps: ['Make one.'] } } },
  });
  const names = (await at.run(['skill', 'list'])).stdout.split('\n');
  expect(names).toContain('github');
  expect(names).not.toContain('own');
  expect(await at.json(['skill', 'list'])).toContain('slack');
});

test('only the owner can write to an installed file, whatever the umask is', async () => {
  const at = await home();
  const before = process.umask(0);
  try {
    await at.run(['skill', 'install', 'github', '--for', 'claude']);
  } finally {
    process.umask(before);
  }
  expect((await stat(at.at('.claude/skills/sidekey-github/SKILL.md'))).mode & 0o777).toBe(0o644);
});

test('a link in the place of the folder of a skill is refused, and one in the place of the file is replaced', async () => {
  const at = await home();
  await mkdir(at.at('elsewhere'));
  await mkdir(at.at('.claude/skills/sidekey-slack'), { recursive: true });
  await symlink(at.at('elsewhere'), at.at('.claude/skills/sidekey-github'));
  await symlink(at.at('elsewhere/new.sh'), at.at('.claude/skills/sidekey-slack/SKILL.md'));
  const install = (service: string) => at.run(['skill', 'install', service, '--project', '--for', 'claude']);
  expect(await install('github')).toMatchObject({ exit: 1, stderr: expect.stringContaining('is a link') });
  expect(await install('slack')).toMatchObject({ exit: 0 });
  expect(await read(at.at('.claude/skills/sidekey-slack/SKILL.md'))).toMatch(/^---\nname: sidekey-slack\n/);
  expect([...(await at.everything()).keys()].filter((name) => name.startsWith('elsewhere/'))).toEqual([]);
});

test.each([
  ['sidekey', []],
  ['sidekey-github', ['github']],
])(
  'a file of the skill %s that a person wrote or changed is kept, unless --force is given',
  async (name, service) => {
    const at = await home();
    const file = at.at('.claude/skills', name, 'SKILL.md');
    const install = (...more: string[]) =>
      at.run(['skill', 'install', ...service, '--for', 'claude', ...more]);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, 'my own');
    expect(await install()).toMatchObject({ exit: 1, stdout: expect.stringMatching(/^Not changed: /) });
    expect(await read(file)).toBe('my own');
    expect(await install('--force')).toMatchObject({ exit: 0, stdout: expect.stringMatching(/^Updated /) });
    const ours = await read(file);
    await writeFile(file, `${ours}- And be kind.\n`);
    expect(await install()).toMatchObject({
      exit: 1,
      stderr: expect.stringContaining(`sidekey ${['skill install', ...service].join(' ')} --force`),
    });
    expect(await read(file)).toMatch(/And be kind/);
  },
);

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
  [['../../evil'], 'There is no provider of that name'],
  [['githob'], 'did you mean github?'],
  [['aws'], 'The provider aws has no operations, so there is no skill for it.'],
  [['salesforce'], 'The provider salesforce has no settings.org_host, so there is no skill for it.'],
])('%j is refused', async (args, sentence) => {
  const at = await home();
  const before = await at.everything();
  expect(await at.run(['skill', 'install', ...args])).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining(sentence),
  });
  expect(await at.everything()).toEqual(before);
});
