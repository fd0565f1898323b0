import { gapReason, readStoredEnds } from '../../audit/stored-ends.ts';
import { verifyAudit } from '../../audit/verify.ts';
import { displayName } from '../../config/problem.ts';
import { exitCode } from '../../errors.ts';
import type { Context } from '../context.ts';

/**
 * `sidekey audit accept`: records that lines are gone and that this is known, so that `verify` reports them no more.
 * Exit code 1 where something else is wrong with the log: that stays reported.
 */
export function accept({ withState, output }: Context): Promise<number> {
  return withState(async ({ audit, store, vault }) => {
    const { file } = audit;
    const stored = await readStoredEnds(store, file, vault);
    const { gaps, problems } = await verifyAudit({ file, vault, stored });
    for (const gap of gaps) await audit.append({ event: 'audit.accepted', reason: gapReason(gap) });
    const after = gaps.length === 0 ? problems : (await verifyAudit({ file, vault, stored })).problems;
    const name = displayName(file, process.cwd());
    const told = gaps.map((gap) => `  ${gapReason(gap)}`);
    const text =
      gaps.length === 0
        ? `No lines are missing in the audit log ${name}.`
        : [`It is on record in ${name} that this is known:`, ...told].join('\n');
    const rest =
      after.length === 0
        ? []
        : [
            `${after.length} ${after.length === 1 ? 'problem is' : 'problems are'} left that no acceptance covers: sidekey audit verify`,
          ];
    output.result({ accepted: gaps, left: after.length }, [text, ...rest].join('\n'));
    return after.length === 0 ? exitCode.ok : exitCode.failure;
  });
}
