import type { ArgumentRow, CommandRow, OptionRow, Sections } from './command.ts';
import type { Shell } from './completion.ts';
import { sourceOptions } from './grant/words.ts';

const proposalArgument: readonly ArgumentRow[] = [['<id>', 'ID of the proposal']];

const outputFile: readonly OptionRow[] = [
  ['-o, --output <file>', 'write to this file instead of standard output'],
  ['--force', 'replace the file if it exists'],
];

/** As `pageWords`. */
const pageOptions: readonly OptionRow[] = [
  ['--limit <number>', 'at most this many entries (default and maximum: 1000)'],
  ['--cursor <text>', 'continue a list at the cursor that its last message has'],
];

const storeOptions: readonly OptionRow[] = [
  ['--store <kind...>', 'only these: system, browsers, java'],
  ['--yes', 'do not ask'],
];

const runCommands: readonly CommandRow[] = [
  {
    name: 'init',
    summary: 'set Sidekey up: connect the keys of this machine, install instructions for agents',
    arguments: [['[service]', 'log in at your Auth0 tenant instead, for Token Vault', ['auth0']]],
    options: [
      ['--yes', 'ask nothing: connect all that is found, install no service'],
      ['--no-verify', 'store the credentials without asking the providers whether they are accepted'],
    ],
    examples: ['sidekey init', 'sidekey init --yes', 'sidekey init auth0'],
    notes:
      'Looks for keys in variables, .env, gh, aws, docker and .netrc. A key stays where it was found. Run it again at any time: it leaves alone what is done.',
    load: async () => (await import('./init/init.ts')).init,
  },
  {
    name: 'run',
    summary: 'run a program; the proxy adds its credentials',
    arguments: [['<command...>', 'the program and its arguments, after --']],
    options: [
      ['--grant <grant...>', 'only these grants: name, ID, or USER/NAME'],
      ['--agent <name>', 'run as this agent (default: run, which is made on first use)'],
      ['--ttl <span>', 'maximum time for which credentials are added: 15m, 8h'],
      ['--policy <name...>', 'also refuse what these policies of the config refuse'],
      [
        '--unmatched <action>',
        'for unlisted hosts, instead of proxy.unmatched of the config file',
        { choices: ['deny', 'tunnel'] },
      ],
      ['--isolate', 'fail if this machine cannot confine the program (default: say so)'],
      ['--no-isolate', 'do not confine the program'],
      ['--show <path...>', 'let it read files that are hidden otherwise, such as ~/.npmrc'],
      ['--write <path...>', 'let it write there too'],
      ['--socket <path...>', 'let it connect to these Unix sockets, such as that of Docker'],
      ['--proxy <url>', 'use this running proxy; env:NAME for a URL with a token'],
      ['--keep <name...>', 'leave these variables in the environment of the program'],
      ['--log <file>', 'append the log of Sidekey to this file'],
      ['--quiet', 'print neither the line before the start nor the summary at the end'],
      ['--inside', 'become the program', { hidden: true }],
    ],
    examples: [
      'sidekey run -- claude',
      'sidekey run --grant github --ttl 1h -- git push',
      'sidekey run --unmatched deny --policy read-only -- python3 report.py',
    ],
    load: async () => (await import('./run/run.ts')).run,
  },
  {
    name: 'start',
    summary: 'start the proxy, and serve until Ctrl-C',
    options: [
      [
        '--transparent',
        'also serve connections that the rules of "sidekey transparent rules" redirect (Linux)',
      ],
      ['--open', 'then open the dashboard, as sidekey open does'],
      ['--worker', 'serve for the process that has started this one', { hidden: true }],
    ],
    examples: ['sidekey start', 'sidekey start --config /etc/sidekey/sidekey.yaml'],
    load: async () => (await import('./start.ts')).start,
  },
  {
    name: 'open',
    summary: 'open the dashboard in a browser, signed in',
    options: [
      ['--as <name>', 'sign in as this person (default: named like your user, and created as an operator)'],
      ['--browser <program>', 'open this browser'],
      ['--print', 'print an address that signs in once, within a minute; open nothing'],
    ],
    examples: ['sidekey open', 'sidekey open --as alice --print'],
    load: async () => (await import('./open.ts')).open,
  },
  {
    name: 'transparent',
    summary: 'serve programs that know no proxy (Linux)',
    commands: [
      {
        name: 'rules',
        summary: 'print the rules of the kernel that redirect connections to the proxy',
        options: [
          ['--user <user>', 'the user that Sidekey runs as: name or number (default: yours)'],
          ['--port <port...>', 'the ports to redirect (default: 80 443)'],
          ['--iptables', 'commands of iptables instead of input for nft'],
          ['--tproxy', 'commands for connections that this machine routes for others (TPROXY)'],
        ],
        examples: [
          'sidekey transparent rules --user sidekey | nft -f -',
          'sidekey transparent rules --tproxy | sh   # on a router',
        ],
        load: async () => (await import('./transparent.ts')).printRules,
      },
    ],
  },
  {
    name: 'service',
    summary: 'run the proxy in the background, from login on',
    commands: [
      {
        name: 'install',
        summary: 'install the service of your user (systemd or launchd) and start it; again: replace it',
        examples: ['sidekey service install'],
        load: async () => (await import('./service/service.ts')).installService,
      },
      {
        name: 'status',
        summary: 'show whether the service runs; exit code 1 if it does not',
        examples: ['sidekey service status'],
        load: async () => (await import('./service/service.ts')).showService,
      },
      {
        name: 'logs',
        summary: 'show the log of the service',
        options: [
          ['-n, --lines <count>', 'number of lines (default: 100)'],
          ['-f, --follow', 'go on with new lines'],
        ],
        examples: ['sidekey service logs --follow'],
        load: async () => (await import('./service/service.ts')).showLogs,
      },
      {
        name: 'uninstall',
        summary: 'stop the service and remove it; config and credentials stay',
        examples: ['sidekey service uninstall'],
        load: async () => (await import('./service/service.ts')).uninstallService,
      },
    ],
  },
  {
    name: 'env',
    summary: 'print the variables that make programs use the proxy',
    examples: [
      'eval "$(sidekey env)"',
      'sidekey env --shell fish | source',
      'eval "$(sidekey env --unset)"',
      'eval "$(sidekey env --agent claude --grant github --ttl 8h)"',
      'sidekey env --shell docker > agent.env   # docker run --env-file agent.env …',
    ],
    loadOptions: async () => (await import('./env.ts')).envOptions,
    load: async () => (await import('./env.ts')).printEnvironment,
  },
  {
    name: 'fetch',
    insideRun: true,
    summary: "send one request with a grant's credential",
    arguments: [
      ['<grant-or-url>', 'the URL; or the grant before it, where a host offers several'],
      ['[url]', 'the URL, after a grant'],
    ],
    options: [
      ['-X, --request <method>', 'the method (default: GET, or POST with a body)'],
      ['-H, --header <field>', "a header, 'Name: value'; may be given several times", { repeated: true }],
      ['-d, --data <text>', 'the body, as JSON unless a Content-Type is given; @FILE or @- as --data-file'],
      ['--data-file <file>', 'the body from a file, byte for byte (-: standard input)'],
      ['-L, --location', 'follow redirects; each is checked like a new request'],
      ['-i, --include', 'print the status line and the headers too'],
      ...outputFile,
      ['--reason <text>', 'the reason, for the audit log and for a person who approves the request'],
      ['--user <name>', 'use the grant of this user'],
      ['--max-time <seconds>', 'give up after this time (default: never)'],
      ['--agent <name>', 'act as this agent, under a lease that ends with the command'],
      ['--proxy <url>', 'use this running proxy: http://NAME:TOKEN@127.0.0.1:8377'],
    ],
    examples: [
      'sidekey fetch https://api.github.com/user',
      `sidekey fetch github-work https://api.github.com/user/repos -d '{"name":"x"}' --reason 'ticket 7'`,
      'sidekey fetch http://sidekey.internal/',
    ],
    load: async () => (await import('./fetch/fetch.ts')).fetchUrl,
  },
  {
    name: 'mcp',
    insideRun: true,
    summary: 'serve the Model Context Protocol on standard input and output, for agents',
    options: [
      ['--agent <name>', 'act as this agent, under a lease that ends with the command'],
      ['--proxy <url>', 'use this running proxy: http://NAME:TOKEN@127.0.0.1:8377'],
    ],
    examples: ['sidekey mcp', 'sidekey mcp --agent ci-bot'],
    load: async () => (await import('./mcp/mcp.ts')).serveMcp,
  },
  {
    name: 'skill',
    summary: 'install instructions for agents',
    commands: [
      {
        name: 'install',
        summary: 'install the instructions where agents read them; never replaces a file that you wrote',
        arguments: [['[service]', 'instructions for one service, such as github, with your rules']],
        options: [
          [
            '--for <agent...>',
            `these agents: claude, codex, copilot, cursor, gemini, opencode, agents (default: those that are found)`,
          ],
          ['--project', 'in this folder, for everybody who works on it'],
          ['--user', 'in the home folder, for all projects (default)'],
          ['--force', 'also replace a file that is not from Sidekey, or was changed'],
          ['--print', 'print the page, and write nothing'],
        ],
        examples: ['sidekey skill install --for claude --project', 'sidekey skill install github'],
        load: async () => (await import('./skill.ts')).installSkill,
      },
      {
        name: 'list',
        summary: 'list the services that have instructions of their own',
        examples: ['sidekey skill list'],
        load: async () => (await import('./skill.ts')).listSkills,
      },
    ],
  },
  {
    name: 'completion',
    insideRun: true,
    summary: 'print a completion script for your shell',
    arguments: [['[shell]', 'the shell (default: that of the variable SHELL)', ['bash', 'zsh', 'fish']]],
    examples: [
      'source <(sidekey completion bash)   # in ~/.bashrc; zsh: ~/.zshrc',
      'sidekey completion fish > ~/.config/fish/completions/sidekey.fish',
    ],
    load: async () => {
      const { printCompletion } = await import('./completion.ts');
      return async (context, shell: Shell | undefined) =>
        printCompletion(context, shell, await commandTable());
    },
  },
  {
    name: 'upgrade',
    summary: 'install the newest version with npm',
    options: [['--check', 'change nothing; exit code 1 if there is a newer version']],
    examples: ['sidekey upgrade --check'],
    load: async () => (await import('./upgrade.ts')).upgrade,
  },
  {
    name: 'demo',
    summary: 'see Sidekey work with a sample API',
    options: [['--once', 'end after the demo instead of staying up']],
    examples: ['sidekey demo --once'],
    load: async () => (await import('./demo.ts')).runDemo,
  },
];

