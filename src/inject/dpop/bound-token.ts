import { SidekeyError } from '../../errors.ts';
import type { Credential, OAuth2Credential } from '../../grants/credential.ts';
import type { InjectPlan } from '../../grants/provider.ts';
import type { Carrier } from '../carrier.ts';
import { proofField } from './prove.ts';

/** A credential with a key, and a token that is bound to it. */
export type BoundCredential = OAuth2Credential &
  Required<Pick<OAuth2Credential, 'dpop'>> & { readonly accessToken: string };

/**
 * Whether a credential goes with a proof. The token says so, not the definition alone: one that was bound stays bound
 * when the definition has changed since.
 */
export function isProven(credential: Credential, plan: InjectPlan): credential is BoundCredential {
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
