import { z } from 'zod';
import type { Provider } from '../../domain/provider.ts';
import { noting } from '../../grants/connected.ts';
import { assertUnchanged, consentShape } from '../../grants/consent.ts';
import { existingGrant } from '../../grants/keep.ts';
import type { Callback } from '../../grants/oauth/authorization-code.ts';
import { sessionsOf } from '../../grants/sessions.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { findProvider } from '../lookup.ts';
import { beginConsentAt, exchangeOnce } from './consent.ts';
import { planDomains } from './domains.ts';
import { type Connected, finishGrant, type Finishing } from './finish.ts';
import { redirectOf, writtenRedirectUri } from './redirect.ts';
import type { ConnectRequest, ConnectState } from './request.ts';

/** Consents of `connect --print-url`, which wait for their callback in the store. */

/** Kind of their records. */
export const kind = 'connect-session';

/** A started flow that waits for its callback. The store seals it. */
const sessionShape = consentShape.extend({
  /** Domain patterns for the map; null: those of the provider. */
  allowedDomains: z.array(z.string()).readonly().nullable(),
  widen: z.boolean(),
  /** False: leaves the allowed-domains map unchanged. */
  domains: z.boolean(),
});

/**
 * Begins a consent that `finishPending` completes.
 *
 * @param expiresAt milliseconds since the epoch
 */
export async function beginPending(
  request: Omit<ConnectRequest, 'parts' | 'signal' | 'output'>,
  expiresAt: number,
) {
  const { state, provider, name, user, scopes, options } = request;
  const redirectUri = writtenRedirectUri(redirectOf(options, provider));
  const { url, pending } = await beginConsentAt(provider, { redirectUri, scopes, name, user });
  const subject = { user, provider: provider.name, grant: request.existing?.grant.id } as const;
  await state.audit.append({ event: 'grant.connecting', ...subject, reason: 'a consent elsewhere' });
  const record = {
    ...pending,
    allowedDomains: options.allowedDomains ?? null,
    widen: options.widen === true,
    domains: options.domains !== false,
  };
  await sessionsOf(kind, sessionShape, state).put(pending.state, record, expiresAt);
  return { url, state: pending.state, redirectUri };
}

interface Answer {
  readonly callback: Callback;
  /** `stateOf` the callback. */
  readonly flowState: string;
  /** Name of the provider, if the person named one. */
  readonly named: string | undefined;
}

/** Completes a consent of this or another process. @throws SidekeyError `bad_request`, `not_found`; as `finishGrant` */
export async function finishPending(
  state: ConnectState,
  { callback, flowState, named }: Answer,
  how: Pick<Finishing, 'verify' | 'metadata' | 'unreadable'>,
): Promise<{ readonly provider: Provider; readonly connected: Connected }> {
  const session = await sessionsOf(kind, sessionShape, state).take(flowState);
  if (session === null) {
    const sentence = 'No consent is waiting for that answer: it is finished, or it timed out.';
    throw new SidekeyError('not_found', sentence, {
      hint: 'begin again: sidekey connect PROVIDER --print-url',
    });
  }
  const { name, user, scopes, allowedDomains, ...choices } = session;
  if (named !== undefined && named !== session.provider) {
    throw new SidekeyError(
      'bad_request',
      `The answer is of a consent at ${session.provider}, and ends with it.`,
      { hint: `begin again: sidekey connect ${session.provider} --print-url` },
    );
  }
  const provider = findProvider(state.config.providers, session.provider);
  assertUnchanged(provider, session);
  const existing = await existingGrant(state, { name, user, provider: provider.name });
  const wanted = allowedDomains === null ? choices : { ...choices, allowedDomains };
  const plan = planDomains(wanted, provider, existing?.sealed.audience ?? null);
  const connected = await state.withFetch((fetch) =>
    noting({ state, provider, user }, existing, async () => {
      const obtained = await exchangeOnce({ ...session, provider, callback, fetch }, state);
      const signal = AbortSignal.timeout(state.config.limits.refresh_timeout);
      const request = { state, parts: { fetch }, provider, name, user, scopes, signal, plan };
      return finishGrant({ ...request, ...how, flow: 'authorization_code', secret: null }, obtained);
    }),
  );
  return { provider, connected };
}

/** Returns the state of the response. A bare code has none, so the user supplies it. @throws SidekeyError */
export function stateOf(callback: Callback, said: string | undefined): string {
  const [written, ...more] = callback.kind === 'code' ? [] : callback.parameters.getAll('state');
  if (more.length > 0 || (written !== undefined && said !== undefined && written !== said)) {
    throw new SidekeyError('bad_request', 'The address has another state than --state says.', {
      hint: 'leave --state out',
    });
  }
  const state = written ?? said;
  if (state !== undefined) return state;
  throw inputInvalid(
    'The answer does not name its consent.',
    'give the complete address, or add --state with the value that --print-url printed',
  );
}
