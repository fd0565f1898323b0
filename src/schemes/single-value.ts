import { setMaxListeners } from 'node:events';
import type { ClientCertificateCredential, Credential, SealedCredential } from '../grants/credential.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import type { ClientIdentity } from '../policy/peer.ts';
import type { Carrier } from './scheme.ts';

/**
 * The value of a credential that is one.
 *
 * @throws SidekeyError `policy_violation`: it is several, or signs and is never sent; `internal`: there is none yet
 */
export function singleValue(credential: Credential): string {
  switch (credential.type) {
    case 'oauth2':
      if (credential.accessToken === null) {
        throw new SidekeyError('internal', 'The grant has no access token yet.');
      }
      return credential.accessToken;
    case 'api_key':
    case 'jwt':
      return credential.value;
    case 'basic':
    case 'headers':
      throw new SidekeyError(
        'policy_violation',
        `The provider of this grant carries one value, and its credential is ${several[credential.type]}.`,
        { hint: 'add the grant again with --replace: {"type":"api_key","value":"…"}' },
      );
    case 'aws':
      throw new SidekeyError(
        'policy_violation',
        'The keys of this grant sign requests, and are never sent themselves.',
        { hint: 'in the provider: inject: aws_sigv4' },
      );
    case 'client_certificate':
      throw notSent();
  }
}

const several = { basic: 'a user name and a password', headers: 'fields of its own' } as const;

/** Who a grant's certificate says we are, until somebody ends it. */
export interface GrantIdentity extends ClientIdentity {
  /** Has it shown no more. Idempotent. */
  end(): void;
}

/**
 * Nothing stands in the request, and an `Authorization` of the client goes on: many such services want a token besides,
 * which may be bound to the certificate (RFC 8705).
 */
export function shownInHandshake(sealed: SealedCredential): Carrier {
  return {
    fields: [],
    keepsAuthorization: true,
    into: ({ authority }) => ({ identity: certificateShown(sealed, authority) }),
  };
}

/**
 * Who we are to this authority by the certificate of a grant. The same object as long as the credential is opened, another
 * for each opened one: a connection that is kept for it can serve nothing else. The audience is for the caller to check.
 *
 * @throws SidekeyError `insecure_transport`: without TLS nothing can show it, whatever the domain allows;
 * `policy_violation`: the credential is no certificate
 */
export function certificateShown(sealed: SealedCredential, authority: Authority): GrantIdentity {
  const { credential } = sealed;
  if (authority.scheme !== 'https') {
    throw new SidekeyError(
      'insecure_transport',
      `The client certificate of this grant is shown in TLS handshakes, and plain http to ${authorityText(authority)} has none.`,
      { hint: 'use https; insecure: true does not help here' },
    );
  }
  if (credential.type !== 'client_certificate') throw noCertificate();
  let identity = identities.get(sealed);
  if (identity === undefined) identities.set(sealed, (identity = identityOf(credential)));
  return identity;
}

/** Of opened credentials; gone from memory together with them. */
const identities = new WeakMap<SealedCredential, GrantIdentity>();

let lastId = 0;

function identityOf({ certificate, privateKey }: ClientCertificateCredential): GrantIdentity {
  const ended = new AbortController();
  // One for each host that it is shown to.
  setMaxListeners(0, ended.signal);
  return {
    id: (lastId += 1),
    ended: ended.signal,
    material: () => ({ cert: certificate, key: privateKey }),
    end: () => ended.abort(),
  };
}

function noCertificate(): SidekeyError {
  return new SidekeyError(
    'policy_violation',
    'The provider has a client certificate shown, and this grant has none.',
    { hint: 'add the grant again with --replace and a certificate, or change inject in the provider' },
  );
}

/** Where the provider would have a certificate written into a request. */
function notSent(): SidekeyError {
  return new SidekeyError(
    'policy_violation',
    'The certificate of this grant is shown in TLS handshakes, and never stands in a request.',
    { hint: 'in the provider: inject: client_certificate' },
  );
}

/**
 * A line of the key, by which it is known again: an upstream never gets to see it, and who was given it elsewhere might. Not
 * all lines: what finds a text grows with it, and a key is as long as fifty tokens.
 */
export function lineOfKey({ privateKey }: Pick<ClientCertificateCredential, 'privateKey'>): string {
  const lines = privateKey.split('\n').filter((line) => line !== '' && !line.startsWith('-----'));
  // What a key begins with is the same for all of its kind, or public.
  return lines[Math.floor(lines.length / 2)] ?? '';
}
