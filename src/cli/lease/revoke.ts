import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { LeaseChoice } from '../../store/rights.ts';
import { namedGrant } from '../agent/bindings.ts';
import { pickAgent } from '../agent/pick.ts';
import type { Context } from '../context.ts';
import type { State } from '../../state.ts';
import { pickLease } from './pick.ts';

/** Which leases are meant: one, or all of an agent, or all that a grant is in. */
export interface RevokeOptions {
  readonly agent?: string;
  readonly grant?: string;
}

/** `sidekey lease revoke`: acts on the next request, inside open tunnels too, and for good. */
export async function revokeLeases(
  { withState, output, now }: Context,
  id: string | undefined,
  options: RevokeOptions,
): Promise<void> {
  const said = [id, options.agent, options.grant].filter((each) => each !== undefined);
  if (said.length !== 1) {
    throw new SidekeyError(
      'input_invalid',
      'Say which leases are meant: one, or all of an agent or a grant.',
      {
        hint: 'sidekey lease revoke LEASE | --agent AGENT | --grant GRANT',
      },
    );
  }
  const revoked = await withState(async (state) => {
    const { which, event } = await choiceOf(state, id, options);
    return audited(state.audit, { event: 'lease.revoked', ...event }, () =>
      state.store.leases.revoke(which, now()),
    );
  });
  const count = revoked.length;
  output.result(
    { revoked },
    count === 0
      ? 'Nothing has changed: they were revoked before, or there are none.'
      : `Revoked ${count === 1 ? 'one lease' : `${count} leases`}: refused from the next request on.`,
  );
}

async function choiceOf(
  { store, grants }: State,
  id: string | undefined,
  { agent, grant }: RevokeOptions,
): Promise<{
  readonly which: LeaseChoice;
  readonly event: { readonly agent?: string; readonly lease?: string; readonly grant?: string };
}> {
  if (agent !== undefined) {
    const { name } = pickAgent(await store.agents.list(), agent);
    return { which: { agent: name }, event: { agent: name } };
  }
  if (grant !== undefined) {
    const found = namedGrant(await grants.list(), grant);
    return { which: { grant: found.id }, event: { grant: found.id } };
  }
  const lease = pickLease(await store.leases.list(), id ?? '');
  return { which: { id: lease.id }, event: { agent: lease.agent, lease: lease.id } };
}
