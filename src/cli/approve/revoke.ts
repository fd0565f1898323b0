import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { atCommandLine } from '../who.ts';
import { beyondText, standingJson } from './words.ts';

/** `sidekey approve --revoke ID`: acts on the next request. @throws SidekeyError `not_found` */
export async function revokeOne({ withState, output, env, now }: Context, id: string): Promise<void> {
  const ended = await withState(async ({ store, audit }) => {
    const found = (await store.approvals.listStanding(now())).find((each) => each.id === id);
    if (found === undefined) throw nothingStands(id);
    const { agent, lease, grantId } = found.who;
    const event = {
      event: 'approval.revoked',
      approval: id,
      agent: agent ?? undefined,
      lease: lease ?? undefined,
      grant: grantId,
      reason: `${atCommandLine(env).by} at the command line`,
    } as const;
    return audited(audit, event, async () => {
      const revoked = await store.approvals.revoke(id);
      if (revoked === null) throw nothingStands(id);
      return revoked;
    });
  });
  output.result(standingJson(ended), `Ended ${id}: ${beyondText(ended)} waits for a person again.`);
}

function nothingStands(id: string): SidekeyError {
  return new SidekeyError('not_found', `No yes ${id} stands: it has ended, or was for its request alone.`, {
    hint: 'sidekey approve --list',
  });
}
