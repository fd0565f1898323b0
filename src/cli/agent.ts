import type { Command } from 'commander';
import { examples, group, type Register } from './command.ts';

/** `sidekey agent`: who may use the proxy, and what they reach. */
export const registerAgent: Register = (program, bind) => {
  const agent = group(program, 'agent', 'the callers of the proxy, and the grants that each may use');
  const named = (name: string, description: string) =>
    agent.command(name).description(description).argument('<name>', 'its name');
  examples(
    bindOptions(
      agent
        .command('add')
        .description('make an agent and show its token, once')
        .argument('<name>', 'what the audit calls it'),
    )
      .option('--for <user>', 'the user it acts for')
      .option('--agent-label <label...>', 'labels of the agent itself, for rules')
      .option('--token-label <label>', 'what its token is called')
      .option('--expires <when>', 'when the token ends: 90d, or a date')
      .action(bind(async () => (await import('./agent/add.ts')).addAgent)),
    'sidekey agent add ci-bot --grant github',
    'sidekey agent add helper --for alice --provider google slack --expires 90d',
  );
  examples(
    agent
      .command('list')
      .description('the agents, and what they reach')
      .action(bind(async () => (await import('./agent/list.ts')).listAgents)),
    'sidekey agent list',
  );
  examples(
    named('show', 'everything about an agent but its tokens themselves').action(
      bind(async () => (await import('./agent/show.ts')).showAgent),
    ),
    'sidekey agent show ci-bot',
  );
  examples(
    bindOptions(named('bind', 'let an agent use more grants')).action(
      bind(async () => (await import('./agent/bind.ts')).bindAgent),
    ),
    'sidekey agent bind ci-bot --grant github alice/google',
    'sidekey agent bind ci-bot --label staging',
  );
  examples(
    bindOptions(named('unbind', 'take grants from an agent, from its next request on'))
      .option('--all', 'all of them')
      .action(bind(async () => (await import('./agent/bind.ts')).unbindAgent)),
    'sidekey agent unbind ci-bot --provider github',
  );
  examples(
    named('set', 'say anew for whom an agent acts, and its labels')
      .option('--for <user>', 'the user it acts for')
      .option('--no-for', 'nobody in particular')
      .option('--agent-label <label...>', 'its labels, instead of those that it has')
      .option('--no-agent-label', 'none')
      .action(bind(async () => (await import('./agent/set.ts')).setAgent)),
    'sidekey agent set ci-bot --for alice',
  );
  examples(
    named('rotate', 'show a new token, once, that takes over from the one before')
      .option('--overlap <span>', 'how long the one before stays good, such as 1h')
      .option(
        '--token-label <label>',
        'take over from the tokens of this label; a new one stands beside them',
      )
      .option('--all', 'take over from every token of the agent')
      .option('--expires <when>', 'when the new token ends: 90d, or a date')
      .action(bind(async () => (await import('./agent/rotate.ts')).rotateAgent)),
    'sidekey agent rotate ci-bot --overlap 1h',
    'sidekey agent rotate ci-bot --token-label laptop --expires 90d',
  );
  examples(
    named('disable', 'refuse its tokens and leases until it is enabled').action(
      bind(async () => (await import('./agent/switch.ts')).disableAgent),
    ),
    'sidekey agent disable ci-bot',
  );
  examples(
    named('enable', 'take back a disable').action(
      bind(async () => (await import('./agent/switch.ts')).enableAgent),
    ),
    'sidekey agent enable ci-bot',
  );
  examples(
    named('remove', 'take an agent its tokens, bindings and leases')
      .option('--token-label <label>', 'only the tokens of this label; the agent stays')
      .action(bind(async () => (await import('./agent/remove.ts')).removeAgent)),
    'sidekey agent remove ci-bot',
    'sidekey agent remove ci-bot --token-label laptop',
  );
};

function bindOptions(command: Command): Command {
  return command
    .option('--grant <grant...>', 'these grants: name, id, or USER/NAME')
    .option('--provider <provider...>', 'every grant of these providers')
    .option('--user <user...>', 'every grant of these users')
    .option('--label <label...>', 'every grant with one of these labels (sidekey grant policy)')
    .option('--everything', 'every grant of every user');
}
