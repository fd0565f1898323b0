import type { Socket } from 'node:net';

/** HTTP/2 by hand (RFC 9113 §4), for upstreams that no library would be. */

export const frameType = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const endStream = 1;
export const ack = 1;
export const endHeaders = 4;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

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
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(code);
  return frame('rstStream', stream, 0, payload);
}

/** A head whose fields are written out, so that no table is needed (RFC 7541 §6.2.2). */
export function headers(stream: number, flags: number, ...fields: readonly string[]): Buffer {
  return frame('headers', stream, flags | endHeaders, Buffer.concat(fields.map(literals)));
}

function literals(text: string, index: number): Buffer {
  const value = Buffer.from(text, 'latin1');
  const size: number[] = [];
  if (value.length < 127) size.push(value.length);
  else {
    size.push(127);
    let rest = value.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) size.push((rest % 128) + 128);
    size.push(rest);
  }
  return Buffer.concat([Buffer.from(index % 2 === 0 ? [0, ...size] : size), value]);
}

const prefaceSize = 24;

/** Hands over each frame that a client sends, behind its preface. */
export function onFrames(socket: Socket, heard: (frame: Frame) => void): void {
  let bytes = Buffer.alloc(0);
  let at = prefaceSize;
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= at + 9) {
      const end = at + 9 + bytes.readUIntBE(at, 3);
      if (bytes.length < end) return;
      const [type, flags] = [bytes[at + 3]!, bytes[at + 4]!];
      const stream = bytes.readUInt32BE(at + 5);
      const payload = bytes.subarray(at + 9, end);
      at = end;
      heard({ type, flags, stream, payload });
    }
  });
}
