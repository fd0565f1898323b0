import { hash } from 'node:crypto';
import { existsSync, lstatSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { door, packageRoot, packageText } from '../lib/package-files.ts';
import { asTyped, commandName } from '../lib/command-name.ts';
import { displayName } from '../config/problem.ts';
import { orMeant, shellWord } from '../lib/text.ts';
import { exitCode } from '../lib/failures.ts';
import { inputInvalid, isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { makeFolder, replaceFile } from '../lib/os.ts';
import type { Context } from './context.ts';

export interface InstallOptions {
  readonly for?: readonly string[];
  readonly project?: boolean;
  readonly user?: boolean;
  readonly force?: boolean;
  readonly print?: boolean;
}

/**
 * `sidekey skill install`: exit code 1 if a file was skipped because a user wrote or changed it.
 *
 * @param service provider of the skill; undefined: the skill of Sidekey
 * @throws SidekeyError `input_invalid`, `provider_unknown`, `config_invalid`, `file_unwritable`
 */
export async function installSkill(
  context: Context,
  service: string | undefined,
  options: InstallOptions,
): Promise<number | void> {
  const { output, env } = context;
  const name = service === undefined ? 'sidekey' : `sidekey-${service}`;
  const text = service === undefined ? ownSkill() : await skillOf(context, service, options.project !== true);
  if (options.print === true) {
    output.result({ skill: text }, text);
    return;
  }
  if (options.project === true && options.user === true) {
    throw inputInvalid('--project and --user are both given.', 'give one of them');
  }
  const scope: SkillScope = options.project === true ? 'project' : 'user';
  const base = scope === 'project' ? process.cwd() : (env['HOME'] ?? homedir());
  const found = options.for?.map(readAgent) ?? agentsAt(scope, base);
  // Most agents read this folder.
  const agents = found.length > 0 ? found : (['agents'] as const);
  const files = [...new Set(agents.map((agent) => skillFile(agent, scope, base, name)))];
  const done = [];
  for (const file of files) {
    const what = await place(file, text, options.force === true);
    done.push({ file, agents: agents.filter((agent) => skillFile(agent, scope, base, name) === file), what });
  }
  output.result(
    done,
    done
      .map(({ file, agents: whose, what }) => `${said[what]} ${displayName(file)} (${whose.join(', ')})`)
      .join('\n'),
  );
  if (found.length === 0) {
    output.say(
      `No known agent found; installed for all agents that read .agents/skills. Use --for ${skillAgents.join('|')}.`,
    );
  }
  if (!done.some(({ what }) => what === 'kept')) return;
  output.say(
    `You or another program changed that file.\n  → sidekey skill install ${service === undefined ? '' : `${service} `}--force   replaces it`,
  );
  return exitCode.failure;
}

/** `sidekey skill list`: the services that `skill install` takes. */
export async function listSkills({ output, readConfig }: Context): Promise<void> {
  const { providers } = await readConfig();
  const names = providers.names.filter((name) => providers.get(name)?.operations.length !== 0);
  output.result(names, names.join('\n'));
}

/** Returns the files that `skill install` would write for a user's agents, except those of a person. */
export async function missingSkills(home: string): Promise<readonly string[]> {
  const files = [...new Set(agentsAt('user', home).map((agent) => skillFile(agent, 'user', home)))];
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  return files.filter((_file, index) => {
    const text = texts[index] ?? '';
    return text === '' || (text !== ownSkill() && isUnchanged(text));
  });
}

/** Renders the skill of a service. @param withRules adds the rules of this machine */
async function skillOf({ readConfig }: Context, service: string, withRules: boolean): Promise<string> {
  const { findProvider } = await import('../operations/lookup.ts');
  const { domains, providers } = await readConfig();
  const provider = findProvider(providers, service);
  const open = provider.settings.find(({ value }) => value === null);
  if (open !== undefined || provider.operations.length === 0) {
    const lack = open === undefined ? 'operations' : `settings.${open.name}`;
    const hint = `write ${lack} under providers.${service} in the config file; sidekey skill list shows the others`;
    throw inputInvalid(`The provider ${service} has no ${lack}, so there is no skill for it.`, hint);
  }
  const { serviceSkill } = await import('./service-skill.ts');
  return installed(serviceSkill(provider, withRules ? domains : null));
}

/** Returns a skill with the command of this installation, and with its digest. */
function installed(skill: string): string {
  // An agent works in any folder, where npx may not find Sidekey.
  const command = commandName() === 'sidekey' ? 'sidekey' : `node ${shellWord(door)}`;
  return markedSkill(asTyped(skill, command));
}

function ownSkill(): string {
  return installed(packageText(join(packageRoot, 'skills', 'sidekey', 'SKILL.md')));
}

type Placed = 'written' | 'updated' | 'same' | 'kept';

const said: Readonly<Record<Placed, string>> = {
  written: 'Wrote',
  updated: 'Updated',
  same: 'Already installed:',
  kept: 'Not changed:',
};

async function place(file: string, text: string, force: boolean): Promise<Placed> {
  try {
    const before = await readFile(file, 'utf8').catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT')) return null;
      throw error;
    });
    if (before === text) return 'same';
    if (before !== null && !force && !isUnchanged(before)) return 'kept';
    const folder = dirname(file);
    makeFolder(folder);
    // A repository may contain a link to any folder of the user.
    if (lstatSync(folder).isSymbolicLink())
      throw new SidekeyError('file_unwritable', `${folder} is a link.`, { hint: 'remove the link' });
    await replaceFile(file, text, 0o644);
    return before === null ? 'written' : 'updated';
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError('file_unwritable', `${file} cannot be written (${systemCode(cause)}).`, {
      hint: 'sidekey skill install --print',
      cause,
    });
  }
}

