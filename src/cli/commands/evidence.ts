import type { Command } from 'commander';
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
      .action(bind(async () => (await import('../audit/query.ts')).tail)),
    'sidekey audit tail -n 50 -f',
  );
  examples(
    audit
      .command('verify')
      .description('check that nothing was edited, removed or cut off')
      .option('--anchor <file>', 'also check it against anchors that were kept elsewhere (-: standard input)')
      .action(bind(async () => (await import('../audit/verify.ts')).verify)),
    'sidekey audit verify',
    'sidekey audit verify --anchor audit-anchors.jsonl',
  );
  examples(
    audit
      .command('accept')
      .description('record that missing lines are known, as after a backup was put back')
      .action(bind(async () => (await import('../audit/verify.ts')).accept)),
    'sidekey audit accept',
  );
  examples(
    audit
      .command('anchor')
      .description('print how far the record goes, to be kept elsewhere')
      .action(bind(async () => (await import('../audit/verify.ts')).anchor)),
    'sidekey audit anchor | ssh elsewhere "cat >> audit-anchors.jsonl"',
  );
  examples(
    withConditions(audit.command('query').description('the events that fit every condition'))
      .option('--csv', 'as CSV')
      .action(bind(async () => (await import('../audit/query.ts')).query)),
    'sidekey audit query --since 24h --event denied',
    'sidekey audit query --grant github --json | jq .host',
  );
  examples(
    withConditions(
      audit.command('summary').description('requests, refusals, bytes and durations of each agent and grant'),
    ).action(bind(async () => (await import('../audit/summary.ts')).summary)),
    'sidekey audit summary --since 7d',
  );
  examples(
    withConditions(audit.command('export').description('the lines as they stand in the file'))
      .option('--csv', 'as CSV')
      .option('-o, --output <file>', 'a new file (else standard output)')
      .action(bind(async () => (await import('../audit/query.ts')).exportLines)),
    'sidekey audit export --since 2026-11-01 --until 2026-12-01 -o november.jsonl',
  );
  examples(
    withConditions(
      audit
        .command('discover')
        .description('hosts that were refused, and the config lines that would allow them'),
    ).action(bind(async () => (await import('../audit/discover.ts')).discover)),
    'sidekey audit discover --since 7d --agent ci',
  );
};

function withConditions(command: Command): Command {
  return command
    .option('--since <time>', 'from then on: 2h, 7d, 2026-11-21, 2026-11-21T06:00Z')
    .option('--until <time>', 'before then')
    .option('--event <name>', "an event, or several with a star: 'grant.*'")
    .option('--agent <name>', 'who asked')
    .option('--grant <grant>', 'name or id of the grant')
    .option('--user <name>', 'whose grant')
    .option('--by <name>', 'who made a change')
    .option('--provider <name>', 'provider of the grant')
    .option('--host <host>', 'the host that was asked for')
    .option('--outcome <word>', 'allow, deny, ok, failed or aborted')
    .option('--lease <id>', 'under which lease')
    .option('--exchange <id>', 'one request and its response')
    .option('--code <code>', 'why it was refused');
}

/** `sidekey ca`: what clients of the proxy have to trust. */
export const registerCa: Register = (program, bind) => {
  const ca = group(program, 'ca', 'the certificate authority that clients of the proxy trust');
  examples(
    ca
      .command('show')
      .description('its name, fingerprint and end')
      .action(bind(async () => (await import('../ca.ts')).showCa)),
    'sidekey ca show',
  );
  examples(
    ca
      .command('export')
      .description('what clients are given to trust; none of it is secret')
      .option(
        '--format <format>',
        "pem: our certificate alone; bundle: with this machine's roots; p12: the bundle for Java",
        'pem',
      )
      .option('--out <file>', 'write it there instead of to standard output')
      .option(
        '--password-file <file>',
        'the password of the p12 (else SIDEKEY_P12_PASSWORD, else changeit, as Java expects)',
      )
      .action(bind(async () => (await import('../ca.ts')).exportCa)),
    'sidekey ca export --format bundle --out bundle.pem   # for SSL_CERT_FILE',
    'sidekey ca export --format p12 --out trust.p12       # for -Djavax.net.ssl.trustStore',
  );
};
