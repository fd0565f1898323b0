import { nonceIn, type Nonces } from '../dpop/nonces.ts';
import { wantsNonce } from '../grants/wanted-nonce.ts';
import type { Injected } from '../inject/inject.ts';

/**
 * What a response says of the proof that its request had (RFC 9449 §9). `again`: the request is wanted once more with the
 * nonce that came; `in vain`: so it is, and no nonce came that could be used. Either way nothing is wrong with the token.
 */
export type ProofAnswer = 'nothing' | 'again' | 'in vain';

/** The proofs of one exchange whose token is bound to a key. */
export interface Proofs {
  /**
   * Told of each response: its nonce is good for the requests to come, whatever its status.
   *
   * @param values answers the values of a field, by its name in lower case
   */
  heard(status: number, values: (name: string) => readonly string[]): ProofAnswer;
  /** The request as it left last, with another proof: none is good for two. Throws what `inject` throws. */
  anew(): Injected;
}

/** @param origin where the request goes: what its nonces are remembered by */
export function createProofs(nonces: Nonces, origin: string, anew: () => Injected): Proofs {
  return {
    heard(status, values) {
      const nonce = nonceIn(values('dpop-nonce'));
      if (nonce !== null) nonces.remember(origin, nonce);
      if (status !== 401 || !wantsNonce(values('www-authenticate'))) return 'nothing';
      return nonce === null ? 'in vain' : 'again';
    },
    anew,
  };
}
