import type { Credential } from '../grants/credential.ts';
import type { InjectPlan } from '../grants/provider.ts';
import { fillTemplate } from '../policy/template.ts';
import type { Carrier } from './carrier.ts';
import { readTemplate } from './read-template.ts';
import { refused } from './refused.ts';
import { singleValue } from './single-value.ts';

type HeadersPlan = Extract<InjectPlan, { kind: 'headers' }>;

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
