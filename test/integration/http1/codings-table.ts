/** Codings of request bodies, and answers in parts: the cases of `codings.test.ts`. */
import {
  brotliCompressSync,
  constants,
  deflateRawSync,
  deflateSync,
  gzipSync,
  zstdCompressSync,
} from 'node:zlib';

/** A body as a client may send it. */
export interface CodingRow {
  readonly name: string;
  /** The values of `Content-Encoding`: each one a field. */
  readonly codings: readonly string[];
  readonly encode: (body: Buffer) => Buffer;
  /** Words of the refusal; absent: the body is read. */
  readonly problem?: string;
}

/** Maximum bytes of a body in these cases. */
export const maxBytes = 4_096;

const same = (body: Buffer): Buffer => body;
const then = (...codings: readonly ((body: Buffer) => Buffer)[]) => (body: Buffer): Buffer =>
  codings.reduce((bytes, coding) => coding(bytes), body); // prettier-ignore
const gzip = (body: Buffer): Buffer => gzipSync(body);
const deflate = (body: Buffer): Buffer => deflateSync(body);
const raw = (body: Buffer): Buffer => deflateRawSync(body);
const br = (body: Buffer): Buffer => brotliCompressSync(body);
const zstd = (body: Buffer): Buffer => zstdCompressSync(body);
const zstdWith = (parameter: number, value: number) => (body: Buffer): Buffer =>
  zstdCompressSync(body, { params: { [parameter]: value }, pledgedSrcSize: body.length }); // prettier-ignore
const followedBy = (more: string | Buffer) => (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.from(more)]); // prettier-ignore
const before = (first: Buffer) => (bytes: Buffer): Buffer => Buffer.concat([first, bytes]); // prettier-ignore
const cut = (bytes: Buffer): Buffer => bytes.subarray(0, -1);
const flipped = (bytes: Buffer): Buffer => {
  const damaged = Buffer.from(bytes);
  damaged[damaged.length - 6]! ^= 0x55;
  return damaged;
};

/** A gzip header with a file name, a comment, a field of eight bytes, and its checksum (RFC 1952 §2.3). */
const gzipWith = (flags: number, ...parts: readonly (string | Buffer)[]) => (body: Buffer): Buffer => {
  const [plain, head] = [gzipSync(body), Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3])];
  return Buffer.concat([head, ...parts.map((part) => Buffer.from(part)), plain.subarray(10)]);
}; // prettier-ignore

const skippable = Buffer.from('502a4d1803000000616263', 'hex');
const aBomb = Buffer.alloc(10_000_000, ' ');

const goesOn = 'bytes after its first';
const damaged = 'is damaged, or not';
const tooLong = `decompresses to more than ${maxBytes} bytes`;
const unknown = 'which Sidekey does not decode';
const mislabelled = 'its Content-Encoding does not say so';

