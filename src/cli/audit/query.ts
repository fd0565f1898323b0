import type { AuditLine } from '../../audit/event.ts';
import { queryAudit, type AuditFilter } from '../../audit/query.ts';
import { displayName } from '../../config/problem.ts';
import { SidekeyError } from '../../errors.ts';
import type { Grant } from '../../grants/grant.ts';
import { canonicalHost } from '../../policy/host.ts';
import type { Context } from '../context.ts';
import { readTime } from '../time.ts';
import { grantNames, readGrants } from './grant-names.ts';
import { lineFormat } from './line.ts';

/** The conditions, as they stand on the command line. */
export interface QueryOptions {
  readonly since?: string;
  readonly until?: string;
  readonly event?: string;
  readonly host?: string;
  readonly grant?: string;
  readonly agent?: string;
  readonly code?: string;
}

/** As many lines are held back to align their columns; further ones are printed as they are found. */
const aligned = 500;

/** `sidekey audit query` */
export async function query({ readConfig, output, now }: Context, options: QueryOptions): Promise<void> {
  const config = await readConfig();
  const { file } = config.audit;
  const grants = options.grant === undefined && output.json ? [] : await readGrants(config, now);
  const wanted = options.grant === undefined ? null : grantIds(options.grant, grants);
  const filter: AuditFilter = {
    since: timeOf('--since', options.since, now()),
    until: timeOf('--until', options.until, now()),
    event: options.event,
    host: options.host === undefined ? undefined : (canonicalHost(options.host) ?? options.host),
    agent: options.agent,
    code: options.code,
  };
  const nameOf = grantNames(grants);
  let held: AuditLine[] | null = [];
  let format = lineFormat([], nameOf);
  const printHeld = () => {
    format = lineFormat(held ?? [], nameOf);
    for (const line of held ?? []) output.result(line, format(line));
    held = null;
  };
  for await (const line of queryAudit({ file, filter })) {
    if (wanted !== null && !(line.grant !== undefined && wanted.has(line.grant))) continue;
    if (held === null) {
      output.result(line, format(line));
      await output.drained();
      continue;
    }
    held.push(line);
    if (held.length === aligned) printHeld();
  }
  if (held?.length === 0) output.say(`Nothing in ${displayName(file, process.cwd())} fits.`);
  printHeld();
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
