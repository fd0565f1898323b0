import type { ConnectRequest, Obtain } from '../request.ts';
import { relativeTime } from '../../../operations/format.ts';
import { pause, systemTimers } from '../../../lib/timers.ts';
import type { DeviceAuthorization } from '../../../grants/oauth/device-code.ts';
import { beginDeviceConsent } from '../../../grants/oauth/device-consent.ts';

/** `connect NAME --device`: consent on another device (RFC 8628). Prints URL and code, and polls. */
export const obtainByDevice: Obtain = async (request) => {
  const { context, upstream, provider, scopes, signal } = request;
  const { now } = context;
  const { codes, tokens } = await beginDeviceConsent(provider, scopes, {
    fetch: upstream.fetch,
    now,
    signal,
  });
  show(request, codes);
  return tokens({ signal, pause: (ms, by) => pause(systemTimers, ms, by) });
};

function show({ context, provider }: ConnectRequest, codes: DeviceAuthorization): void {
  const { userCode, verificationUri, verificationUriComplete: complete, expiresAt } = codes;
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
