import { examples, group, type Register } from './command.ts';

/** `sidekey agent`: who may use the proxy. */
export const registerAgent: Register = (program, bind) => {
  const agent = group(program, 'agent', 'the callers of the proxy, each with a token of its own');
  examples(
    agent
      .command('add')
      .description('make an agent and show its token, once')
      .argument('<name>', 'what the audit calls it')
      .action(bind(async () => (await import('./agent/add.ts')).addAgent)),
    'sidekey agent add ci-bot',
  );
  examples(
    agent
      .command('list')
      .description('the agents')
      .action(bind(async () => (await import('./agent/list.ts')).listAgents)),
    'sidekey agent list',
  );
  examples(
    agent
      .command('remove')
      .description('take an agent its token')
      .argument('<name>', 'its name')
      .action(bind(async () => (await import('./agent/remove.ts')).removeAgent)),
    'sidekey agent remove ci-bot',
  );
};
