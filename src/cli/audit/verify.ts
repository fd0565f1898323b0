import { existsSync } from 'node:fs';
import { appendFile, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import {
  formatGap,
  type OpenedHead,
  readAllHeads,
  readStoredHeads,
  takeAnchor,
} from '../../audit/sealed-heads.ts';
import { snapshotLog } from '../../audit/log-files.ts';
import { headFile, logIdOf, readHeads } from '../../audit/live-file.ts';
import { type AbsentLog, type VerifiedLog, verifyLogs } from '../../audit/logs.ts';
import { verifyAudit } from '../../audit/verify.ts';
import { keySourceOf } from '../../app/keys.ts';
import type { Config } from '../../config/config.ts';
import { displayName } from '../../config/problem.ts';
import { storeName } from '../../config/store-place.ts';
import { exitCode } from '../../lib/failures.ts';
import { SidekeyError, systemCode } from '../../lib/errors.ts';
import { withoutStop } from '../../lib/text.ts';
import { openVault } from '../../store/vault/open.ts';
import type { Vault } from '../../store/vault/vault.ts';
import type { Context } from '../context.ts';
import { counted, dateTime } from '../../operations/format.ts';

/** Maximum number of printed problems; `--json` prints all. */
const maxListed = 20;

export interface VerifyOptions {
  /** File with anchors to compare with. */
  readonly anchor?: string;
  /** File to append a new anchor to; `-` prints the anchor instead of the findings. */
  readonly writeAnchor?: string;
  readonly accept?: boolean;
  readonly all?: boolean;
}

/** `sidekey audit verify`: exit code 1 on problems; with `--all`, also on lines or logs missing here. */
export async function verify(
  context: Context,
  copies: readonly string[],
  options: VerifyOptions,
): Promise<number> {
  const { readConfig, readInput, withView, output } = context;
  if (options.accept === true) return accept(context);
  if (options.writeAnchor !== undefined) await writeAnchor(context, options.writeAnchor);
  if (options.writeAnchor === '-') return exitCode.ok;
  const config = await readConfig();
  const anchors = options.anchor === undefined ? undefined : await readAnchorText(options.anchor, readInput);
  const own = config.audit.file;
  // Read before the log, so that the log is not shorter than the stored heads. No store may mean no key.
  let whyNot = 'there is no store';
  let ring: Vault | null = null;
  const stored = await withView(async (view) => {
    const vault = await view.vault();
    if (view.store === null || vault === null) return undefined;
    ring = vault;
    return readAllHeads(view.store, vault);
  }).catch((error: unknown) => {
    if (!(error instanceof SidekeyError) || !unreadableStore.has(error.code)) throw error;
    whyNot = error.message;
    return undefined;
  });
  const isNothing =
    copies.length === 0 &&
    anchors === undefined &&
    snapshotLog(own).length === 0 &&
    !existsSync(headFile(own));
  // Avoids opening a key that does not exist yet.
  if (isNothing && (stored === undefined || stored.size === 0)) {
    output.result(asJson(null, stored !== undefined), nothing(own));
    return exitCode.ok;
  }
  const vault = ring ?? (await vaultWithoutStore(context, config));
  const found = await output.during('Verifying the audit log', () =>
    verifyLogs({ own, copies, host: hostname(), vault, anchors, stored }),
  );
  const logs = [...(found.own === null ? [] : [found.own]), ...found.copies];
  const isComplete = found.absent.length === 0 && logs.every(({ behind }) => behind.length === 0);
  const ok = found.problems.length === 0 && logs.every((log) => log.found.ok) && (isComplete || !options.all);
  const { ok: _ok, ...ownJson } = asJson(found.own, stored !== undefined);
  output.result(
    {
      ok,
      ...ownJson,
      copies: found.copies.map((log) => ({ file: log.file, ...asJson(log, true), behind: log.behind })),
      absent: found.absent,
      store_problems: found.problems,
    },
    [
      ...(found.own === null && copies.length === 0 ? [nothing(own)] : []),
      ...(found.own === null ? [] : [describe(found.own, true, whyNot)]),
      ...found.copies.map((log) => describe(log, false, whyNot)),
      ...found.problems.map(({ sentence }) => sentence),
      ...found.absent.map(absentText),
      ...(isComplete || options.all !== true ? [] : ['Not all lines that the store names were verified.']),
    ].join('\n'),
  );
  return ok ? exitCode.ok : exitCode.failure;
}

function nothing(file: string): string {
  return `Nothing was recorded in ${displayName(file)} yet.`;
}

/** Returns the JSON form of the result for one log; null: it has no lines. */
function asJson(log: VerifiedLog | null, compared: boolean) {
  if (log === null) {
    const counts = { lines: 0, files: 0, removed: 0, removed_lines: 0, removed_at: null, compared };
    const none = { gaps: [], accepted: 0, torn: 0, chains: [], first: null, problems: [], omitted: 0 };
    return { ok: true, ...counts, ...none };
  }
  const { removedAt, removedLines, ...rest } = log.found;
  return { ...rest, removed_lines: removedLines, removed_at: removedAt };
}

function absentText({ host, path: at, chains }: AbsentLog): string {
  const newest = chains.toSorted((a, b) => (a.time < b.time ? 1 : -1))[0];
  const last =
    newest === undefined
      ? ''
      : `; last anchor: line ${newest.seq} of ${newest.node}, ${dateTime(Date.parse(newest.time))}`;
  return `Not here: ${at} of ${host}, ${counted(chains.length, 'writer')}${last}.`;
}

/** Opens the vault without the store's earlier keys, so lines from before a rotation cannot be checked. */
async function vaultWithoutStore({ env, now }: Context, config: Config): Promise<Vault> {
  const source = keySourceOf(config, { env });
  const parts = { mayCreate: false, store: storeName(config.store), meta: null, now, nodeId: null };
  return (await openVault(source, parts)).vault;
}

/** Errors of the store that do not prevent verification. */
const unreadableStore: ReadonlySet<string> = new Set(['store_damaged', 'store_newer', 'store_unavailable']);

function describe({ file, found, behind, isStored }: VerifiedLog, isOwn: boolean, whyNot: string): string {
  const { ok, lines, files, removed, removedLines, removedAt, torn, chains, problems, accepted, gaps } =
    found;
  const when = removedAt === null ? '' : `, the last on ${dateTime(Date.parse(removedAt))}`;
  const gone =
    removed === 0
      ? ''
      : `, after ${counted(removed, 'file')} with ${counted(removedLines, 'line')} that retention removed${when}`;
  const extent = `${counted(lines, 'line')} in ${counted(files, 'file')}, ${counted(chains.length, 'writer')}${gone}`;
  const notes: string[] = [];
  if (torn > 0)
    notes.push(
      `${counted(torn, 'unfinished write')} of a crash or a full disk ${torn === 1 ? 'is' : 'are'} in it; no line is missing.`,
    );
  if (accepted > 0)
    notes.push(
      `${counted(accepted, 'line')} ${accepted === 1 ? 'is' : 'are'} missing, and the loss was accepted (sidekey audit query --event audit.accepted).`,
    );
  if (!found.compared)
    notes.push(
      `The log was not compared with the store (${withoutStop(whyNot)}). A log that was removed or replaced by an older copy is not detected.`,
    );
  else if (!isStored)
    notes.push('The log was not compared with the store: the store has no record of this log yet.');
  for (const { node, from, to, time } of behind)
    notes.push(
      `Lines ${from} to ${to} of ${node} are not in this copy: the store names the last one since ${dateTime(Date.parse(time))}.`,
    );
  const name = displayName(file);
  if (ok) return [`The audit log${isOwn ? '' : ` ${name}`} is intact: ${extent}.`, ...notes].join('\n');
  if (gaps.length > 0)
    notes.push('If you know why lines are missing, such as a restored backup: sidekey audit verify --accept');
  const total = problems.length + found.omitted;
  const listed = problems
    .slice(0, maxListed)
    .map(({ file: at, line, sentence }) => `  ${displayName(at)}:${line}: ${sentence}`);
  if (total > maxListed) listed.push(`  … and ${total - maxListed} more.`);
  return [
    `The audit log ${name} is damaged: ${counted(total, 'problem')} in ${extent}.`,
    ...listed,
    ...notes,
  ].join('\n');
}

async function readAnchorText(from: string, readInput: () => Promise<string>): Promise<string> {
  if (from === '-') return readInput();
  try {
    return await readFile(from, 'utf8');
  } catch (cause) {
    throw new SidekeyError('input_invalid', `${from} cannot be read (${systemCode(cause)}).`, {
      hint: 'give the file that --write-anchor wrote, or - for standard input',
      cause,
    });
  }
}

/** Appends the current end of the log, as one line of JSON, to a file that the user keeps elsewhere. */
async function writeAnchor(context: Context, to: string): Promise<void> {
  const { readConfig, withView, output, now } = context;
  const config = await readConfig();
  // Includes the store's other logs: later copies must have all lines up to here.
  const [ring, heads] = await withView(async (view): Promise<[Vault | null, OpenedHead[]]> => {
    const known = await view.vault();
    if (known === null || view.store === null) return [known, []];
    const logs = await readAllHeads(view.store, known);
    return [known, [...logs.values()].flatMap((log) => [...log.heads.values()])];
  });
  const vault = ring ?? (await vaultWithoutStore(context, config));
  const line = `${takeAnchor(config.audit.file, vault, now(), heads).text}\n`;
  if (to === '-') {
    output.bytes(Buffer.from(line));
    return;
  }
  try {
    await appendFile(to, line);
    output.say(`Added an anchor to ${to}. Keep a copy of the file on another machine.`);
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `${to} cannot be written (${systemCode(cause)}).`, {
      hint: 'name a file in a folder that you can write to, or - for standard output',
      cause,
    });
  }
}

/** Records that a loss of lines is accepted: `verify` stops reporting it. Exit code 1 for other problems. */
function accept({ withState, output }: Context): Promise<number> {
  return withState(async ({ audit, store, vault }) => {
    const { file } = audit;
    const log = logIdOf(file, hostname(), readHeads(file, vault));
    const stored = await readStoredHeads(store, log, vault);
    const { gaps, problems } = await verifyAudit({ file, vault, stored });
    for (const gap of gaps) await audit.append({ event: 'audit.accepted', reason: formatGap(gap) });
    const after = gaps.length === 0 ? problems : (await verifyAudit({ file, vault, stored })).problems;
    const name = displayName(file);
    const told = gaps.map((gap) => `  ${formatGap(gap)}`);
    const text =
      gaps.length === 0
        ? `No lines are missing in the audit log ${name}.`
        : [`The audit log now records in ${name} that this loss is known:`, ...told].join('\n');
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
