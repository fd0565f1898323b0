import { SidekeyError } from '../errors.ts';

/** A request that the credential is not put into: `policy_violation`. */
export function refused(sentence: string, hint?: string): SidekeyError {
  return new SidekeyError('policy_violation', sentence, { hint });
}
