import { isLeaseFor, leaseStanding } from '../../grants/lease.ts';
import { namedGrant } from '../agent/bindings.ts';
import type { Context } from '../context.ts';
import { lastUse } from '../grant/clock-words.ts';
import { table } from '../table.ts';
import { leaseEndText, leaseGrantsText, leaseJson, leaseStateText, shortId, usesText } from './words.ts';

/** Which leases are shown. */
export interface ListOptions {
  readonly agent?: string;
  readonly grant?: string;
  /** Those that have ended too. */
  readonly all?: boolean;
}

/** `sidekey lease list` */
export async function listLeases(
  { withView, output, now }: Context,
  { agent, grant, all = false }: ListOptions,
): Promise<void> {
  const { leases, grants } = await withView(async ({ store, ...view }) => ({
    leases: (await store?.leases.list()) ?? [],
    grants: await view.grants(),
  }));
  const at = now();
  const grantId = grant === undefined ? null : namedGrant(grants, grant).id;
  const fitting = leases.filter(
    (lease) =>
      (agent === undefined || lease.agent === agent) && (grantId === null || isLeaseFor(lease, grantId)),
  );
  const shown = all ? fitting : fitting.filter((lease) => leaseStanding(lease, at).state === 'active');
  output.result(
    shown.map((lease) => leaseJson(lease, at)),
    shown.length === 0
      ? 'There are no such leases.'
      : table(
          ['LEASE', 'AGENT', 'GRANTS', 'STATE', 'ENDS', 'USES', 'LAST USED', 'PURPOSE'],
          shown.map((lease) => [
            shortId(lease.id),
            lease.agent,
            leaseGrantsText(lease, grants),
            leaseStateText(lease, at),
            leaseEndText(lease, at),
            usesText(lease),
            lastUse(lease.usedAt, at),
            lease.purpose,
          ]),
        ),
  );
  const ended = fitting.length - shown.length;
  if (ended > 0) output.say(`${ended} that ended ${ended === 1 ? 'is' : 'are'} shown with --all.`);
  if (leases.length === 0)
    output.say('  → sidekey lease create --agent AGENT --grant GRANT --ttl 15m --purpose TEXT');
}
