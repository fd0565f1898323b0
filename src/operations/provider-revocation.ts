import type { OAuth2Credential, OpenedGrant } from '../domain/credential.ts';
import type { Provider } from '../domain/provider.ts';
import { revoke } from '../grants/oauth/revocation.ts';
import { clientOf } from '../grants/refresh-plan.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf } from '../lib/hint.ts';
import { withoutStop } from '../lib/text.ts';
import { connectionOf, disconnectAccount } from './auth0-login.ts';
import type { Changing } from './operation.ts';

/** Result of the revocation of a grant at its provider. Sentences contain no secret. */
export type ProviderRevocation =
  | { readonly kind: 'ended' }
  /** The provider has no revocation endpoint. The sentence describes another way. */
  | { readonly kind: 'not told'; readonly sentence: string }
  /** Revocation failed: the token may still be valid at the provider. */
  | { readonly kind: 'failed'; readonly sentence: string };

type Parts = Pick<Changing, 'config' | 'now' | 'renewal' | 'withFetch'>;

/**
 * Checks, before a grant ends here, that the client secret for its revocation at the provider can be read.
 *
 * @throws SidekeyError as the reader of the secret
 */
export async function assertRevocable(
  { config, grants }: Pick<Changing, 'config' | 'grants'>,
  opened: OpenedGrant,
): Promise<void> {
  const login = connectionOf(opened)?.via;
  const holder = login === undefined ? opened : await grants.read(login);
  const credential = holder?.sealed.credential;
  if (holder === null || credential?.type !== 'oauth2') return;
  const { grant } = holder;
  const provider = config.providers.get(grant.provider);
  const hasEndpoint = (provider?.revocationEndpoint ?? provider?.dialect.revocation.url ?? null) !== null;
  if (login === undefined && (!hasEndpoint || isOfOtherServer(credential, provider))) return;
  try {
    await clientOf({ provider: grant.provider, credential, scopes: grant.scopes }, provider);
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    const sentence = `${provider?.title ?? grant.provider} cannot be told, so nothing has ended: ${withoutStop(error.message)}.`;
    throw new SidekeyError(error.code, sentence, {
      hint: hintOf`${error.hint}, and repeat this; or end the grant only here, with --local`,
      cause: error,
    });
  }
}

/** Never rejects for an error of the provider or the network. */
export async function revokeAtProvider(parts: Parts, opened: OpenedGrant): Promise<ProviderRevocation> {
  const { config, renewal, withFetch } = parts;
  const { credential } = opened.sealed;
  const provider = config.providers.get(opened.grant.provider);
  if (credential.type !== 'oauth2') return notTold(provider);
  try {
    return await withFetch(async (fetch) => {
      const signal = AbortSignal.timeout(config.limits.refresh_timeout);
      if (connectionOf(opened) === null) return revokeTokens(opened, credential, { ...parts, fetch, signal });
      await disconnectAccount(opened, { ...renewal(fetch), fetch }, signal);
      return { kind: 'ended' };
    });
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return failed(provider?.title ?? opened.grant.provider, error.message);
  }
}

/**
 * Revokes only the access token, so that the next use of the grant gets another. Sends nothing if the grant
 * would be lost. Never rejects for an error of the provider or the network.
 *
 * @param isLast true: the grant itself is about to end
 */
export async function revokeAccessToken(
  { config, now, withFetch }: Pick<Parts, 'config' | 'now' | 'withFetch'>,
  opened: OpenedGrant,
  isLast: boolean,
): Promise<ProviderRevocation> {
  const { credential } = opened.sealed;
  const provider = config.providers.get(opened.grant.provider);
  if (credential.type !== 'oauth2' || connectionOf(opened) !== null) return notTold(provider);
  const obstacle = isLast ? null : whyTokenStays(opened, provider);
  if (obstacle !== null) return { kind: 'not told', sentence: obstacle };
  try {
    return await withFetch((fetch) => {
      const signal = AbortSignal.timeout(config.limits.refresh_timeout);
      return revokeTokens(opened, { ...credential, refreshToken: null }, { config, now, fetch, signal });
    });
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return failed(provider?.title ?? opened.grant.provider, error.message);
  }
}

/** Returns why the access token is not revoked; null: it is, and the grant gets another. */
export function whyTokenStays(opened: OpenedGrant, provider: Provider | undefined): string | null {
  const { credential } = opened.sealed;
  if (credential.type !== 'oauth2') return null;
  const { renewal, refreshToken } = credential;
  if (renewal === undefined && refreshToken === null)
    return 'The grant has no refresh token, so it would be lost.';
  const endpoint = provider?.dialect.revocation.url ?? provider?.revocationEndpoint ?? null;
  if (endpoint === null || connectionOf(opened) !== null) return notTold(provider).sentence;
  if (renewal !== undefined || provider?.dialect.revocation.endsGrant !== true) return null;
  return `${provider.title} would end the whole grant with its access token.`;
}

interface RevocationIo extends Pick<Changing, 'config' | 'now'> {
  readonly fetch: typeof globalThis.fetch;
  readonly signal: AbortSignal;
}

async function revokeTokens(
  { grant }: OpenedGrant,
  credential: OAuth2Credential,
  { config, ...io }: RevocationIo,
): Promise<ProviderRevocation> {
  const { accessToken, refreshToken } = credential;
  const provider = config.providers.get(grant.provider);
  if (accessToken === null && refreshToken === null) return notTold(provider);
  if (provider === undefined || isOfOtherServer(credential, provider)) return notTold(provider);
  const outcome = await revoke(
    {
      endpoint: provider.revocationEndpoint,
      client: await clientOf({ provider: provider.name, credential, scopes: grant.scopes }, provider),
      dialect: provider.dialect,
      accessToken,
      refreshToken,
    },
    { fetch: io.fetch, now: io.now, signal: io.signal },
  );
  switch (outcome.kind) {
    case 'revoked':
      return { kind: 'ended' };
    case 'unsupported':
      return notTold(provider);
    case 'failed':
      return failed(provider.title, outcome.reason);
  }
}

/** Reports whether tokens are of another server than the provider's, which must not receive them. */
function isOfOtherServer({ tokenEndpoint }: OAuth2Credential, provider: Provider | undefined): boolean {
  return tokenEndpoint !== null && tokenEndpoint !== provider?.tokenEndpoint;
}

function failed(title: string, reason: string): ProviderRevocation {
  return {
    kind: 'failed',
    sentence: `${title} was not told: ${withoutStop(reason)}. The token may still be valid there until you revoke it at the provider.`,
  };
}

function notTold(provider: Provider | undefined): ProviderRevocation & { readonly kind: 'not told' } {
  const title = provider?.title ?? 'The provider';
  const where = provider?.token?.url ?? null;
  return {
    kind: 'not told',
    sentence: `${title} has no revocation endpoint: revoke the credential there too, where others may know it${where === null ? '' : ` (${where.replace(/\/new$/, '')})`}.`,
  };
}
