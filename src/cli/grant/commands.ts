import { shapes } from '../../grants/credential-shape.ts';
import type { CommandRow, OptionRow } from '../command.ts';
import { refreshCommandRow } from './refresh.ts';
import { endCommandRows } from './revoke.ts';
import { grantArgument, ownerWords, sourceOptions } from './words.ts';

/** Commands for the stored credentials. */

const grantOwner: OptionRow = ['--user <name>', ownerWords.user.summary];

export const grantCommands: readonly CommandRow[] = [
  {
    name: 'import',
    summary: 'store credentials that you have, from standard input or a file',
    arguments: [['[name]', "name of the grant (default: the provider's name)"]],
    options: [
      ['--provider <name>', 'the service that it is for (default: the name of the grant)'],
      ['--file <file>', 'read this file instead of standard input'],
      ['--user <name>', 'owner of the account'],
      ['--audience <host...>', "hosts that it may be sent to, instead of the provider's"],
      ['--replace', 'replace the grant of that name'],
      ['--no-verify', 'store the credentials without asking the providers whether they are accepted'],
    ],
    examples: [
      'sidekey grant import github < token.json',
      'pass show work/stripe | sidekey grant import stripe-work --provider stripe',
      'sidekey grant import --file grants.json',
    ],
    notes: [
      'The input is a key or token alone, PEM, or JSON of these forms. An array stores several; each has a "name" and may have a "provider" and a "user":',
      ...Object.values(shapes),
    ].join('\n  '),
    load: async () => (await import('./import.ts')).importGrants,
  },
  {
    name: 'list',
    alias: 'show',
    summary: 'list the grants, or show everything about one, except its secret',
    arguments: [['[grant]', 'its name or ID']],
    options: [
      ['--user <name>', 'only the grants of this owner'],
      ['--placeholder', 'print a placeholder that a program can hold in place of the credential'],
      ['--agent <name>', 'placeholder for this agent, under any of its leases'],
      ['--lease <id>', 'placeholder for the holder of this lease only'],
      [
        '--form <form>',
        "of the placeholder: provider, plain or jwt (default: as the provider's credentials)",
      ],
    ],
    examples: [
      'sidekey grant list',
      'sidekey grant show github',
      'sidekey grant show github --placeholder --agent ci',
    ],
    load: async () => (await import('./show.ts')).listGrants,
  },
  refreshCommandRow,
  {
    name: 'set',
    summary: 'change the expiry, the lease times, the labels, the metadata or the scopes of a grant',
    arguments: grantArgument,
    options: [
      grantOwner,
      ['--expires <when>', 'expiry of the grant itself: 30d, a date, or none'],
      ['--ttl <span>', 'expire after this time from now'],
      ['--max-ttl <span>', 'maximum of --expires and --ttl; none: no maximum'],
      ['--lease-ttl <span>', 'default lifetime of leases; none: that of the config'],
      ['--max-lease-ttl <span>', 'maximum lifetime of leases; none: that of the config'],
      ['--label <label...>', 'its labels; they replace those that it has'],
      ['--no-label', 'no labels'],
      [
        '--meta <key=value>',
        'add metadata; KEY= removes the key; may be given several times',
        { repeated: true },
      ],
      ['--scope <scope>', 'a scope that it keeps, of those that it has; as for connect', { repeated: true }],
    ],
    examples: [
      'sidekey grant set github --expires 30d --max-lease-ttl 1h --label staging',
      'sidekey grant set github --ttl 30d',
    ],
    load: async () => (await import('./set.ts')).setGrant,
  },
  {
    name: 'source',
    summary: 'show or set the source that a credential is asked from',
    arguments: [...grantArgument, ['[source]', 'gh, op://…, file:PATH, command:…; all: docs/sources.md']],
    options: [grantOwner, ...sourceOptions, ['--no-verify', 'do not ask the source and the provider now']],
    examples: ['sidekey grant source github', 'sidekey grant source github op://work/github/token'],
    load: async () => (await import('./source.ts')).grantSource,
  },
  ...endCommandRows,
];