const healthCommands: readonly CommandRow[] = [
  {
    name: 'status',
    summary: 'show health and open problems (exit code 1 if any)',
    options: [['--health', 'only check that the proxy answers, for a health check']],
    examples: ['sidekey status', 'sidekey status --health'],
    load: async () => (await import('./status/status.ts')).status,
  },
  {
    name: 'doctor',
    summary: 'check the setup, and the programs that use the proxy',
    options: [
      ['--only <client...>', 'check these programs only, and nothing else'],
      ['--offline', 'send no request to an upstream server'],
    ],
    examples: ['sidekey doctor', 'sidekey doctor --only git python'],
    load: async () => (await import('./doctor/doctor.ts')).doctor,
  },
  {
    name: 'config',
    summary: 'find, check and edit the config file',
    commands: [
      {
        name: 'path',
        summary: 'print the paths of the config file, store, key, CA and audit log, and the reason',
        examples: ['sidekey config path'],
        load: async () => (await import('./config/path.ts')).showPaths,
      },
      {
        name: 'check',
        summary: 'validate the config file as start does; exit code 2 if it is not valid',
        arguments: [['[file]', 'another file, before it replaces the config file']],
        options: [
          [
            '--tests <file>',
            'also compare the decisions with a list of requests and expected decisions (docs/rules.md)',
          ],
          ['--provider <file>', 'validate a provider file of your own instead, such as providers/acme.yaml'],
        ],
        examples: [
          'sidekey config check',
          'sidekey config check --tests policy-tests.yaml',
          'sidekey config check --provider providers/acme.yaml',
        ],
        load: async () => (await import('./config/path.ts')).checkConfig,
      },
      {
        name: 'edit',
        summary: 'open the config file in $VISUAL or $EDITOR, and replace it if the result is valid',
        examples: ['sidekey config edit', "EDITOR='code --wait' sidekey config edit"],
        load: async () => (await import('./config/edit.ts')).editConfig,
      },
    ],
  },
];

