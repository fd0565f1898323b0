import { audited } from '../../audit/audited.ts';
import type { Config } from '../../config/config.ts';
import type { State } from '../../state.ts';
import { makeLease } from '../lease/make.ts';

/** A lease for one command. */
export interface RequestLease {
  /** `name:token`, for `Proxy-Authorization`. */
  readonly secret: string;
  revoke(): Promise<void>;
}

const purpose = 'sidekey fetch';

/**
 * Makes a lease of whatever an agent reaches. It lasts as long as one would that `lease create` makes, for the case that
 * the command cannot revoke it.
 *
 * @throws as `makeLease`
 */
export async function leaseForRequest(
  { store, grants, audit }: Pick<State, 'store' | 'grants' | 'audit'>,
  config: Config,
  agent: string,
  now: () => number,
): Promise<RequestLease> {
  const order = { agent, grants: null, purpose, ttlMs: null, idleMs: null, maxUses: null };
  const { lease, secret } = await makeLease({ store, grants, audit, config }, order, now());
  const event = { event: 'lease.revoked', agent, lease: lease.id, reason: purpose } as const;
  return {
    secret: `${agent}:${secret}`,
    async revoke() {
      await audited(audit, event, () => store.leases.revoke({ id: lease.id }, now()));
    },
  };
}
