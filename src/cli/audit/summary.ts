import { queryAudit } from '../../audit/query.ts';
import { summarize, type SummaryRow } from '../../audit/summary.ts';
import type { Context } from '../context.ts';
import { type Display, table } from '../display.ts';
import { dateTime, duration, sizeText } from '../../operations/format.ts';
import { discover } from './discover.ts';
import { type ConditionOptions, grantNames, readConditions, reading } from './query.ts';

/** `sidekey audit summary`: as JSON with the names of grants that still exist. */
export async function summary(
  context: Context,
  options: ConditionOptions & { readonly suggest?: boolean },
): Promise<void> {
  if (options.suggest === true) {
    await discover(context, options);
    return;
  }
  const conditions = await readConditions(context, options, { names: true });
  const { file, filter } = conditions;
  const rows = await reading(context.output, (onProgress) =>
    summarize(queryAudit({ file, filter, onProgress })),
  );
  const names = new Map(conditions.grants.map(({ id, name }) => [id, name]));
  context.output.result(
    rows.map((row) => asJson(row, names.get(row.grant ?? '') ?? null)),
    rows.length === 0
      ? 'No requests found.'
      : asTable(context.output.display, rows, grantNames(conditions.grants)),
  );
}

function asJson(row: SummaryRow, grantName: string | null) {
  const { agent, grant, bytesIn, bytesOut, p50, p99, lastUse, ...rest } = row;
  const bytes = { bytes_in: bytesIn, bytes_out: bytesOut };
  return {
    agent,
    grant,
    grant_name: grantName,
    ...rest,
    ...bytes,
    p50_ms: p50,
    p99_ms: p99,
    last_use: lastUse,
  };
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
