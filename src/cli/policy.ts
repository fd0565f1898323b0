import { examples, group, type Register } from './command.ts';

/** `sidekey policy`: what the rules of the config file say. */
export const registerPolicy: Register = (program, bind) => {
  const policy = group(program, 'policy', 'what the rules of the config file decide');
  examples(
    policy
      .command('test')
      .description('hold the config against a file of requests and the decisions that they must get')
      .argument('<file>', 'YAML: a list of { request, expect, … }; see docs/rules.md')
      .action(bind(async () => (await import('./policy/test.ts')).testPolicy)),
    'sidekey policy test policy-tests.yaml',
    'sidekey policy test policy-tests.yaml --config staging.yaml --json',
  );
};
