import { setMaxListeners } from 'node:events';
import type { ClientCertificateCredential, SealedCredential } from '../../domain/credential.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { type AuthScheme, type GrantIdentity, refused, scheme } from './scheme.ts';

/**
 * A client certificate in the TLS handshake. Adds no field, and forwards the client's `Authorization`: many
 * such services also require a token, which may be bound to the certificate (RFC 8705).
 */
export const clientCertificate: AuthScheme<{ readonly kind: 'client_certificate' }, 'client_certificate'> = {
  ...scheme(
    'client_certificate',
    'No field: the certificate of the grant is shown in the TLS handshake, on connections that serve that grant alone. An Authorization of the client goes on.',
    'the TLS handshake shows the certificate',
  ),
  isNeverSent: true,
  prepare: (sealed) => ({
    fields: [],
    keepsAuthorization: true,
    apply: ({ authority }) => ({ identity: certificateShown(sealed, authority) }),
  }),
};

/**
 * Returns the client identity of a grant: one object for each opened credential, so that a connection made
 * with it serves no other grant. The caller checks the audience.
 *
 * @throws SidekeyError `insecure_transport` without TLS, even if the domain allows plain HTTP;
 * `policy_violation` if the credential is no certificate
 */
export function certificateShown(sealed: SealedCredential, authority: Authority): GrantIdentity {
  const { credential } = sealed;
  if (authority.scheme !== 'https') {
    const sentence = `The client certificate of this grant is shown in TLS handshakes, and plain http to ${authorityText(authority)} has none.`;
    const hint = 'use https; allow_plain_http: true does not help here';
    throw new SidekeyError('insecure_transport', sentence, { hint });
  }
  if (credential.type !== 'client_certificate') {
    throw refused(
      'The provider has a client certificate shown, and this grant has none.',
      'add the grant again with --replace and a certificate, or change inject in the provider',
    );
  }
  let identity = identities.get(sealed);
  if (identity === undefined) identities.set(sealed, (identity = identityOf(credential)));
  return identity;
}

const identities = new WeakMap<SealedCredential, GrantIdentity>();

let lastId = 0;

function identityOf({ certificate, privateKey }: ClientCertificateCredential): GrantIdentity {
  const ended = new AbortController();
  // Each host that it is shown to adds a listener.
  setMaxListeners(0, ended.signal);
  return {
    id: (lastId += 1),
    ended: ended.signal,
    material: () => ({ cert: certificate, key: privateKey }),
    end: () => ended.abort(),
  };
}