const credentialCommands: readonly CommandRow[] = [
  {
    name: 'connect',
    summary: 'get a credential from a provider, and keep it fresh',
    arguments: [
      ['[provider]', 'the service (sidekey provider list), or the https address of an API or MCP server'],
    ],
    options: [
      ['--name <name>', "name of the grant (default: the provider's name)"],
      ['--user <name>', 'owner of the account'],
      [
        '--scope <scope>',
        'a scope to ask for; may be given several times, or hold several with commas or spaces',
        { repeated: true },
      ],
      ['--timeout <time>', 'time to wait for the consent: 90s, 10m (default: 5m; 1h with --print-url)'],
      ['--meta <key=value>', 'metadata of the grant; may be given several times', { repeated: true }],
      ['--replace', 'replace the credential of a grant that works, without asking'],
      ['--no-verify', 'store the credential without asking the provider whether it is accepted'],
      'Allowed domains:',
      [
        '--allowed-domains <host...>',
        "entries for the allowed-domains map, instead of the provider's usual ones",
      ],
      ['--widen', 'allow these hosts although the provider does not name them'],
      ['--no-domains', 'do not change the allowed-domains map'],
      'OAuth client, stored in the config file:',
      ['--client-id <id>', 'ID of the client that you registered at the provider'],
      ['--client-secret <reference>', 'where the client secret is: env:NAME, file:PATH or command:…'],
      [
        '--client-metadata-url <url>',
        'ID of the client, where it is the https address of a client ID metadata document',
      ],
      ['--register', 'register a new client, where the service lets clients register themselves'],
      [
        '--registration-token <reference>',
        'where the initial access token of a registration is: env:NAME, file:PATH or command:…',
      ],
      ['--set <name=value...>', "a setting in the provider's URLs, such as a workspace"],
      ['--auth-url <url>', 'authorization endpoint of an OAuth service that is no provider yet'],
      ['--token-url <url>', 'token endpoint of that service (default: what its login server says of itself)'],
      ['--userinfo-url <url>', 'address that names the account of a token of that service'],
      ['--discover', 'ask the API how to log in, and register a client there; the default for an address'],
      'Browser sign-in:',
      ['--device', 'print a code to enter in the browser of any machine'],
      ['--browser <program>', 'open this browser'],
      ['--no-browser', 'only print the address'],
      ['--port <port>', 'local port for the redirect (0: any)'],
      ['--redirect-uri <uri>', 'the redirect URI that is registered, where the provider compares it exactly'],
      ['--paste', 'read the address that the browser was redirected to, or the code, from standard input'],
      ['--print-url', 'only begin: print the address, and exit'],
      [
        '--finish <answer>',
        'finish what --print-url began, with the address that the browser was redirected to, or the code (-: standard input)',
      ],
      [
        '--state <state>',
        'with --print-url: the state to use; with --finish and a code: the state that --print-url printed',
      ],
      'Auth0 (Token Vault):',
      [
        '--via <grant>',
        'the grant of the login, after sidekey connect auth0; oidc: the sign-in of --user at admin.oidc',
      ],
      [
        '--connection <name>',
        'name of the connection at Auth0, where it is not the usual one; with --allowed-domains for a service that is no provider yet',
      ],
      ['--login-hint <id>', 'the account, where several of the connection are connected'],
      'Keys and tokens:',
      ['--token', 'paste a key or a personal token, or give it on standard input'],
      ['--from-env <name>', 'take the key from this environment variable'],
      ['--import', 'paste a refresh token from another tool'],
      'A credential that stays where it is:',
      [
        '--from <source>',
        'ask this source when a request needs it: gh, op://…, file:PATH, command:…; stores none',
      ],
      ...sourceOptions,
      'Machine to machine:',
      ['--client-credentials', 'ask for a token of the client itself (RFC 6749, section 4.4)'],
      ['--jwt-bearer', 'ask with assertions that a private key signs, such as that of a service account'],
      [
        '--param <name=value...>',
        'a parameter of each token request, such as audience=https://api.example.com',
      ],
      ['--key <file>', 'the private key: PEM, JWK or a service account (-: standard input)'],
      ['--key-id <id>', 'ID of the key at the provider'],
      ['--algorithm <name>', 'signature algorithm: RS256, ES256 …'],
      [
        '--issuer <name>',
        'issuer of the assertion; with an address or --auth-url: the login server that you trust',
      ],
      ['--subject <name>', 'subject of the assertion, where it is not the issuer'],
      ['--assertion-audience <uri>', 'audience of the assertion, where it is not the token endpoint'],
      'GitHub App:',
      ['--app-id <id>', 'ID of a GitHub App, or its client ID'],
      ['--installation-id <id>', 'ID of the installation of the GitHub App'],
      'AWS:',
      ['--assume-role <arn>', 'get keys of an AWS role, with keys that you paste'],
      ['--external-id <id>', 'external ID that the role requires'],
      ['--region <region>', 'the only AWS region that the keys are used for'],
      'Token exchange (RFC 8693):',
      ['--token-exchange', 'exchange the token of another service'],
      ['--subject-token <reference>', 'where the token to exchange is: file:PATH, env:NAME, command:…'],
      ['--subject-token-type <uri>', 'type of that token'],
      ['--actor-token <reference>', 'where the token is of the party that acts for its owner'],
      ['--actor-token-type <uri>', 'type of that token'],
      ['--requested-token-type <uri>', 'type of the token to ask for'],
    ],
    examples: [
      'sidekey connect github',
      'sidekey connect google --name work --scope "openid https://www.googleapis.com/auth/calendar.readonly"',
      'sidekey connect slack --client-id ID --client-secret env:SLACK_CLIENT_SECRET',
      'sidekey connect acme --paste',
      'sidekey connect acme --print-url --json',
      'sidekey connect openai --from-env OPENAI_API_KEY',
      'sidekey connect github --from gh',
      'sidekey connect https://mcp.example.com/mcp',
      'sidekey connect desk --auth-url https://id.example.com/authorize --token-url https://id.example.com/token --client-id ID --allowed-domains api.example.com',
    ],
    load: async () => (await import('./connect/connect.ts')).connect,
  },
  {
    name: 'grant',
    summary: 'manage the stored credentials',
    loadCommands: async () => (await import('./grant/commands.ts')).grantCommands,
  },
  {
    name: 'provider',
    summary: 'show the services that grants are for',
    commands: [
      {
        name: 'list',
        summary: 'list the built-in providers and those of the config file',
        arguments: [['[text]', 'only those with this text in their name, title or category']],
        examples: ['sidekey provider list', 'sidekey provider list calendar'],
        load: async () => (await import('./provider.ts')).printProviders,
      },
      {
        name: 'show',
        summary: 'show how to connect to a provider, and which hosts get its tokens',
        arguments: [['<provider>', 'its name']],
        examples: ['sidekey provider show github'],
        load: async () => (await import('./provider.ts')).printProvider,
      },
    ],
  },
];

