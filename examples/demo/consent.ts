import { randomUUID } from 'node:crypto';
import { openUpstreamClient } from '../../src/app/upstream.ts';
import { recordChange } from '../../src/audit/log.ts';
import { defaultUser, type Grant } from '../../src/domain/grant.ts';
import { authorizationUrl, exchangeCode, parseCallback } from '../../src/grants/oauth/authorization-code.ts';
import { consentAs } from '../helpdesk/consent.ts';
import { claim } from './claim.ts';
import type { Clock } from './clock.ts';
import type { Stage } from './stage.ts';

/** The person whose account it is. */
export const alice = { user: 'alice@acme.test', password: 'demo1234' };

/** Where the browser would come back to: a loopback address (RFC 8252 §7.3). It is read, not visited. */
const redirectUri = 'http://127.0.0.1/callback';

/**
 * Makes a grant by an authorization-code exchange with PKCE: Sidekey begins the flow, alice signs in and
 * consents in her browser, and Sidekey exchanges the code that comes back, on the same guarded way out as
 * every other request.
 */
export async function grantByConsent({ proxy, browser }: Stage, { now }: Clock): Promise<Grant> {
  const config = proxy.config();
  const provider = config.providers.get('acme');
  claim(provider !== undefined, 'The config knows no provider "acme".');
  const { scopes, audience } = provider;
  const upstream = await openUpstreamClient(config, { env: {}, ownPorts: () => [proxy.address.port] });
  try {
    const begun = await authorizationUrl({ provider, redirectUri, scopes });
    const callback = await consentAs(new URL(begun.url), alice, browser);
    const exchanged = await exchangeCode({
      ...begun,
      provider,
      redirectUri,
      scopes,
      callback: parseCallback(callback.href),
      fetch: upstream.fetch,
      now,
    });
    const { credential } = exchanged;
    const wanted = { name: 'acme', user: defaultUser, provider: provider.name, scopes: exchanged.scopes };
    const { grants, audit } = proxy.state;
    const id = randomUUID();
    const event = { event: 'grant.added', grant: id, user: wanted.user, provider: wanted.provider } as const;
    return await recordChange(audit, event, () => grants.add(wanted, { credential, audience }, id));
  } finally {
    await upstream.close();
  }
}
