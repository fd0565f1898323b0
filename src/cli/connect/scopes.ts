import { SidekeyError } from '../../errors.ts';
import type { Grant } from '../../grants/grant.ts';
import type { Provider } from '../../grants/provider.ts';
import { isScope } from '../../oauth/scopes.ts';

/**
 * What to ask for: what a person named, else what the provider says; with what the grant has already, because a new
 * consent takes the place of the old one.
 *
 * @param written with commas or blanks between them
 * @throws SidekeyError `input_invalid` where one is none (RFC 6749 §3.3)
 */
export function scopesToAsk(
  written: string | undefined,
  provider: Pick<Provider, 'scopes'>,
  existing: Pick<Grant, 'scopes' | 'state' | 'type'> | null,
): readonly string[] {
  const named = written?.split(/[\s,]+/).filter((scope) => scope !== '');
  const wrong = named?.every(isScope) === false;
  if (wrong || named?.length === 0) {
    throw new SidekeyError('input_invalid', '--scopes holds what is no scope.', {
      hint: 'names with spaces or commas between them, such as --scopes "repo read:org"',
    });
  }
  // What a person has taken away is not asked for again by itself.
  const keeps = existing !== null && existing.type === 'oauth2' && existing.state !== 'revoked';
  return [...new Set([...(named ?? provider.scopes), ...(keeps ? existing.scopes : [])])];
}
