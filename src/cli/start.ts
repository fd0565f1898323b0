import { Option } from 'commander';
import { examples, type Register } from './command.ts';

/** `sidekey start`: the proxy. */
export const registerStart: Register = (program, bind) => {
  examples(
    program
      .command('start')
      .description('start the proxy and serve until Ctrl-C')
      .addOption(new Option('--worker', 'serve for the process that has started this one').hideHelp())
      .action(bind(async () => (await import('./start/start.ts')).start)),
    'sidekey start',
    'sidekey start --config /etc/sidekey/sidekey.yaml',
  );
};
