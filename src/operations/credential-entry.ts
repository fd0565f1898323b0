import type { Config } from '../config/config.ts';
import { type Credential, isRefreshable } from '../domain/credential.ts';
import { defaultUser, type Grant, titleOf } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import type { CredentialEntry } from '../grants/credential-input.ts';
import type { NewGrant } from '../grants/registry.ts';
import { replaceRemedy } from '../grants/token-result.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf, remedy, withHint } from '../lib/hint.ts';
import { type DomainPattern, isPattern, isWithin, parsePattern } from '../proxy/policy/domain-map.ts';
import { fieldsFor } from '../proxy/schemes/apply.ts';
import { checkedUser, checkName } from './format.ts';
import { readSettings, type WantedSettings } from './grant-settings.ts';
import { findProvider } from './lookup.ts';

/** A credential that may be stored. */
export interface Prepared {
  readonly wanted: NewGrant;
  readonly provider: Provider;
  readonly credential: Credential;
  readonly audience: readonly string[];
  /** True if no request can carry it as the provider says. */
  readonly isUnusable: boolean;
  readonly warnings: string[];
  /** Settings that its grant gets; null: the input has none. */
  readonly settings: WantedSettings | null;
}

/** @throws SidekeyError `input_invalid`, `provider_unknown` */
export function prepare(
  entry: CredentialEntry,
  argument: string | undefined,
  options: {
    readonly provider?: string | undefined;
    readonly user?: string | undefined;
    readonly audience?: readonly string[] | undefined;
  },
  providers: Config['providers'],
): Prepared {
  const word = entry.provider ?? options.provider ?? argument ?? entry.name;
  if (word === null) {
    throw new SidekeyError('input_invalid', 'The provider of the credential is missing.', {
      hint: hintOf`${remedy('grant.import', { name: null, provider: null })}; ${remedy('provider.list')} shows them`,
    });
  }
  const name = argument ?? entry.name ?? word;
  checkName('name of the grant', name);
  const user = checkedUser(options.user ?? entry.user ?? defaultUser);
  const settings = readSettings(entry.settings);
  const provider = findProvider(providers, word);
  const audience = chooseAudience(options.audience, provider);
  const credential = withoutUnbound(entry.credential, provider);
  const warnings: string[] = [];
  const warn = (sentence: string, hint: Hint) => warnings.push(withHint(sentence, hint));
  const gap = refreshGapOf(credential, provider);
  if (gap !== null) {
    const hasToken = credential.type === 'oauth2' && credential.accessToken !== null;
    if (!hasToken) throw new SidekeyError('input_invalid', gap.sentence, { hint: gap.hint });
    warn(`${gap.sentence} The access token works until it expires.`, gap.hint);
  }
  const misfit = certificateMisfit(credential, provider);
  const uncarried = misfit === null ? carriageMisfit(credential, provider) : null;
  if (misfit !== null) warn(misfit.sentence, misfit.hint);
  if (uncarried !== null) warn(`No request can carry it: ${uncarried.message}`, uncarried.hint ?? '');
  const wider = audience.filter((text) => {
    const pattern = parsePattern(text);
    return !isPattern(pattern) || !isWithin(provider.audience, pattern);
  });
  if (wider.length > 0 && provider.audience.length > 0) {
    warn(
      `The credential may now also be sent to ${wider.join(', ')}, which the provider ${provider.name} does not name.`,
      'if this is not intended, import it again with --replace and without --audience',
    );
  }

  const wanted = { name, user, provider: provider.name, scopes: entry.scopes };
  const isUnusable = misfit !== null || uncarried !== null;
  return { wanted, provider, credential, audience, isUnusable, warnings, settings };
}

/**
 * Removes the access token if the provider requires bound tokens: an imported token is not bound to a key of
 * Sidekey. The first bound one is requested at first use.
 *
 * @throws SidekeyError `input_invalid`: no token can be requested
 */
function withoutUnbound(credential: Credential, provider: Provider): Credential {
  if (credential.type !== 'oauth2' || provider.dpop === null) return credential;
  if (isRefreshable(credential)) return { ...credential, accessToken: null };
  throw inputInvalid(
    `The tokens of ${provider.name} are bound to a key that is made here, and this one is bound to none.`,
    hintOf`${remedy('connect', { provider: provider.name })}, or add "refresh_token" to the JSON`,
  );
}

