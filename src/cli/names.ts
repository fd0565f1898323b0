import { SidekeyError } from '../errors.ts';
import { isName } from '../grants/grant.ts';

/**
 * Refuses what cannot name a grant, a user or an agent. The text itself is not shown: it may be a secret in the wrong
 * place.
 *
 * @throws SidekeyError `input_invalid`
 */
export function checkName(what: string, text: string): void {
  if (isName(text)) return;
  throw new SidekeyError('input_invalid', `The ${what} is not valid.`, {
    hint: 'use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
  });
}
