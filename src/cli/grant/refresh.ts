import { expiryOf } from '../../operations/format.ts';
import { titleOf } from '../../domain/grant.ts';
import { refreshGrant } from '../../operations/grant-refresh.ts';
import { refreshRemedy } from '../../operations/lookup.ts';
import type { CommandRow } from '../command.ts';
import type { Context } from '../context.ts';
import { details } from '../display.ts';
import { type GivenOptions, optionRows, perform } from '../operation-command.ts';
import { scopesOf } from './format.ts';
import { grantArgument, ownerWords } from './words.ts';
import { hintText } from '../../lib/hint.ts';

const words = { ...ownerWords, force: { summary: 'get a new token in any case' } } as const;

/** `sidekey grant refresh`: keeps a token that is not due, unless the option forces a refresh. */
async function refresh(context: Context, reference: string, options: GivenOptions): Promise<void> {
  const { output } = context;
  const given = { words, options, fixed: { grant: reference } };
  const { result, answer } = await perform(context, refreshGrant, given);
  const { grant, at } = result;
  output.result(
    answer,
    details(output.display, sentences[result.result](titleOf(grant)), {
      scopes: scopesOf(grant),
      expires: expiryOf(grant, at),
    }),
  );
  if (result.result === 'not due') output.say(`  → ${hintText(refreshRemedy(grant))}`);
}

const sentences = {
  renewed: (title: string) => `Refreshed ${title}.`,
  elsewhere: (title: string) => `${title} was refreshed by another process at the same time.`,
  asked: (title: string) => `The source of ${title} gave a credential. It is not stored.`,
  'not due': (title: string) => `${title} is not due for a refresh, so it was left as it is.`,
} as const;

export const refreshCommandRow: CommandRow = {
  name: 'refresh',
  summary: 'renew the token if it is about to expire or has expired',
  arguments: grantArgument,
  options: optionRows(refreshGrant, words),
  examples: ['sidekey grant refresh google --user alice --force'],
  load: async () => refresh,
};
