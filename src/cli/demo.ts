import { examples, type Register } from './command.ts';

/** `sidekey demo`: the whole story on one screen. */
export const registerDemo: Register = (program, bind) => {
  examples(
    program
      .command('demo')
      .description('show the whole story with a sample company API (needs a checkout)')
      .option('--once', 'end after it instead of staying up')
      .action(bind(async () => (await import('./demo/run-demo.ts')).runDemo)),
    'sidekey demo --once',
  );
};
