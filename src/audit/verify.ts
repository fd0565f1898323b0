/**
 * Checks a whole log against the key: every line, every chain, every head record, every rotated file. Streams, and may
 * run while writers write.
 *
 * Found: a line that was edited, removed, moved within its chain, repeated or added; an end that was cut; a file that was
 * removed. Not found: an older log that was put back whole, together with its own older head records; whoever may
 * write to both files must be watched from elsewhere, by shipping lines off the machine.
 */
import fs from 'node:fs';
import path from 'node:path';
import { SidekeyError } from '../errors.ts';
import { problemLimit, walkChains, type ChainExtent, type Problem } from './chain.ts';
import { headFile, readHeads, type AuditVault, type HeadRecord } from './head.ts';
import { parseLine, piecesOf, readPiece, type ChainMac, type Link } from './line.ts';
import { openSource, rotatedFiles, snapshot } from './log-files.ts';
import { readForwards } from './read-lines.ts';

/** What a check of the log found. */
export interface Verification {
  /** Whether there are no problems. */
  readonly ok: boolean;
  /** Authentic lines. */
  readonly lines: number;
  readonly files: number;
  /** Ends of writes that a crash or a full disk broke off. They record nothing, and no line is missing for them. */
  readonly torn: number;
  readonly chains: readonly ChainExtent[];
  /** In the order of the log. At most some thousands; `omitted` says how many more there are. */
  readonly problems: readonly Problem[];
  readonly omitted: number;
}

/**
 * Verifies the log at `file`. A log that was never written has no lines and no problems.
 * @throws SidekeyError `key_mismatch` where it was written with another master key.
 */
export async function verifyAudit(options: {
  readonly file: string;
  readonly vault: AuditVault;
}): Promise<Verification> {
  const { vault } = options;
  const file = path.resolve(options.file);
  const mac: ChainMac = (text) => vault.mac('audit-chain', text).toString('hex');
  // First the heads, then the sizes of the files: what a head tells of was written before it.
  const records = readHeads(file, vault);
  const sources = snapshot(file);
  const walk = walkChains(headLinks(records), { file: headFile(file), line: 1 });
  const problems: Problem[] = [...headProblems(file, records), ...numberProblems(file)];

  for (const source of sources) {
    const fd = openSource(file, source);
    if (fd === undefined) continue;
    try {
      for await (const lines of readForwards(fd, source.size)) {
        for (const { bytes, number } of lines) {
          const place = { file: source.path, line: number };
          for (const bytesOfPiece of piecesOf(bytes)) {
            const piece = readPiece(bytesOfPiece, mac);
            walk.see(piece, place);
            if (piece.kind === 'line' && piece.event === 'audit.repaired') {
              const { code, reason = '' } = parseLine(bytesOfPiece) ?? {};
              if (code === 'audit_broken') problems.push({ ...place, kind: 'cut', sentence: reason });
            }
          }
        }
      }
    } finally {
      fs.closeSync(fd);
    }
  }

  const found = walk.finish();
  const otherKey = records.find((record) => record.kind === 'other-key');
  if (otherKey !== undefined && found.lines === 0) {
    throw new SidekeyError(
      'key_mismatch',
      `The audit log ${file} was written with another master key (${otherKey.keyId}) than this one (${vault.keyId}).`,
      { hint: 'Verify it with the key that it was written with.' },
    );
  }
  const order = new Map(sources.map((source, index) => [source.path, index]));
  const rank = (problem: Problem) => order.get(problem.file) ?? sources.length;
  const all = [...problems, ...found.problems].toSorted((a, b) => rank(a) - rank(b) || a.line - b.line);
  return {
    ok: all.length === 0,
    lines: found.lines,
    files: sources.length,
    torn: found.torn,
    chains: found.chains,
    problems: all.slice(0, problemLimit),
    omitted: found.omitted + Math.max(0, all.length - problemLimit),
  };
}

function headLinks(records: readonly HeadRecord[]): Map<string, Link> {
  return new Map(
    records.flatMap((record) => (record.kind === 'head' ? [[record.head.node, record.head]] : [])),
  );
}

function headProblems(file: string, records: readonly HeadRecord[]): Problem[] {
  return records.flatMap((record, index): Problem[] => {
    if (record.kind === 'head' || record.kind === 'none') return [];
    const sentence =
      record.kind === 'broken'
        ? `The head record of slot ${index + 1} was changed.`
        : `The head record of slot ${index + 1} was written with another master key (${record.keyId}).`;
    return [{ file: headFile(file), line: index + 1, kind: 'edited', sentence }];
  });
}

/** Rotated files are numbered without a gap. */
function numberProblems(file: string): Problem[] {
  let last = 0;
  return rotatedFiles(file).flatMap(({ path: at, number }): Problem[] => {
    const gone = number - last - 1;
    const [from, to] = [last + 1, number - 1];
    last = number;
    if (gone <= 0) return [];
    const what = gone === 1 ? `Rotated file ${from} is` : `Rotated files ${from} to ${to} are`;
    return [{ file: at, line: 1, kind: 'missing', sentence: `${what} gone.` }];
  });
}
