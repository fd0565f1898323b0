import { SidekeyError } from '../../errors.ts';

/** A request that is not signed: `policy_violation`. */
export function refused(sentence: string, hint?: string): SidekeyError {
  return new SidekeyError('policy_violation', sentence, { hint });
}
