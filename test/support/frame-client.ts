import { onTestFinished } from 'vitest';
import { ack, frame, frameType, onFrames, type Frame } from './http2-frames.ts';
import { openLayers } from './raw-client.ts';
import type { TestSidekey } from './sidekey.ts';

/** An HTTP/2 client that sends exactly the given frames. */
export interface FrameClient {
  /** Sends frames; rejects when the connection has ended. */
  send(...frames: readonly Buffer[]): Promise<void>;
  /** Fields of a plain request for the tunnel's authority. */
  fields(more?: Readonly<Record<string, string>>): readonly (readonly [string, string])[];
  /** All received frames. */
  readonly frames: readonly Frame[];
  /** Resolves with the first matching frame; rejects when the connection ends without it. */
  frame(fits: (frame: Frame) => boolean): Promise<Frame>;
  /** Resolves with the error code of RST_STREAM for a stream. */
  resetOf(stream: number): Promise<number>;
  /** Resolves with the error code of GOAWAY. */
  goaway(): Promise<number>;
  /** Resolves when the connection is closed. */
  closed(): Promise<void>;
  /** Stops reading. */
  pause(): void;
  destroy(): void;
  /** Half-closes or resets the connection. */
  leave(how: Departure): void;
}

/** The end of a client connection: a FIN after close_notify, a bare FIN, or an RST. */
export type Departure = 'close_notify' | 'FIN' | 'RST';

/**
 * Opens a tunnel, and sends the preface and empty SETTINGS.
 * @param acknowledges whether to acknowledge the SETTINGS of the proxy
 */
export async function openFrames(
  sidekey: Pick<TestSidekey, 'port' | 'caPem'>,
  authority: string,
  { acknowledges = true } = {},
): Promise<FrameClient> {
  const { inner: socket, outer } = await openLayers(sidekey, authority, { protocols: ['h2'] });
  const frames: Frame[] = [];
  let waiting: (() => void)[] = [];
  let over = false;
  const wake = () => {
    const woken = waiting;
    waiting = [];
    for (const next of woken) next();
  };
  socket.on('error', () => {});
  onFrames(
    socket,
    (read) => {
      frames.push(read);
      wake();
    },
    0,
  );
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
    leave(how) {
      if (how === 'RST') outer.resetAndDestroy();
      else (how === 'FIN' ? outer : socket).end();
    },
  };
  await client.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame('settings', 0, 0));
  await first((it) => it.type === frameType.settings && it.flags === 0);
  if (acknowledges) await client.send(frame('settings', 0, ack));
  return client;
}
