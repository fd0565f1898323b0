import { shellWord } from '../shell-word.ts';
import type { Credential } from './credential.ts';
import { defaultUser, type Grant } from './grant.ts';
import type { Flow, Provider } from './provider.ts';

/**
 * The command that puts a new credential in the place of a grant's: `sidekey connect` where the provider has a way to
 * it, else `sidekey grant add --replace` with a credential from elsewhere.
 *
 * @param audience the hosts that it may be sent to; none: those of the provider. With hosts it is always `grant add`
 * @param provider its definition; undefined: it is not known
 * @param credential what it holds, where that is known: it says by which way it came
 */
export function replaceCommand(
  {
    name,
    user,
    provider: providerName,
    type,
  }: Pick<Grant, 'name' | 'user' | 'provider'> & { readonly type?: Grant['type'] },
  audience: readonly string[] = [],
  provider?: Provider,
  credential?: Credential,
): string {
  const owner = user === defaultUser ? '' : ` --user ${user}`;
  const way = provider === undefined || audience.length > 0 ? null : wayOf(provider, type, credential);
  if (way !== null) {
    const named = name === providerName ? '' : ` --name ${name}`;
    return `sidekey connect ${providerName}${named}${owner}${way}`;
  }
  const file = type === 'client_certificate' ? 'client.pem' : 'token.json';
  const hosts = audience.length === 0 ? '' : ` --audience ${audience.map(shellWord).join(' ')}`;
  return `sidekey grant add ${name}${owner} --provider ${providerName} --replace${hosts} < ${file}`;
}

const withoutPeople: ReadonlySet<Flow> = new Set([
  'client_credentials',
  'jwt_bearer',
  'token_exchange',
  'github_installation',
  'aws_role',
]);

/** What `connect` has to be told besides; null: it has no way to a credential of that type. */
function wayOf(
  { flows, token }: Provider,
  type: Grant['type'] | undefined,
  credential: Credential | undefined,
): string | null {
  const oauth2 = credential?.type === 'oauth2' ? credential : undefined;
  const renewal = oauth2?.renewal;
  switch (renewal?.kind) {
    case 'client_credentials':
      return ' --client-credentials';
    case 'jwt_bearer':
      return ' --jwt-bearer --key FILE';
    case 'token_exchange':
      return ' --token-exchange';
    case 'auth0_connection':
      return ` --via ${renewal.via}`;
    case 'github_installation':
      return ` --app-id ${renewal.appId} --installation-id ${renewal.installationId} --key FILE`;
    case 'aws_role':
      return ` --assume-role ${shellWord(renewal.roleArn)}`;
    case undefined:
      break;
  }
  // No prompt takes a file of several lines.
  if (type === 'client_certificate') return null;
  if (type === undefined || type === 'oauth2') {
    // A refresh token came by a person's consent: what the client gets for itself is no such thing.
    const isFromConsent = typeof oauth2?.refreshToken === 'string';
    const fitting = isFromConsent ? flows.filter((flow) => !withoutPeople.has(flow)) : flows;
    return fitting.length > 0 || token !== null ? '' : null;
  }
  if (token === null) return null;
  return flows.length > 0 ? ' --token' : '';
}
