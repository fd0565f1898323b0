import type { Provider } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { bySignIn } from '../../operations/connect/by-sign-in.ts';
import { userOf } from '../../operations/kept-sign-in.ts';
import type { ServiceParts } from '../parts.ts';
import { createWebSessions } from '../web-session.ts';
import { concludeSession, type Finished, recordBegin } from './consent.ts';
import { assertStands, type ConnectSession } from './sessions.ts';

/** Connect sessions without a consent page: the sign-in of the person gets the token. */

/**
 * Checks that the browser belongs to the user of a session: nobody else may connect the user's account.
 *
 * @param secret the session secret that the pages keep in this browser
 * @throws SidekeyError `sign_in_required`
 */
export async function assertOwnBrowser(
  { user }: ConnectSession,
  secret: unknown,
  parts: ServiceParts,
): Promise<void> {
  const signedIn = typeof secret === 'string' ? await createWebSessions(parts).personOf(secret) : null;
  if (signedIn !== null && userOf(signedIn.person) === user) return;
  const next = `Sign in at ${parts.url()}/, then open the link again.`;
  throw new SidekeyError('sign_in_required', `This browser is not signed in as ${user}. ${next}`);
}

/** Gets the token of a session whose link was used, and ends it. @throws SidekeyError errors of the store */
export async function connectBySignIn(
  session: ConnectSession,
  client: string,
  parts: ServiceParts,
): Promise<Finished> {
  await assertStands(session, parts);
  await recordBegin(session, client, parts);
  const config = await parts.config();
  const obtain = (provider: Provider) => {
    const fetch = parts.fetch();
    return bySignIn({
      ...session,
      provider,
      state: { ...parts, config },
      parts: { ...parts.renewal({ config, audit: parts.audit, fetch }), fetch },
      signal: AbortSignal.timeout(config.limits.refresh_timeout),
      options: {},
    });
  };
  return { session, end: await concludeSession({ session, client, flow: 'id_jag', obtain }, parts) };
}
