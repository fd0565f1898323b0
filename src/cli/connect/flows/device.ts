import type { ConnectRequest, Obtain } from '../request.ts';
import { relativeTime } from '../../format.ts';
import type { Provider } from '../../../grants/provider.ts';
import { SidekeyError } from '../../../lib/errors.ts';
import { shellWord, withoutStop } from '../../../lib/text.ts';
import { pause, systemTimers } from '../../../lib/timers.ts';
import { consented } from '../../../oauth/answer.ts';
import {
  type DeviceAuthorization,
  type DeviceRequest,
  pollForTokens,
  requestDeviceAuthorization,
} from '../../../oauth/device-code.ts';
import { withDescription } from '../../../oauth/description.ts';
import type { TokenClient } from '../../../oauth/token-endpoint.ts';
import { createNonces, newDpopKey } from '../../../schemes/dpop-proof.ts';

/**
 * `connect NAME --device`: consent on another device (RFC 8628). Prints the URL and the code, opens no
 * browser, and polls.
 */
export const obtainByDevice: Obtain = async (request) => {
  const { context, upstream, provider, scopes, signal } = request;
  const { now } = context;
  const asked = await deviceRequest(provider, scopes);
  const proofKey = provider.dpop === null ? null : newDpopKey(provider.dpop);
  const io = { fetch: upstream.fetch, now, signal, proofKey, nonces: createNonces() };
  const begun = await requestDeviceAuthorization(asked, io);
  signal.throwIfAborted();
  switch (begun.kind) {
    case 'error':
      throw refused(provider, withDescription(begun.error, begun.description));
    case 'transient':
      throw refused(provider, begun.reason);
    case 'authorization':
      break;
  }
  show(request, begun);
  const outcome = await pollForTokens(begun, asked, {
    ...io,
    pause: (ms, by) => pause(systemTimers, ms, by),
  });
  switch (outcome.kind) {
    case 'aborted':
      signal.throwIfAborted();
      throw new SidekeyError('consent_missing', 'Stopped before an answer came. Nothing was stored.');
    case 'tokens':
      return consented(outcome, scopes, { provider, proofKey });
    case 'error':
      switch (outcome.error) {
        case 'access_denied':
          throw new SidekeyError('provider_refused', `Consent was refused at ${provider.title}.`, {
            hint: 'begin again if this was a mistake',
          });
        case 'expired_token':
          throw new SidekeyError('consent_missing', `Nobody gave consent at ${provider.title} in time.`, {
            hint: 'begin again; the code is good for some minutes',
          });
        default:
          throw refused(provider, withDescription(outcome.error, outcome.description));
      }
  }
};

async function deviceRequest(provider: Provider, scopes: readonly string[]): Promise<DeviceRequest> {
  const { name, deviceAuthorizationEndpoint, tokenEndpoint, clientId, dialect } = provider;
  if (deviceAuthorizationEndpoint === null) {
    throw new SidekeyError('input_invalid', `${provider.title} gives no consent on another device.`, {
      hint: `sidekey connect ${name}; where it has one: set providers.${name}.device_authorization_endpoint`,
    });
  }
  if (tokenEndpoint === null || clientId === null) {
    const key = tokenEndpoint === null ? 'token_endpoint' : 'client_id';
    const page = provider.clientRegistration?.url;
    const from = page === undefined ? '' : ` (from ${page})`;
    const other = provider.token === null ? '' : `; with a key instead: sidekey connect ${name} --token`;
    throw new SidekeyError('config_invalid', `The provider "${name}" has no ${key}.`, {
      hint:
        key === 'client_id'
          ? `sidekey connect ${name} --device --client-id ID${from}${other}`
          : `set providers.${name}.${key}`,
    });
  }
  const clientSecret = (await provider.clientSecret?.()) ?? null;
  const client: TokenClient = { clientId, clientSecret, auth: provider.clientAuth };
  return { deviceEndpoint: deviceAuthorizationEndpoint, endpoint: tokenEndpoint, client, dialect, scopes };
}

function show({ context, provider }: ConnectRequest, begun: DeviceAuthorization): void {
  const { userCode, verificationUri, verificationUriComplete: complete, expiresAt } = begun;
  const direct =
    complete === null
      ? ''
      : `\nor go to this address, and see that it shows the same code:\n\n  ${complete}\n`;
  context.output.note(
    {
      provider: provider.name,
      verification_uri: verificationUri,
      verification_uri_complete: complete,
      user_code: userCode,
      expires_at: new Date(expiresAt).toISOString(),
    },
    `On any device, go to:\n\n  ${verificationUri}\n\nand type the code:\n\n  ${userCode}\n${direct}\nWaiting for ${provider.title}; the code ends ${relativeTime(expiresAt, context.now())}.`,
  );
}

function refused({ name, title }: Provider, why: string): SidekeyError {
  return new SidekeyError('provider_refused', `${title} gave no token (${withoutStop(why)}).`, {
    hint: `check that the client of the provider ${shellWord(name)} may use the device flow, then begin again`,
  });
}
