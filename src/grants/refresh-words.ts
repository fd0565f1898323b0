/** What a person is told of a renewal that was refused. Pure; no secret is in any of it. */
import type { RenewalRequest } from '../oauth/renewal.ts';

/** Why the grant needs a person, as the beginning of a sentence that the provider's own words end. */
export function whyCondemned({ kind }: RenewalRequest): string {
  switch (kind) {
    case 'refresh_token':
      return 'the provider refused the refresh token';
    case 'token_exchange':
      return 'the provider refused the token that was to be exchanged';
    case 'auth0_connection':
      return 'the account is not connected any more';
    case 'github_installation':
      return 'the app is not installed there any more';
    case 'aws_role':
      return 'AWS does not know the keys any more';
    // Answered by none of these: see `renew`.
    case 'client_credentials':
    case 'jwt_bearer':
      return 'the provider refused the credential';
  }
}

/**
 * What to look at after a refusal that stays until something is changed.
 *
 * @param error the provider's word for it
 */
export function whatToCheck({ kind }: RenewalRequest, provider: string, error = ''): string {
  if (error === 'invalid_dpop_proof') return 'check that the clock of this machine is right';
  const client = `client_id, client_secret and token_endpoint of the provider "${provider}"`;
  switch (kind) {
    case 'refresh_token':
    case 'auth0_connection':
      return `check ${client}`;
    case 'client_credentials':
      return `check ${client}, and that the scopes are allowed for the client`;
    case 'jwt_bearer':
      return 'check that the clock of this machine is right, that the key is still registered at the provider, and that issuer, subject and scopes are allowed';
    case 'token_exchange':
      return `check the token that is exchanged, its type, and ${client}`;
    case 'github_installation':
      return 'check that the clock of this machine is right, that the key is one of the app, and that the installation is not suspended';
    case 'aws_role':
      return 'check that the keys may assume the role (sts:AssumeRole), that the role trusts them, and its external id';
  }
}
