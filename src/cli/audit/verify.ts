import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { readAnchors } from '../../audit/anchor.ts';
import { headFile } from '../../audit/head.ts';
import { snapshot } from '../../audit/log-files.ts';
import { readStoredEnds, type StoredEnds } from '../../audit/stored-ends.ts';
import { verifyAudit, type Verification } from '../../audit/verify.ts';
import { displayName } from '../../config/problem.ts';
import { exitCode, SidekeyError } from '../../errors.ts';
import { withoutStop } from '../../oauth/description.ts';
import { systemCode } from '../../system-error.ts';
import { openVault } from '../../vault/open-vault.ts';
import { dateTime } from '../time.ts';
import type { Context } from '../context.ts';

/** More are not listed for people; `--json` has them all. */
const mostListed = 20;

/** `sidekey audit verify`: exit code 1 where the log is not whole. */
export async function verify(
  { readConfig, readInput, withView, output }: Context,
  options: { readonly anchor?: string },
): Promise<number> {
  const config = await readConfig();
  const anchors = options.anchor === undefined ? undefined : await readAnchorText(options.anchor, readInput);
  const { file } = config.audit;
  // First, so that the log is no shorter than the ends say. Without a store there may be no key either.
  let whyNot = 'there is no store here';
  const stored = await withView(async (view) => {
    const vault = await view.vault();
    if (view.store === null || vault === null) return undefined;
    return readStoredEnds(view.store, path.resolve(file), vault);
  }).catch((error: unknown) => {
    if (!(error instanceof SidekeyError) || !unreadableStore.has(error.code)) throw error;
    whyNot = error.message;
    return undefined;
  });
  const isKnown = stored !== undefined && stored.ends.size + stored.damaged.length > 0;
  if (!isKnown && anchors === undefined && snapshot(file).length === 0 && !existsSync(headFile(file))) {
    output.result(
      {
        ok: true,
        lines: 0,
        files: 0,
        removed: 0,
        removedAt: null,
        compared: stored !== undefined,
        gaps: [],
        accepted: 0,
        torn: 0,
        chains: [],
        first: null,
        problems: [],
        omitted: 0,
      },
      `Nothing was recorded in ${displayName(file, process.cwd())} yet.`,
    );
    return exitCode.ok;
  }
  const vault = await openVault(config.key, { mayCreate: false, store: config.store.path });
  const anchored = anchors === undefined ? undefined : readAnchors(anchors, vault);
  const found = await verifyAudit({ file, vault, anchored, stored });
  output.result(found, describe(found, file, stored ?? whyNot));
  return found.ok ? exitCode.ok : exitCode.failure;
}

/** The log is verified beside a store that cannot be read, too. */
const unreadableStore: ReadonlySet<string> = new Set(['store_damaged', 'store_newer', 'store_unavailable']);

function describe(found: Verification, file: string, stored: StoredEnds | string): string {
  const { ok, lines, files, removed, removedAt, torn, chains, problems, accepted, gaps } = found;
  const when = removedAt === null ? '' : `, the last on ${dateTime(Date.parse(removedAt))}`;
  const gone = removed === 0 ? '' : `, after ${count(removed, 'file')} that retention removed${when}`;
  const extent = `${count(lines, 'line')} in ${count(files, 'file')}, ${count(chains.length, 'writer')}${gone}`;
  const tornNote =
    torn === 0
      ? []
      : [
          `${count(torn, 'unfinished write')} of a crash or a full disk ${torn === 1 ? 'is' : 'are'} in it; nothing is missing for that.`,
        ];
  const notes = [...tornNote];
  if (accepted > 0)
    notes.push(
      `${count(accepted, 'line')} ${accepted === 1 ? 'is' : 'are'} gone whose loss was accepted (audit query --event audit.accepted).`,
    );
  if (typeof stored === 'string')
    notes.push(
      `The ends of its chains were not compared with the store (${withoutStop(stored)}): that the log was removed or put back as it was is not found.`,
    );
  else if (stored.ends.size === 0)
    notes.push(
      'The store has no ends of this log to compare with: nothing was written to it with this store yet.',
    );
  if (ok) return [`The audit log is whole: ${extent}.`, ...notes].join('\n');
  if (gaps.length > 0)
    notes.push(
      'Lines that are gone stay reported. Where you know why (a backup that was put back): sidekey audit accept',
    );
  const total = problems.length + found.omitted;
  const listed = problems
    .slice(0, mostListed)
    .map(({ file: at, line, sentence }) => `  ${displayName(at, process.cwd())}:${line}: ${sentence}`);
  if (total > mostListed) listed.push(`  … and ${total - mostListed} more.`);
  return [
    `The audit log ${displayName(file, process.cwd())} is not whole: ${count(total, 'problem')} in ${extent}.`,
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
      hint: 'give the file with what sidekey audit anchor printed, or - for standard input',
      cause,
    });
  }
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
