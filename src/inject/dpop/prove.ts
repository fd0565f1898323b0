import { randomUUID } from 'node:crypto';
import { proofKey } from '../../dpop/key.ts';
import { signProof } from '../../dpop/proof.ts';
import { targetUri } from '../../dpop/target-uri.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import { factsOf, type CarriedRequest } from '../carrier.ts';
import type { BoundCredential } from './bound-token.ts';

/** The proof that goes with a bound token, for this one request: another for each call. */
export function proofField(
  { dpop, accessToken }: BoundCredential,
  request: CarriedRequest,
): readonly [name: string, value: string] {
  const { method, now, nonce = null } = factsOf(request);
  const uri = targetUri(originOf(request.authority), request.path);
  const facts = { id: randomUUID(), method, uri, now, accessToken, nonce };
  return ['DPoP', signProof(proofKey(dpop.key), facts)];
}

/** `https://host`, with the port where it is not the usual one: what a server's nonces are remembered by. */
export function originOf(authority: Authority): string {
  return `${authority.scheme}://${authorityText(authority)}`;
}
