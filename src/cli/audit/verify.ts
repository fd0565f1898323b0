import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { readAnchors } from '../../audit/anchor.ts';
import { headFile } from '../../audit/head.ts';
import { snapshot } from '../../audit/log-files.ts';
import { verifyAudit, type Verification } from '../../audit/verify.ts';
import { displayName } from '../../config/problem.ts';
import { exitCode, SidekeyError } from '../../errors.ts';
import { systemCode } from '../../system-error.ts';
import { openVault } from '../../vault/open-vault.ts';
import type { Context } from '../context.ts';

/** More are not listed for people; `--json` has them all. */
const mostListed = 20;

/** `sidekey audit verify`: exit code 1 where the log is not whole. */
export async function verify(
  { readConfig, readInput, output }: Context,
  options: { readonly anchor?: string },
): Promise<number> {
  const config = await readConfig();
  const anchors = options.anchor === undefined ? undefined : await readAnchorText(options.anchor, readInput);
  const { file } = config.audit;
  // Without a log there may be no key yet either, and nothing is made here.
  if (anchors === undefined && snapshot(file).length === 0 && !existsSync(headFile(file))) {
    output.result(
      {
        ok: true,
        lines: 0,
        files: 0,
        removed: 0,
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
  const found = await verifyAudit({ file, vault, anchored });
  output.result(found, describe(found, file));
  return found.ok ? exitCode.ok : exitCode.failure;
}

function describe(found: Verification, file: string): string {
  const { ok, lines, files, removed, torn, chains, problems } = found;
  const gone = removed === 0 ? '' : `, after ${count(removed, 'file')} that retention removed`;
  const extent = `${count(lines, 'line')} in ${count(files, 'file')}, ${count(chains.length, 'writer')}${gone}`;
  const tornNote =
    torn === 0
      ? []
      : [
          `${count(torn, 'unfinished write')} of a crash or a full disk ${torn === 1 ? 'is' : 'are'} in it; nothing is missing for that.`,
        ];
  if (ok) return [`The audit log is whole: ${extent}.`, ...tornNote].join('\n');
  const total = problems.length + found.omitted;
  const listed = problems
    .slice(0, mostListed)
    .map(({ file: at, line, sentence }) => `  ${displayName(at, process.cwd())}:${line}: ${sentence}`);
  if (total > mostListed) listed.push(`  … and ${total - mostListed} more.`);
  return [
    `The audit log ${displayName(file, process.cwd())} is not whole: ${count(total, 'problem')} in ${extent}.`,
    ...listed,
    ...tornNote,
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
