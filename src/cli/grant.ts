import { shapes } from '../grants/credential-shape.ts';
import { examples, group, type Register } from './command.ts';

/** `sidekey grant`: what is stored for whom. */
export const registerGrant: Register = (program, bind) => {
  const grant = group(program, 'grant', 'the credentials that are stored');
  examples(
    grant
      .command('add')
      .description('store a credential, read as JSON from standard input')
      .argument('<name>', 'what the grant is called')
      .requiredOption('--provider <name>', 'the service it is for (sidekey provider list)')
      .option('--user <name>', 'whose account it is')
      .option('--audience <host...>', "the hosts it may be sent to, instead of the provider's")
      .option('--replace', 'put it in the place of the one that is there')
      .action(bind(async () => (await import('./grant/add.ts')).addGrant)),
    'sidekey grant add github --provider github < token.json',
    'pass show work/stripe.json | sidekey grant add stripe --provider stripe',
  ).addHelpText('after', ['\nThe JSON is one of:', ...Object.values(shapes)].join('\n  '));
  examples(
    grant
      .command('list')
      .description('the grants, without their secrets')
      .action(bind(async () => (await import('./grant/list.ts')).listGrants)),
    'sidekey grant list',
  );
  const named = (name: string, description: string) =>
    grant
      .command(name)
      .description(description)
      .argument('<grant>', 'its name or id')
      .option('--user <name>', 'whose, where several users have one of that name');
  examples(
    named('show', 'everything about a grant but its secret').action(
      bind(async () => (await import('./grant/show.ts')).showGrant),
    ),
    'sidekey grant show github',
  );
  examples(
    named(
      'placeholder',
      'what a program is given in the place of the credential, which opens nothing elsewhere',
    )
      .option('--agent <name>', 'for this agent, under any of its leases')
      .option('--lease <id>', 'for the holder of this lease alone')
      .option('--form <form>', 'provider, plain or jwt; default: as credentials of the provider look')
      .action(bind(async () => (await import('./grant/placeholder.ts')).showPlaceholder)),
    'sidekey grant placeholder github --agent ci',
  );
  examples(
    named('refresh', 'get a new token from the provider where the one that is there is due or has ended')
      .option('--force', 'get a new one in any case')
      .action(bind(async () => (await import('./grant/refresh.ts')).refreshGrant)),
    'sidekey grant refresh google --user alice --force',
  );
  examples(
    named('extend', 'put the end that was set for a grant further away')
      .option('--ttl <span>', 'so long from now, within the maximum of its policy')
      .action(bind(async () => (await import('./grant/extend.ts')).extendGrant)),
    'sidekey grant extend github --ttl 30d',
  );
  examples(
    named(
      'policy',
      'how long a grant and its leases may last, and its labels; without options they are shown',
    )
      .option('--expires <when>', 'the end of the grant itself: 30d, a date, or none')
      .option('--ttl <span>', 'how far "grant extend" goes by itself; none: nothing is set')
      .option('--max-ttl <span>', 'how far it goes at most')
      .option('--lease-ttl <span>', 'how long leases last by themselves')
      .option('--max-lease-ttl <span>', 'how long they last at most')
      .option('--label <label...>', 'its labels, instead of those that it has')
      .option('--no-label', 'no labels')
      .action(bind(async () => (await import('./grant/policy.ts')).grantPolicy)),
    'sidekey grant policy github --expires 30d --max-lease-ttl 1h --label staging',
  );
  examples(
    named('revoke', 'end a grant, here and at the provider; it stays in the list')
      .option('--local', 'end it here alone')
      .action(bind(async () => (await import('./grant/revoke.ts')).revokeGrant)),
    'sidekey grant revoke github',
  );
  examples(
    named('remove', 'end a grant, here and at the provider, and delete it')
      .option('--local', 'end it here alone')
      .action(bind(async () => (await import('./grant/remove.ts')).removeGrant)),
    'sidekey grant remove github',
  );
};
