import type { Command } from 'commander';
import { examples, group, type Register } from './command.ts';

/** `sidekey domain`: the allowed-domains map of the config file. */
export const registerDomain: Register = (program, bind) => {
  const domain = group(program, 'domain', 'the hosts that may be reached, and with which grant');
  examples(
    domain
      .command('list')
      .description('the allowed-domains map')
      .argument('[host]', 'only the entry that covers this host, with its rules')
      .option('--rules', 'the rules of each entry too, in the order in which they are asked')
      .action(bind(async () => (await import('../domain.ts')).listDomains)),
    'sidekey domain list',
    'sidekey domain list api.github.com',
  );
  examples(
    domain
      .command('allow')
      .description('add the credential of a grant to requests for a host')
      .argument('<host>', 'host, host:port or *.suffix')
      .requiredOption('--grant <name>', 'the grant')
      .option('--insecure', 'also over plain http, where everybody on the way can read the credential')
      .action(bind(async () => (await import('../domain.ts')).allow)),
    'sidekey domain allow api.github.com --grant github',
    `sidekey domain allow '*.googleapis.com' --grant google`,
  );
  examples(
    domain
      .command('tunnel')
      .description('let connections to a host through as they are, without a credential')
      .argument('<host>', 'host, host:port or *.suffix')
      .action(bind(async () => (await import('../domain.ts')).tunnel)),
    'sidekey domain tunnel downloads.example.org',
  );
  examples(
    domain
      .command('deny')
      .description('refuse a host, also where a wider entry would let it through')
      .argument('<host>', 'host, host:port or *.suffix')
      .action(bind(async () => (await import('../domain.ts')).deny)),
    `sidekey domain deny '*.internal.example.com'`,
  );
  examples(
    domain
      .command('remove')
      .description('take a host out of the map')
      .argument('<host>', 'as it stands in the map')
      .action(bind(async () => (await import('../domain.ts')).remove)),
    'sidekey domain remove api.github.com',
  );
};

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
      .action(bind(async () => (await import('../agent/add.ts')).addAgent)),
    'sidekey agent add ci-bot --grant github',
    'sidekey agent add helper --for alice --provider google slack --expires 90d',
  );
  examples(
    agent
      .command('list')
      .description('the agents, and what they reach')
      .action(bind(async () => (await import('../agent/agents.ts')).listAgents)),
    'sidekey agent list',
  );
  examples(
    named('show', 'everything about an agent but its tokens themselves').action(
      bind(async () => (await import('../agent/agents.ts')).showAgent),
    ),
    'sidekey agent show ci-bot',
  );
  examples(
    bindOptions(named('bind', 'let an agent use more grants')).action(
      bind(async () => (await import('../agent/bind.ts')).bindAgent),
    ),
    'sidekey agent bind ci-bot --grant github alice/google',
    'sidekey agent bind ci-bot --label staging',
  );
  examples(
    bindOptions(named('unbind', 'take grants from an agent, from its next request on'))
      .option('--all', 'all of them')
      .action(bind(async () => (await import('../agent/bind.ts')).unbindAgent)),
    'sidekey agent unbind ci-bot --provider github',
  );
  examples(
    named('set', 'say anew for whom an agent acts, and its labels')
      .option('--for <user>', 'the user it acts for')
      .option('--no-for', 'nobody in particular')
      .option('--agent-label <label...>', 'its labels, instead of those that it has')
      .option('--no-agent-label', 'none')
      .action(bind(async () => (await import('../agent/agents.ts')).setAgent)),
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
      .action(bind(async () => (await import('../agent/add.ts')).rotateAgent)),
    'sidekey agent rotate ci-bot --overlap 1h',
    'sidekey agent rotate ci-bot --token-label laptop --expires 90d',
  );
  examples(
    named('disable', 'refuse its tokens and leases until it is enabled').action(
      bind(async () => (await import('../agent/agents.ts')).disableAgent),
    ),
    'sidekey agent disable ci-bot',
  );
  examples(
    named('enable', 'take back a disable').action(
      bind(async () => (await import('../agent/agents.ts')).enableAgent),
    ),
    'sidekey agent enable ci-bot',
  );
  examples(
    named('remove', 'take an agent its tokens, bindings and leases')
      .option('--token-label <label>', 'only the tokens of this label; the agent stays')
      .action(bind(async () => (await import('../agent/agents.ts')).removeAgent)),
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

/** `sidekey lease`: rights that end by themselves. */
export const registerLease: Register = (program, bind) => {
  const lease = group(program, 'lease', 'rights of agents that end by themselves');
  examples(
    lease
      .command('create')
      .description('let an agent use grants for a while, and show the token for that, once')
      .requiredOption('--agent <name>', 'whose lease it is')
      .requiredOption('--grant <grant...>', 'for these grants: name, id, or USER/NAME')
      .requiredOption('--purpose <text>', 'what it is for')
      .option('--ttl <span>', 'how long: 15m, 8h; a longer time than is allowed is cut')
      .option('--idle <span>', 'it ends when it is not used for so long')
      .option('--max-uses <number>', 'it ends after so many requests')
      .action(bind(async () => (await import('../lease/create.ts')).createLease)),
    'sidekey lease create --agent ci-bot --grant github --ttl 15m --purpose "nightly report"',
  );
  examples(
    lease
      .command('list')
      .description('the leases that are active')
      .option('--agent <name>', 'only those of an agent')
      .option('--grant <grant>', 'only those for a grant')
      .option('--all', 'those that have ended too')
      .action(bind(async () => (await import('../lease/leases.ts')).listLeases)),
    'sidekey lease list --agent ci-bot --all',
  );
  examples(
    lease
      .command('show')
      .description('everything about a lease but its token')
      .argument('<lease>', 'its id, or how that begins')
      .action(bind(async () => (await import('../lease/leases.ts')).showLease)),
    'sidekey lease show 7b1d2d5c',
  );
  examples(
    lease
      .command('renew')
      .description('give a lease a new end, counted from now')
      .argument('<lease>', 'its id, or how that begins')
      .option('--ttl <span>', 'how long: 15m, 8h; a longer time than is allowed is cut')
      .option('--uses <number>', 'so many requests more')
      .action(bind(async () => (await import('../lease/leases.ts')).renewLease)),
    'sidekey lease renew 7b1d2d5c --ttl 15m',
  );
  examples(
    lease
      .command('revoke')
      .description('end leases, from the next request on')
      .argument('[lease]', 'its id, or how that begins')
      .option('--agent <name>', 'all of an agent')
      .option('--grant <grant>', 'all that a grant is in')
      .action(bind(async () => (await import('../lease/leases.ts')).revokeLeases)),
    'sidekey lease revoke 7b1d2d5c',
    'sidekey lease revoke --agent ci-bot',
  );
};

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
      .action(bind(async () => (await import('../approve/approve.ts')).approve)),
    'sidekey approve',
    'sidekey approve k3f9q2xa --for 15m',
    'sidekey approve --revoke k3f9q2xa',
  );
};

