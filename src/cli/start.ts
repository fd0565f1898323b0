import { examples, type Register } from './command.ts';

/** `sidekey start`: the proxy. */
export const registerStart: Register = (program, bind) => {
  examples(
    program
      .command('start')
      .description('start the proxy and serve until Ctrl-C')
      .action(bind(async () => (await import('./start/start.ts')).start)),
    'sidekey start',
    'sidekey start --config /etc/sidekey/sidekey.yaml',
  );
};
