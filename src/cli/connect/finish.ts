import { SidekeyError } from '../../errors.ts';
import type { Provider } from '../../grants/provider.ts';
import { parseCallback, type Callback } from '../../oauth/callback.ts';
import type { ConnectSession } from '../../oauth/connect-session.ts';
import type { Context } from '../context.ts';
import { findProvider } from '../provider/find.ts';
import { withExit } from '../with-exit.ts';
import { planDomains } from './allowed-domains.ts';
import { obtainByCode } from './authorization-code.ts';
import { existingGrant } from './existing-grant.ts';
import type { ConnectOptions } from './flow.ts';
import { noting } from './noting.ts';
import { report } from './report.ts';
import { takeSession } from './session.ts';
import { settle } from './settle.ts';

/** `connect --finish`: ends what `--print-url` began, in this or another process. */
export async function finishConsent(
  context: Context,
  named: string | undefined,
  { finish = '', state: said }: Pick<ConnectOptions, 'finish' | 'state'>,
): Promise<void> {
  const callback = parseCallback(finish === '-' ? await context.readInput() : finish);
  const stateOfFlow = stateOf(callback, said);
  const { provider, connected } = await context.withState(async (state) => {
    const session = await takeSession(state, stateOfFlow, context.now());
    const { name, user, scopes } = session;
    if (named !== undefined && named !== session.provider) {
      throw new SidekeyError(
        'bad_request',
        `The answer is of a consent at ${session.provider}, and ends with it.`,
        {
          hint: `begin again: sidekey connect ${session.provider} --print-url`,
        },
      );
    }
    const provider = unchanged(findProvider(state.config.providers, session.provider), session);
    const existing = await existingGrant(state, { name, user, provider: provider.name });
    const plan = planDomains(
      {
        ...(session.allowedDomains === null ? {} : { allowedDomains: session.allowedDomains }),
        widen: session.widen,
        domains: session.domains,
      },
      provider,
      existing?.sealed.audience ?? null,
    );
    const connected = await withExit(state.config, context.env, (exit) => {
      const request = { context, state, exit, provider, name, user, scopes };
      return noting(request, existing, async () =>
        settle(
          { ...request, plan },
          await obtainByCode(request, { ...session, acceptBareCode: true }, callback),
        ),
      );
    });
    return { provider, connected };
  });
  await report(context, provider, connected);
}

/** The state is in the address; a code alone has none, and whoever began has it. */
function stateOf(callback: Callback, said: string | undefined): string {
  const [written, ...more] = callback.kind === 'code' ? [] : callback.parameters.getAll('state');
  if (more.length === 0 && (written === undefined || said === undefined || written === said)) {
    const state = written ?? said;
    if (state !== undefined) return state;
    throw new SidekeyError('input_invalid', 'Nothing says which consent that is the answer to.', {
      hint: 'give the whole address, or add --state with what --print-url printed',
    });
  }
  throw new SidekeyError('bad_request', 'The address has another state than --state says.', {
    hint: 'leave --state out',
  });
}

/** A code is exchanged where it was asked for, by whom it was asked for, or not at all (RFC 9207 §1, mix-up). */
function unchanged(provider: Provider, session: ConnectSession): Provider {
  const isSame =
    provider.authorizationEndpoint === session.authorizationEndpoint &&
    provider.tokenEndpoint === session.tokenEndpoint &&
    provider.clientId === session.clientId;
  if (isSame) return provider;
  throw new SidekeyError(
    'bad_request',
    `The provider ${provider.name} was changed since the consent began.`,
    {
      hint: `begin again: sidekey connect ${provider.name} --print-url`,
    },
  );
}
