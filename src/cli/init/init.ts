import { homedir } from 'node:os';
import { SidekeyError } from '../../lib/errors.ts';
import { exitCode } from '../../lib/failures.ts';
import { connect } from '../connect/connect.ts';
import type { Context } from '../context.ts';
import { agentsAt, installSkill } from '../skill.ts';
import { type Ask, confirm } from '../terminal.ts';
import { findLogins, type FoundLogin, withLogin } from './find-logins.ts';

export interface InitOptions {
  readonly yes?: boolean;
  readonly verify?: boolean;
}

/** Result of `sidekey init`. */
interface Done {
  readonly config: string;
  readonly connected: string[];
  /** Providers that were found and declined. */
  readonly declined: string[];
  /** Providers that were found and could not be connected. */
  readonly failed: string[];
  skill: boolean;
  service: boolean;
}

/**
 * `sidekey init`: connects the credentials that are on this machine, installs the instructions for agents, and offers the
 * service. Each step asks; with `--yes` all are taken but the service. A repeated call leaves alone what is done. Exit code
 * 1: a credential was refused, or nothing is connected.
 */
export async function init(
  context: Context,
  service: 'auth0' | undefined,
  { yes = false, verify = true }: InitOptions,
): Promise<number | void> {
  if (service !== undefined) return (await import('./auth0.ts')).initAuth0(context);
  const { ask, env, openLines, output } = context;
  if (ask === null && !yes) {
    throw new SidekeyError('input_invalid', 'init asks questions, and standard input is not a terminal.', {
      hint: 'sidekey init --yes',
    });
  }
  const isWanted = (question: string, byDefault = true) =>
    yes ? Promise.resolve(byDefault) : confirm(openLines, question, byDefault);
  const done: Done = {
    config: await context.configFile(),
    connected: [],
    declined: [],
    failed: [],
    skill: false,
    service: false,
  };

  const home = env['HOME'] ?? homedir();
  const { providers } = await context.config();
  const names = await grantNames(context);
  const found = findLogins({ env, home, folder: process.cwd() }, providers);
  for (const login of found.filter(({ provider }) => !names.has(provider))) {
    const isTaken = await isWanted(`Connect ${login.provider} with ${login.place}?`);
    if (yes) output.say(`Connecting ${login.provider} with ${login.place}:`);
    const connectIt = () =>
      connect(withLogin(quiet(context), login), login.provider, { token: true, verify });
    const list = !isTaken ? done.declined : (await step(context, connectIt)) ? done.connected : done.failed;
    list.push(login.provider);
  }
  if (found.length === 0)
    output.say('No credential was found in variables, .env, gh, aws, docker or .netrc.');
  if (names.size + done.connected.length === 0 && ask !== null && !yes)
    await connectNamed(context, ask, done);

  const agents = agentsAt('user', home);
  if (agents.length > 0 && (await isWanted(`Install the instructions for ${agents.join(', ')}?`))) {
    done.skill = await step(context, async () => void (await installSkill(quiet(context), { user: true })));
  }
  if (await isWanted('Run the proxy in the background, from login on?', false)) {
    const { installService } = await import('../service/service.ts');
    done.service = await step(context, () => installService(quiet(context)));
  }
  const first = [...names, ...done.connected][0];
  output.result(done, lastWords(done, found, first));
  return first === undefined || done.failed.length > 0 ? exitCode.failure : exitCode.ok;
}

/** The names of the usable grants. */
function grantNames(context: Context): Promise<ReadonlySet<string>> {
  return context.withState(async ({ grants }) => {
    const all = await grants.list();
    return new Set(all.filter(({ state }) => state === 'active').map(({ provider }) => provider));
  });
}

async function connectNamed(context: Context, ask: Ask, done: Done): Promise<void> {
  const question = 'Connect which service, such as github or openai? (Enter: none)';
  const name = await ask(question, { secret: false, isOptional: true });
  if (name !== '' && (await step(context, () => connect(quiet(context), name, {}))))
    done.connected.push(name);
}

/** Runs a step. Its failure is said, and ends no other step. */
async function step({ output }: Context, run: () => Promise<void>): Promise<boolean> {
  try {
    await run();
    return true;
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    output.fail(error);
    return false;
  }
}

/** A context of which the first lines of results are messages: the command has one result of its own. */
function quiet(context: Context): Context {
  const { output } = context;
  return {
    ...context,
    output: { ...output, result: (_value, text) => output.say(text.split('\n', 1)[0] ?? '') },
  };
}

function lastWords(done: Done, found: readonly FoundLogin[], first: string | undefined): string {
  const taken = found.filter(({ provider, remove }) => done.connected.includes(provider) && remove !== null);
  const failed = found.filter(({ provider }) => done.failed.includes(provider));
  return [
    ...failed.map(({ provider, place }) => `Not connected: ${provider} (${place}); see above.`),
    first === undefined ? 'Nothing is connected yet.' : 'Sidekey is ready.',
    `  config   ${done.config}`,
    ...(taken.length === 0 ? [] : ['', 'The keys are still where they were. Agents can read them there:']),
    ...taken.map(({ provider, remove }) => `  ${provider}: ${remove}`),
    '',
    first === undefined ? 'Next step:' : 'The first call:',
    first === undefined ? '  → sidekey connect github' : '  → sidekey run -- claude',
    ...(done.service ? ['  → eval "$(sidekey env)"'] : []),
    '',
    `To undo: "sidekey grant remove NAME"${done.service ? ', "sidekey service uninstall"' : ''}. To repeat: "sidekey init".`,
  ].join('\n');
}
