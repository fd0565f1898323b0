import { createRefreshLock } from '../../grants/refresh-lock.ts';
import { systemTimers } from '../../grants/timers.ts';
import type { State } from '../../state.ts';
import type { Context } from '../context.ts';
import { tellProvider, type EndedThere } from './tell-provider.ts';
import { grantGone } from './pick.ts';

/** How a grant is ended. */
export interface EndOptions {
  readonly user?: string;
  /** The provider is not told. */
  readonly local?: boolean;
}

/** A grant that was ended. */
export interface Ended<T> {
  /** What `endHere` answered. */
  readonly here: T;
  readonly there: EndedThere;
}

/**
 * Ends a grant here at once, then at its provider, with the credential as it was last: under its lock no refresh puts
 * another in its place meanwhile. A lock that another process does not let go of keeps nobody from ending a grant.
 *
 * @throws SidekeyError `grant_missing`; what `endHere` throws
 */
export async function endGrant<T>(
  context: Context,
  state: State,
  id: string,
  { local = false }: EndOptions,
  endHere: () => Promise<T>,
): Promise<Ended<T>> {
  const { store, config, grants } = state;
  const lock = createRefreshLock({ store, now: context.now, timers: systemTimers, limits: config.limits });
  const taken = await lock.take(id, { patient: true });
  try {
    const opened = await grants.read(id);
    if (opened === null) throw grantGone();
    const here = await endHere();
    const there: EndedThere = local
      ? { kind: 'not told', sentence: 'The provider was not told.' }
      : await tellProvider(context, state, opened);
    return { here, there };
  } finally {
    if (taken === 'taken') await lock.release(id);
  }
}

/** The end of a sentence about a grant that was ended here. */
export function thereToo({ kind }: EndedThere): string {
  return kind === 'ended'
    ? ', here and at the provider: its credential is of no use any more.'
    : ': its credential is sent nowhere any more.';
}
