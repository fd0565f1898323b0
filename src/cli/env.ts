import { examples, type Register } from './command.ts';

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
      .action(bind(async () => (await import('./env/print.ts')).printEnvironment)),
    'eval "$(sidekey env)"',
    'sidekey env --shell fish | source',
    'eval "$(sidekey env --agent claude --grant github --ttl 8h)"',
    'sidekey env --shell docker > agent.env   # docker run --env-file agent.env …',
  );
};
