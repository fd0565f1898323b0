import type { AuditLine } from '../domain/event.ts';
import {
  type ChainMac,
  endKey,
  endTail,
  hashKey,
  hashLength,
  hashTail,
  linkEvent,
  openingBytes,
  prevLength,
  prevTail,
} from './line.ts';

/** Reading of audit lines, also of what a dead writer or an edit left of one. Pure. */

/** A piece of the file, as read. `claim`: node and number that a broken piece names, if readable. */
export type Piece =
  | {
      readonly kind: 'line';
      readonly node: string;
      readonly seq: number;
      readonly prev: string;
      readonly hash: string;
      readonly event: string;
      /** End of the line before of its node; absent if the line does not name it. */
      readonly prevEnd?: string | undefined;
      /** Number of rotations after the key of this line. Absent: none, it is the current key. */
      readonly age?: number | undefined;
      /** The hash of the line before, if this line links the chain to a new key. */
      readonly link?: string | undefined;
    }
  | { readonly kind: 'torn' | 'altered'; readonly claim: { node: string; seq: number } | undefined };

/**
 * Splits the bytes between two newlines into pieces, usually one. If a writer dies in a write, its fragment
 * has no newline, and the line of the next writer follows directly.
 */
export function piecesOf(bytes: Buffer): Buffer[] {
  let from = 0;
  const pieces: Buffer[] = [];
  for (;;) {
    const next = bytes.indexOf(openingBytes, from + 1, 'latin1');
    if (next === -1) break;
    pieces.push(bytes.subarray(from, next));
    from = next;
  }
  if (from < bytes.length) pieces.push(bytes.subarray(from));
  return pieces;
}

/** Reads a piece: `line` if a key of the log made its hash, `torn` if it may begin a line, else `altered`. */
export function readPiece(bytes: Buffer, mac: ChainMac): Piece {
  const end = bytes.length - hashTail;
  const tailAt = end - prevTail - endTail;
  if (tailAt > 0 && bytes[bytes.length - 1] === 0x7d) {
    const tail = bytes.toString('latin1', tailAt);
    const hash = tail.slice(-hashLength - 2, -2);
    const isClosed = tail.startsWith(`${hashKey}${hash}"}`, end - tailAt);
    const age = isClosed ? ageOf(bytes.subarray(0, end), hash, mac) : -1;
    if (age !== -1) {
      // The line is authentic, so it has the shape of `LineBatch`.
      const start = /^\{"v":1,"seq":(\d+),"time":"[^"]*","node":"([^"]*)","event":"([^"]*)"/.exec(
        bytes.toString('latin1', 0, Math.min(end, 512)),
      );
      if (start !== null) {
        const [, seq, node, event] = start;
        const endAt = tail.lastIndexOf(endKey, endTail);
        const prevEnd = endAt === -1 ? undefined : tail.slice(endAt + endKey.length, endTail - 1);
        const prev = tail.slice(end - tailAt - prevLength - 1, end - tailAt - 1);
        const line = { node: node ?? '', seq: Number(seq), prev, hash, event: event ?? '', prevEnd };
        return {
          kind: 'line',
          ...line,
          ...(age > 0 && { age }),
          ...(event === linkEvent && { link: linkOf(bytes) }),
        };
      }
    }
  }
  const closed = end > 0 && /^,"hash":"[\w-]{22}"\}$/.test(bytes.toString('latin1', end));
  // A torn line is not JSON: readers of the log would show complete JSON.
  const isWhole = closed || parseLine(bytes) !== undefined;
  return { kind: !isWhole && isStartOfLine(bytes) ? 'torn' : 'altered', claim: claimOf(bytes) };
}

/** Returns the number of rotations after the key that made a hash; -1 if no key of the log made it. */
function ageOf(text: Buffer, hash: string, mac: ChainMac): number {
  if (mac(text) === hash) return 0;
  const at = (mac.earlier ?? []).findIndex((earlier) => earlier(text) === hash);
  return at === -1 ? -1 : at + 1;
}

function linkOf(bytes: Buffer): string | undefined {
  return /after line \d+ with hash ([\w-]{22})\.$/.exec(parseLine(bytes)?.reason ?? '')?.[1];
}

/** Reports whether the bytes begin like a line, or are one or several fragments of that beginning. */
function isStartOfLine(bytes: Buffer): boolean {
  let same = 0;
  for (const byte of bytes) {
    if (byte !== openingBytes[same]) same = 0;
    if (byte !== openingBytes[same]) return false;
    same += 1;
    if (same === openingBytes.length) return true;
  }
  return true;
}

function claimOf(bytes: Buffer): { node: string; seq: number } | undefined {
  const text = bytes.toString('latin1', 0, 512);
  const seq = /"seq":(\d{1,15}),/.exec(text)?.[1];
  const node = /"node":"([^"]*)"/.exec(text)?.[1];
  return seq === undefined || node === undefined ? undefined : { node, seq: Number(seq) };
}

/** Parses a piece without verification; undefined if it is no complete line. */
export function parseLine(bytes: Buffer): AuditLine | undefined {
  if (!isStartOfLine(bytes) || bytes.at(-1) !== 0x7d) return undefined;
  try {
    return JSON.parse(bytes.toString('utf8')) as AuditLine;
  } catch {
    return undefined;
  }
}
