import type { Provider } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import { shellWord, withoutStop } from '../../lib/text.ts';
import { createNonces, newDpopKey } from '../../proxy/schemes/dpop-proof.ts';
import { consented, type Consented } from './answer.ts';
import { withDescription } from './description.ts';
import { type DeviceRequest, type PollIo, pollForTokens, requestDeviceAuthorization } from './device-code.ts';
import { delayHint, failureHint, movedHint } from './failure-hint.ts';
import type { EndpointError, TokenIo } from './http.ts';

/**
 * Starts a consent on another device (RFC 8628), which waits for a person.
 * @throws SidekeyError `input_invalid`: the provider has no device flow; `config_invalid`,
 * `provider_refused`; errors of the client secret; the reason of the signal
 */
export async function beginDeviceConsent(
  provider: Provider,
  scopes: readonly string[],
  io: Pick<TokenIo, 'fetch' | 'now' | 'signal'>,
) {
  const asked = await deviceRequest(provider, scopes);
  const proofKey = provider.dpop === null ? null : newDpopKey(provider.dpop);
  const proved = { ...io, proofKey, nonces: createNonces() };
  const codes = await requestDeviceAuthorization(asked, proved);
  if (io.signal?.reason instanceof SidekeyError) throw io.signal.reason;
  switch (codes.kind) {
    case 'error':
      throw failureOf(codes, provider, 'device_authorization_endpoint');
    case 'later':
      throw refused(provider, codes.reason, hintOf`${delayHint(provider.name, codes)}; then begin again`);
    case 'authorization':
      break;
  }
  const tokens = async (poll: Pick<PollIo, 'signal' | 'pause'>): Promise<Consented> => {
    const outcome = await pollForTokens(codes, asked, { ...proved, ...poll });
    switch (outcome.kind) {
      case 'aborted':
        poll.signal?.throwIfAborted();
        throw new SidekeyError('consent_missing');
      case 'tokens':
        return consented(outcome, scopes, { provider, proofKey });
      case 'error':
        throw failureOf(outcome, provider);
    }
  };
  return {
    codes,
    /**
     * Polls until the person has answered.
     *
     * @throws SidekeyError `consent_declined`, `consent_missing`, `provider_refused`; the reason of the
     * signal
     */
    tokens,
  };
}

function failureOf(failure: EndpointError, provider: Provider, key = 'token_endpoint'): SidekeyError {
  const { error, description } = failure;
  const hint =
    error === 'endpoint_moved'
      ? movedHint(provider.name, failure.movedTo, key)
      : failureHint(provider.name, failure);
  switch (error) {
    case 'access_denied':
      return new SidekeyError('consent_declined', `Consent was refused at ${provider.title}.`, {
        hint: 'begin again if this was a mistake',
      });
    case 'expired_token':
      return new SidekeyError('consent_missing', `Nobody gave consent at ${provider.title} in time.`, {
        hint: 'begin again; the code is good for some minutes',
      });
    case 'endpoint_moved':
      return refused(provider, description, hint);
    default:
      return refused(
        provider,
        withDescription(error, description),
        hint && hintOf`${hint}; then begin again`,
      );
  }
}

async function deviceRequest(provider: Provider, scopes: readonly string[]): Promise<DeviceRequest> {
  const { name, deviceAuthorizationEndpoint, tokenEndpoint, clientId, dialect } = provider;
  if (deviceAuthorizationEndpoint === null) {
    throw new SidekeyError('input_invalid', `${provider.title} gives no consent on another device.`, {
      hint: hintOf`${remedy('connect', { provider: name })}; where it has one: set providers.${name}.device_authorization_endpoint`,
    });
  }
  if (tokenEndpoint === null || clientId === null) {
    const key = tokenEndpoint === null ? 'token_endpoint' : 'client_id';
    const page = provider.clientRegistration?.url;
    const from = page === undefined ? '' : ` (from ${page})`;
    const byToken =
      provider.token === null
        ? ''
        : hintOf`; with a key instead: ${remedy('connect', { provider: name, token: true })}`;
    throw new SidekeyError('config_invalid', `The provider "${name}" has no ${key}.`, {
      hint:
        key === 'client_id'
          ? hintOf`${remedy('connect', { provider: name, device: true, client_id: null })}${from}${byToken}`
          : `set providers.${name}.${key}`,
    });
  }
  const clientSecret = (await provider.clientSecret?.()) ?? null;
  const client = { clientId, clientSecret, auth: provider.clientAuth };
  return { deviceEndpoint: deviceAuthorizationEndpoint, endpoint: tokenEndpoint, client, dialect, scopes };
}

function refused({ name, title }: Provider, why: string, hint: Hint | null = null): SidekeyError {
  const usual = `check that the client of the provider ${shellWord(name)} may use the device flow, then begin again`;
  return new SidekeyError('provider_refused', `${title} gave no token (${withoutStop(why)}).`, {
    hint: hint ?? usual,
  });
}