export const codingRows: readonly CodingRow[] = [
  { name: 'no coding', codings: [], encode: same },
  { name: 'identity', codings: ['identity'], encode: same },
  { name: 'identity in capitals', codings: ['Identity'], encode: same },
  { name: 'an empty Content-Encoding', codings: [''], encode: same },
  { name: 'gzip', codings: ['gzip'], encode: gzip },
  { name: 'gzip in capitals', codings: ['GZIP'], encode: gzip },
  { name: 'x-gzip', codings: ['x-gzip'], encode: gzip },
  { name: 'gzip without compression', codings: ['gzip'], encode: (body) => gzipSync(body, { level: 0 }) },
  { name: 'gzip with a file name', codings: ['gzip'], encode: gzipWith(8, 'body.json\0') },
  { name: 'gzip with a comment', codings: ['gzip'], encode: gzipWith(16, 'for you\0') },
  { name: 'gzip with a field, a name and a comment', codings: ['gzip'], encode: gzipWith(28, Buffer.from([3, 0, 1, 2, 3]), 'a\0', 'b\0') },
  { name: 'deflate of zlib', codings: ['deflate'], encode: deflate },
  { name: 'deflate of zlib with a small window', codings: ['deflate'], encode: (body) => deflateSync(body, { windowBits: 9 }) },
  { name: 'br', codings: ['br'], encode: br },
  { name: 'zstd', codings: ['zstd'], encode: zstd },
  { name: 'zstd with a checksum', codings: ['zstd'], encode: zstdWith(constants.ZSTD_c_checksumFlag, 1) },
  { name: 'zstd without its size', codings: ['zstd'], encode: zstdWith(constants.ZSTD_c_contentSizeFlag, 0) },
  { name: 'zstd at the highest level', codings: ['zstd'], encode: zstdWith(constants.ZSTD_c_compressionLevel, 19) },
  { name: 'gzip, then br', codings: ['gzip, br'], encode: then(gzip, br) },
  { name: 'zstd, then gzip, in two fields', codings: ['zstd', 'gzip'], encode: then(zstd, gzip) },
  { name: 'identity, then zstd', codings: ['identity, zstd'], encode: zstd },
  { name: 'a list with empty elements', codings: [', gzip ,'], encode: gzip },
  { name: 'three codings', codings: ['deflate, gzip, zstd'], encode: then(deflate, gzip, zstd) },

  { name: 'four codings', codings: ['gzip, gzip, gzip, gzip'], encode: then(gzip, gzip, gzip, gzip), problem: 'more than 3 content codings' },
  { name: 'an unknown coding', codings: ['compress'], encode: same, problem: unknown },
  { name: 'an unknown coding below gzip', codings: ['exi, gzip'], encode: gzip, problem: unknown },
  { name: 'a charset as the coding', codings: ['utf-8'], encode: same, problem: unknown },
  { name: 'chunks of AWS', codings: ['aws-chunked'], encode: same, problem: unknown },
  { name: 'gzip with a parameter', codings: ['gzip;q=1'], encode: gzip, problem: unknown },
  { name: 'a name of every object', codings: ['constructor'], encode: same, problem: unknown },
  { name: 'br with a dictionary', codings: ['dcb'], encode: br, problem: unknown },

  { name: 'plain text as gzip', codings: ['gzip'], encode: same, problem: 'is text, and not gzip' },
  { name: 'plain text as zstd', codings: ['zstd'], encode: same, problem: 'is text, and not zstd' },
  { name: 'plain text as deflate', codings: ['deflate'], encode: same, problem: 'is text, and not deflate' },
  { name: 'zstd as gzip', codings: ['gzip'], encode: zstd, problem: damaged },
  { name: 'gzip as zstd', codings: ['zstd'], encode: gzip, problem: damaged },
  { name: 'gzip as deflate', codings: ['deflate'], encode: gzip, problem: damaged },
  { name: 'gzip as br', codings: ['br'], encode: gzip, problem: damaged },
  { name: 'gzip once, named twice', codings: ['gzip', 'gzip'], encode: gzip, problem: damaged },
  { name: 'gzip without its name', codings: [], encode: gzip, problem: mislabelled },
  { name: 'gzip as identity', codings: ['identity'], encode: gzip, problem: mislabelled },
  { name: 'zstd without its name', codings: [], encode: zstd, problem: mislabelled },

  { name: 'gzip without its end', codings: ['gzip'], encode: then(gzip, cut), problem: damaged },
  { name: 'deflate without its end', codings: ['deflate'], encode: then(deflate, cut), problem: damaged },
  { name: 'raw deflate', codings: ['deflate'], encode: raw, problem: damaged },
  { name: 'a stored block of raw deflate that begins as JSON', codings: ['deflate'], encode: storedAsJson, problem: 'begins as JSON and as deflate' },
  { name: 'bytes that begin as JSON behind a byte order mark', codings: ['br'], encode: () => Buffer.from('\xef\xbb\xbf[\xff', 'latin1'), problem: 'begins as JSON and as br' },
  { name: 'br of more than 64 KiB', codings: ['br'], encode: () => brotliCompressSync(aBomb.subarray(0, 70_000)), problem: 'begins as JSON and as br' },
  { name: 'br without its end', codings: ['br'], encode: then(br, cut), problem: damaged },
  { name: 'zstd without its end', codings: ['zstd'], encode: then(zstd, cut), problem: damaged },
  { name: 'gzip with a wrong checksum', codings: ['gzip'], encode: then(gzip, flipped), problem: damaged },
  { name: 'zstd with a wrong checksum', codings: ['zstd'], encode: then(zstdWith(constants.ZSTD_c_checksumFlag, 1), flipped), problem: damaged },
  { name: 'one byte of gzip', codings: ['gzip'], encode: () => Buffer.from([0x1f]), problem: damaged },
  { name: 'one byte of zstd', codings: ['zstd'], encode: () => Buffer.from([0x28, 0xb5]), problem: damaged },

  { name: 'zeros after gzip', codings: ['gzip'], encode: then(gzip, followedBy('\0\0')), problem: goesOn },
  { name: 'text after gzip', codings: ['gzip'], encode: then(gzip, followedBy('more')), problem: damaged },
  { name: 'text after deflate', codings: ['deflate'], encode: then(deflate, followedBy('more')), problem: goesOn },
  { name: 'text after br', codings: ['br'], encode: then(br, followedBy('more')), problem: goesOn },
  { name: 'text after zstd', codings: ['zstd'], encode: then(zstd, followedBy('mo')), problem: goesOn },
  { name: 'a second member of gzip', codings: ['gzip'], encode: then(gzip, followedBy(gzipSync('&amount=1'))), problem: goesOn },
  { name: 'an empty member of gzip first', codings: ['gzip'], encode: then(gzip, before(gzipSync(''))), problem: goesOn },
  { name: 'a second frame of zstd', codings: ['zstd'], encode: then(zstd, followedBy(zstdCompressSync('&amount=1'))), problem: goesOn },
  { name: 'an empty frame of zstd first', codings: ['zstd'], encode: then(zstd, before(zstdCompressSync(''))), problem: goesOn },
  { name: 'a skippable frame of zstd first', codings: ['zstd'], encode: then(zstd, before(skippable)), problem: damaged },
  { name: 'a skippable frame of zstd last', codings: ['zstd'], encode: then(zstd, followedBy(skippable)), problem: goesOn },
  { name: 'a stored block that looks like zlib', codings: ['deflate'], encode: (body) => storedAsZlib(body), problem: damaged },

  { name: 'a bomb of gzip', codings: ['gzip'], encode: () => gzipSync(aBomb.subarray(0, 2_000_000)), problem: tooLong },
  { name: 'a bomb of deflate', codings: ['deflate'], encode: () => deflateSync(aBomb.subarray(0, 2_000_000)), problem: tooLong },
  { name: 'a bomb of br', codings: ['br'], encode: () => brotliCompressSync(aBomb), problem: tooLong },
  { name: 'a bomb of zstd', codings: ['zstd'], encode: () => zstdCompressSync(aBomb), problem: tooLong },
  { name: 'a bomb in two codings', codings: ['gzip, br'], encode: () => brotliCompressSync(gzipSync(aBomb)), problem: tooLong },
  { name: 'one byte too much', codings: ['gzip'], encode: () => gzipSync(Buffer.alloc(maxBytes + 1, ' ')), problem: tooLong },
]; // prettier-ignore

