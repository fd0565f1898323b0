/** Proofs of a key at token endpoints (RFC 9449 §5 and §8). */
import { randomUUID } from 'node:crypto';
import { proofKey } from '../dpop/key.ts';
import { createNonces, nonceIn } from '../dpop/nonces.ts';
import { signProof } from '../dpop/proof.ts';
import { targetUri } from '../dpop/target-uri.ts';
import type { EndpointAnswer, TokenIo } from './endpoint.ts';
import { jsonObject } from './json-object.ts';

/** What one question needs, and its second try. */
export interface Proving {
  /** For one request: another for each call. */
  proof(): string;
  /** Takes the nonce of an answer. True: the request is wanted once more, with that nonce. */
  wantsAnother(answer: EndpointAnswer): boolean;
}

/** Null: tokens are to be bound to no key. */
export function provingAt(endpoint: string, io: TokenIo): Proving | null {
  const { proofKey: key, nonces = createNonces(), now } = io;
  const url = URL.parse(endpoint);
  // What is no URL is refused by who asks.
  if (key === undefined || key === null || url === null) return null;
  const { origin } = url;
  const uri = targetUri(origin, url.pathname);
  return {
    proof: () =>
      signProof(proofKey(key), {
        id: randomUUID(),
        method: 'POST',
        uri,
        now: now(),
        accessToken: null,
        nonce: nonces.of(origin),
      }),
    wantsAnother({ status, text, nonce: said }) {
      const nonce = nonceIn(said === undefined ? [] : [said]);
      if (nonce === null) return false;
      nonces.remember(origin, nonce);
      return (status === 400 || status === 401) && jsonObject(text)?.['error'] === 'use_dpop_nonce';
    },
  };
}