export function alreadyThere(
  existing: Grant,
  wanted: Pick<Grant, 'name' | 'user' | 'provider'>,
): SidekeyError {
  return new SidekeyError('already_exists', `There is a grant ${titleOf(existing)} already.`, {
    hint: replaceRemedy(wanted),
  });
}

/**
 * Returns the hosts that a new credential may be sent to: those of the options, else of the provider.
 *
 * @throws SidekeyError `input_invalid` if there is none, or one is invalid
 */
export function chooseAudience(named: readonly string[] | undefined, provider: Provider): readonly string[] {
  if (named !== undefined) return [...new Set(named.map((text) => hostPattern('--audience', text).text))];
  if (provider.audience.length > 0) return provider.audience;
  throw inputInvalid(
    `The provider ${provider.name} names no hosts for its credentials.`,
    'name the hosts that this one may be sent to: --audience HOST',
  );
}

/**
 * Parses the host of an option.
 *
 * @throws SidekeyError `input_invalid`
 */
export function hostPattern(option: string, text: string): DomainPattern {
  const pattern = parsePattern(text);
  if (isPattern(pattern)) return pattern;
  throw new SidekeyError('input_invalid', `${option}: ${JSON.stringify(text)} ${pattern.problem}.`, {
    hint: 'write host, host:port or *.suffix, such as api.example.com',
  });
}

/** Returns why no request can carry a credential as its provider defines; null: one can, or no token yet. */
function carriageMisfit(credential: Credential, { inject }: Pick<Provider, 'inject'>): SidekeyError | null {
  if (credential.type === 'oauth2' && credential.accessToken === null) return null;
  const ways = inject.flatMap(({ as }) => (as.kind === 'own' ? [] : [as]));
  let misfit: SidekeyError | null = null;
  for (const plan of ways) {
    try {
      fieldsFor(credential, plan);
      return null;
    } catch (error) {
      if (!(error instanceof SidekeyError)) throw error;
      misfit ??= error;
    }
  }
  return misfit;
}

/**
 * Returns the missing part; null: nothing is missing, or there is nothing to refresh. The client secret is
 * read when it is needed.
 */
export function refreshGapOf(
  credential: Credential,
  provider: Provider,
): { readonly sentence: string; readonly hint: Hint } | null {
  if (credential.type !== 'oauth2' || credential.refreshToken === null) return null;
  const { name } = provider;
  if ((credential.tokenEndpoint ?? provider.tokenEndpoint) === null) {
    return {
      sentence: `Sidekey cannot use the refresh token: the provider ${name} has no token endpoint.`,
      hint: `add "token_endpoint" to the JSON, or set providers.${name}.token_endpoint in the config file`,
    };
  }
  if ((credential.clientId ?? provider.clientId) === null) {
    return {
      sentence: `Sidekey cannot use the refresh token: the client that it belongs to is unknown.`,
      hint: `add "client_id" (and "client_secret") to the JSON, or set providers.${name}.client_id in the config file`,
    };
  }
  return null;
}

/** Returns the reason that a credential does not fit the provider's certificate settings; null: it fits. */
function certificateMisfit(
  credential: Credential,
  { name, inject }: Pick<Provider, 'name' | 'inject'>,
): { readonly sentence: string; readonly hint: Hint } | null {
  const isCertificate = credential.type === 'client_certificate';
  const kinds = inject.map(({ as }) => as.kind).filter((kind) => kind !== 'own');
  const isShown = kinds.includes('client_certificate');
  if (isCertificate && !isShown) {
    return {
      sentence: `The provider ${name} does not use client certificates, so requests with it are refused.`,
      hint: `in the provider: inject: client_certificate`,
    };
  }
  if (!isCertificate && isShown && kinds.every((kind) => kind === 'client_certificate')) {
    return {
      sentence: `The provider ${name} expects a client certificate, and this credential is none.`,
      hint: hintOf`cat client.crt client.key | ${remedy('grant.import', { name: null, provider: name, replace: true })}`,
    };
  }
  return null;
}
