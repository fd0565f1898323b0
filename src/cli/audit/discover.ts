import { stringify } from 'yaml';
import { discoverHosts, type DiscoveredHost } from '../../audit/discover.ts';
import type { AuditLine } from '../../audit/event.ts';
import { queryAudit } from '../../audit/query.ts';
import { createDomainMap } from '../../policy/domain-map.ts';
import type { Context } from '../context.ts';
import { visible } from '../table.ts';
import { readConditions, type ConditionOptions } from './conditions.ts';
import { entryFor, lift, standingConfig, type Lifted } from './lift.ts';

/** A host, and the lines that would let through what was refused there; null: there are none. */
interface Discovered {
  readonly host: DiscoveredHost;
  readonly lines: Lifted | null;
}

/**
 * `sidekey audit discover`: what was refused, would have been, or passed through unlisted, and the entries that would
 * allow just that.
 */
export async function discover(context: Context, options: ConditionOptions): Promise<void> {
  const { output, readConfig, env, now } = context;
  const { file, filter, fits } = await readConditions(context, options);
  const config = await readConfig();
  const map = createDomainMap(config.domains);
  const hosts = await discoverHosts(
    fitting(queryAudit({ file, filter }), fits),
    (scheme, host, port) => map.match({ scheme, host, port }) !== null,
  );
  const standing = await standingConfig(config, { env, now: now() });
  const found: Discovered[] = [];
  for (const host of hosts) found.push({ host, lines: await lift(host, standing) });
  const entries = found.flatMap(({ host, lines }) => (lines === null ? [] : [{ host, lines }]));
  output.result(
    {
      hosts: found.map(({ host, lines }) => ({
        ...hostJson(host),
        listed: entryFor(map, host) !== null,
        replaces: lines?.replaces ?? null,
      })),
      config: entries.map(({ lines: { key, entry } }) => ({ [key]: entry })),
    },
    entries.length === 0
      ? 'Nothing was refused that an entry of the domain map would allow.'
      : `domains:\n${entries.map(asText).join('')}`.trimEnd(),
  );
  if (entries.length === 0 || output.json) return;
  output.say('Paste what agents shall reach; put the name of a grant in the place of GRANT.');
  if (entries.some(({ lines }) => lines.replaces !== null)) {
    output.say('An entry that stands in the map already is shown whole: put it in the place of the old one.');
  }
}

async function* fitting(
  lines: AsyncIterable<AuditLine>,
  fits: (line: AuditLine) => boolean,
): AsyncGenerator<AuditLine> {
  for await (const line of lines) if (fits(line)) yield line;
}

function hostJson({ lastSeen, refusals, reports, requests, ...rest }: DiscoveredHost): object {
  return {
    ...rest,
    refusals: Object.fromEntries(refusals),
    reports: Object.fromEntries(reports),
    requests: requests.map(({ method, paths }) => ({ method, paths })),
    last_seen: lastSeen,
  };
}

function asText({ host, lines }: { readonly host: DiscoveredHost; readonly lines: Lifted }): string {
  const counts = [
    ...Array.from(host.refusals, ([code, count]) => `${count} × ${code}`),
    ...Array.from(host.reports, ([code, count]) => `${count} × ${code}, only reported`),
    ...(host.tunneled > 0 ? [`${host.tunneled} × tunnel`] : []),
  ];
  const who = host.agents.length === 0 ? '' : `, by ${host.agents.join(', ')}`;
  const comments = [
    `${counts.join(', ')}${who}, last ${host.lastSeen}`,
    ...(lines.replaces === null ? [] : [`in the place of ${lines.replaces}`]),
    ...lines.notes,
  ];
  const entry = stringify({ [lines.key]: lines.entry }, { flowCollectionPadding: true, lineWidth: 0 });
  const told = comments.map((comment) => `  # ${visible(comment)}\n`);
  return `${told.join('')}${entry.replace(/^(?=.)/gm, '  ')}`;
}
