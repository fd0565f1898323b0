import { onTestFinished } from 'vitest';
import { openTls } from './raw-client.ts';
import type { TestSidekey } from './sidekey.ts';

/** Types of frames (RFC 9113 §6). */
export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;

export const endStream = 1;
export const endHeaders = 4;
export const ack = 1;

/** One frame as it came. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** A frame as bytes. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A number of 32 bits, as several frames have it for a payload. */
export function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Fields as a header block: literals without an index, no Huffman code (RFC 7541 §6.2.2). */
export function block(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  const length: number[] = [];
  if (bytes.length < 127) length.push(bytes.length);
  else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** A client of HTTP/2 that says exactly the frames it is told. */
export interface FrameClient {
  /** Rejects where the connection has ended. */
  send(...frames: readonly Buffer[]): Promise<void>;
  /** Fields of a plain request to the tunnel's authority. */
  fields(more?: Readonly<Record<string, string>>): readonly (readonly [string, string])[];
  /** All frames so far. */
  readonly frames: readonly Frame[];
  /** Resolves with the first frame that fits; rejects where the connection ends without it. */
  frame(fits: (frame: Frame) => boolean): Promise<Frame>;
  /** Resolves with the code of the reset of a stream. */
  resetOf(stream: number): Promise<number>;
  /** Resolves with the code of the GOAWAY. */
  goaway(): Promise<number>;
  /** Resolves when the connection is closed. */
  closed(): Promise<void>;
  /** Reads no more. */
  pause(): void;
  destroy(): void;
}

/** Opens a tunnel, and has said the preface and empty settings. */
export async function openFrames(sidekey: TestSidekey, authority: string): Promise<FrameClient> {
  const socket = await openTls(sidekey, authority, { protocols: ['h2'] });
  const frames: Frame[] = [];
  let waiting: (() => void)[] = [];
  let over = false;
  let rest: Buffer = Buffer.alloc(0);
  const wake = () => {
    const woken = waiting;
    waiting = [];
    for (const next of woken) next();
  };
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3);
      const payload = Buffer.from(rest.subarray(9, end));
      frames.push({ type: rest[3]!, flags: rest[4]!, stream: rest.readUInt32BE(5), payload });
      rest = rest.subarray(end);
    }
    wake();
  });
  const left = () => {
    over = true;
    socket.destroy();
    wake();
  };
  socket.on('end', left).on('close', left);
  onTestFinished(left);
  const change = () =>
    new Promise<void>((resolve) => {
      waiting.push(resolve);
    });
  const isOver = () => over;
  async function first(fits: (frame: Frame) => boolean): Promise<Frame> {
    for (;;) {
      const found = frames.find(fits);
      if (found !== undefined) return found;
      if (isOver()) throw new Error('the connection ended before such a frame');
      await change();
    }
  }
  const client: FrameClient = {
    frames,
    async send(...sent) {
      if (isOver() || !socket.writable) throw new Error('the connection is over');
      if (socket.write(Buffer.concat(sent))) return;
      socket.once('drain', wake);
      while (socket.writableNeedDrain && !isOver()) await change();
    },
    fields: (more = {}) =>
      Object.entries({
        ':method': 'GET',
        ':scheme': 'https',
        ':path': '/',
        ':authority': authority,
        ...more,
      }),
    frame: first,
    resetOf: async (stream) =>
      (await first((it) => it.type === frameType.reset && it.stream === stream)).payload.readUInt32BE(0),
    goaway: async () =>
      (
        await first((it) => it.type === frameType.goaway && it.payload.readUInt32BE(4) !== 0)
      ).payload.readUInt32BE(4),
    async closed() {
      while (!isOver()) await change();
    },
    pause: () => void socket.pause(),
    destroy: () => void socket.destroy(),
  };
  await client.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(frameType.settings, 0, 0));
  await first((it) => it.type === frameType.settings && it.flags === 0);
  await client.send(frame(frameType.settings, ack, 0));
  return client;
}
