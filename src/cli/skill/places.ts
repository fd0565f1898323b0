import { join } from 'node:path';

/** Where one agent looks for skills: `SKILL.md` in a folder of the skill's name. Paths are relative to project and home. */
interface Places {
  /** Folders of skills. */
  readonly project: string;
  readonly user: string;
  /** What is there where the agent is used. */
  readonly marks: { readonly project: readonly string[]; readonly user: readonly string[] };
}

/**
 * Agents that read skills in the open format (agentskills.io), each with the folders that its own documentation names.
 * `agents` is the folder that many of them share; of Codex it is the only one.
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
    // A repository has a .github for many reasons.
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

/** An agent whose places are known. */
export type AgentKind = keyof typeof places;

/** Their names. */
export const agentNames = Object.keys(places) as readonly AgentKind[];

/** Whether a text names one. */
export function isAgentKind(text: string): text is AgentKind {
  return Object.hasOwn(places, text);
}

/** For one project, or for all that a user does. */
export type SkillScope = 'project' | 'user';

/** The file that an agent reads, below the folder of the project or the home of the user. */
export function skillFile(agent: AgentKind, scope: SkillScope, base: string): string {
  return join(base, places[agent][scope], 'sidekey', 'SKILL.md');
}

/** What shows that an agent is used there. */
export function marksOf(agent: AgentKind, scope: SkillScope, base: string): readonly string[] {
  return places[agent].marks[scope].map((mark) => join(base, mark));
}
