import { authorizationUrl } from '../../oauth/authorization-code.ts';
import { isoTime, relativeTime } from '../time.ts';
import type { ConnectRequest } from './flow.ts';
import { timeoutOf } from './patience.ts';
import { redirectOf, writtenRedirectUri } from './redirect-uri.ts';
import { keepSession } from './session.ts';

const usualTime = 3_600_000;

/** `connect --print-url`: begins a consent that is given elsewhere, and answered to `connect --finish`. */
export async function printUrl(request: Omit<ConnectRequest, 'exit' | 'signal'>): Promise<void> {
  const { context, state, provider, name, user, scopes, options } = request;
  const { output, now } = context;
  const at = now();
  const expiresAt = at + timeoutOf(options.timeout, usualTime);
  const redirectUri = writtenRedirectUri(redirectOf(options, provider));
  const begun = await authorizationUrl({ provider, redirectUri, scopes });
  const subject = { user, provider: provider.name, grant: request.existing?.grant.id } as const;
  await state.audit.append({ event: 'grant.connecting', ...subject, reason: 'a consent elsewhere' });
  await keepSession(
    state,
    {
      provider: provider.name,
      authorizationEndpoint: provider.authorizationEndpoint ?? '',
      tokenEndpoint: provider.tokenEndpoint ?? '',
      clientId: provider.clientId ?? '',
      redirectUri,
      state: begun.state,
      codeVerifier: begun.codeVerifier,
      proofKey: begun.proofKey,
      scopes,
      name,
      user,
      allowedDomains: options.allowedDomains ?? null,
      widen: options.widen === true,
      domains: options.domains !== false,
    },
    { expiresAt, now: at },
  );
  output.result(
    {
      provider: provider.name,
      name,
      user,
      consent_url: begun.url,
      state: begun.state,
      redirect_uri: redirectUri,
      expires_at: isoTime(expiresAt),
    },
    begun.url,
  );
  output.say(
    [
      `Open this address in a browser. Afterwards the browser goes to ${redirectUri}?…, which may show an error: that does not matter.`,
      `Copy that address, and end with it ${relativeTime(expiresAt, at).replace(/^in /, 'within ')}:`,
      `  → sidekey connect --finish 'ADDRESS'`,
      `  → sidekey connect --finish CODE --state ${begun.state}   (with the code alone)`,
    ].join('\n'),
  );
}
