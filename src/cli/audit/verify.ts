import { existsSync } from 'node:fs';
import { headFile } from '../../audit/head.ts';
import { snapshot } from '../../audit/log-files.ts';
import { verifyAudit, type Verification } from '../../audit/verify.ts';
import { displayName } from '../../config/problem.ts';
import { exitCode } from '../../errors.ts';
import { openVault } from '../../vault/open-vault.ts';
import type { Context } from '../context.ts';

/** More are not listed for people; `--json` has them all. */
const mostListed = 20;

/** `sidekey audit verify`: exit code 1 where the log is not whole. */
export async function verify({ readConfig, output }: Context): Promise<number> {
  const config = await readConfig();
  const { file } = config.audit;
  // Without a log there may be no key yet either, and nothing is made here.
  if (snapshot(file).length === 0 && !existsSync(headFile(file))) {
    output.result(
      { ok: true, lines: 0, files: 0, torn: 0, chains: [], problems: [], omitted: 0 },
      `Nothing was recorded in ${displayName(file, process.cwd())} yet.`,
    );
    return exitCode.ok;
  }
  const vault = await openVault(config.key, { mayCreate: false, store: config.store.path });
  const found = await verifyAudit({ file, vault });
  output.result(found, describe(found, file));
  return found.ok ? exitCode.ok : exitCode.failure;
}

function describe(found: Verification, file: string): string {
  const { ok, lines, files, torn, chains, problems } = found;
  const extent = `${count(lines, 'line')} in ${count(files, 'file')}, ${count(chains.length, 'writer')}`;
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

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
