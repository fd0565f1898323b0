import type { Credential, SealedCredential } from './credential.ts';

/**
 * What is left of a credential when its grant is revoked: its kind, no secret, and no host it may go to. The state is a
 * column that whoever can write to the store could set back; what is not there any more cannot be used.
 */
export function erased({ credential }: SealedCredential): SealedCredential {
  return { credential: withoutSecrets(credential), audience: [] };
}

function withoutSecrets(credential: Credential): Credential {
  switch (credential.type) {
    case 'oauth2': {
      const { renewal: _renewal, dpop: _dpop, ...rest } = credential;
      return { ...rest, accessToken: null, refreshToken: null, clientSecret: null };
    }
    case 'api_key':
    case 'jwt':
      return { ...credential, value: '' };
    case 'basic':
      return { ...credential, username: '', password: '' };
    case 'headers':
      return { ...credential, headers: [] };
    case 'aws':
      return { ...credential, accessKeyId: '', secretAccessKey: '', sessionToken: null };
    case 'client_certificate':
      // Who it was is no secret, and people see it.
      return { ...credential, privateKey: '' };
  }
}
