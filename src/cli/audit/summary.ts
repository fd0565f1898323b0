import { stringify } from 'yaml';
import type { DiscoveredHost, SummaryRow } from '../../audit/summary.ts';
import { visible } from '../../lib/text.ts';
import { summarizeAudit } from '../../operations/audit.ts';
import { dateTime, duration, sizeText } from '../../operations/format.ts';
import { type Suggestion, suggestDomains } from '../../operations/suggest-domains.ts';
import type { Context } from '../context.ts';
import { type Display, table } from '../display.ts';
import { type GivenOptions, perform } from '../operation-command.ts';
import { conditionWords } from './words.ts';
import { grantNames } from './query.ts';
import { perhapsWithoutStore } from './without-store.ts';

/** `sidekey audit summary`: as JSON with the names of grants that still exist. */
export async function summary(
  context: Context,
  { suggest: isSuggested, ...options }: GivenOptions,
): Promise<void> {
  const { output } = context;
  const opened = perhapsWithoutStore(context, (_error, isOpen) => !isOpen);
  if (isSuggested === true) return suggest(opened, options);
  const { result, answer } = await perform(opened, summarizeAudit, { words: conditionWords, options });
  const { rows, grants } = result;
  output.result(
    answer,
    rows.length === 0 ? 'No requests found.' : asTable(output.display, rows, grantNames(grants)),
  );
}

function asTable(display: Display, rows: readonly SummaryRow[], grantName: (id: string) => string): string {
  return table(
    display,
    ['AGENT', 'GRANT', 'REQUESTS', 'REFUSED', 'FAILED', 'IN', 'OUT', 'P50', 'P99', 'LAST USE'],
    rows.map((row) => [
      row.agent ?? '-',
      row.grant === null ? '-' : grantName(row.grant),
      String(row.requests),
      String(row.refusals),
      String(row.failures),
      sizeText(row.bytesIn, 'B'),
      sizeText(row.bytesOut, 'B'),
      row.p50 === null ? '-' : duration(row.p50),
      row.p99 === null ? '-' : duration(row.p99),
      dateTime(Date.parse(row.lastUse)),
    ]),
    { least: ['P99', 'OUT', 'IN', 'P50', 'FAILED'] },
  );
}

/** Prints entries of the domain map that would allow what was refused, to copy into the config file. */
async function suggest(context: Context, options: GivenOptions): Promise<void> {
  const { output } = context;
  const { result, answer } = await perform(context, suggestDomains, { words: conditionWords, options });
  const entries = result.suggestions.flatMap(({ host, suggestion }) =>
    suggestion === null ? [] : [{ host, suggestion }],
  );
  output.result(
    answer,
    entries.length === 0
      ? 'Nothing was refused that an entry of the domain map would allow.'
      : `domains:\n${entries.map(({ host, suggestion }) => entryText(host, suggestion)).join('')}`.trimEnd(),
  );
  for (const { method, host, path, times, lastSeen } of output.json ? [] : result.credentials)
    output.say(
      visible(
        `${method} ${host}${path} may have given credentials to agents (${times} times, last ${lastSeen}): see mints in docs/minted.md.`,
      ),
    );
  if (entries.length === 0 || output.json) return;
  output.say('Copy the entries that you want to allow. Replace GRANT with the name of a grant.');
  if (entries.some(({ suggestion }) => suggestion.replaces !== null)) {
    output.say('An entry that exists in the map is printed in full: replace the old one with it.');
  }
}

/** Returns an entry as YAML, below comments that say what was refused. */
function entryText(
  { refusals, reports, tunneled, agents, lastSeen }: DiscoveredHost,
  { key, entry, replaces, notes }: Suggestion,
): string {
  const counts = [
    ...Array.from(refusals, ([code, count]) => `${count} × ${code}`),
    ...Array.from(reports, ([code, count]) => `${count} × ${code}, only reported`),
    ...(tunneled > 0 ? [`${tunneled} × tunnel`] : []),
  ];
  const who = agents.length === 0 ? '' : `, by ${agents.join(', ')}`;
  const comments = [
    `${counts.join(', ')}${who}, last ${lastSeen}`,
    ...(replaces === null ? [] : [`replaces ${replaces}`]),
    ...notes,
  ].map((comment) => `  # ${visible(comment)}\n`);
  const yaml = stringify({ [key]: entry }, { flowCollectionPadding: true, lineWidth: 0 });
  return `${comments.join('')}${yaml.replace(/^(?=.)/gm, '  ')}`;
}
