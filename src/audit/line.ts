/**
 * The format of an audit line. Pure.
 *
 * A line is a JSON object with its fields in a fixed order and no white space. Its last field, `hash`, is a
 * keyed hash (HMAC-SHA256) over the bytes of the line up to `,"hash":`. Verification never parses and
 * serialises a line, so a difference between two parsers cannot hide an edit.
 *
 * The hash is truncated to 132 bits (RFC 2104 §5). `prev` is the beginning of the previous hash. It only has
 * to distinguish authentic lines of one chain with the same number. Several of these exist only if a chain
 * was continued from an older copy.
 */
import { viewsOf } from '../lib/write-buffer.ts';
import type { Vault } from '../store/vault/vault.ts';
import type { AuditEvent, AuditLine } from '../domain/event.ts';

/** Length of a hash: 132 bits in base64url. */
export const hashLength = 22;
/** Length of a `prev`: 48 bits in base64url. */
export const prevLength = 8;

/** The hash before the first line of a chain. */
export const genesis = '0'.repeat(hashLength);

/** Computes a keyed hash in base64url, 22 characters. See `chainMac`. */
export interface ChainMac {
  (text: string | Uint8Array): string;
  /** Hashes with earlier keys, newest first. */
  readonly earlier?: readonly ChainMac[];
}

/** Returns the keyed hash of lines. A later rotation does not change it. */
export function chainMac(vault: Pick<Vault, 'generations'>): ChainMac {
  const [current, ...earlier] = vault.generations.map(
    ({ mac }): ChainMac =>
      (text) =>
        mac('audit-chain', text, 'base64url').slice(0, hashLength),
  );
  return Object.assign(current!, { earlier });
}

/**
 * The first line of a chain with a new key has the full hash of the line before it. So the new key vouches
 * for lines of the old one, and the holder of an old key cannot change any earlier line unnoticed.
 */
export const linkEvent = 'audit.rekeyed';

/** Returns the event that links a chain to a new key. */
export function linkAfter({ seq, hash }: ChainHead, from: string, to: string): AuditEvent {
  return { event: linkEvent, reason: `Key ${from} to ${to} after line ${seq} with hash ${hash}.` };
}

/** Returns the `prev` of the line after the one with this hash. */
export function prevOf(hash: string): string {
  return hash.slice(0, prevLength);
}

/** Head of a chain: number and hash of its last line. The next line has `seq + 1` and this hash's `prev`. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string;
  /** End of the line in the log, see `formatEnd`; absent if unknown. */
  readonly end?: string | undefined;
}

/** Formats the end of a line as `3:52100`: number of its file (see `LogSource`), and end byte (exclusive). */
export function formatEnd(file: number, byte: number): string {
  return `${file}:${byte}`;
}

/** Value of `prev_end` if the end of the previous line is unknown, or there is no previous line. */
export const unknownEnd = '0:0';

/** The start of every line. Quotes in strings are escaped, so it occurs nowhere else in a line. */
const opening = '{"v":1,"seq":';
export const openingBytes = Buffer.from(opening);
export const hashKey = ',"hash":"';
/** Length of `,"hash":"<hash>"}`. */
export const hashTail = hashKey.length + hashLength + 2;
/** Length of `,"prev":"<prev>"`. */
export const prevTail = ',"prev":"'.length + prevLength + 1;
export const endKey = ',"prev_end":"';
/** Length of the longest `,"prev_end":"FILE:BYTE"`: 12 digits of a file, 16 of a byte. */
export const endTail = endKey.length + 12 + 1 + 16 + 1;

/** Longest text of each field, in UTF-16 units, in the order of a line. Numbers have no limit. */
const limits = {
  exchange: 64,
  agent: 256,
  lease: 128,
  subject: 200,
  user: 256,
  grant: 128,
  provider: 128,
  client: 128,
  host: 260,
  port: 0,
  credential: 128,
  scheme: 16,
  approval: 16,
  by: 160,
  method: 64,
  path: 2_048,
  outcome: 32,
  code: 64,
  status: 0,
  reason: 512,
  bytes_in: 0,
  bytes_out: 0,
  duration_ms: 0,
  leaks: 0,
  foreign: 256,
} as const satisfies Record<Exclude<keyof AuditEvent, 'event'>, number>;

/** The names of all fields of a line that matter outside the chain, in the order of the file. */
export const lineFields = [
  'seq',
  'time',
  'node',
  'event',
  ...(Object.keys(limits) as (keyof typeof limits)[]),
  'prev',
  'hash',
] as const;

/** The bytes of `,"NAME":` for each field. */
const keys = Object.fromEntries(
  Object.keys(limits).map((name) => [name, Buffer.from(`,"${name}":`)]),
) as Readonly<Record<keyof typeof limits, Buffer>>;

