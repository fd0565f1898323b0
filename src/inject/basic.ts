import { SidekeyError } from '../errors.ts';
import type { BasicCredential } from '../grants/credential.ts';
import type { InjectPlan } from '../grants/provider.ts';
import type { Field } from './field.ts';

/**
 * RFC 7617 §2, in UTF-8 (§2.1).
 * @throws SidekeyError `policy_violation`: a colon in the user name would move the border between name and password,
 * and neither may hold a control character.
 */
export function basicField(username: string, password: string): Field {
  if (username.includes(':') || /\p{Cc}/u.test(username + password)) {
    throw new SidekeyError(
      'policy_violation',
      'The stored user name holds a colon, or one of user name and password a control character.',
      { hint: 'add the grant again with --replace' },
    );
  }
  return ['Authorization', `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`];
}

/** That of a credential which is a user name and a password. */
export function pairField({ username, password }: BasicCredential, plan: InjectPlan): Field {
  return basicField((plan.kind === 'basic' ? plan.forPair : null) ?? username, password);
}
