import { tailAudit } from '../../audit/query.ts';
import type { Config } from '../../config/config.ts';
import type { AuditLine } from '../../audit/event.ts';
import { finding, type Finding } from '../status/finding.ts';
import type { Answered } from './upstreams.ts';

/** Tokens and certificates are judged to the second; so far off nothing goes wrong yet. */
const tolerated = 60_000;

/**
 * Whether the clock can be right: it must not be behind what is on record, nor far from what the upstreams show. A token's
 * end, a lease and a certificate are judged by it.
 */
export async function lookAtClock(
  { audit: { file } }: Config,
  answers: readonly Answered[],
  now: number,
): Promise<Finding> {
  let last: AuditLine | null = null;
  for await (const line of tailAudit({ file, lines: 1 })) last = line;
  const recorded = last === null ? null : Date.parse(last.time);
  const offsets = answers.flatMap(({ clock }) => (clock === null ? [] : [clock.there - clock.here]));
  const offset = middle(offsets);
  const facts = { offset_ms: offset, last_record: last?.time ?? null };
  const hint = 'set the clock of this machine, or let it be set over the network (timedatectl set-ntp true)';
  if (offset !== null && Math.abs(offset) > tolerated) {
    const way = offset > 0 ? 'behind' : 'ahead of';
    const sentence = `The clock is ${Math.round(Math.abs(offset) / 1_000)} s ${way} that of the upstreams.`;
    return finding('clock', `${way} the upstreams`, facts, [{ sentence, hint }]);
  }
  if (recorded !== null && recorded - now > tolerated) {
    const sentence = `The clock is ${Math.round((recorded - now) / 1_000)} s behind the last line of the audit log.`;
    return finding('clock', 'behind the audit log', facts, [{ sentence, hint }]);
  }
  return finding(
    'clock',
    offset === null
      ? 'nothing speaks against it'
      : `within ${Math.ceil(Math.abs(offset) / 1_000)} s of the upstreams`,
    facts,
  );
}

/** The middle one, so that one upstream with a wrong clock says nothing; null of none. */
function middle(offsets: readonly number[]): number | null {
  return offsets.toSorted((a, b) => a - b)[Math.floor(offsets.length / 2)] ?? null;
}
