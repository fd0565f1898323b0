import { SidekeyError } from '../../lib/errors.ts';
import { discover } from '../../grants/oauth/discovery.ts';
import { redirectUriToRegister } from '../../operations/connect/redirect.ts';
import { connect } from '../connect/connect.ts';
import { type Context, withUpstreamClient } from '../context.ts';
import { findProvider } from '../../operations/lookup.ts';
import { registrationSteps } from '../../grants/consent.ts';

/**
 * `sidekey init auth0`: prints the settings for the tenant, prompts for its domain and client, checks the
 * domain, writes both to the config file and logs in. Keeps an existing login.
 *
 * @throws SidekeyError `input_invalid`; errors of `discover` and `connect`
 */
export async function initAuth0(context: Context): Promise<void> {
  const { ask, env, output } = context;
  if (ask === null) {
    throw new SidekeyError('input_invalid', 'init asks questions, and standard input is not a terminal.', {
      hint: 'sidekey connect auth0 --set domain=DOMAIN --client-id ID --client-secret env:AUTH0_CLIENT_SECRET',
    });
  }
  const choice = { provider: 'auth0', state: 'active' } as const;
  const logins = await context.withState(({ store }) => store.grants.matching(choice, 1));
  const config = await context.config();
  if (logins.length === 0) {
    const provider = findProvider(config.providers, 'auth0');
    output.say(registrationSteps(provider, redirectUriToRegister({}, provider)).join('\n'));
    const typed = await ask('Domain of the tenant, such as acme.us.auth0.com', { secret: false });
    const domain = typed
      .replace(/^https:\/\//i, '')
      .replace(/\/$/, '')
      .toLowerCase();
    await withUpstreamClient(config, env, async ({ fetch }) => {
      const signal = AbortSignal.timeout(config.limits.refresh_timeout);
      const { tokenEndpoint } = await discover(`https://${domain}/`, { fetch, signal });
      if (tokenEndpoint === `https://${domain}/oauth/token`) return;
      throw new SidekeyError('input_invalid', `${domain} is not an Auth0 tenant.`, {
        hint: 'copy the domain from the settings of the application at https://manage.auth0.com/',
      });
    });
    const clientId = await ask('Client ID of the application', { secret: false });
    await connect(context, 'auth0', { set: [`domain=${domain}`], clientId, scope: provider.scopes });
  }
  output.say(
    'The login at Auth0 works. To use the accounts that it has, for example:\n  → sidekey connect google --via auth0',
  );
}
