import { stripVTControlCharacters } from 'node:util';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { exitCode } from '../../lib/failures.ts';
import { shellWord } from '../../lib/text.ts';
import { connect } from '../connect/connect.ts';
import { type Context, withInput } from '../context.ts';
import { agentsAt, installSkill, missingSkills } from '../skill.ts';
import { confirm } from '../terminal.ts';
import { findLogins, type FoundLogin, machineOf } from '../../operations/find-logins.ts';

export interface InitOptions {
  readonly yes?: boolean;
  readonly verify?: boolean;
}

/** Result of `sidekey init`. */
interface Done {
  readonly config: string;
  readonly connected: string[];
  /** Found providers that were declined. */
  readonly declined: string[];
  /** Found providers that could not be connected. */
  readonly failed: string[];
  /** Providers that were connected before. */
  readonly before: readonly string[];
  skill: boolean;
  service: boolean;
}

/**
 * `sidekey init`: connects the credentials of this machine, installs the instructions for agents, and offers
 * the service. Each step prompts. `--yes` accepts all but the service. A repeated call skips finished steps.
 * Exit code 1: a credential was refused, or nothing is connected.
 */
export async function init(
  context: Context,
  service: 'auth0' | undefined,
  { yes = false, verify = true }: InitOptions,
): Promise<number | void> {
  if (service !== undefined) return (await import('./auth0.ts')).initAuth0(context);
  const { ask, env, openLines, output } = context;
  if (ask === null && !yes) {
    throw inputInvalid('init asks questions, and standard input is not a terminal.', 'sidekey init --yes');
  }
  const isWanted = (question: string, byDefault = true) =>
    yes ? Promise.resolve(byDefault) : confirm(openLines, question, byDefault);
  const done: Done = {
    config: await context.configFile(),
    connected: [],
    declined: [],
    failed: [],
    before: [...(await connectedProviders(context))],
    skill: false,
    service: false,
  };

  const machine = machineOf(env);
  const { home, folder } = machine;
  const { providers } = await context.config();
  const names = new Set(done.before);
  if (names.size > 0) output.say(`Connected already: ${done.before.join(', ')}.`);
  const found = await findLogins(machine, providers);
  let isOffline = false;
  for (const login of found.filter(({ provider }) => !names.has(provider))) {
    const isTaken = await isWanted(`Connect ${login.provider} with ${login.place}?`);
    if (yes) output.say(`Connecting ${login.provider} with ${login.place}:`);
    const connectIt = () =>
      connect(withInput(quiet(context), login.input), login.provider, { token: true, verify });
    const error = isTaken ? await step(context, connectIt) : null;
    isOffline ||= error?.exit === exitCode.network;
    const list = !isTaken ? done.declined : error === null ? done.connected : done.failed;
    list.push(login.provider);
  }
  if (found.length === 0)
    output.say(`No credential was found in variables, ${folder}/.env, gh, aws, docker or .netrc.`);
  if (names.size + done.connected.length === 0 && ask !== null && !yes) {
    const { askProvider } = await import('../connect/choose.ts');
    const chosen = await askProvider(context, 'Connect which service, such as github? (Enter: none)');
    if (chosen !== null && (await step(context, () => connect(quiet(context), chosen.name, {}))) === null)
      done.connected.push(chosen.name);
  }

  const agents = agentsAt('user', home);
  const files = await missingSkills(home);
  if (files.length > 0 && (await isWanted(`Install the instructions for ${agents.join(', ')}?`))) {
    const install = async () => void (await installSkill(quiet(context), undefined, { user: true }));
    done.skill = (await step(context, install)) === null;
  }
  const services = await import('../service/service.ts');
  const isServed = await services.isInstalled(env);
  if (!isServed && (await isWanted('Run the proxy in the background, from login on?', false)))
    done.service = (await step(context, () => services.installService(quiet(context)))) === null;
  const first = [...names, ...done.connected][0];
  output.result(done, lastWords(done, { found, first, files, isOffline }));
  return first === undefined || done.failed.length > 0 ? exitCode.failure : exitCode.ok;
}

/** Returns the providers of usable grants. */
function connectedProviders(context: Context): Promise<ReadonlySet<string>> {
  return context.withState(async ({ store: { grants } }) => {
    const providers = new Set<string>();
    for (let name = await grants.providerAfter(''); name !== null; name = await grants.providerAfter(name))
      if ((await grants.matching({ provider: name, state: 'active' }, 1)).length > 0) providers.add(name);
    return providers;
  });
}

/** Runs a step. Prints and returns its failure, without ending other steps; null: none. */
async function step({ output }: Context, run: () => Promise<void>): Promise<SidekeyError | null> {
  try {
    await run();
    return null;
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    output.fail(error);
    return error;
  }
}

/** Returns a context that prints first result lines as messages, because the command has its own result. */
function quiet(context: Context): Context {
  const { output } = context;
  return {
    ...context,
    output: {
      ...output,
      result: (value, text) => {
        const [first = ''] = (typeof text === 'string' ? text : text()).split('\n', 1);
        const isUnverified = (value as { readonly verified?: boolean }).verified === false;
        output.say(
          `${stripVTControlCharacters(first)}${isUnverified ? ' Not verified: the first call shows whether it works.' : ''}`,
        );
      },
    },
  };
}

interface Outcome {
  readonly found: readonly FoundLogin[];
  /** A provider with a grant; absent: none. */
  readonly first: string | undefined;
  /** Files of the instructions, if installed now. */
  readonly files: readonly string[];
  /** True: the network failed, so a credential could not be verified. */
  readonly isOffline: boolean;
}

function lastWords(done: Done, { found, first, files, isOffline }: Outcome): string {
  const taken = found.filter(({ provider, remove }) => done.connected.includes(provider) && remove !== null);
  const failed = found.filter(({ provider }) => done.failed.includes(provider));
  const next = isOffline ? 'sidekey init --no-verify' : 'sidekey connect github';
  const undo = [
    ...done.connected.map((name) => `sidekey grant remove ${name} --domains`),
    ...(done.skill ? files.map((file) => `rm ${shellWord(file)}`) : []),
    ...(done.service ? ['sidekey service uninstall'] : []),
  ];
  return [
    ...failed.map(({ provider, place }) => `Not connected: ${provider} (${place}); see above.`),
    first === undefined ? 'Nothing is connected yet.' : 'Sidekey is ready.',
    `  config   ${done.config}`,
    ...(taken.length === 0 ? [] : ['', 'The keys are still where they were. Agents can read them there:']),
    ...taken.map(({ provider, remove }) => `  ${provider}: ${remove}`),
    '',
    first === undefined ? 'Next step:' : 'The first call:',
    `  → ${first === undefined ? next : 'sidekey run -- claude'}`,
    ...(done.service ? ['  → eval "$(sidekey env)"'] : []),
    ...(undo.length === 0 ? [] : ['', 'To undo:', ...undo.map((line) => `  → ${line}`)]),
  ].join('\n');
}
