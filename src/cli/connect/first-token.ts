import { SidekeyError } from '../../errors.ts';
import { boundBy, withoutToken, type OAuth2Credential, type Renewal } from '../../grants/credential.ts';
import { planRefresh } from '../../grants/refresh-plan.ts';
import { whatToCheck } from '../../grants/refresh-words.ts';
import { unbound } from '../../oauth/consented.ts';
import { withDescription, withoutStop } from '../../oauth/description.ts';
import { scopesIn } from '../../oauth/scopes.ts';
import { commandParts } from '../grant/command-parts.ts';
import type { ConnectRequest, Obtained } from './flow.ts';

/**
 * The first token of a grant that renews itself without a person.
 *
 * @throws SidekeyError as `renewNow`
 */
export function firstToken(request: ConnectRequest, renewal: Renewal): Promise<Obtained> {
  return renewNow(request, withoutToken(renewal, request.context.now()));
}

/**
 * A token for a credential that has none yet, asked for just as all the later ones are: what does not work is found now.
 *
 * @throws SidekeyError `config_invalid`: something is missing that the provider's definition has to say, or a secret
 * that it refers to; `provider_refused`; the reason of the signal
 */
export async function renewNow(request: ConnectRequest, credential: OAuth2Credential): Promise<Obtained> {
  const { provider, scopes, signal } = request;
  const parts = commandParts(request);
  const plan = await planRefresh(
    { provider: provider.name, credential, scopes },
    {
      ...parts,
      // With the secret of a client that is in no file, where it has one.
      providers: (name) => (name === provider.name ? provider : parts.providers(name)),
    },
  );
  if (plan.kind === 'impossible') {
    throw new SidekeyError('config_invalid', `No token can be asked for: ${withoutStop(plan.reason)}.`, {
      hint: plan.hint,
    });
  }
  const outcome = await parts.refresh(plan.request, { signal, proofKey: plan.proofKey });
  signal.throwIfAborted();
  switch (outcome.kind) {
    case 'refreshed': {
      const { accessToken, expiresAt, obtainedAt, scope } = outcome;
      const refreshToken = outcome.refreshToken ?? credential.refreshToken;
      const isBound = outcome.isBound === true;
      if (plan.proofKey !== null && !isBound) throw unbound(provider);
      const next = { ...credential, accessToken, refreshToken, expiresAt, obtainedAt, scope };
      return {
        credential: boundBy(next, plan.proofKey, isBound),
        scopes: scopesIn(scope) ?? scopes,
      };
    }
    case 'invalid_grant':
    case 'login_ended':
      throw refused(provider.title, outcome.description, whatToCheck(plan.request, provider.name));
    case 'refused':
      throw refused(
        provider.title,
        withDescription(outcome.error, outcome.description),
        whatToCheck(plan.request, provider.name, outcome.error),
      );
    case 'transient':
      throw refused(provider.title, outcome.reason, 'try again later');
  }
}

function refused(title: string, why: string, hint: string): SidekeyError {
  const detail = why === '' ? '' : ` (${withoutStop(why)})`;
  return new SidekeyError('provider_refused', `${title} gave no token${detail}.`, { hint });
}
