/**
 * The text of one audit line, and how to read it back. Pure.
 *
 * A line is the JSON object of the public contract with its fields in one fixed order and no white space. `hash` is
 * the last field: a keyed hash (HMAC-SHA256) over the bytes of the line as they stand in the file, up to the
 * `,"hash":` that follows them. Nothing is ever parsed and serialised again to check a line, so there is no second
 * reading of a line for an edit to hide in.
 */
import type { AuditEvent, AuditLine } from './event.ts';

/** `prev` of the first line of a chain. */
export const genesis = '0'.repeat(64);

/** A keyed hash in hex (64 characters): the vault's `mac` for `audit-chain`. */
export type ChainMac = (text: string | Uint8Array) => string;

/** A place in a chain: the line's number and its hash. The next line has `seq + 1` and this hash as its `prev`. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string;
  /** Where the line ends in the log, see `endText`. Left out where that is not known. */
  readonly end?: string | undefined;
}

/** The end of a line in the log: the number of its file (see `LogSource`) and the byte after its last, as `3:52100`. */
export function formatEnd(file: number, byte: number): string {
  return `${file}:${byte}`;
}

/** `prev_end` where the end of the line before is not known, or there is no line before. */
export const unknownEnd = '0:0';

/** Every line starts with this. Quotes inside of strings are escaped, so it stands nowhere else within a line. */
const opening = '{"v":1,"seq":';
const openingBytes = Buffer.from(opening);
const hashKey = ',"hash":"';
/** Length of `,"hash":"<64 hex>"}`. */
const hashTail = hashKey.length + 64 + 2;
/** Length of `,"prev":"<64 hex>"`. */
const prevTail = ',"prev":"'.length + 64 + 1;
const endKey = ',"prev_end":"';
/** Length of the longest `,"prev_end":"FILE:BYTE"`: 12 digits of a file, 16 of a byte. */
const endTail = endKey.length + 12 + 1 + 16 + 1;

/** The fields of an event between `event` and `prev`, in order, each with its greatest length in UTF-16 units. */
const lengths = [
  ['exchange', 64],
  ['agent', 256],
  ['lease', 128],
  ['approval', 16],
  ['user', 256],
  ['grant', 128],
  ['provider', 128],
  ['client', 128],
  ['by', 160],
  ['method', 64],
  ['scheme', 16],
  ['host', 260],
  ['port', 0],
  ['path', 2_048],
  ['outcome', 32],
  ['code', 64],
  ['status', 0],
  ['reason', 512],
  ['bytes_in', 0],
  ['bytes_out', 0],
  ['duration_ms', 0],
  ['echoes', 0],
  ['credential', 128],
] as const satisfies readonly (readonly [Exclude<keyof AuditEvent, 'event'>, number])[];
const fields = lengths.map(([name, limit]) => ({ name, limit, key: `,"${name}":` }));

/**
 * The line of `event`, without its newline, and its hash. Strings are cut at their greatest length, and a path also at
 * its first `?` or `#` (query values are never written); numbers that are not finite are left out.
 *
 * @param time ISO 8601, UTC, milliseconds.
 * @param last The line before of the same node; `{ seq: 0, hash: genesis }` where there is none.
 * @param tellsEnd Whether the line says where the line before ends.
 */
export function composeLine(
  event: AuditEvent,
  time: string,
  node: string,
  last: ChainHead,
  mac: ChainMac,
  tellsEnd = false,
): { readonly text: string; readonly head: ChainHead } {
  const seq = last.seq + 1;
  let at = 0;
  pieces[at++] = `${opening}${seq},"time":"${time}","node":"${node}","event":${quote(event.event)}`;
  for (const { name, limit, key } of fields) {
    const value = event[name];
    if (value === undefined) continue;
    if (typeof value === 'number') {
      if (!Number.isFinite(value)) continue;
      pieces[at++] = key;
      pieces[at++] = String(Math.round(value * 1_000) / 1_000);
    } else {
      const told = name === 'path' ? withoutQuery(value) : value;
      const kept = told.length > limit ? told.slice(0, limit) : told;
      pieces[at++] = key;
      if (plain.test(kept)) {
        pieces[at++] = '"';
        pieces[at++] = kept;
        pieces[at++] = '"';
      } else pieces[at++] = quote(kept);
    }
  }
  if (tellsEnd) pieces[at++] = `${endKey}${last.end ?? unknownEnd}"`;
  pieces[at++] = `,"prev":"${last.hash}"`;
  pieces.length = at;
  const text = pieces.join('');
  const hash = mac(text);
  return { text: `${text}${hashKey}${hash}"}`, head: { seq, hash } };
}

