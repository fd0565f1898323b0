import { challengesIn } from '../oauth/challenge.ts';

/** Fields that are read; what stands behind them is an upstream's that says too much. */
const mostFields = 8;

/**
 * Whether the fields `WWW-Authenticate` of a 401 want the request once more, with a nonce in its proof (RFC 9449 §9). The
 * token is as good as before. Pure.
 */
export function wantsNonce(challenges: readonly string[]): boolean {
  return challenges
    .slice(0, mostFields)
    .flatMap(challengesIn)
    .some(({ scheme, parameters }) => scheme === 'dpop' && parameters.get('error') === 'use_dpop_nonce');
}
