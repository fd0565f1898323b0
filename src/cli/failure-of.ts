import { errorFacts, errorPhrase, SidekeyError } from '../lib/errors.ts';
import { obstacleOf } from '../lib/obstacle.ts';

/**
 * Returns the failure of a command for any error. A state of the machine is no mistake of Sidekey. Of several
 * errors (`SuppressedError`), the first counts: parts that fail to close usually do so for the same reason.
 */
export function failureOf(error: unknown): SidekeyError {
  if (error instanceof SidekeyError) return error;
  if (error instanceof Error && 'suppressed' in error && 'error' in error) {
    const first = failureOf(error.suppressed);
    return first.code === 'internal' ? failureOf(error.error) : first;
  }
  if (obstacleOf(error) !== undefined)
    return new SidekeyError(
      'file_unwritable',
      `${errorFacts(error).message ?? 'A file cannot be written'}.`,
      {
        cause: error,
      },
    );
  return new SidekeyError('internal', `Internal error (please report it): ${errorPhrase(error)}.`, {
    cause: error,
  });
}
