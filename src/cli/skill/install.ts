import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { didYouMean } from '../../did-you-mean.ts';
import { displayName } from '../../config/problem.ts';
import { packageRoot } from '../../config/shipped.ts';
import { exitCode, SidekeyError } from '../../errors.ts';
import { isSystemError, systemCode } from '../../system-error.ts';
import type { Context } from '../context.ts';
import { isUnchanged, markedSkill } from './marked-skill.ts';
import { agentNames, isAgentKind, marksOf, skillFile, type AgentKind, type SkillScope } from './places.ts';

/** Where the skill is to go. */
export interface InstallOptions {
  readonly for?: readonly string[];
  readonly project?: boolean;
  readonly user?: boolean;
  readonly force?: boolean;
  readonly print?: boolean;
}

/** `sidekey skill show` */
export async function showSkill({ output }: Context): Promise<void> {
  const text = await shippedSkill();
  output.result({ skill: text }, text);
}

/**
 * `sidekey skill install`: exit code 1 where a file was left alone, because a person wrote or changed it.
 *
 * @throws SidekeyError `input_invalid`, `file_unwritable`
 */
export async function installSkill(context: Context, options: InstallOptions): Promise<number | void> {
  const { output, env } = context;
  const text = markedSkill(await shippedSkill());
  if (options.print === true) {
    output.result({ skill: text }, text);
    return;
  }
  if (options.project === true && options.user === true) {
    throw new SidekeyError('input_invalid', '--project and --user are both given.', {
      hint: 'give one of them',
    });
  }
  const scope: SkillScope = options.project === true ? 'project' : 'user';
  const base = scope === 'project' ? process.cwd() : (env['HOME'] ?? homedir());
  const found = options.for?.map(readAgent) ?? (await agentsAt(scope, base));
  // The folder that most of them read.
  const agents = found.length > 0 ? found : (['agents'] as const);
  const files = [...new Set(agents.map((agent) => skillFile(agent, scope, base)))];
  const done = [];
  for (const file of files) {
    const what = await place(file, text, options.force === true);
    done.push({ file, agents: agents.filter((agent) => skillFile(agent, scope, base) === file), what });
  }
  output.result(
    done,
    done
      .map(
        ({ file, agents: whose, what }) =>
          `${said[what]} ${displayName(file, process.cwd())} (${whose.join(', ')})`,
      )
      .join('\n'),
  );
  if (found.length === 0) {
    output.say(
      `None of these agents is there, so it is where many look: ${agentNames.join(', ')}. Name one with --for.`,
    );
  }
  if (!done.some(({ what }) => what === 'kept')) return;
  output.say('A file that somebody else wrote or changed was left alone.\n  → sidekey skill install --force');
  return exitCode.failure;
}

type Placed = 'written' | 'updated' | 'same' | 'kept';

const said: Readonly<Record<Placed, string>> = {
  written: 'Wrote',
  updated: 'Updated',
  same: 'Is there already:',
  kept: 'Left alone:',
};

async function place(file: string, text: string, force: boolean): Promise<Placed> {
  try {
    const before = await readFile(file, 'utf8').catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT')) return null;
      throw error;
    });
    if (before === text) return 'same';
    if (before !== null && !force && !isUnchanged(before)) return 'kept';
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
    return before === null ? 'written' : 'updated';
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `${file} cannot be written (${systemCode(cause)}).`, {
      hint: 'sidekey skill install --print',
      cause,
    });
  }
}

async function agentsAt(scope: SkillScope, base: string): Promise<readonly AgentKind[]> {
  const there = await Promise.all(
    agentNames.map(async (agent) => {
      const marks = await Promise.all(marksOf(agent, scope, base).map(isThere));
      return marks.includes(true) ? [agent] : [];
    }),
  );
  return there.flat();
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function readAgent(text: string): AgentKind {
  if (isAgentKind(text)) return text;
  const near = didYouMean(text, agentNames);
  throw new SidekeyError(
    'input_invalid',
    `--for names no agent whose places are known${near === null ? '.' : `; did you mean ${near}?`}`,
    { hint: `--for ${agentNames.join(' | ')}; for any other: sidekey skill show > FILE` },
  );
}

function shippedSkill(): Promise<string> {
  return readFile(join(packageRoot, 'skills', 'sidekey', 'SKILL.md'), 'utf8');
}
