import { randomUUID } from 'node:crypto';
import type { Credential, OAuth2Credential } from '../grants/credential.ts';
import type { Placement } from '../grants/provider.ts';
import { challengesIn } from '../http/challenge.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { proofKey, signProof, targetUri } from './dpop-proof.ts';
import { type CarriedRequest, type Carrier, factsOf } from './scheme.ts';

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

/** A credential with a key, and a token that is bound to it. */
type BoundCredential = OAuth2Credential &
  Required<Pick<OAuth2Credential, 'dpop'>> & { readonly accessToken: string };

/**
 * Whether a credential goes with a proof. The token says so, not the definition alone: one that was bound stays bound
 * when the definition has changed since.
 */
export function needsProof(credential: Credential, plan: Placement): credential is BoundCredential {
  const isCarried = plan.kind === 'dpop' || plan.kind === 'bearer';
  return (
    isCarried &&
    credential.type === 'oauth2' &&
    credential.accessToken !== null &&
    credential.dpop?.isBound === true
  );
}

/**
 * A token that is bound to a key (RFC 9449 §7.1); the proof stands beside it, in a field of its own. What the client has in
 * that field goes nowhere.
 */
export function provenToken(credential: BoundCredential): Carrier {
  return {
    fields: [['Authorization', `DPoP ${credential.accessToken}`]],
    replaces,
    into: (request) => ({ added: proofField(credential, request) }),
  };
}

/**
 * What a person pasted was bound to no key when it was made, and goes as it would elsewhere.
 *
 * @throws SidekeyError `policy_violation`: the provider's definition wants a token that is bound, and this is none
 */
export function unprovenToken(credential: Credential, elsewhere: () => Carrier): Carrier {
  if (credential.type !== 'oauth2') return { ...elsewhere(), replaces };
  throw new SidekeyError(
    'policy_violation',
    'The token of this grant is bound to no key, and its provider wants one that is (dpop).',
    {
      hint: 'sidekey grant refresh NAME --force, or connect it again; where the provider binds no tokens, take dpop out of its definition',
    },
  );
}

const replaces = ['dpop'];

/** The proof that goes with a bound token, for this one request: another for each call. */
function proofField(
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