/** Bytes of the longest line with its newline: its texts, as escapes of six bytes per unit, and the rest. */
const longestLine = 6 * Object.values<number>(limits).reduce((sum, limit) => sum + limit, 0) + 2_048;

/** Bytes of a batch: a line that may not fit begins the next one. */
const batchBytes = 262_144;

/** Writes JSON text as bytes into one reused buffer. */
class JsonBytes {
  readonly bytes: Buffer;
  end = 0;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  /** Copies bytes. For few bytes, a loop costs less than a call. */
  copy(from: Uint8Array): void {
    const { bytes } = this;
    let { end } = this;
    if (from.length > 32) {
      bytes.set(from, end);
      end += from.length;
    } else for (let at = 0; at < from.length; at += 1) bytes[end++] = from[at]!;
    this.end = end;
  }

  /** Writes the first `length` characters of ASCII text as they are. */
  ascii(text: string, length = text.length): void {
    const { bytes } = this;
    let { end } = this;
    for (let at = 0; at < length; at += 1) bytes[end++] = text.charCodeAt(at);
    this.end = end;
  }

  /** Writes a string with quotes, cut at `limit` units. */
  text(text: string, limit: number): void {
    const { bytes, end: begin } = this;
    const length = Math.min(text.length, limit);
    let end = begin;
    bytes[end++] = quoteByte;
    for (let at = 0; at < length; at += 1) {
      const code = text.charCodeAt(at);
      if (code < 0x20 || code > 0x7e || code === quoteByte || code === 0x5c) {
        this.end = begin + bytes.write(escapeControls(JSON.stringify(text.slice(0, length))), begin);
        return;
      }
      bytes[end++] = code;
    }
    bytes[end++] = quoteByte;
    this.end = end;
  }

  /** Writes a number that is not negative, with at most three decimals. */
  number(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value >= 1e9) {
      this.ascii(String(Math.round(value * 1_000) / 1_000));
      return;
    }
    let digits = 1;
    for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits += 1;
    const { bytes, end } = this;
    let rest = value;
    for (let at = end + digits - 1; at >= end; at -= 1) {
      bytes[at] = 0x30 + (rest % 10);
      rest = Math.floor(rest / 10);
    }
    this.end = end + digits;
  }
}

const quoteByte = 0x22;

function writeText(to: JsonBytes, key: Uint8Array, value: string | undefined, limit: number): void {
  if (value === undefined) return;
  to.copy(key);
  to.text(value, limit);
}

function writeNumber(to: JsonBytes, key: Uint8Array, value: number | undefined): void {
  if (value === undefined || !Number.isFinite(value)) return;
  to.copy(key);
  to.number(value);
}

/** Returns the default `scheme`, which lines omit. */
export function usualScheme(event: string): string | undefined {
  return event === 'access' ? 'https' : undefined;
}

/** Returns the default `outcome`, which lines omit. */
export function usualOutcome(event: string): string | undefined {
  if (event === 'access') return 'allow';
  return event === 'outcome' || event === 'tunnel' ? 'ok' : undefined;
}

/**
 * Writes the fields of an event after `event`. Cuts strings at their limits, and a path at its first `?` or
 * `#` (query values are never written). Omits numbers that are not finite.
 */
function writeFields(to: JsonBytes, event: AuditEvent): void {
  writeText(to, keys.exchange, event.exchange, limits.exchange);
  writeText(to, keys.agent, event.agent, limits.agent);
  writeText(to, keys.lease, event.lease, limits.lease);
  writeText(to, keys.subject, event.subject, limits.subject);
  writeText(to, keys.user, event.user, limits.user);
  writeText(to, keys.grant, event.grant, limits.grant);
  writeText(to, keys.provider, event.provider, limits.provider);
  writeText(to, keys.client, event.client, limits.client);
  writeText(to, keys.host, event.host, limits.host);
  writeNumber(to, keys.port, event.port);
  writeText(to, keys.credential, event.credential, limits.credential);
  if (event.scheme !== usualScheme(event.event)) writeText(to, keys.scheme, event.scheme, limits.scheme);
  writeText(to, keys.approval, event.approval, limits.approval);
  writeText(to, keys.by, event.by, limits.by);
  writeText(to, keys.method, event.method, limits.method);
  if (event.path !== undefined) writeText(to, keys.path, withoutQuery(event.path), limits.path);
  if (event.outcome !== usualOutcome(event.event)) writeText(to, keys.outcome, event.outcome, limits.outcome);
  writeText(to, keys.code, event.code, limits.code);
  writeNumber(to, keys.status, event.status);
  writeText(to, keys.reason, event.reason, limits.reason);
  writeNumber(to, keys.bytes_in, event.bytes_in);
  writeNumber(to, keys.bytes_out, event.bytes_out);
  writeNumber(to, keys.duration_ms, event.duration_ms);
  writeNumber(to, keys.leaks, event.leaks);
  writeText(to, keys.foreign, event.foreign, limits.foreign);
}

