import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { z } from 'zod';
import { headFile, logIdOf, readHeads } from '../audit/live-file.ts';
import { snapshotLog } from '../audit/log-files.ts';
import { type VerifiedLog, verifyLogs } from '../audit/verify-logs.ts';
import {
  formatGap,
  readAllHeads,
  readStoredHeads,
  type StoredHeads,
  takeAnchor,
} from '../audit/sealed-heads.ts';
import { summarize, type SummaryRow } from '../audit/summary.ts';
import { verifyAudit as verifyLog } from '../audit/verify.ts';
import { auditConditions, checkConditions } from './audit-conditions.ts';
import { eventQuery, grantsOf } from './audit-events.ts';
import { changing, reading, type Reading } from './operation.ts';
import { grantsById } from './reach.ts';

/** The audit log as a whole: what it counts, and whether it is intact. */

export const summarizeAudit = reading({
  id: 'audit.summary',
  summary: 'Count requests, refusals, bytes and durations of each agent and grant.',
  scope: 'audit:read',
  input: z.strictObject(auditConditions),
  output: z.array(
    z.looseObject({ agent: z.string().nullable(), grant: z.string().nullable(), requests: z.int() }),
  ),
  check: checkConditions,
  async run({ config, during, store }, conditions, at) {
    const query = eventQuery(config, conditions, { grants: await grantsOf(store, conditions), at });
    const rows = await during('Reading the audit log', (onShare) => summarize(query.events(onShare)));
    const ids = rows.flatMap(({ grant }) => grant ?? []);
    // The log can be read without the store, which has the names of grants only.
    const grants = store === null ? [] : await grantsById(store, ids).catch(() => []);
    return { rows, grants };
  },
  answer({ rows, grants }) {
    const names = new Map(grants.map(({ id, name }) => [id, name]));
    return rows.map((row) => rowAnswer(row, names.get(row.grant ?? '') ?? null));
  },
});

function rowAnswer(row: SummaryRow, grantName: string | null) {
  const { agent, grant, bytesIn, bytesOut, p50, p99, lastUse, ...rest } = row;
  const sizes = { bytes_in: bytesIn, bytes_out: bytesOut, p50_ms: p50, p99_ms: p99 };
  return { agent, grant, grant_name: grantName, ...rest, ...sizes, last_use: lastUse };
}

export const verifyAudit = reading({
  id: 'audit.verify',
  summary: 'Check that no line was edited, removed or cut off.',
  scope: 'audit:read',
  input: z.strictObject({
    all: z.boolean().optional().describe('Also fail for lines and logs that are on other machines.'),
    copies: z.array(z.string()).optional().describe('Files: copies of the logs of other machines.'),
    anchors: z.string().optional().describe('Text of anchors that were kept elsewhere.'),
  }),
  machineOnly: ['all', 'copies', 'anchors'],
  output: z.looseObject({ ok: z.boolean(), lines: z.int(), problems: z.array(z.unknown()) }),
  async run(parts, { all = false, copies = [], anchors }) {
    const { file } = parts.config.audit;
    // Read before the log, so that the log is not shorter than the stored heads.
    const stored = await storedHeads(parts);
    const isNothing =
      copies.length === 0 &&
      anchors === undefined &&
      snapshotLog(file).length === 0 &&
      !existsSync(headFile(file));
    const compared = stored !== null;
    // Avoids opening a key that does not exist yet.
    if (isNothing && (stored?.heads.size ?? 0) === 0)
      return { ok: true, found: null, isComplete: true, compared, file };
    const vault = stored?.vault ?? (await parts.vaultWithoutStore());
    const logs = { own: file, copies, host: hostname(), vault, anchors, stored: stored?.heads };
    const found = await parts.during('Verifying the audit log', () => verifyLogs(logs));
    const verified = [...(found.own === null ? [] : [found.own]), ...found.copies];
    const isComplete = found.absent.length === 0 && verified.every(({ behind }) => behind.length === 0);
    const isIntact = found.problems.length === 0 && verified.every((log) => log.found.ok);
    return { ok: isIntact && (isComplete || !all), found, isComplete, compared, file };
  },
  answer({ ok, found, compared }) {
    if (found === null) return logAnswer(null, compared);
    const { own, copies, absent, problems } = found;
    const { ok: _ok, ...rest } = logAnswer(own, compared);
    return {
      ok,
      ...rest,
      copies: copies.map((log) => ({ file: log.file, ...logAnswer(log, true), behind: log.behind })),
      absent,
      store_problems: problems,
    };
  },
});

export const anchorAudit = reading({
  id: 'audit.take_anchor',
  summary: 'Seal the current end of the log in one line of JSON, to keep on another machine.',
  scope: 'audit:read',
  input: z.strictObject({}),
  output: z.string(),
  async run({ config, ...parts }, _input, at) {
    // Includes the store's other logs: later copies must have all lines up to here.
    const stored = await storedHeads(parts);
    const heads = [...(stored?.heads.values() ?? [])].flatMap((log) => [...log.heads.values()]);
    const vault = stored?.vault ?? (await parts.vaultWithoutStore());
    return takeAnchor(config.audit.file, vault, at, heads).text;
  },
  answer: (line) => line,
});

export const acceptLoss = changing({
  id: 'audit.accept',
  summary: 'Record that missing lines are known, which the verification then stops reporting.',
  scope: 'config:write',
  input: z.strictObject({}),
  output: z.strictObject({ accepted: z.array(z.unknown()), left: z.int() }),
  async run({ audit, store, vault }) {
    const { file } = audit;
    const log = logIdOf(file, hostname(), readHeads(file, vault));
    const stored = await readStoredHeads(store, log, vault);
    const { gaps, problems } = await verifyLog({ file, vault, stored });
    const reasons = gaps.map(formatGap);
    for (const reason of reasons) await audit.append({ event: 'audit.accepted', reason });
    const left = gaps.length === 0 ? problems : (await verifyLog({ file, vault, stored })).problems;
    return { file, gaps, reasons, left: left.length };
  },
  answer: ({ gaps, left }) => ({ accepted: [...gaps], left }),
});

/** Returns the heads of all logs in the store; null: there is no store, or nothing was ever sealed. */
async function storedHeads({ store, vault: open }: Pick<Reading, 'store' | 'vault'>) {
  const vault = await open();
  if (store === null || vault === null) return null;
  const heads: ReadonlyMap<string, StoredHeads> = await readAllHeads(store, vault);
  return { heads, vault };
}

/** Returns the answer for one log; null: it has no lines. */
function logAnswer(log: VerifiedLog | null, compared: boolean) {
  if (log === null) {
    const counts = { lines: 0, files: 0, removed: 0, removed_lines: 0, removed_at: null, compared };
    const none = { gaps: [], accepted: 0, torn: 0, chains: [], first: null, problems: [], omitted: 0 };
    return { ok: true, ...counts, ...none };
  }
  const { removedAt, removedLines, ...rest } = log.found;
  const problems = rest.problems.slice();
  return { ...rest, problems, removed_lines: removedLines, removed_at: removedAt };
}
