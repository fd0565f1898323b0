import type { Credential } from '../../grants/credential.ts';
import type { HmacPlan } from '../../grants/provider.ts';
import { refused } from '../refused.ts';
import { singleValue } from '../single-value.ts';

/** What a signature is made with. */
export interface SigningSecret {
  readonly secret: Buffer;
  /** What says whose it is, and is no secret; null: the credential has none. */
  readonly key: string | null;
}

/**
 * The user name and the password of a credential that has them; else the one value, which is the secret.
 *
 * @throws SidekeyError `policy_violation`: it is not written as the plan says
 */
export function signingSecret(credential: Credential, { secret: form }: HmacPlan): SigningSecret {
  const isPair = credential.type === 'basic';
  const written = isPair ? credential.password : singleValue(credential);
  const secret = decoded(written, form);
  if (secret === null || secret.length === 0) {
    throw refused(
      `The secret of this grant is not written in ${form}, as its provider says.`,
      'add the grant again with --replace, or set secret in the hmac setting of the provider',
    );
  }
  return { secret, key: isPair ? credential.username : null };
}

/** Node leaves out what it cannot read. */
function decoded(written: string, form: HmacPlan['secret']): Buffer | null {
  switch (form) {
    case 'utf8':
      return Buffer.from(written, 'utf8');
    case 'hex':
      return /^(?:[0-9A-Fa-f]{2})+$/.test(written) ? Buffer.from(written, 'hex') : null;
    case 'base64':
      return /^[A-Za-z0-9+/_-]+={0,2}$/.test(written) ? Buffer.from(written, 'base64') : null;
  }
}
