import type { AuditFilter } from '../../audit/query.ts';
import { SidekeyError } from '../../errors.ts';
import type { Grant } from '../../grants/grant.ts';
import { canonicalHost } from '../../policy/host.ts';
import type { Context } from '../context.ts';
import { readTime } from '../time.ts';
import { readGrants } from './grant-names.ts';

/** Conditions on audit lines, as they stand on the command line. */
export interface ConditionOptions {
  readonly since?: string;
  readonly until?: string;
  readonly event?: string;
  readonly agent?: string;
  readonly grant?: string;
  readonly user?: string;
  readonly by?: string;
  readonly provider?: string;
  readonly host?: string;
  readonly outcome?: string;
  readonly lease?: string;
  readonly exchange?: string;
  readonly code?: string;
}

/** The conditions, ready to be asked with. */
export interface Conditions {
  readonly file: string;
  readonly filter: AuditFilter;
  /** Whether a line is about one of the grants that were named. */
  readonly fits: (line: { readonly grant?: string | undefined }) => boolean;
  /** All grants, for their names; none with `--json`, where nobody asks for names. */
  readonly grants: readonly Grant[];
}

/**
 * Reads the conditions; a grant may be named or given by its id, and all grants of a name are meant.
 *
 * @throws SidekeyError `input_invalid` for what is no time; `grant_missing`
 */
export async function readConditions(
  { readConfig, output, now }: Context,
  options: ConditionOptions,
): Promise<Conditions> {
  const config = await readConfig();
  const grants = options.grant === undefined && output.json ? [] : await readGrants(config, now);
  const wanted = options.grant === undefined ? null : grantIds(options.grant, grants);
  const { host, event, agent, user, by, provider, outcome, lease, exchange, code } = options;
  return {
    file: config.audit.file,
    filter: {
      since: timeOf('--since', options.since, now()),
      until: timeOf('--until', options.until, now()),
      host: host === undefined ? undefined : (canonicalHost(host) ?? host),
      event,
      agent,
      user,
      by,
      provider,
      outcome,
      lease,
      exchange,
      code,
    },
    fits: ({ grant }) => wanted === null || (grant !== undefined && wanted.has(grant)),
    grants,
  };
}

/** All grants of that name, or the id itself: the audit outlives a grant. */
function grantIds(reference: string, grants: readonly Grant[]): ReadonlySet<string> {
  const ids = grants.filter(({ id, name }) => id === reference || name === reference).map(({ id }) => id);
  if (ids.length > 0) return new Set(ids);
  if (/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(reference)) {
    return new Set([reference.toLowerCase()]);
  }
  throw new SidekeyError('grant_missing', `There is no grant ${reference}.`, {
    hint: 'sidekey grant list; of a grant that was removed, give the id',
  });
}

function timeOf(option: string, text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined;
  const at = readTime(text, now);
  if (at !== null) return at;
  throw new SidekeyError('input_invalid', `${option} is no time.`, {
    hint: 'write how long ago (30m, 2h, 7d), a date (2026-11-21) or a time (2026-11-21T06:00Z)',
  });
}
