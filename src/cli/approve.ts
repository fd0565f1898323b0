import { examples, type Register } from './command.ts';

/** `sidekey approve`: requests that wait for a person. */
export const registerApprove: Register = (program, bind) => {
  examples(
    program
      .command('approve')
      .description('answer the requests that wait for a person (alone: a live list)')
      .argument('[id]', 'the request, as the list names it')
      .option('--once', 'yes, to this request alone (where nothing else is said)')
      .option('--lease', 'yes, to all that the rule matches, as long as the lease lives')
      .option('--for <span>', 'yes, to all that the rule matches, for so long: 15m, 8h')
      .option('--deny', 'no')
      .option('--list', 'print what waits and what stands')
      .option('--revoke <id>', 'end a yes that stands')
      .action(bind(async () => (await import('./approve/approve.ts')).approve)),
    'sidekey approve',
    'sidekey approve k3f9q2xa --for 15m',
    'sidekey approve --revoke k3f9q2xa',
  );
};
