import type { SummaryRow } from '../../audit/summary.ts';
import { summarizeAudit } from '../../operations/audit.ts';
import { dateTime, duration, sizeText } from '../../operations/format.ts';
import type { Context } from '../context.ts';
import { type Display, table } from '../display.ts';
import { type GivenOptions, perform } from '../operation-command.ts';
import { conditionWords } from './words.ts';
import { discover } from './discover.ts';
import { grantNames } from './query.ts';
import { perhapsWithoutStore } from './without-store.ts';

/** `sidekey audit summary`: as JSON with the names of grants that still exist. */
export async function summary(context: Context, { suggest, ...options }: GivenOptions): Promise<void> {
  if (suggest === true) return discover(context, options);
  const { output } = context;
  const opened = perhapsWithoutStore(context, (_error, isOpen) => !isOpen);
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
