import { resolve } from 'node:path';
import { isReference, parseSecretReference } from '../../config/secret-reference.ts';
import { SidekeyError } from '../../errors.ts';

/**
 * A reference to a secret (`env:`, `file:`, `command:`) as it is kept. A relative path is one of the folder where the
 * command runs; whoever reads it later is elsewhere. The text is not shown: it may be the secret itself, in the wrong
 * place.
 *
 * @throws SidekeyError `input_invalid`
 */
export function keptReference(option: string, text: string): string {
  const reference = parseSecretReference(text);
  if (!isReference(reference)) {
    throw new SidekeyError('input_invalid', `${option} ${reference.problem}.`, {
      hint: `put the secret into a file that only you can read: ${option} file:PATH`,
    });
  }
  return reference.kind === 'file' ? `file:${resolve(reference.path)}` : text;
}
