import type { Socket } from 'node:net';

/** HTTP/2 frames as bytes (RFC 9113 §4), for peers that violate the protocol. */

/** Types of frames (RFC 9113 §6). */
export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;

export const endStream = 1;
export const ack = 1;
export const endHeaders = 4;

/** One received frame. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** Encodes a frame. */
export function frame(
  type: keyof typeof frameType,
  stream: number,
  flags = 0,
  payload: Buffer | readonly number[] = [],
): Buffer {
  const bytes = Buffer.from(payload as Buffer);
  const head = Buffer.alloc(9);
  head.writeUIntBE(bytes.length, 0, 3);
  head[3] = frameType[type];
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, bytes]);
}

/** SETTINGS with these numbers and values (RFC 9113 §6.5.2). */
export function settings(...pairs: readonly (readonly [number, number])[]): Buffer {
  const payload = Buffer.alloc(6 * pairs.length);
  for (const [index, [key, value]] of pairs.entries()) {
    payload.writeUInt16BE(key, 6 * index);
    payload.writeUInt32BE(value, 6 * index + 2);
  }
  return frame('settings', 0, 0, payload);
}

export function goaway(lastStream: number, code: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(lastStream, 0);
  payload.writeUInt32BE(code, 4);
  return frame('goaway', 0, 0, payload);
}

export function reset(stream: number, code: number): Buffer {
  return frame('reset', stream, 0, number(code));
}

/** Encodes a 32-bit number, the payload of several frame types. */
export function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function headers(stream: number, flags: number, ...fields: readonly string[]): Buffer {
  return frame('headers', stream, flags | endHeaders, block(pairsOf(fields)));
}

/** Fields as a header block: literals without an index, no Huffman code (RFC 7541 §6.2.2). */
export function block(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

function pairsOf(fields: readonly string[]): (readonly [string, string])[] {
  return fields.flatMap((text, index) => (index % 2 === 0 ? [[text, fields[index + 1] ?? ''] as const] : []));
}

function literal(text: string): Buffer {
  const value = Buffer.from(text, 'latin1');
  const size: number[] = [];
  if (value.length < 127) size.push(value.length);
  else {
    size.push(127);
    let rest = value.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) size.push((rest % 128) + 128);
    size.push(rest);
  }
  return Buffer.concat([Buffer.from(size), value]);
}

/** Calls back with each whole frame of the received bytes, from offset `skip` on. */
export function onFrames(socket: Socket, heard: (frame: Frame) => void, skip = prefaceSize): void {
  let bytes: Buffer = Buffer.alloc(0);
  let left = skip;
  socket.on('data', (chunk: Buffer) => {
    const skipped = Math.min(left, chunk.length);
    left -= skipped;
    bytes = Buffer.concat([bytes, chunk.subarray(skipped)]);
    while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const end = 9 + bytes.readUIntBE(0, 3);
      const payload = Buffer.from(bytes.subarray(9, end));
      const read = { type: bytes[3]!, flags: bytes[4]!, stream: bytes.readUInt32BE(5), payload };
      bytes = bytes.subarray(end);
      heard(read);
    }
  });
}

/** The client connection preface (RFC 9113 §3.4). */
const prefaceSize = 24;
