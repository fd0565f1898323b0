import { Option } from 'commander';
import { examples, type Register } from './command.ts';

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
      .action(bind(async () => (await import('./run/run.ts')).run)),
    'sidekey run -- claude',
    'sidekey run --grant github --ttl 1h -- git push',
    'sidekey run --unmatched deny --policy read-only -- python3 report.py',
  );
};
