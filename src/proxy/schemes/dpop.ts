import { randomUUID } from 'node:crypto';
import type { Credential, OAuth2Credential } from '../../domain/credential.ts';
import type { Placement } from '../../domain/provider.ts';
import { challengesIn } from '../http/fields.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { ownFields, singleValue } from './credential.ts';
import { nonceIn, type Nonces, proofKey, signProof, targetUri } from './dpop-proof.ts';
import {
  type AuthScheme,
  factsOf,
  type PreparedCredential,
  refused,
  type UnauthenticatedRequest,
} from './scheme.ts';
import { hintOf, remedy } from '../../lib/hint.ts';

type DpopPlacement = { readonly kind: 'dpop' };

const replaces = ['dpop'];

/** A token bound to a key, with a proof in each request (RFC 9449 §7.1): `bearer` with `dpop: true`. */
export const dpop: AuthScheme<DpopPlacement> = {
  kind: 'dpop',
  syntax: null,
  schemas: [],
  parse: () => ({ kind: 'dpop' }),
  format: () => 'bearer',
  describe: () => 'Authorization: DPoP …, with a proof for each request',
  prepare({ credential }) {
    if (isBound(credential)) return boundToken(credential);
    if (credential.type === 'oauth2') {
      throw refused(
        'The token of this grant is bound to no key, and its provider requires one that is (dpop).',
        hintOf`${remedy('grant.refresh', { grant: null, force: true })}, or connect it again; where the provider binds no tokens, take dpop out of its definition`,
      );
    }
    // A token that a person pasted was bound to no key when it was made.
    const fields = ownFields(credential) ?? [['Authorization', `Bearer ${singleValue(credential)}`] as const];
    return { fields, replaces };
  },
};

/** A credential with a key, and a token that is bound to it. */
type BoundCredential = OAuth2Credential &
  Required<Pick<OAuth2Credential, 'dpop'>> & { readonly accessToken: string };

/** Reports whether an access token is bound to a key. */
export function isBound(credential: Credential): credential is BoundCredential {
  return credential.type === 'oauth2' && credential.accessToken !== null && credential.dpop?.isBound === true;
}

/** Reports whether each request needs a proof. A token stays bound if the provider's definition changes. */
export function needsProof(credential: Credential, { kind }: Placement): boolean {
  return (kind === 'dpop' || kind === 'bearer') && isBound(credential);
}

/** Prepares a bound token. A `DPoP` field of the client is removed. */
export function boundToken(credential: BoundCredential): PreparedCredential {
  return {
    fields: [['Authorization', `DPoP ${credential.accessToken}`]],
    replaces,
    apply: (request) => ({ added: ['DPoP', proofFor(credential, request)] }),
  };
}

function proofFor({ dpop: { key }, accessToken }: BoundCredential, request: UnauthenticatedRequest): string {
  const { method, now, nonce = null } = factsOf(request);
  const uri = targetUri(originOf(request.authority), request.path);
  return signProof(proofKey(key), { id: randomUUID(), method, uri, now, accessToken, nonce });
}

/** `https://host`, with the port where it is not the default: the key of a server's nonces. */
export function originOf(authority: Authority): string {
  return `${authority.scheme}://${authorityText(authority)}`;
}

/** Maximum number of `WWW-Authenticate` fields that are read in a response. */
const maxFields = 8;

/**
 * Verdict of a response on the DPoP proof of its request (RFC 9449 §9). `again`: the upstream requires a
 * repeat with its nonce. `in vain`: it does, but sent no usable nonce. In both cases the token is good.
 */
export type ProofAnswer = 'nothing' | 'again' | 'in vain';

/**
 * Reads the verdict of a response on a proof. Stores its nonce, for any status, for later requests.
 *
 * @param origin where the request was sent
 * @param values returns the values of a field, by its name in lower case
 */
export function readProofAnswer(
  nonces: Nonces,
  origin: string,
  status: number,
  values: (name: string) => readonly string[],
): ProofAnswer {
  const nonce = nonceIn(values('dpop-nonce'));
  if (nonce !== null) nonces.remember(origin, nonce);
  if (status !== 401 || !wantsNonce(values('www-authenticate'))) return 'nothing';
  return nonce === null ? 'in vain' : 'again';
}

/** Reports whether `WWW-Authenticate` fields of a 401 require a nonce in the proof (RFC 9449 §9). */
export function wantsNonce(challenges: readonly string[]): boolean {
  return challenges
    .slice(0, maxFields)
    .flatMap(challengesIn)
    .some(({ scheme, parameters }) => scheme === 'dpop' && parameters.get('error') === 'use_dpop_nonce');
}
