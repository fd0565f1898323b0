import path from 'node:path';
import type { Gap } from './chain.ts';
import { type AuditVault, readHeads } from './live-file.ts';
import { type ChainHead, chainMac, prevOf, unknownEnd } from './line.ts';
import { parseLine, type Piece, piecesOf, readPiece } from './piece.ts';
import { snapshotLog } from './log-files.ts';
import { maxLineBytes, openSource, readBackwards } from './reader.ts';
import { parseGap, readRetention, type StoredHeads } from './sealed-heads.ts';

/** Number of last lines that are checked. */
const linesBack = 200;

/**
 * Checks the end of the log at `file`: the head records, the last line of each chain, and the last lines of
 * the newest file. Reads few lines, so it misses earlier damage, which `verifyAudit` finds.
 *
 * @param stored The heads in the store, read before the call; absent: no store is available.
 * @returns a sentence about the first fault; null if there is none
 */
export function checkEnds(file: string, vault: AuditVault, stored: StoredHeads | undefined): string | null {
  const log = path.resolve(file);
  const records = readHeads(log, vault);
  if (records.some(({ kind }) => kind === 'broken')) return 'Its head record was changed.';
  if (stored !== undefined && stored.damaged.length > 0) return 'Its end in the store was changed.';
  const heads: (ChainHead & { readonly node: string })[] = [
    ...records.flatMap((record) => (record.kind === 'head' ? [record.head] : [])),
    ...(stored?.heads.values() ?? []),
  ];
  for (const head of heads) {
    const isThere = endsWith(log, head, vault);
    // Retention may have removed the file since.
    if (!isThere && !isRemoved(log, head, vault)) return 'Lines at its end are missing or were changed.';
  }
  return checkLastLines(log, vault);
}

/** Reports whether the log has the line of a head at the recorded place. */
function endsWith(log: string, { node, seq, hash, end }: ChainHead & { node: string }, vault: AuditVault) {
  if (end === undefined || end === unknownEnd) return true;
  const [number, byte] = end.split(':').map(Number) as [number, number];
  const source = snapshotLog(log).find((each) => each.number === number);
  using reader = source === undefined ? undefined : openSource(log, source);
  if (reader === undefined) return false;
  if (reader.size() < byte) return false;
  const { value: last } = readBackwards(reader, byte).next();
  if (last === undefined || last.bytes.length > maxLineBytes) return false;
  const piece = readPiece(last.bytes, chainMac(vault));
  return piece.kind === 'line' && piece.node === node && piece.seq === seq && piece.hash === hash;
}

function isRemoved(log: string, { end = unknownEnd }: ChainHead, vault: AuditVault): boolean {
  const retention = readRetention(log, vault);
  return retention.kind === 'record' && Number(end.split(':', 1)[0]) <= retention.record.removed;
}

/** Checks the last lines: each must be authentic and follow its predecessor in the chain. */
function checkLastLines(log: string, vault: AuditVault): string | null {
  const mac = chainMac(vault);
  const source = snapshotLog(log).at(-1);
  using reader = source === undefined ? undefined : openSource(log, source);
  if (reader === undefined) return null;
  const later = new Map<string, Extract<Piece, { kind: 'line' }>>();
  const accepted: Gap[] = [];
  let lines = 0;
  for (const { bytes } of readBackwards(reader, reader.size())) {
    for (const text of piecesOf(bytes).toReversed()) {
      const piece = readPiece(text, mac);
      if (piece.kind === 'torn') continue;
      if (piece.kind !== 'line') return 'A line near its end was edited.';
      const gap = piece.event === 'audit.accepted' ? parseGap(parseLine(text)?.reason ?? '') : undefined;
      if (gap !== undefined) accepted.push(gap);
      const next = later.get(piece.node);
      later.set(piece.node, piece);
      if (next === undefined || next.prev === prevOf(piece.hash)) continue;
      const [from, to] = [piece.seq + 1, next.seq - 1];
      const isAccepted = accepted.some(
        (each) => each.node === piece.node && each.from <= from && to <= each.to,
      );
      if (!isAccepted) return `Lines ${from} to ${to} of ${piece.node} are gone.`;
    }
    if ((lines += 1) === linesBack) return null;
  }
  return null;
}