const accessCommands: readonly CommandRow[] = [
  {
    name: 'domain',
    summary: 'edit the hosts that may be reached, and their grants',
    loadCommands: async () => (await import('./domain.ts')).domainCommands,
  },
  {
    name: 'agent',
    summary: 'manage agents, and the grants that each may use',
    loadCommands: async () => (await import('./agent.ts')).agentCommands,
  },
  {
    name: 'lease',
    summary: 'manage temporary permissions of agents',
    loadCommands: async () => (await import('./lease.ts')).leaseCommands,
  },
  {
    name: 'store',
    summary: 'move the store',
    commands: [
      {
        name: 'copy',
        summary: 'copy a store to another one, and compare both',
        arguments: [
          ['<from>', 'config, sqlite:PATH or postgres://USER@HOST/DATABASE'],
          ['<to>', 'the same; empty, or an earlier copy'],
        ],
        options: [
          ['--password <reference>', 'where the database password is: env:NAME, file:PATH or command:…'],
        ],
        examples: [
          'sidekey store copy config postgres://sidekey@db.example.com/sidekey --password env:DB_PASSWORD',
          'sidekey store copy config sqlite:copy.db',
        ],
        load: async () => (await import('./store.ts')).copy,
      },
    ],
  },
  {
    name: 'backup',
    summary: 'write a sealed backup of the store, its master key and the CA, while proxies run',
    arguments: [['<file>', 'the file to write; age opens it too']],
    options: [
      ['--recipient <recipient>', 'an age recipient (age1…); may be given several times', { repeated: true }],
      ['--passphrase <reference>', 'instead of a prompt: env:NAME, file:PATH or command:…'],
      ['--force', 'replace the file if it exists'],
    ],
    examples: [
      'sidekey backup sidekey.age',
      'sidekey backup /backups/sidekey.age --force --passphrase file:/etc/sidekey/backup-passphrase',
    ],
    load: async () => (await import('./backup.ts')).backup,
  },
  {
    name: 'restore',
    summary: 'restore a backup into an empty store, or what a store lacks',
    arguments: [['<file>', 'the file of sidekey backup']],
    options: [
      ['--identity <file>', 'the age identity of a recipient'],
      ['--passphrase <reference>', 'instead of a prompt: env:NAME, file:PATH or command:…'],
      ['--replace', 'into a store in use: missing grants come back, newer ones stay'],
      ['--roll-back', 'as --replace, and older credentials replace newer ones'],
    ],
    examples: ['sidekey restore sidekey.age', 'sidekey restore sidekey.age --replace'],
    load: async () => (await import('./backup.ts')).restore,
  },
  {
    name: 'key',
    summary: 'show the master key of the store, and rotate it',
    loadCommands: async () => (await import('./key.ts')).keyCommands,
  },
  {
    name: 'node',
    summary: 'manage the machines that share a store in PostgreSQL',
    loadCommands: async () => (await import('./node.ts')).nodeCommands,
  },
  {
    name: 'api-key',
    summary: 'manage the keys of programs that call the API',
    loadCommands: async () => (await import('./api-key.ts')).apiKeyCommands,
  },
  {
    name: 'person',
    summary: 'manage the people who sign in at the dashboard',
    loadCommands: async () => (await import('./person.ts')).personCommands,
  },
  {
    name: 'login',
    summary: 'sign in at a Sidekey on another machine, for the SDKs',
    arguments: [['[url]', 'its address (default: that of the last login)']],
    options: [
      ['--timeout <time>', 'time to wait for the browser: 90s, 10m (default: 5m)'],
      ['--browser <program>', 'open this browser'],
      ['--no-browser', 'only print the address'],
      ['--port <port>', 'local port for the redirect (0: any)'],
      ['--paste', 'read the address that the browser was redirected to from standard input'],
    ],
    examples: ['sidekey login https://sidekey.example.com', 'sidekey login --paste'],
    load: async () => (await import('./login.ts')).login,
  },
  {
    name: 'logout',
    summary: 'end the login of this machine',
    examples: ['sidekey logout'],
    load: async () => (await import('./login.ts')).logout,
  },
  {
    name: 'approve',
    summary: 'answer the requests that wait for a person',
    arguments: [['[id]', 'ID of the request (default: show a live list)']],
    options: [
      ['--once', 'allow this request only (default)'],
      ['--lease', 'allow all requests that the rule matches, while the lease lasts'],
      ['--for <span>', 'allow all requests that the rule matches, for this time: 15m, 8h'],
      ['--deny', 'refuse the request'],
      ['--list', 'print the requests that wait, and the approvals that are in force'],
      ['--revoke <id>', 'end an approval that is in force'],
    ],
    examples: ['sidekey approve', 'sidekey approve k3f9q2xa --for 15m', 'sidekey approve --revoke k3f9q2xa'],
    load: async () => (await import('./approve/approve.ts')).approve,
  },
  {
    name: 'proposal',
    summary: 'answer the domains, grants and scopes that agents ask for',
    commands: [
      {
        name: 'list',
        summary: 'list the proposals of the last day, and those in force',
        options: pageOptions,
        examples: ['sidekey proposal list'],
        load: async () => (await import('./proposal.ts')).printProposals,
      },
      {
        name: 'show',
        summary: 'show a proposal, and what accepting it changes',
        arguments: proposalArgument,
        examples: ['sidekey proposal show k3f9q2xa'],
        load: async () => (await import('./proposal.ts')).printProposal,
      },
      {
        name: 'accept',
        summary: 'accept a proposal; for a grant or scopes, print the command that connects it',
        arguments: proposalArgument,
        options: [
          ['--once', 'allow the domain for one request within an hour (default)'],
          ['--lease', 'allow the domain until the lease of the agent ends'],
          ['--for-good', 'add the domain to the config file'],
        ],
        examples: ['sidekey proposal accept k3f9q2xa --lease'],
        load: async () => (await import('./proposal.ts')).accept,
      },
      {
        name: 'decline',
        summary: 'decline a proposal, or cancel a temporary approval',
        arguments: proposalArgument,
        examples: ['sidekey proposal decline k3f9q2xa'],
        load: async () => (await import('./proposal.ts')).decline,
      },
    ],
  },
  {
    name: 'explain',
    summary: 'show what would happen to a request; send nothing',
    arguments: [
      ['<method-or-url>', 'the method; or the URL, where the method is GET, or POST with a body'],
      ['[url]', 'the URL, after a method'],
    ],
    examples: [
      'sidekey explain https://api.github.com/user',
      'sidekey explain DELETE https://api.github.com/repos/o/r --agent ci-bot',
      "sidekey explain https://mcp.example.com/ --lease 7b1d2d5c --data-file call.json --header 'Sidekey-Reason: ticket 7'",
    ],
    loadOptions: async () => (await import('./explain.ts')).explainOptions,
    load: async () => (await import('./explain.ts')).explain,
  },
];