/** `sidekey explain`: what would happen to a request, and why. */
export const registerExplain: Register = (program, bind) => {
  examples(
    program
      .command('explain')
      .description('what would happen to a request, step by step; nothing is sent')
      .argument('<method-or-url>', 'the method, or the URL itself where it is GET, or POST with a body')
      .argument('[url]', 'the URL, after a method')
      .option('--agent <name>', 'as this agent; with selectors: NAME+grant=GRANT+user=USER')
      .option('--lease <lease>', 'under this lease: its id, or how that begins')
      .option('--user <name>', 'with the grant of this user (selector +user)')
      .option('--grant <grant>', 'with this one of the grants that the domain offers (selector +grant)')
      .option('--header <field>', "a header, 'Name: value'; may be given several times", collect)
      .option('--data <text>', 'the body, as JSON unless a Content-Type is given')
      .option('--data-file <file>', 'the body, from a file (-: standard input)')
      .option('--client <address>', 'from this address (default: this machine)')
      .option('--at <time>', 'at this time: 2026-11-21T09:00Z, or how long ago: 2h')
      .action(bind(async () => (await import('../explain/explain.ts')).explain)),
    'sidekey explain https://api.github.com/user',
    'sidekey explain DELETE https://api.github.com/repos/o/r --agent ci-bot',
    "sidekey explain https://mcp.example.com/ --lease 7b1d2d5c --data-file call.json --header 'Sidekey-Reason: ticket 7'",
  );
};

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** `sidekey policy`: what the rules of the config file say. */
export const registerPolicy: Register = (program, bind) => {
  const policy = group(program, 'policy', 'what the rules of the config file decide');
  examples(
    policy
      .command('test')
      .description('hold the config against a file of requests and the decisions that they must get')
      .argument('<file>', 'YAML: a list of { request, expect, … }; see docs/rules.md')
      .action(bind(async () => (await import('../policy.ts')).testPolicy)),
    'sidekey policy test policy-tests.yaml',
    'sidekey policy test policy-tests.yaml --config staging.yaml --json',
  );
};
