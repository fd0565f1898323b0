import { Option } from 'commander';
import { agentNames } from '../skill.ts';
import { examples, group, type Register } from './command.ts';

/** `sidekey run`: a program with Sidekey around it. */
export const registerRun: Register = (program, bind) => {
  examples(
    program
      .command('run')
      .description('run a program that has credentials for its requests, and holds none')
      .argument('<command...>', 'the program and its arguments, after --')
      .option('--grant <grant...>', 'only these grants: name, id, or USER/NAME')
      .option('--agent <name>', 'as this agent (default: run, which is made on first use)')
      .option('--ttl <span>', 'credentials for so long at most: 15m, 8h')
      .option('--policy <name...>', 'what these policies of the config refuse is refused, too')
      .addOption(
        new Option('--unmatched <what>', 'hosts that are not in the map (default: tunnel)').choices([
          'deny',
          'tunnel',
        ]),
      )
      .option('--proxy <url>', 'through a proxy that runs already; env:NAME for a URL with a token')
      .option('--keep <name...>', 'leave these variables to the program, credentials or not')
      .option('--log <file>', 'add what Sidekey logs to this file')
      .option('--quiet', 'no summary at the end')
      .action(bind(async () => (await import('../run/run.ts')).run)),
    'sidekey run -- claude',
    'sidekey run --grant github --ttl 1h -- git push',
    'sidekey run --unmatched deny --policy read-only -- python3 report.py',
  );
};

/** `sidekey start`: the proxy. */
export const registerStart: Register = (program, bind) => {
  examples(
    program
      .command('start')
      .description('start the proxy and serve until Ctrl-C')
      .addOption(new Option('--worker', 'serve for the process that has started this one').hideHelp())
      .action(bind(async () => (await import('../start/start.ts')).start)),
    'sidekey start',
    'sidekey start --config /etc/sidekey/sidekey.yaml',
  );
};

/** `sidekey env`: the variables that send programs through a proxy that runs. */
export const registerEnv: Register = (program, bind) => {
  examples(
    program
      .command('env')
      .description('print the variables that send programs through the running proxy')
      .option(
        '--shell <shell>',
        'bash (also for zsh and sh), fish, powershell, dotenv, json or docker; default: your shell. dotenv and docker set variables and take none away',
      )
      .option('--proxy <url>', 'where the proxy is reached, if that is not what the config listens on')
      .option('--agent <name>', 'make a lease of this agent; its token stands in what is printed')
      .option('--grant <grant...>', 'the lease is for these grants; default: all that the agent reaches')
      .option('--ttl <span>', 'how long the lease lasts: 15m, 8h')
      .option('--keep <name...>', 'variables that stay though they hold a credential')
      .action(bind(async () => (await import('../env.ts')).printEnvironment)),
    'eval "$(sidekey env)"',
    'sidekey env --shell fish | source',
    'eval "$(sidekey env --agent claude --grant github --ttl 8h)"',
    'sidekey env --shell docker > agent.env   # docker run --env-file agent.env …',
  );
};

/** `sidekey fetch`: one request, for who has no proxy setting. */
export const registerFetch: Register = (program, bind) => {
  examples(
    program
      .command('fetch')
      .description("one request with a grant's credential, as through the proxy")
      .argument(
        '<grant-or-url>',
        'the URL; or before it the grant that is meant, where a host offers several',
      )
      .argument('[url]', 'the URL, after a grant')
      .option('-X, --request <method>', 'the method (default: GET, or POST with a body)')
      .option('-H, --header <field>', "a header, 'Name: value'; may be given several times", collect)
      .option(
        '-d, --data <text>',
        'the body, as JSON unless a Content-Type is given; @FILE or @- as --data-file',
      )
      .option('--data-file <file>', 'the body, from a file, byte for byte (-: standard input)')
      .option('-L, --location', 'follow redirects, each decided anew')
      .option('-i, --include', 'the status line and the headers too')
      .option('-o, --output <file>', 'the body into a file')
      .option('--reason <text>', 'why, for the audit file and for a person who is asked')
      .option('--user <name>', 'with the grant of this user')
      .option('--max-time <seconds>', 'give up after so long (default: never)')
      .option('--agent <name>', 'as this agent, under a lease that ends with the command')
      .option('--proxy <url>', 'through this running proxy: http://NAME:TOKEN@127.0.0.1:8377')
      .action(bind(async () => (await import('../fetch/fetch.ts')).fetchUrl)),
    'sidekey fetch https://api.github.com/user',
    'sidekey fetch github-work https://api.github.com/user/repos -d \'{"name":"x"}\' --reason \'ticket 7\'',
    'sidekey fetch http://sidekey.internal/',
  );
};

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** `sidekey skill`: what tells agents how to call APIs through Sidekey. */
export const registerSkill: Register = (program, bind) => {
  const skill = group(program, 'skill', 'the page that tells agents how to call APIs through Sidekey');
  examples(
    skill
      .command('install')
      .description('put it where agents look; nothing that a person wrote is overwritten')
      .option('--for <agent...>', `for these: ${agentNames.join(', ')} (default: those that are there)`)
      .option('--project', 'in this folder, for everybody who works on it')
      .option('--user', 'in the home folder, for all projects (default)')
      .option('--force', 'also over a file that is not ours, or was changed')
      .option('--print', 'show what would be written, and write nothing')
      .action(bind(async () => (await import('../skill.ts')).installSkill)),
    'sidekey skill install --for claude --project',
  );
  examples(
    skill
      .command('show')
      .description('show it')
      .action(bind(async () => (await import('../skill.ts')).showSkill)),
    'sidekey skill show',
  );
};

/** `sidekey demo`: the whole story on one screen. */
export const registerDemo: Register = (program, bind) => {
  examples(
    program
      .command('demo')
      .description('show the whole story with a sample company API (needs a checkout)')
      .option('--once', 'end after it instead of staying up')
      .action(bind(async () => (await import('../demo.ts')).runDemo)),
    'sidekey demo --once',
  );
};

/** `sidekey status`: whether all is well. */
export const registerStatus: Register = (program, bind) => {
  examples(
    program
      .command('status')
      .description('whether all is well, and what needs attention (then the exit code is 1)')
      .option('--health', 'only whether the proxy answers, for a health check')
      .action(bind(async () => (await import('../status/status.ts')).status)),
    'sidekey status',
    'HEALTHCHECK CMD ["sidekey", "status", "--health"]',
  );
};

/** `sidekey doctor`: whether everything is in order, and which programs work through the proxy. */
export const registerDoctor: Register = (program, bind) => {
  examples(
    program
      .command('doctor')
      .description('whether all is in order, and which programs of this machine work through the proxy')
      .option('--only <client...>', 'ask these programs alone, and look at nothing else')
      .option('--offline', 'ask no upstream')
      .action(bind(async () => (await import('../doctor/doctor.ts')).doctor)),
    'sidekey doctor',
    'sidekey doctor --only git python',
  );
};