const auditCommands: readonly CommandRow[] = [
  {
    name: 'audit',
    summary: 'read and check the audit log',
    loadCommands: async () => (await import('./audit/commands.ts')).auditCommands,
  },
  {
    name: 'ca',
    summary: 'show, export and install the certificate that clients trust',
    commands: [
      {
        name: 'show',
        summary: "show the CA's name, fingerprint and expiry",
        examples: ['sidekey ca show'],
        load: async () => (await import('./ca.ts')).show,
      },
      {
        name: 'export',
        summary: 'export the certificates that clients trust; none of it is secret',
        options: [
          [
            '--format <format>',
            "pem: the CA certificate only; bundle: with this machine's roots; p12: the bundle for Java; folder: the files of all programs, with their variables in env.sh",
            { default: 'pem' },
          ],
          ...outputFile,
          [
            '--password-file <file>',
            'password of the p12 (default: SIDEKEY_P12_PASSWORD, then changeit, as Java expects)',
          ],
          ['--ca <file>', 'the CA certificate of another Sidekey, in place of the own one'],
        ],
        examples: [
          'sidekey ca export --format bundle --output bundle.pem   # for SSL_CERT_FILE',
          'sidekey ca export --format p12 --output trust.p12       # for -Djavax.net.ssl.trustStore',
          'sidekey ca export --format folder --output /trust       # for other containers: . /trust/env.sh',
        ],
        load: async () => (await import('./ca.ts')).exportTrust,
      },
      {
        name: 'install',
        summary:
          'add the CA to the trust stores of the system, of Chromium and Firefox, and of Java; says what it changes, and asks',
        options: storeOptions,
        examples: ['sidekey ca install', 'sidekey ca install --store browsers --yes'],
        load: async () => (await import('./ca-install.ts')).installCa,
      },
      {
        name: 'uninstall',
        summary: 'remove from the trust stores what install added',
        options: storeOptions,
        examples: ['sidekey ca uninstall'],
        load: async () => (await import('./ca-install.ts')).uninstallCa,
      },
    ],
  },
];

/** Rows by heading, without the commands that `commandTable` loads. */
const sections: Sections = [
  ['Run:', runCommands],
  ['Health:', healthCommands],
  ['Credentials:', credentialCommands],
  ['Access:', accessCommands],
  ['Audit and certificates:', auditCommands],
];

/**
 * Returns the table of commands, under the headings of `sidekey --help`. Help, parser, completion and man
 * page follow from it. Rows of operations load schemas: `words` limits them to those that it names.
 */
export async function commandTable(words?: readonly string[]): Promise<Sections> {
  const loaded = async ({ loadCommands, loadOptions, ...row }: CommandRow): Promise<CommandRow> =>
    words?.includes(row.name) === false
      ? row
      : {
          ...row,
          ...(loadCommands === undefined ? {} : { commands: await loadCommands() }),
          ...(loadOptions === undefined ? {} : { options: await loadOptions() }),
        };
  return Promise.all(
    sections.map(async ([heading, rows]) => [heading, await Promise.all(rows.map(loaded))] as const),
  );
}
