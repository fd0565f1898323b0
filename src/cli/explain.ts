import { examples, type Register } from './command.ts';

/** `sidekey explain`: what would happen to a request, and why. */
export const registerExplain: Register = (program, bind) => {
  examples(
    program
      .command('explain')
      .description('what would happen to a request, step by step; nothing is sent')
      .argument('<method-or-url>', 'the method, or the URL itself where it is GET')
      .argument('[url]', 'the URL, after a method')
      .option('--agent <name>', 'as this agent')
      .option('--user <name>', 'with the grant of this user (selector +user)')
      .option('--grant <grant>', 'with this one of the grants that the domain offers (selector +grant)')
      .action(bind(async () => (await import('./explain/explain.ts')).explain)),
    'sidekey explain https://api.github.com/user',
    'sidekey explain DELETE https://api.github.com/repos/o/r --agent ci-bot',
  );
};
