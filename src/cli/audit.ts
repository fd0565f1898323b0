import { examples, group, type Register } from './command.ts';

/** `sidekey audit`: what was done with the grants. */
export const registerAudit: Register = (program, bind) => {
  const audit = group(program, 'audit', 'the record of every access (alone: the last ones)');
  examples(
    audit
      .command('tail', { isDefault: true })
      .description('the last events')
      .option('-n, --lines <count>', 'how many', '20')
      .option('-f, --follow', 'go on with those that come')
      .action(bind(async () => (await import('./audit/tail.ts')).tail)),
    'sidekey audit tail -n 50 -f',
  );
  examples(
    audit
      .command('verify')
      .description('check that nothing was edited, removed or cut off')
      .action(bind(async () => (await import('./audit/verify.ts')).verify)),
    'sidekey audit verify',
  );
  examples(
    audit
      .command('query')
      .description('the events that fit every condition')
      .option('--since <time>', 'from then on: 2h, 7d, 2026-11-21, 2026-11-21T06:00Z')
      .option('--until <time>', 'before then')
      .option('--event <name>', "an event, or several with a star: 'grant.*'")
      .option('--host <host>', 'the host that was asked for')
      .option('--grant <grant>', 'name or id of the grant')
      .option('--agent <name>', 'who asked')
      .option('--code <code>', 'why it was refused')
      .action(bind(async () => (await import('./audit/query.ts')).query)),
    'sidekey audit query --since 24h --event denied',
    'sidekey audit query --grant github --json | jq .host',
  );
};
