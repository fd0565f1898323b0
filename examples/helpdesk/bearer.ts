import type { IncomingMessage } from 'node:http';
import type { Provider } from 'oidc-provider/lib/provider.js';
import { Refusal } from './reply.ts';

/** Who a valid access token speaks for. */
export interface Bearer {
  /** Short name of the person; null where the client acts for itself (RFC 6749 §4.4). */
  readonly user: string | null;
  readonly client: string;
}

/** Lets a request with a good token of this scope pass; throws a `Refusal` (401, 403) otherwise. */
export type BearerCheck = (request: IncomingMessage, scope: string) => Promise<Bearer>;

/** Checks tokens with the OAuth server that made them (RFC 6750). */
export function bearerCheck(provider: Provider): BearerCheck {
  return async (request, scope) => {
    const header = request.headers.authorization;
    if (header === undefined) {
      // RFC 6750 §3.1: no error code where no credential was sent.
      throw new Refusal(401, 'missing_token', 'This needs an access token: Authorization: Bearer TOKEN.', {
        'www-authenticate': challenge({}),
      });
    }
    const value = /^Bearer +([A-Za-z0-9\-._~+/]+=*) *$/i.exec(header)?.[1];
    const token = value === undefined ? undefined : await findToken(provider, value);
    if (token === undefined) {
      const message = 'The access token is unknown, has ended, or was revoked.';
      throw new Refusal(401, 'invalid_token', message, {
        'www-authenticate': challenge({ error: 'invalid_token', error_description: message }),
      });
    }
    if (!token.scopes.has(scope)) {
      const message = `The access token lacks the scope ${scope}.`;
      throw new Refusal(403, 'insufficient_scope', message, {
        'www-authenticate': challenge({ error: 'insufficient_scope', error_description: message, scope }),
      });
    }
    return { user: token.accountId ?? null, client: token.clientId ?? '' };
  };
}

type Token = NonNullable<Awaited<ReturnType<Provider['AccessToken']['find']>>>;

async function findToken(provider: Provider, value: string): Promise<Token | undefined> {
  const token = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value));
  if (token?.grantId === undefined) return token;
  // A token outlives its grant for a moment where a refresh was under way as the grant was revoked.
  return (await provider.Grant.find(token.grantId)) === undefined ? undefined : token;
}

function challenge(parameters: Readonly<Record<string, string>>): string {
  const all = Object.entries({ realm: 'Acme Helpdesk', ...parameters });
  return `Bearer ${all.map(([name, value]) => `${name}="${value}"`).join(', ')}`;
}
