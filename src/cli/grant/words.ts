import { sourceForms } from '../../domain/credential.ts';
import type { ArgumentRow, OptionRow } from '../command.ts';

/** Words that several commands about a grant share. */

export const grantArgument: readonly ArgumentRow[] = [['<grant>', 'its name or ID']];

export const ownerWords = {
  user: { summary: 'the owner, where several users have a grant of that name', value: 'name' },
} as const;

export const sourceOptions: readonly OptionRow[] = [
  [
    '--source-ttl <span>',
    'keep a value in memory for so long (default: until the end that it states, or 5m)',
  ],
  ['--source-form <form>', `form of its answer, where it is not recognized: ${sourceForms.join(', ')}`],
];
