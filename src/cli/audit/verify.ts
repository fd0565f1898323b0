import { appendFile } from 'node:fs/promises';
import type { AbsentLog, VerifiedLog } from '../../audit/verify-logs.ts';
import { displayName } from '../../config/problem.ts';
import { exitCode } from '../../lib/failures.ts';
import { SidekeyError, systemCode } from '../../lib/errors.ts';
import { withoutStop } from '../../lib/text.ts';
import { acceptLoss, anchorAudit, verifyAudit } from '../../operations/audit.ts';
import { counted, dateTime } from '../../operations/format.ts';
import type { Context } from '../context.ts';
import { type GivenOptions, perform } from '../operation-command.ts';
import { perhapsWithoutStore } from './without-store.ts';
import { verifyWords } from './words.ts';

/** Maximum number of printed problems; `--json` prints all. */
const maxListed = 20;

/** `sidekey audit verify`: exit code 1 on problems; with `--all`, also on lines or logs missing here. */
export async function verify(
  context: Context,
  copies: readonly string[],
  { accept: isAccepted, writeAnchor: anchorFile, ...options }: GivenOptions,
): Promise<number> {
  const { output } = context;
  if (isAccepted === true) return accept(context);
  if (anchorFile !== undefined) await writeAnchor(context, anchorFile as string);
  if (anchorFile === '-') return exitCode.ok;
  let whyNot = 'there is no store';
  // No store may mean no key.
  const opened = perhapsWithoutStore(context, (error) => {
    if (!(error instanceof SidekeyError) || !unreadableStore.has(error.code)) return false;
    whyNot = error.message;
    return true;
  });
  const { result, answer } = await perform(opened, verifyAudit, {
    words: verifyWords,
    options,
    fixed: { copies },
  });
  const { ok, found, isComplete, file } = result;
  output.result(
    answer,
    found === null
      ? nothing(file)
      : [
          ...(found.own === null && copies.length === 0 ? [nothing(file)] : []),
          ...(found.own === null ? [] : [describe(found.own, true, whyNot)]),
          ...found.copies.map((log) => describe(log, false, whyNot)),
          ...found.problems.map(({ sentence }) => sentence),
          ...found.absent.map(absentText),
          ...(isComplete || options['all'] !== true
            ? []
            : ['Not all lines that the store names were verified.']),
        ].join('\n'),
  );
  return ok ? exitCode.ok : exitCode.failure;
}

function nothing(file: string): string {
  return `Nothing was recorded in ${displayName(file)} yet.`;
}

function absentText({ host, path: at, chains }: AbsentLog): string {
  const newest = chains.toSorted((a, b) => (a.time < b.time ? 1 : -1))[0];
  const last =
    newest === undefined
      ? ''
      : `; last anchor: line ${newest.seq} of ${newest.node}, ${dateTime(Date.parse(newest.time))}`;
  return `Not here: ${at} of ${host}, ${counted(chains.length, 'writer')}${last}.`;
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
      gaps.length > 0
        ? `${counted(torn, 'unfinished line')} ${torn === 1 ? 'is' : 'are'} in it, of the loss, a crash or a full disk.`
        : `${counted(torn, 'unfinished write')} of a crash or a full disk ${torn === 1 ? 'is' : 'are'} in it; no line is missing.`,
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
  else
    notes.push(
      'Keep the file: it is evidence, and new lines are still recorded in it. To check a copy that you kept elsewhere: sidekey audit verify COPY',
    );
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

/** Appends the current end of the log, as one line of JSON, to a file that the user keeps elsewhere. */
async function writeAnchor(context: Context, to: string): Promise<void> {
  const { output } = context;
  const line = `${(await perform(context, anchorAudit)).result}\n`;
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
async function accept(context: Context): Promise<number> {
  const { result, answer } = await perform(context, acceptLoss);
  const { file, reasons, left } = result;
  const name = displayName(file);
  const lines =
    reasons.length === 0
      ? [`No lines are missing in the audit log ${name}.`]
      : [`The audit log now records in ${name} that this loss is known:`, ...reasons.map((it) => `  ${it}`)];
  if (left > 0) {
    const problems = left === 1 ? 'problem is' : 'problems are';
    lines.push(`${left} ${problems} left that no acceptance covers: sidekey audit verify`);
  }
  context.output.result(answer, lines.join('\n'));
  return left === 0 ? exitCode.ok : exitCode.failure;
}
