import { SidekeyError } from '../../errors.ts';
import { readSession, sessionId, writeSession, type ConnectSession } from '../../oauth/connect-session.ts';
import type { State } from '../../state.ts';

type Sessions = Pick<State, 'store' | 'vault'>;

/** Keeps a begun flow, sealed, until `expiresAt` (milliseconds since the epoch). */
export async function keepSession(
  { store, vault }: Sessions,
  session: ConnectSession,
  { expiresAt, now }: { readonly expiresAt: number; readonly now: number },
): Promise<void> {
  await store.sessions.removeEnded(now);
  const id = sessionId(session.state);
  await store.sessions.insert({ id, expiresAt, sealed: vault.seal(contextOf(id), writeSession(session)) });
}

/**
 * The flow that a state belongs to. It is taken: a second time there is none.
 *
 * @throws SidekeyError `not_found` where none waits for an answer (any more); what `Vault.open` throws
 */
export async function takeSession(
  { store, vault }: Sessions,
  state: string,
  now: number,
): Promise<ConnectSession> {
  const id = sessionId(state);
  const record = await store.sessions.take(id);
  const session =
    record === null || record.expiresAt <= now ? null : readSession(vault.open(contextOf(id), record.sealed));
  await store.sessions.removeEnded(now);
  if (session !== null) return session;
  throw new SidekeyError(
    'not_found',
    'No consent waits for that answer: it was finished already, or its time is up.',
    {
      hint: 'begin again: sidekey connect PROVIDER --print-url',
    },
  );
}

/** A seal of one session does not open in the place of another, nor as a grant. */
function contextOf(id: string): string {
  return `connect-session/${id}`;
}
