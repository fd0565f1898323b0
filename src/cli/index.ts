import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { errorPhrase } from '../error-facts.ts';
import { exitCode, SidekeyError } from '../errors.ts';
import { registerAgent } from './agent.ts';
import { registerApprove } from './approve.ts';
import { registerAudit } from './audit.ts';
import { registerCa } from './ca.ts';
import type { Bind, Register } from './command.ts';
import { registerConnect } from './connect.ts';
import { createContext } from './context.ts';
import { registerDemo } from './demo.ts';
import { registerDoctor } from './doctor.ts';
import { registerDomain } from './domain.ts';
import { registerEnv } from './env.ts';
import { registerExplain } from './explain.ts';
import { registerFetch } from './fetch.ts';
import { registerGrant } from './grant.ts';
import { registerLease } from './lease.ts';
import { openLines, readInput, type Input } from './input.ts';
import { createOutput, type Streams } from './output.ts';
import { createAsk } from './prompt.ts';
import { registerPolicy } from './policy.ts';
import { registerProvider } from './provider.ts';
import { registerRun } from './run.ts';
import { createScreen } from './screen.ts';
import { registerSkill } from './skill.ts';
import { registerStart } from './start.ts';
import { registerStatus } from './status.ts';
import { asksNothing, usageFailure } from './usage.ts';

const sections: readonly (readonly [heading: string, commands: readonly Register[]])[] = [
  ['Run:', [registerRun, registerStart, registerEnv, registerFetch, registerSkill, registerDemo]],
  ['Look:', [registerStatus, registerDoctor]],
  ['Credentials:', [registerConnect, registerGrant, registerProvider]],
  [
    'Who and where:',
    [registerDomain, registerAgent, registerLease, registerApprove, registerExplain, registerPolicy],
  ],
  ['Evidence and trust:', [registerAudit, registerCa]],
];

interface CommonOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** What the program is run in: the process, unless a test gives another. */
export type Host = Pick<NodeJS.Process, 'env'> & Streams & { readonly stdin: Input };

/** The command line: runs one command, and answers its exit code (see `exitCode`). Never rejects. */
export async function run(argv: readonly string[], host: Host = process): Promise<number> {
  let options: CommonOptions = { json: argv.includes('--json') };
  let answer: number = exitCode.ok;
  const output = createOutput(host, () => options.json === true);
  const context = createContext({
    output,
    env: host.env,
    now: Date.now,
    readInput: () => readInput(host.stdin),
    stdin: host.stdin,
    openLines: () => openLines(host.stdin, host.stderr as NodeJS.WritableStream),
    ask: createAsk(host.stdin, host.stderr),
    openScreen: createScreen(host.stdin, host.stdout, host.env),
    configOption: () => options.config,
  });
  const bind: Bind =
    (load) =>
    async (...args) => {
      const command = await load();
      answer = (await command(context, ...args)) ?? exitCode.ok;
    };
  const program = new Command('sidekey')
    .description('Adds credentials to the requests of agents, so that the agents hold none.')
    .version(packageVersion(), '--version', 'show the version')
    .helpCommand('help [command]', 'show the help of a command')
    .addHelpText('after', '\nsidekey COMMAND --help says more of each, with an example.');
  for (const [heading, commands] of sections) {
    program.commandsGroup(heading);
    for (const register of commands) register(program, bind);
  }
  for (const command of family(program)) {
    command
      .configureHelp({ subcommandTerm })
      .optionsGroup('Of every command:')
      .option('--config <file>', 'the config file (else SIDEKEY_CONFIG, else the default)')
      .option('--json', 'results and failures as JSON')
      .helpOption('-h, --help', 'show this help')
      .exitOverride((error) => {
        throw usageFailure(error, command);
      })
      .configureOutput({ writeOut: (text) => host.stdout.write(text), writeErr: () => {} });
  }
  program.hook('preAction', (_program, action) => {
    options = action.optsWithGlobals<CommonOptions>();
  });
  if (host === process) {
    endQuietlyWhenNobodyReads();
    // Node itself would print the message, which may quote a secret, and whatever hangs on the error.
    process.on('uncaughtException', (error) => {
      output.fail(failureOf(error));
      process.exit(exitCode.failure);
    });
  }
  try {
    if (asksNothing(argv)) program.outputHelp();
    else await program.parseAsync(argv, { from: 'user' });
    return answer;
  } catch (error) {
    if (error instanceof CommanderError) return exitCode.ok;
    const failure = failureOf(error);
    output.fail(failure);
    return failure.exit;
  }
}

function failureOf(error: unknown): SidekeyError {
  if (error instanceof SidekeyError) return error;
  return new SidekeyError('internal', `Sidekey failed in a way that it should not: ${errorPhrase(error)}.`, {
    cause: error,
  });
}

/** `add <name>`, without the `[options]` that every command has. */
function subcommandTerm(command: Command): string {
  const names = command.registeredArguments.map((argument) =>
    argument.required ? `<${argument.name()}>` : `[${argument.name()}]`,
  );
  return [command.name(), ...names].join(' ');
}

function family(command: Command): Command[] {
  return [command, ...command.commands.flatMap(family)];
}

/** `sidekey audit query | head`: the reader has what it wanted, and that is no failure. */
function endQuietlyWhenNobodyReads(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(exitCode.ok);
    throw error;
  });
  // Words that nobody hears are no failure either, and must not take the place of how the command ended.
  process.stderr.on('error', () => {});
}

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : '';
}