/**
 * A stored block whose header reads ` [` for a parser that replaces what is no UTF-8, and ignores what
 * follows.
 */
function storedAsJson(body: Buffer): Buffer {
  const block = Buffer.from([0x20, 0x5b, 0x0a, 0xa4, 0xf5]);
  return Buffer.concat([block, Buffer.alloc(0x0a5b, ' '), deflateRawSync(body)]);
}

/** A stored block whose first bytes are also a header of zlib: 0x78, then a length that completes it. */
function storedAsZlib(body: Buffer): Buffer {
  const block = Buffer.from([0x78, 0x01, 0x00, 0xfe, 0xff]);
  return Buffer.concat([block, body.subarray(0, 1), deflateRawSync(body.subarray(1))]);
}

/** An answer to a search of the credential, and whether it goes to the client. */
export interface PartRow {
  readonly name: string;
  readonly status: number;
  readonly fields: Readonly<Record<string, string>>;
  readonly isForwarded?: true;
}

export const partRows: readonly PartRow[] = [
  { name: '206 of bytes', status: 206, fields: { 'Content-Range': 'bytes 0-3/9' } },
  { name: '206 that nobody asked for, without a range', status: 206, fields: {} },
  { name: '206 of several ranges', status: 206, fields: { 'Content-Type': 'multipart/byteranges; boundary=x' } },
  { name: '200 of several ranges', status: 200, fields: { 'Content-Type': 'Multipart/ByteRanges; boundary=x' } },
  { name: '200 with a range', status: 200, fields: { 'Content-Range': 'bytes 0-3/9' } },
  { name: '200 with a range of another spelling', status: 200, fields: { 'Content-Range': 'Bytes=0-3/9' } },
  { name: '404 with a range', status: 404, fields: { 'Content-Range': 'bytes 4-7/9' } },
  { name: '226, a delta', status: 226, fields: { IM: 'vcdiff' } },
  { name: '226 without its name', status: 226, fields: {} },
  { name: '200 with a delta', status: 200, fields: { IM: 'gzip' } },
  { name: '200', status: 200, fields: {}, isForwarded: true },
  { name: '200 that offers ranges', status: 200, fields: { 'Accept-Ranges': 'bytes' }, isForwarded: true },
  { name: '200 with a range of items', status: 200, fields: { 'Content-Range': 'items 0-9/40' }, isForwarded: true },
  { name: '200 with a range of rows', status: 200, fields: { 'Content-Range': '0-9/40' }, isForwarded: true },
  { name: '416', status: 416, fields: { 'Content-Range': 'bytes */9' }, isForwarded: true },
]; // prettier-ignore

/** Fields that ask for less than the whole answer, in the names of some servers. */
export const askingFields: readonly string[] = [
  'Range: bytes=0-3',
  'range: items=0-3',
  'Request-Range: bytes=0-3',
  'x-ms-range: bytes=0-3',
  'X_MS_RANGE: bytes=0-3',
  'If-Range: "1"',
  'If_Range: "1"',
  'A-IM: vcdiff',
  'Accept-Encoding: gzip',
  'Accept_Encoding: gzip',
];
