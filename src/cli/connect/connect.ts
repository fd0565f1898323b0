import { SidekeyError } from '../../errors.ts';
import { defaultUser } from '../../grants/grant.ts';
import { systemTimers } from '../../grants/timers.ts';
import type { Context } from '../context.ts';
import { checkName } from '../names.ts';
import { withExit } from '../with-exit.ts';
import { planDomains } from './allowed-domains.ts';
import { chooseWay } from './choose-way.ts';
import { configuredProvider } from './configure.ts';
import type { FoundProvider } from './discover.ts';
import { existingGrant } from './existing-grant.ts';
import type { ConnectOptions, ConnectRequest, Obtained } from './flow.ts';
import { assertClient, assertSettings } from './needs.ts';
import { ownSecret, sealingSecret, withSecret } from './own-client.ts';
import { noting } from './noting.ts';
import { startPatience, timeoutOf } from './patience.ts';
import { redirectUriToRegister } from './redirect-uri.ts';
import { connectedPage, report } from './report.ts';
import { scopesToAsk } from './scopes.ts';
import { settle, type Connected } from './settle.ts';
import { assertWorks } from './verify.ts';
import { obtainBy } from './ways.ts';

const usualTime = 300_000;

/** `sidekey connect`: what is missing is said before anything is asked of a person. */
export async function connect(
  context: Context,
  named: string | undefined,
  options: ConnectOptions,
): Promise<void> {
  if (options.finish !== undefined) {
    return (await import('./finish.ts')).finishConsent(context, named, options);
  }
  if (options.state !== undefined) {
    throw new SidekeyError('input_invalid', '--state belongs to --finish.', { hint: 'leave it out' });
  }
  if (named === undefined) {
    throw new SidekeyError('input_invalid', 'Which provider?', {
      hint: 'sidekey connect PROVIDER; sidekey provider list shows them',
    });
  }
  const found = options.discover === true ? await discovered(context, named, options) : null;
  const providerName = found?.provider.name ?? named;
  const name = options.name ?? providerName;
  const user = options.user ?? defaultUser;
  checkName('name of the grant', name);
  checkName('name of the user', user);
  const timeout = timeoutOf(options.timeout, usualTime);

  const configured = await configuredProvider(context, providerName, options);
  const way = chooseWay(options, configured);
  assertSettings(configured);
  if (way === 'authorization_code') {
    await assertClient(configured, redirectUriToRegister(options, configured));
  }

  const connected = await context.withState(async (state): Promise<Connected | null> => {
    const existing = await existingGrant(state, { name, user, provider: configured.name });
    const secret = ownSecret(configured, found?.clientSecret ?? null, existing);
    const provider = withSecret(configured, secret);
    const plan = planDomains(options, provider, existing?.sealed.audience ?? null);
    const scopes = scopesToAsk(options.scopes, provider, existing?.grant ?? null);
    const asked = { context, state, provider, name, user, scopes, existing, options };
    if (options.printUrl === true && way === 'authorization_code') {
      await (await import('./print-url.ts')).printUrl(asked);
      return null;
    }
    const patience = startPatience(timeout, systemTimers);
    const connecting = withExit(state.config, context.env, (exit) => {
      const request: ConnectRequest = { ...asked, exit, signal: patience.signal };
      const keep = async (obtained: Obtained) => {
        const { credential, ...rest } = sealingSecret(obtained, provider, secret);
        if (options.verify === true) await assertWorks(request, { credential, audience: plan.audience });
        return settle({ ...request, plan }, { credential, ...rest });
      };
      return noting(request, existing, async () =>
        way === 'authorization_code' ? byCode(request, keep) : keep(await (await obtainBy(way))(request)),
      );
    });
    return connecting.finally(() => patience.end());
  });
  if (connected !== null) await report(context, configured, connected);
}

async function discovered(
  context: Context,
  address: string,
  options: ConnectOptions,
): Promise<FoundProvider> {
  const { discoverProvider } = await import('./discover.ts');
  return discoverProvider(context, address, options);
}

/** Keeps the credential before the browser shows its last page. */
async function byCode(
  request: ConnectRequest,
  keep: (obtained: Obtained) => Promise<Connected>,
): Promise<Connected> {
  const { byAuthorizationCode } = await import('./authorization-code.ts');
  return byAuthorizationCode(request, keep, (connected) => connectedPage(request.provider, connected));
}
