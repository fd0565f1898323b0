import type { BasicCredential, Credential } from '../grants/credential.ts';
import type { Placement } from '../grants/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { fillTemplate, parseTemplate, type Template } from '../policy/template.ts';
import { type Carrier, type Field, refused } from './scheme.ts';
import { singleValue } from './single-value.ts';

/** A field of the provider's own, such as `X-Api-Key: VALUE` or `Authorization: token VALUE`. */
export function headerField(name: string, prefix: string, value: string): Field {
  return [name, `${prefix}${value}`];
}

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
export function pairField({ username, password }: BasicCredential, plan: Placement): Field {
  return basicField((plan.kind === 'basic' ? plan.pairUsername : null) ?? username, password);
}

/** RFC 6750 §2.1. */
export function bearerField(token: string): Field {
  return ['Authorization', `Bearer ${token}`];
}

type HeadersPlan = Extract<Placement, { kind: 'headers' }>;

/**
 * Fields by templates.
 * @throws SidekeyError `policy_violation`: a template names what the credential does not have
 */
export function byTemplates({ headers }: HeadersPlan, credential: Credential): Carrier {
  const valueOf = (name: string): string => valueNamed(name, credential);
  return {
    fields: headers.map(([name, written]) => [name, fillTemplate(readTemplate(written), valueOf)] as const),
  };
}

function valueNamed(name: string, credential: Credential): string {
  if (name === 'token') return singleValue(credential);
  if (credential.type !== 'basic') {
    throw refused(
      `The provider of this grant carries {${name}}, and its credential is no user name and password.`,
      'add the grant again with --replace: {"type":"basic","username":"…","password":"…"}, or write {token} in the provider',
    );
  }
  return name === 'username' ? credential.username : credential.password;
}

/** A template of a provider's definition, which was checked when that was read. */
export function readTemplate(written: string): Template {
  const template = parseTemplate(written);
  if (template === null)
    throw new SidekeyError('internal', 'A template of the provider has a brace too many.');
  return template;
}
