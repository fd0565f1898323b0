/** A client whose secret is in no file: it came with a registration, and is sealed together with the grant. */
import type { Provider } from '../../grants/provider.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import type { Obtained } from './flow.ts';

/**
 * The secret of the client: that of a registration of just now, else the one that is sealed with the grant that is
 * connected again. Null: the provider's definition says all there is.
 */
export function ownSecret(
  provider: Pick<Provider, 'clientId' | 'clientSecret'>,
  registered: string | null,
  existing: OpenedGrant | null,
): string | null {
  if (registered !== null || provider.clientSecret !== null) return registered;
  const credential = existing?.sealed.credential;
  return credential?.type === 'oauth2' && credential.clientId === provider.clientId
    ? credential.clientSecret
    : null;
}

/** The provider, with that secret as its client's. */
export function withSecret(provider: Provider, secret: string | null): Provider {
  return secret === null ? provider : { ...provider, clientSecret: async () => secret };
}

/** What was obtained, with the client that later refreshes need. */
export function sealingSecret(obtained: Obtained, { clientId }: Provider, secret: string | null): Obtained {
  const { credential } = obtained;
  if (secret === null || credential.type !== 'oauth2') return obtained;
  return { ...obtained, credential: { ...credential, clientId, clientSecret: secret } };
}
