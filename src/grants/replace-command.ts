import { shellWord } from '../shell-word.ts';
import { defaultUser, type Grant } from './grant.ts';

/**
 * The command that puts a new credential in the place of a grant's.
 *
 * @param audience the hosts that it may be sent to; none: those of the provider
 */
export function replaceCommand(
  { name, user, provider }: Pick<Grant, 'name' | 'user' | 'provider'>,
  audience: readonly string[] = [],
): string {
  const owner = user === defaultUser ? '' : ` --user ${user}`;
  const hosts = audience.length === 0 ? '' : ` --audience ${audience.map(shellWord).join(' ')}`;
  return `sidekey grant add ${name}${owner} --provider ${provider} --replace${hosts} < token.json`;
}
