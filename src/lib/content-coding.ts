import { isUtf8 } from 'node:buffer';
import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import { untrusted } from './text.ts';

/**
 * Content codings of whole bodies (RFC 9110 §8.4). Reads only what every program decodes to the same bytes.
 */

/** The reason why a body cannot be read. */
export interface UnreadableBody {
  /** A predicate, such as `has more than 3 content codings`. */
  readonly problem: string;
  /** The next step of the client. */
  readonly hint: string;
  readonly isLong: boolean;
}

/** A limit on the bytes of a body. */
export interface BodyLimit {
  /** Key of `limits` in the config; null: the limit is fixed. */
  readonly name: 'rule_body_bytes' | 'placeholder_body_bytes' | 'approval_body_bytes' | null;
  readonly bytes: number;
}

/** Maximum number of nested codings. More are an attack on the decoder. */
export const maxCodings = 3;

/** Returns the codings of `Content-Encoding` in lower case and in the order of their application. */
export function contentCodings(values: readonly string[]): readonly string[] {
  if (values.length === 0) return none;
  return values
    .flatMap((value) => value.split(','))
    .map((coding) => coding.trim().toLowerCase())
    .filter((coding) => coding !== 'identity' && coding !== '');
}

const none: readonly string[] = [];

/** Returns the first coding that `decodedBody` does not read; undefined: none. */
export function unknownCoding(codings: readonly string[]): string | undefined {
  return codings.find((coding) => !Object.hasOwn(decoders, coding));
}

/** Returns a whole body without its content codings: the same object if it has none. Never throws. */
export function decodedBody(
  body: Buffer,
  contentEncoding: readonly string[],
  limit: BodyLimit,
): Buffer | UnreadableBody {
  const codings = contentCodings(contentEncoding);
  if (body.length === 0) return body;
  if (codings.length === 0) {
    const problem = 'is compressed, and its Content-Encoding does not say so';
    // Some servers take the bytes for gzip or zstd. No JSON, form or other text begins so.
    const isCompressed =
      (body[0] === 0x1f && body[1] === 0x8b) || (body.length > 4 && body.readUInt32LE(0) === zstdMagic);
    return isCompressed ? unreadable(problem, 'name the coding there, or send it uncompressed') : body;
  }
  if (codings.length > maxCodings) {
    return unreadable(`has more than ${maxCodings} content codings`, 'send it with one of them');
  }
  const unknown = unknownCoding(codings);
  if (unknown !== undefined) {
    const name = untrusted(unknown.slice(0, 40));
    return unreadable(`has the content coding ${name}, which Sidekey does not decode`, inKnown);
  }
  // Servers that ignore `Content-Encoding` would read this text instead of the decoded one.
  if (isUtf8(body) && !/[^\P{Cc}\t\r\n]/u.test(body.toString())) {
    return unreadable(`is text, and not ${codings.join(', ')} as its Content-Encoding says`, again);
  }
  // Long streams of Brotli do so too.
  if (beginsAsJson(body)) {
    const problem = `begins as JSON and as ${codings.join(', ')}, which servers read in different ways`;
    return unreadable(problem, 'send it in gzip or zstd, or uncompressed and without Content-Encoding');
  }
  return codings.reduceRight<Buffer | UnreadableBody>(
    (bytes, coding) => (Buffer.isBuffer(bytes) ? decodeOne(bytes, coding, limit) : bytes),
    body,
  );
}

function decodeOne(bytes: Buffer, coding: string, limit: BodyLimit): Buffer | UnreadableBody {
  const { bytes: max } = limit;
  try {
    const { decoded, end } = decoders[coding]!(bytes, Math.max(1, max));
    if (decoded.length <= max && end === bytes.length) return decoded;
    if (decoded.length <= max) {
      const problem = `has bytes after its first ${coding} stream, which servers read in different ways`;
      return unreadable(problem, 'compress it as one stream, or send it uncompressed');
    }
  } catch (error) {
    const isLong = error instanceof RangeError && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
    if (!isLong) return unreadable(`is damaged, or not ${coding} as its Content-Encoding says`, again);
  }
  return tooLongFor(limit, 'decompresses to');
}

