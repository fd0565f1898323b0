/**
 * The format of an audit line. Pure.
 *
 * A line is a JSON object with its fields in a fixed order and no white space. Its last field, `hash`, is a keyed hash
 * (HMAC-SHA256) over the bytes of the line in the file up to `,"hash":`. Verification never parses and serialises a
 * line, so a difference between two parsers cannot hide an edit.
 *
 * The hash is truncated to 132 bits (RFC 2104, section 5). `prev` is the first half of the hash before it: `prev` has to
 * tell apart only the authentic lines of one chain with one number, and there are several of these only if a chain was
 * continued from an older copy.
 */
import type { Vault } from '../vault/vault.ts';
import type { AuditEvent, AuditLine } from './event.ts';

/** Length of a hash: 132 bits in base64url. */
const hashLength = 22;
/** Length of a `prev`: 66 bits in base64url. */
const prevLength = 11;

/** The hash before the first line of a chain. */
export const genesis = '0'.repeat(hashLength);

/** A keyed hash in base64url, 22 characters: that of `chainMac`. */
export type ChainMac = (text: string | Uint8Array) => string;

/** Returns the keyed hash of lines. */
export function chainMac(vault: Pick<Vault, 'mac'>): ChainMac {
  return (text) => vault.mac('audit-chain', text, 'base64url').slice(0, hashLength);
}

/** Returns the `prev` of the line after the one with this hash. */
export function prevOf(hash: string): string {
  return hash.slice(0, prevLength);
}

/** The head of a chain: number and hash of its last line. The next line has `seq + 1` and the `prev` of this hash. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string;
  /** End of the line in the log, see `formatEnd`; absent if unknown. */
  readonly end?: string | undefined;
}

/**
 * Formats the end of a line: the number of its file (see `LogSource`) and the byte after its last one, as `3:52100`.
 */
export function formatEnd(file: number, byte: number): string {
  return `${file}:${byte}`;
}

/** `prev_end` if the end of the line before is unknown, or there is no line before. */
export const unknownEnd = '0:0';

/** The start of every line. Quotes in strings are escaped, so it occurs nowhere else in a line. */
const opening = '{"v":1,"seq":';
const openingBytes = Buffer.from(opening);
const hashKey = ',"hash":"';
/** Length of `,"hash":"<hash>"}`. */
const hashTail = hashKey.length + hashLength + 2;
/** Length of `,"prev":"<prev>"`. */
const prevTail = ',"prev":"'.length + prevLength + 1;
const endKey = ',"prev_end":"';
/** Length of the longest `,"prev_end":"FILE:BYTE"`: 12 digits of a file, 16 of a byte. */
const endTail = endKey.length + 12 + 1 + 16 + 1;

/** The fields of an event between `event` and `prev`, in order, each with its maximum length in UTF-16 units. */
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
  ['leaks', 0],
  ['credential', 128],
] as const satisfies readonly (readonly [Exclude<keyof AuditEvent, 'event'>, number])[];
const fields = lengths.map(([name, limit]) => ({ name, limit, key: `,"${name}":` }));

/** The names of all fields of a line that matter outside the chain, in the order of the file. */
export const lineFields = [
  'seq',
  'time',
  'node',
  'event',
  ...lengths.map(([name]) => name),
  'prev',
  'hash',
] as const;

/**
 * Returns the line of `event`, without its newline, and the new head. Strings are cut at their maximum length, and a
 * path at its first `?` or `#` (query values are never written); numbers that are not finite are omitted.
 *
 * @param time ISO 8601, UTC, milliseconds.
 * @param last The head of the chain; `{ seq: 0, hash: genesis }` for a new one.
 * @param tellsEnd Whether the line names the end of the line before.
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
      const text = name === 'path' ? withoutQuery(value) : value;
      const kept = text.length > limit ? text.slice(0, limit) : text;
      pieces[at++] = key;
      if (plain.test(kept)) {
        pieces[at++] = '"';
        pieces[at++] = kept;
        pieces[at++] = '"';
      } else pieces[at++] = quote(kept);
    }
  }
  if (tellsEnd) pieces[at++] = `${endKey}${last.end ?? unknownEnd}"`;
  pieces[at++] = `,"prev":"${prevOf(last.hash)}"`;
  pieces.length = at;
  const text = pieces.join('');
  const hash = mac(text);
  return { text: `${text}${hashKey}${hash}"}`, head: { seq, hash } };
}

/** The parts of the current line: joining them costs less than appending one by one. */
const pieces: string[] = [];

function withoutQuery(path: string): string {
  const end = path.search(/[?#]/);
  return end === -1 ? path : path.slice(0, end);
}

// Also escapes C1 controls and bidirectional marks, which JSON does not require: terminals would interpret them
// (CVE-2021-42574 is the same attack on source code).
const controls = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** Text that needs no escapes in a JSON string. */
const plain = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

function quote(text: string): string {
  if (plain.test(text)) return `"${text}"`;
  return escapeControls(JSON.stringify(text));
}

function escapeControls(json: string): string {
  return json.replace(controls, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Returns the text of a line that has other fields than the log has it with: its `hash` does not cover them. */
export function formatLine(line: AuditLine): string {
  return escapeControls(JSON.stringify(line));
}

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
    }
  | { readonly kind: 'torn' | 'altered'; readonly claim: { node: string; seq: number } | undefined };

/**
 * Splits the bytes between two newlines into pieces, usually one. A writer that died in a write leaves a fragment
 * without a newline, and the line of the next writer follows it directly.
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

/** Reads one piece: `line` if its hash matches; `torn` if it may be the beginning of a line; else `altered`. */
export function readPiece(bytes: Buffer, mac: ChainMac): Piece {
  const end = bytes.length - hashTail;
  const tailAt = end - prevTail - endTail;
  if (tailAt > 0 && bytes[bytes.length - 1] === 0x7d) {
    const tail = bytes.toString('latin1', tailAt);
    const hash = tail.slice(-hashLength - 2, -2);
    if (tail.startsWith(`${hashKey}${hash}"}`, end - tailAt) && mac(bytes.subarray(0, end)) === hash) {
      // Authentic, so it has the shape of `composeLine`.
      const start = /^\{"v":1,"seq":(\d+),"time":"[^"]*","node":"([^"]*)","event":"([^"]*)"/.exec(
        bytes.toString('latin1', 0, Math.min(end, 512)),
      );
      if (start !== null) {
        const [, seq, node, event] = start;
        const endAt = tail.lastIndexOf(endKey, endTail);
        const prevEnd = endAt === -1 ? undefined : tail.slice(endAt + endKey.length, endTail - 1);
        const prev = tail.slice(end - tailAt - prevLength - 1, end - tailAt - 1);
        return { kind: 'line', node: node ?? '', seq: Number(seq), prev, hash, event: event ?? '', prevEnd };
      }
    }
  }
  const closed = end > 0 && /^,"hash":"[\w-]{22}"\}$/.test(bytes.toString('latin1', end));
  // A torn line is no JSON: complete JSON would be shown by readers of the log.
  const isWhole = closed || parseLine(bytes) !== undefined;
  return { kind: !isWhole && isStartOfLine(bytes) ? 'torn' : 'altered', claim: claimOf(bytes) };
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
