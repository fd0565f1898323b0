/** The upstream half of ending a grant: the provider is told, where it can be. */
import { SidekeyError } from '../../errors.ts';
import type { OAuth2Credential } from '../../grants/credential.ts';
import type { Provider } from '../../grants/provider.ts';
import { clientOf } from '../../grants/refresh-plan.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { withoutStop } from '../../oauth/description.ts';
import { revoke } from '../../oauth/revocation.ts';
import type { State } from '../../state.ts';
import type { Exit } from '../../upstream/exit.ts';
import type { Context } from '../context.ts';
import { disconnectAccount } from '../connect/auth0-disconnect.ts';
import { connectionOf } from '../connect/auth0-login.ts';
import { withExit } from '../with-exit.ts';

/** What became of the grant at its provider. Sentences are without a secret. */
export type EndedThere =
  | { readonly kind: 'ended' }
  /** There is no way to tell it; the sentence says what a person can do. */
  | { readonly kind: 'not told'; readonly sentence: string }
  /** There is one, and it failed: what is known there may still be good. */
  | { readonly kind: 'failed'; readonly sentence: string };

/** Never rejects for what a provider or a network may do. */
export async function tellProvider(context: Context, state: State, opened: OpenedGrant): Promise<EndedThere> {
  const { config } = state;
  const { credential } = opened.sealed;
  const provider = config.providers.get(opened.grant.provider);
  if (credential.type !== 'oauth2') return notTold(provider);
  try {
    return await withExit(config, context.env, (exit) => {
      const parts = { context, state, exit };
      return connectionOf(opened) === null
        ? revokeTokens(opened, credential, parts)
        : disconnect(opened, parts);
    });
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return failed(provider?.title ?? opened.grant.provider, error.message);
  }
}

interface TellParts {
  readonly context: Context;
  readonly state: State;
  readonly exit: Exit;
}

async function disconnect(opened: OpenedGrant, parts: TellParts): Promise<EndedThere> {
  const { refresh_timeout: ms } = parts.state.config.limits;
  await disconnectAccount(opened, parts, AbortSignal.timeout(ms));
  return { kind: 'ended' };
}

async function revokeTokens(
  { grant }: OpenedGrant,
  credential: OAuth2Credential,
  { context, state, exit }: TellParts,
): Promise<EndedThere> {
  const { providers, limits } = state.config;
  const { accessToken, refreshToken, tokenEndpoint } = credential;
  const provider = providers.get(grant.provider);
  if (accessToken === null && refreshToken === null) return notTold(provider);
  // Tokens of another server than the provider's own are none of its business.
  const isOther = tokenEndpoint !== null && tokenEndpoint !== provider?.tokenEndpoint;
  if (provider === undefined || isOther) return notTold(provider);
  const outcome = await revoke(
    {
      endpoint: provider.revocationEndpoint,
      client: await clientOf({ provider: provider.name, credential, scopes: grant.scopes }, provider),
      dialect: provider.dialect,
      accessToken,
      refreshToken,
    },
    { fetch: exit.fetch, now: context.now, signal: AbortSignal.timeout(limits.refresh_timeout) },
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

function failed(title: string, reason: string): EndedThere {
  return {
    kind: 'failed',
    sentence: `${title} was not told: ${withoutStop(reason)}. What it gave may still be good there until you end it at the provider.`,
  };
}

function notTold(provider: Provider | undefined): EndedThere {
  const title = provider?.title ?? 'The provider';
  const where = provider?.token?.url ?? null;
  return {
    kind: 'not told',
    sentence: `${title} offers no way to tell it: where the credential may be known to others, end it there too${where === null ? '' : ` (${where})`}.`,
  };
}
