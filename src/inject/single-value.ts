import { SidekeyError } from '../errors.ts';
import type { Credential } from '../grants/credential.ts';
import { notSent } from './client-certificate.ts';

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
