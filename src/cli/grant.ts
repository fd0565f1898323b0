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
    named('refresh', 'get a new token from the provider now').action(
      bind(async () => (await import('./grant/refresh.ts')).refreshGrant),
    ),
    'sidekey grant refresh google --user alice',
  );
  examples(
    named('revoke', 'stop using a grant; it stays in the list').action(
      bind(async () => (await import('./grant/revoke.ts')).revokeGrant),
    ),
    'sidekey grant revoke github',
  );
  examples(
    named('remove', 'delete a grant and its credential').action(
      bind(async () => (await import('./grant/remove.ts')).removeGrant),
    ),
    'sidekey grant remove github',
  );
};
