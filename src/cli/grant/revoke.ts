import { titleOf } from '../../domain/grant.ts';
import { replaceRemedy } from '../../grants/token-result.ts';
import { failures } from '../../lib/failures.ts';
import { shellWord } from '../../lib/text.ts';
import { removeGrant, revokeGrant } from '../../operations/grant-end.ts';
import type { ProviderRevocation } from '../../operations/provider-revocation.ts';
import type { CommandRow } from '../command.ts';
import type { Context } from '../context.ts';
import { type GivenOptions, optionRows, perform } from '../operation-command.ts';
import { grantArgument, ownerWords } from './words.ts';
import { withHint } from '../../lib/hint.ts';

const revokeWords = { ...ownerWords, local: { summary: 'do not tell the provider' } } as const;

/** `sidekey grant revoke`. Exit code 5 if the provider part failed. */
async function revoke(context: Context, reference: string, options: GivenOptions): Promise<number | void> {
  const { output } = context;
  const given = { words: revokeWords, options, fixed: { grant: reference } };
  const { result, answer } = await perform(context, revokeGrant, given);
  const { grant, provider, there } = result;
  output.result(
    answer,
    there === null
      ? `${titleOf(grant)} was revoked before; nothing has changed.`
      : `Revoked ${titleOf(grant)}${thereToo(there)}`,
  );
  if (there !== null && there.kind !== 'ended') output.say(there.sentence);
  output.say(withHint('To use it again:', replaceRemedy(grant, [], provider)));
  return there?.kind === 'failed' ? failures.provider_refused.exit : undefined;
}

const removeWords = {
  ...revokeWords,
  domains: { summary: 'remove the domains too that only this grant served' },
} as const;

/** `sidekey grant remove`. Exit code 5 if the provider part failed. */
async function remove(context: Context, reference: string, options: GivenOptions): Promise<number | void> {
  const { output } = context;
  const given = { words: removeWords, options, fixed: { grant: reference } };
  const { result, answer } = await perform(context, removeGrant, given);
  const { grant, domains, there, stranded, areDropped, definition } = result;
  output.result(answer, `Removed ${titleOf(grant)}${thereToo(there)}`);
  if (there.kind !== 'ended' && grant.state !== 'revoked') output.say(there.sentence);
  if (stranded.length > 0) {
    output.say(
      `Grants that lived on this login get no new tokens any more: ${stranded.map(titleOf).join(', ')}.`,
    );
  }
  if (areDropped) output.say(`Removed from the map: ${domains.join(', ')}.`);
  else if (domains.length > 0) {
    output.say(`Requests to ${domains.join(', ')} are refused now: no grant is left for them.`);
    for (const domain of domains) output.say(`  → sidekey domain remove ${shellWord(domain)}`);
  }
  if (definition !== null)
    output.say(`providers.${definition} stays in the config file. To delete it: sidekey config edit`);
  return there.kind === 'failed' ? failures.provider_refused.exit : undefined;
}

/** The end of a sentence about a locally ended grant. */
function thereToo({ kind }: ProviderRevocation): string {
  return kind === 'ended'
    ? ', here and at the provider: its credential is no longer valid.'
    : ': Sidekey no longer sends its credential.';
}

export const endCommandRows: readonly CommandRow[] = [
  {
    name: 'revoke',
    summary: 'end a grant, here and at the provider; it stays in the list',
    arguments: grantArgument,
    options: optionRows(revokeGrant, revokeWords),
    examples: ['sidekey grant revoke github'],
    load: async () => revoke,
  },
  {
    name: 'remove',
    summary: 'end a grant, here and at the provider, and delete it',
    arguments: grantArgument,
    options: optionRows(removeGrant, removeWords),
    examples: ['sidekey grant remove github --domains'],
    load: async () => remove,
  },
];