/** Returns the reason for a body above a limit. */
export function tooLongFor({ name, bytes }: BodyLimit, verb = 'has'): UnreadableBody {
  const hint = name === null ? 'send less' : `send less, or raise limits.${name}`;
  return { problem: `${verb} more than ${bytes} bytes`, hint, isLong: true };
}

function unreadable(problem: string, hint: string): UnreadableBody {
  return { problem, hint, isLong: false };
}

const inKnown = 'send it in gzip, deflate, br or zstd, or uncompressed and without Content-Encoding';
const again = 'compress it again, or send it uncompressed and without Content-Encoding';

/** Reports whether a lenient parser, which stops after the first value, may find JSON in the bytes. */
function beginsAsJson(bytes: Buffer): boolean {
  return /^(?:\xef\xbb\xbf)?[ \t\n\r{["]/.test(bytes.toString('latin1', 0, 4));
}

const zstdMagic = 0xfd2fb528;

/** Decoded bytes, and the end of their stream in the coded ones. */
interface Decoded {
  readonly decoded: Buffer;
  readonly end: number;
}

/** @throws Error if the stream is malformed or incomplete, or decompresses to more than `max` bytes */
function run(decode: (bytes: Buffer, options: object) => unknown, bytes: Buffer, max: number): Decoded {
  type Info = { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } };
  const { buffer, engine } = decode(bytes, { maxOutputLength: max, info: true }) as Info;
  return { decoded: buffer, end: engine.bytesWritten };
}

const decoders: Readonly<Record<string, (bytes: Buffer, max: number) => Decoded>> = {
  gzip,
  'x-gzip': gzip,
  deflate,
  br: (bytes, max) => run(brotliDecompressSync, bytes, max),
  zstd,
};

/** Node decodes all members of a file (RFC 1952 §2.2), and some servers only the first. */
function gzip(bytes: Buffer, max: number): Decoded {
  const { decoded } = run(gunzipSync, bytes, max);
  const flags = bytes[3]!;
  let at = (flags & 4) === 0 ? 10 : 12 + bytes.readUInt16LE(10);
  for (const text of [8, 16]) if ((flags & text) !== 0) at = bytes.indexOf(0, at) + 1;
  if ((flags & 2) !== 0) at += 2;
  return { decoded, end: at + run(inflateRawSync, bytes.subarray(at), max).end + 8 };
}

/**
 * `deflate` is the zlib format (RFC 9110 §8.4.1.2). Without it (RFC 1951), the bytes have no signature, and
 * may begin as text that another server would read.
 */
function deflate(bytes: Buffer, max: number): Decoded {
  // The header of zlib may also begin a stored block, which has its length twice (RFC 1951 §3.2.4).
  if (bytes.length >= 5 && (bytes.readUInt16LE(1) ^ bytes.readUInt16LE(3)) === 0xffff)
    throw new Error('two readings');
  return run(inflateSync, bytes, max);
}

/** Node decodes all frames, and some servers only the first (RFC 8878 §3.1). */
function zstd(bytes: Buffer, max: number): Decoded {
  if (bytes.length < 5 || bytes.readUInt32LE(0) !== zstdMagic) throw new Error('no frame');
  const { decoded } = run(zstdDecompressSync, bytes, max);
  const flags = bytes[4]!;
  const isSingle = (flags >> 5) & 1;
  let at = 5 + (1 - isSingle) + [0, 1, 2, 4][flags & 3]! + [isSingle, 2, 4, 8][flags >> 6]!;
  for (let isLast = false; !isLast;) {
    const block = bytes.readUIntLE(at, 3);
    isLast = (block & 1) === 1;
    // A block of one repeated byte has that byte only.
    at += 3 + (((block >> 1) & 3) === 1 ? 1 : block >> 3);
  }
  return { decoded, end: at + ((flags & 4) === 0 ? 0 : 4) };
}