/** Composes the lines of a batch, each with its newline, in one buffer. */
export class LineBatch {
  readonly #bytes = Buffer.allocUnsafeSlow(batchBytes);
  #end = 0;
  readonly #json = new JsonBytes(longestLine);
  readonly #view = viewsOf(this.#json.bytes);
  readonly #mac: ChainMac;
  /** The end of each line, after its newline. */
  readonly #ends: number[] = [];
  readonly #hashes: string[] = [];
  /** Number and hash of the line before the next one. */
  #seq = 0;
  #hash = genesis;
  #firstSeq = 0;
  #time = NaN;
  #isoTime = '';

  constructor(mac: ChainMac) {
    this.#mac = mac;
  }

  /**
   * Begins a batch after the head of a chain.
   * @param last The head of the chain; `{ seq: 0, hash: genesis }` for a new one.
   */
  begin({ seq, hash }: ChainHead): void {
    this.#end = 0;
    this.#ends.length = 0;
    this.#hashes.length = 0;
    this.#seq = seq;
    this.#hash = hash;
    this.#firstSeq = seq + 1;
  }

  get count(): number {
    return this.#ends.length;
  }

  /** Reports whether any further line fits. */
  get hasRoom(): boolean {
    return this.#end + longestLine <= batchBytes;
  }

  /** Returns the bytes of the first `count` lines; valid until the next `begin`. */
  bytes(count = this.count): Buffer {
    return this.#bytes.subarray(0, this.#ends[count - 1] ?? 0);
  }

  /** Returns the number of complete lines in the first `bytes` bytes; a line may lack its newline. */
  wholeLines(bytes: number): number {
    let whole = 0;
    while (whole < this.count && this.#ends[whole]! - 1 <= bytes) whole += 1;
    return whole;
  }

  /** Returns the head of the chain after the first `count` lines; `count` is at least 1. */
  head(count: number): { readonly seq: number; readonly hash: string } {
    return { seq: this.#firstSeq + count - 1, hash: this.#hashes[count - 1]! };
  }

  /**
   * Adds the line of an event.
   * @param time Milliseconds since the epoch.
   * @param node Needs no escapes.
   * @param previousEnd The end of the line before, if this line names it.
   */
  add(event: AuditEvent, time: number, node: string, previousEnd?: string): void {
    const json = this.#json;
    json.end = 0;
    if (time !== this.#time) {
      this.#time = time;
      this.#isoTime = new Date(time).toISOString();
    }
    json.copy(openingBytes);
    json.number((this.#seq += 1));
    json.copy(timeBytes);
    json.ascii(this.#isoTime);
    json.copy(nodeBytes);
    json.ascii(node);
    json.copy(eventBytes);
    json.text(event.event, eventLimit);
    writeFields(json, event);
    if (previousEnd !== undefined) {
      json.copy(endBytes);
      json.ascii(previousEnd);
      json.bytes[json.end++] = quoteByte;
    }
    json.copy(prevBytes);
    json.ascii(this.#hash, prevLength);
    json.bytes[json.end++] = quoteByte;
    this.#hash = this.#mac(this.#view(json.end));
    json.copy(hashBytes);
    json.ascii(this.#hash);
    json.copy(closing);
    this.#bytes.set(this.#view(json.end), this.#end);
    this.#ends.push((this.#end += json.end));
    this.#hashes.push(this.#hash);
  }
}

const timeBytes = Buffer.from(',"time":"');
const nodeBytes = Buffer.from('","node":"');
const eventBytes = Buffer.from('","event":');
const endBytes = Buffer.from(endKey);
const prevBytes = Buffer.from(',"prev":"');
const hashBytes = Buffer.from(hashKey);
const closing = Buffer.from('"}\n');
const eventLimit = 64;

function withoutQuery(path: string): string {
  for (let at = 0; at < path.length; at += 1) {
    const code = path.charCodeAt(at);
    if (code === 0x3f || code === 0x23) return path.slice(0, at);
  }
  return path;
}

// Also escapes C1 controls and bidirectional marks, which JSON does not require: terminals would interpret
// them (CVE-2021-42574 is the same attack on source code).
const controls = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

function escapeControls(json: string): string {
  return json.replace(controls, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Returns the text of a line with other fields than in the log; its `hash` does not cover them. */
export function formatLine(line: AuditLine): string {
  return escapeControls(JSON.stringify(line));
}
