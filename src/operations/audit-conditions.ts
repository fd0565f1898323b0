import { type AuditFilter, isEventOf } from '../audit/filter.ts';
import { auditEventNames } from '../domain/event.ts';
import type { Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { orMeant } from '../lib/text.ts';
import { canonicalHost } from '../proxy/policy/authority.ts';
import { readTime } from './format.ts';
import { text, userName } from './members.ts';

/** Conditions for lines of the audit log, as people and programs write them. */

const condition = text.optional();

/** Members of an input. A line must meet all conditions. */
export const auditConditions = {
  since: condition,
  until: condition,
  event: condition,
  agent: condition,
  grant: condition,
  user: userName.optional(),
  by: condition,
  provider: condition,
  host: condition,
  port: condition,
  outcome: condition,
  lease: condition,
  exchange: condition,
  code: condition,
};

export type AuditConditions = Readonly<Partial<Record<keyof typeof auditConditions, string | undefined>>>;

/** Refuses an unknown event, an invalid time and an invalid port. @throws SidekeyError `input_invalid` */
export function checkConditions({ grant: _grant, ...conditions }: AuditConditions, now: number): void {
  const { event } = conditions;
  if (event !== undefined && !auditEventNames.some((name) => isEventOf(event, name))) {
    throw new SidekeyError('input_invalid', `--event names no event${orMeant(event, auditEventNames)}`, {
      hint: "such as denied, grant.connected or 'lease.*'; docs/audit.md lists them",
    });
  }
  filterOf(conditions, [], now);
}

/**
 * Returns the filter of these conditions. A grant is a name or an ID; a name stands for all grants of that
 * name.
 *
 * @param grants result of `grantsOf`; read only if the conditions have a grant
 * @param now milliseconds since the epoch
 * @throws SidekeyError `input_invalid` for an invalid time or port; `grant_missing`
 */
export function filterOf(
  { grant, ...conditions }: AuditConditions,
  grants: readonly Grant[],
  now: number,
): AuditFilter {
  const { since, until, host, port } = conditions;
  return {
    ...conditions,
    since: timeOf('--since', since, now),
    until: timeOf('--until', until, now),
    host: host === undefined ? undefined : (canonicalHost(host) ?? host),
    port: portOf(port),
    grants: grant === undefined ? undefined : grantIds(grant, grants),
  };
}

/** Returns the ids of all grants of that name, or the id itself: the audit log outlives a grant. */
function grantIds(reference: string, grants: readonly Grant[]): ReadonlySet<string> {
  const ids = grants.filter(({ id, name }) => id === reference || name === reference).map(({ id }) => id);
  if (ids.length > 0) return new Set(ids);
  if (/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(reference)) {
    return new Set([reference.toLowerCase()]);
  }
  const names = grants.map(({ name }) => name);
  throw new SidekeyError('grant_missing', `There is no grant ${reference}${orMeant(reference, names)}`, {
    hint: hintOf`${remedy('grant.list')}; for a removed grant, give its ID`,
  });
}

function portOf(written: string | undefined): number | undefined {
  if (written === undefined) return undefined;
  const port = Number(written);
  if (/^\d+$/.test(written) && port >= 1 && port <= 65_535) return port;
  throw new SidekeyError('input_invalid', '--port is not a port.', { hint: 'write 1 to 65535' });
}

function timeOf(option: string, written: string | undefined, now: number): number | undefined {
  if (written === undefined) return undefined;
  const at = readTime(written, now);
  if (at !== null) return at;
  throw new SidekeyError('input_invalid', `${option} is not a time.`, {
    hint: 'write how long ago (30m, 2h, 7d), a date (2026-11-21) or a time (2026-11-21T06:00Z)',
  });
}
