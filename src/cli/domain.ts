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
      .action(bind(async () => (await import('./domain/list.ts')).listDomains)),
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
      .action(bind(async () => (await import('./domain/change.ts')).allow)),
    'sidekey domain allow api.github.com --grant github',
    `sidekey domain allow '*.googleapis.com' --grant google`,
  );
  examples(
    domain
      .command('tunnel')
      .description('let connections to a host through as they are, without a credential')
      .argument('<host>', 'host, host:port or *.suffix')
      .action(bind(async () => (await import('./domain/change.ts')).tunnel)),
    'sidekey domain tunnel downloads.example.org',
  );
  examples(
    domain
      .command('deny')
      .description('refuse a host, also where a wider entry would let it through')
      .argument('<host>', 'host, host:port or *.suffix')
      .action(bind(async () => (await import('./domain/change.ts')).deny)),
    `sidekey domain deny '*.internal.example.com'`,
  );
  examples(
    domain
      .command('remove')
      .description('take a host out of the map')
      .argument('<host>', 'as it stands in the map')
      .action(bind(async () => (await import('./domain/change.ts')).remove)),
    'sidekey domain remove api.github.com',
  );
};
