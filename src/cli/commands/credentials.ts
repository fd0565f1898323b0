import { shapes } from '../../grants/credential-shape.ts';
import { examples, group, type Register } from './command.ts';

/** `sidekey connect`: a grant by real consent. */
export const registerConnect: Register = (program, bind) => {
  const command = program
    .command('connect')
    .description('get a credential from a provider, and keep it alive')
    .argument('[provider]', 'the service (sidekey provider list), or with --discover the address of an API')
    .option('--name <name>', "what the grant is called (default: the provider's name)")
    .option('--user <name>', 'whose account it is')
    .option('--scopes <scopes>', 'what to ask for, with commas or spaces between')
    .option(
      '--timeout <time>',
      'how long to wait for the consent: 90s, 10m (default: 5m; 1h with --print-url)',
    )
    .option('--verify', 'send a harmless call with the credential, and store it only where it is taken')

    .optionsGroup('Where it may be used:')
    .option(
      '--allowed-domains <host...>',
      "entries for the allowed-domains map, instead of the provider's usual ones",
    )
    .option('--widen', 'the credential may be sent to those hosts though the provider does not name them')
    .option('--no-domains', 'leave the allowed-domains map alone')

    .optionsGroup('The client, kept in the config file:')
    .option('--client-id <id>', 'of the client that you registered at the provider')
    .option('--client-secret <reference>', 'where its secret is: env:NAME, file:PATH or command:…')
    .option('--set <name=value...>', "what the provider's URLs need to know, such as a workspace")
    .option('--discover', 'ask the API at an https address how to log in, and register there')

    .optionsGroup('With a browser:')
    .option('--browser <program>', 'open this one')
    .option('--no-browser', 'only show the address')
    .option('--port <port>', 'the port of this machine that the browser comes back to (0: any)')
    .option('--redirect-uri <uri>', 'the redirect URI, where the provider wants the one that is registered')
    .option('--paste', 'read the address that the browser came to, or the code, from standard input')
    .option('--print-url', 'only begin: print the address, and end')
    .option(
      '--finish <answer>',
      'end what --print-url began, with the address that the browser came to, or the code (-: standard input)',
    )
    .option('--state <state>', 'with --finish and a code: the state that --print-url printed')

    .optionsGroup('By a login at Auth0 (Token Vault):')
    .option('--via <grant>', 'the grant that is the login, after sidekey connect auth0')
    .option('--connection <name>', 'what the connection is called at Auth0, where it has not its usual name')
    .option('--login-hint <id>', 'which account, where several of the connection are connected');

  command
    .optionsGroup('Without a browser on this machine:')
    .option('--device', 'show a code that is entered in any browser')
    .option('--token', 'paste a key or a personal token, or give it on standard input')
    .option('--import', 'the same with the refresh token that another tool got')

    .optionsGroup('Without a person:')
    .option('--client-credentials', 'the client asks for itself')
    .option('--jwt-bearer', 'with assertions that a private key signs, such as that of a service account')
    .option('--token-exchange', "in exchange for somebody else's token")
    .option('--key <file>', 'the private key: PEM, JWK or a service account (-: standard input)')
    .option('--key-id <id>', 'what the provider calls the key')
    .option('--algorithm <name>', 'how the key signs: RS256, ES256 …')
    .option('--issuer <name>', 'who signs: a client id or an account')
    .option('--subject <name>', 'for whom, where that is another')
    .option('--assertion-audience <uri>', 'for whom the assertion is, where that is not the token endpoint')
    .option('--app-id <id>', 'of a GitHub App, or its client id')
    .option('--installation-id <id>', 'the installation of the GitHub App')
    .option('--assume-role <arn>', 'keys of a role of AWS, by keys that you paste')
    .option('--external-id <id>', 'what the role wants to hear besides')
    .option('--region <region>', 'the one region of AWS that the keys are used for')
    .option(
      '--subject-token <reference>',
      'where the token is that is exchanged: file:PATH, env:NAME, command:…',
    )
    .option('--subject-token-type <uri>', 'of what type it is')
    .option('--actor-token <reference>', 'where the token is of who acts for its owner')
    .option('--actor-token-type <uri>', 'of what type that is')
    .option('--requested-token-type <uri>', 'what type is asked for')
    .option(
      '--param <name=value...>',
      'sent with each token request, such as audience=https://api.example.com',
    );
  examples(
    command.action(bind(async () => (await import('../connect/connect.ts')).connect)),
    'sidekey connect github',
    'sidekey connect google --name work --scopes "openid https://www.googleapis.com/auth/calendar.readonly"',
    'sidekey connect slack --client-id ID --client-secret env:SLACK_CLIENT_SECRET',
    'sidekey connect acme --paste',
    'sidekey connect acme --print-url --json',
    'sidekey connect openai --token --verify',
    'sidekey connect https://api.company.example --discover',
  );
};

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
      .action(bind(async () => (await import('../grant/add.ts')).addGrant)),
    'sidekey grant add github --provider github < token.json',
    'pass show work/stripe.json | sidekey grant add stripe --provider stripe',
  ).addHelpText('after', ['\nThe JSON is one of:', ...Object.values(shapes)].join('\n  '));
  examples(
    grant
      .command('list')
      .description('the grants, without their secrets')
      .action(bind(async () => (await import('../grant/show.ts')).listGrants)),
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
      bind(async () => (await import('../grant/show.ts')).showGrant),
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
      .action(bind(async () => (await import('../grant/placeholder.ts')).showPlaceholder)),
    'sidekey grant placeholder github --agent ci',
  );
  examples(
    named('refresh', 'get a new token from the provider where the one that is there is due or has ended')
      .option('--force', 'get a new one in any case')
      .action(bind(async () => (await import('../grant/refresh.ts')).refreshGrant)),
    'sidekey grant refresh google --user alice --force',
  );
  examples(
    named('extend', 'put the end that was set for a grant further away')
      .option('--ttl <span>', 'so long from now, within the maximum of its policy')
      .action(bind(async () => (await import('../grant/refresh.ts')).extendGrant)),
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
      .action(bind(async () => (await import('../grant/refresh.ts')).grantPolicy)),
    'sidekey grant policy github --expires 30d --max-lease-ttl 1h --label staging',
  );
  examples(
    named('revoke', 'end a grant, here and at the provider; it stays in the list')
      .option('--local', 'end it here alone')
      .action(bind(async () => (await import('../grant/revoke.ts')).revokeGrant)),
    'sidekey grant revoke github',
  );
  examples(
    named('remove', 'end a grant, here and at the provider, and delete it')
      .option('--local', 'end it here alone')
      .action(bind(async () => (await import('../grant/revoke.ts')).removeGrant)),
    'sidekey grant remove github',
  );
};

/** `sidekey provider`: the services that are known. */
export const registerProvider: Register = (program, bind) => {
  const provider = group(program, 'provider', 'the services that grants are for');
  examples(
    provider
      .command('list')
      .description('the built-in providers and those of the config file')
      .argument('[text]', 'only those whose name, title or category has it')
      .action(bind(async () => (await import('../provider/provider.ts')).listProviders)),
    'sidekey provider list',
    'sidekey provider list calendar',
  );
  examples(
    provider
      .command('show')
      .description('how to connect to it, where its tokens come from and where they may go')
      .argument('<provider>', 'its name')
      .action(bind(async () => (await import('../provider/provider.ts')).showProvider)),
    'sidekey provider show github',
  );
  examples(
    provider
      .command('check')
      .description('whether a provider file of your own is right')
      .argument('<file>', 'a file such as providers/acme.yaml')
      .action(bind(async () => (await import('../provider/provider.ts')).checkProviderFile)),
    'sidekey provider check config/providers/acme.yaml',
  );
};
