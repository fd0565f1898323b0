import type { CommandRow, OptionRow } from '../command.ts';
import { importCommandRow } from './import.ts';
import { refreshCommandRow } from './refresh.ts';
import { endCommandRows } from './revoke.ts';
import { grantArgument, ownerWords, sourceOptions } from './words.ts';

/** Commands for the stored credentials. */

const grantOwner: OptionRow = ['--user <name>', ownerWords.user.summary];

export const grantCommands: readonly CommandRow[] = [
  importCommandRow,
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