/** The parts of the line that is being made: joined, they cost less than added one by one. */
const pieces: string[] = [];

function withoutQuery(path: string): string {
  const end = path.search(/[?#]/);
  return end === -1 ? path : path.slice(0, end);
}

// Beyond what JSON asks for, C1 controls and the marks that turn the direction of text are escaped too: lines are shown
// on terminals, where they would act (CVE-2021-42574 is the same trick on source code).
const acting = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** What stands in a JSON string as it is. */
const plain = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

function quote(text: string): string {
  if (plain.test(text)) return `"${text}"`;
  return JSON.stringify(text).replace(
    acting,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** What a piece of the file turns out to be. `claim` is what a broken piece says it is, where that can be read. */
export type Piece =
  | {
      readonly kind: 'line';
      readonly node: string;
      readonly seq: number;
      readonly prev: string;
      readonly hash: string;
      readonly event: string;
      /** Where the line before of its node ends. Left out where the line does not say it. */
      readonly prevEnd?: string | undefined;
    }
  | { readonly kind: 'torn' | 'altered'; readonly claim: { node: string; seq: number } | undefined };

/**
 * The pieces of what stands between two newlines. Usually one. A writer that died in the middle of a write leaves a
 * fragment without a newline, and what another writer appends next stands behind it on the same line.
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

/**
 * Reads one piece: `line` where its hash fits; `torn` where it may be the beginning of a line whose end was never
 * written; `altered` where it is neither.
 */
export function readPiece(bytes: Buffer, mac: ChainMac): Piece {
  const end = bytes.length - hashTail;
  const tailAt = end - prevTail - endTail;
  if (tailAt > 0 && bytes[bytes.length - 1] === 0x7d) {
    const tail = bytes.toString('latin1', tailAt);
    const hash = tail.slice(-66, -2);
    if (tail.startsWith(`${hashKey}${hash}"}`, end - tailAt) && mac(bytes.subarray(0, end)) === hash) {
      // Authentic, so its shape is the one composeLine gave it.
      const start = /^\{"v":1,"seq":(\d+),"time":"[^"]*","node":"([^"]*)","event":"([^"]*)"/.exec(
        bytes.toString('latin1', 0, Math.min(end, 512)),
      );
      if (start !== null) {
        const [, seq, node, event] = start;
        const told = tail.lastIndexOf(endKey, endTail);
        const prevEnd = told === -1 ? undefined : tail.slice(told + endKey.length, endTail - 1);
        const prev = tail.slice(end - tailAt - 65, end - tailAt - 1);
        return { kind: 'line', node: node ?? '', seq: Number(seq), prev, hash, event: event ?? '', prevEnd };
      }
    }
  }
  const closed = end > 0 && /^,"hash":"[0-9a-f]{64}"\}$/.test(bytes.toString('latin1', end));
  // The beginning of a line is no JSON, and readers of the log show whatever is.
  const isWhole = closed || parseLine(bytes) !== undefined;
  return { kind: !isWhole && opens(bytes) ? 'torn' : 'altered', claim: claimOf(bytes) };
}

/** Whether the bytes begin as a line does, or are such a beginning broken off, perhaps several times over. */
function opens(bytes: Buffer): boolean {
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

/** The object of a piece, not verified; undefined where it is no whole line. */
export function parseLine(bytes: Buffer): AuditLine | undefined {
  if (!opens(bytes) || bytes.at(-1) !== 0x7d) return undefined;
  try {
    return JSON.parse(bytes.toString('utf8')) as AuditLine;
  } catch {
    return undefined;
  }
}