/** Returns the agents that a project or a user uses. */
export function agentsAt(scope: SkillScope, base: string): readonly AgentKind[] {
  return skillAgents.filter((agent) =>
    places[agent].marks[scope].some((mark) => existsSync(join(base, mark))),
  );
}

function readAgent(text: string): AgentKind {
  if (isAgentKind(text)) return text;
  throw new SidekeyError('input_invalid', `--for names an unknown agent${orMeant(text, skillAgents)}`, {
    hint: `--for ${skillAgents.join(' | ')}; for any other: sidekey skill install --print > FILE`,
  });
}

/** Line of the front matter with the digest, which identifies an unchanged installed file. */
const mark = /^ {2}sidekey-digest: "([0-9a-f]{64})"\n/m;

/** Returns the skill with a digest of its text. @throws if the text has no front matter */
export function markedSkill(text: string): string {
  const end = text.indexOf('\n---\n');
  if (!text.startsWith('---\n') || end < 0) throw new Error('the skill has no front matter');
  const before = `${text.slice(0, end)}\nmetadata:\n`;
  const after = text.slice(end + 1);
  return `${before}  sidekey-digest: "${hash('sha256', before + after)}"\n${after}`;
}

/** Reports whether a file is unchanged since Sidekey wrote it. Not a proof: anyone can compute the digest. */
export function isUnchanged(text: string): boolean {
  const [line = '', digest] = mark.exec(text) ?? [];
  return digest !== undefined && hash('sha256', text.replace(line, '')) === digest;
}

/**
 * Folders of one agent for skills, relative to the project or the home folder. `SKILL.md` is in a folder of
 * the skill's name.
 */
interface Places {
  readonly project: string;
  readonly user: string;
  /** Files that exist if the agent is used. */
  readonly marks: { readonly project: readonly string[]; readonly user: readonly string[] };
}

/**
 * Agents that read skills in the open format (agentskills.io), with the folders of their own documentation.
 * Many share the folder `agents`; it is Codex's only one.
 */
const places = {
  claude: {
    project: '.claude/skills',
    user: '.claude/skills',
    marks: { project: ['.claude', 'CLAUDE.md'], user: ['.claude'] },
  },
  codex: {
    project: '.agents/skills',
    user: '.agents/skills',
    marks: { project: ['.codex'], user: ['.codex'] },
  },
  copilot: {
    project: '.github/skills',
    user: '.copilot/skills',
    // Repositories have a .github for many reasons.
    marks: { project: ['.github/skills', '.github/copilot-instructions.md'], user: ['.copilot'] },
  },
  cursor: {
    project: '.cursor/skills',
    user: '.cursor/skills',
    marks: { project: ['.cursor'], user: ['.cursor'] },
  },
  gemini: {
    project: '.gemini/skills',
    user: '.gemini/skills',
    marks: { project: ['.gemini', 'GEMINI.md'], user: ['.gemini'] },
  },
  opencode: {
    project: '.opencode/skills',
    user: '.config/opencode/skills',
    marks: { project: ['.opencode'], user: ['.config/opencode'] },
  },
  agents: {
    project: '.agents/skills',
    user: '.agents/skills',
    marks: { project: ['.agents'], user: ['.agents'] },
  },
} as const satisfies Readonly<Record<string, Places>>;

type AgentKind = keyof typeof places;

export const skillAgents = Object.keys(places) as readonly AgentKind[];

function isAgentKind(text: string): text is AgentKind {
  return Object.hasOwn(places, text);
}

type SkillScope = 'project' | 'user';

/** Returns the file of a skill for an agent, below the folder of the project or the home of the user. */
function skillFile(agent: AgentKind, scope: SkillScope, base: string, skill = 'sidekey'): string {
  return join(base, places[agent][scope], skill, 'SKILL.md');
}
