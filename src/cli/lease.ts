import { examples, group, type Register } from './command.ts';

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
      .action(bind(async () => (await import('./lease/create.ts')).createLease)),
    'sidekey lease create --agent ci-bot --grant github --ttl 15m --purpose "nightly report"',
  );
  examples(
    lease
      .command('list')
      .description('the leases that are active')
      .option('--agent <name>', 'only those of an agent')
      .option('--grant <grant>', 'only those for a grant')
      .option('--all', 'those that have ended too')
      .action(bind(async () => (await import('./lease/list.ts')).listLeases)),
    'sidekey lease list --agent ci-bot --all',
  );
  examples(
    lease
      .command('show')
      .description('everything about a lease but its token')
      .argument('<lease>', 'its id, or how that begins')
      .action(bind(async () => (await import('./lease/show.ts')).showLease)),
    'sidekey lease show 7b1d2d5c',
  );
  examples(
    lease
      .command('renew')
      .description('give a lease a new end, counted from now')
      .argument('<lease>', 'its id, or how that begins')
      .option('--ttl <span>', 'how long: 15m, 8h; a longer time than is allowed is cut')
      .option('--uses <number>', 'so many requests more')
      .action(bind(async () => (await import('./lease/renew.ts')).renewLease)),
    'sidekey lease renew 7b1d2d5c --ttl 15m',
  );
  examples(
    lease
      .command('revoke')
      .description('end leases, from the next request on')
      .argument('[lease]', 'its id, or how that begins')
      .option('--agent <name>', 'all of an agent')
      .option('--grant <grant>', 'all that a grant is in')
      .action(bind(async () => (await import('./lease/revoke.ts')).revokeLeases)),
    'sidekey lease revoke 7b1d2d5c',
    'sidekey lease revoke --agent ci-bot',
  );
};
