import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { beginGathering, endGathering, WriteBuffer } from '../../../src/lib/write-buffer.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A client's socket that takes what is written when the test says so. */
function begun() {
  const written: Buffer[] = [];
  const takes: ((error?: Error) => void)[] = [];
  const take = () => {
    while (takes.length > 0) takes.shift()?.();
  };
  const socket = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, callback) {
      written.push(chunk);
      takes.push(callback);
    },
    writev(chunks, callback) {
      written.push(...chunks.map(({ chunk }) => chunk as Buffer));
      takes.push(callback);
    },
  });
  const fail = () => takes.shift()?.(new Error('it is gone'));
  return { socket, written, take, fail, outbox: new WriteBuffer(socket) };
}

describe('the output of a connection', () => {
  it('is sent in order and in one write if it is small and written in one turn', async () => {
    const { outbox, written } = begun();
    for (const piece of ['head\xe9 ', Buffer.from('body '), 'end']) outbox.add(piece);
    expect(written).toEqual([]);
    await turn();
    expect(written.map((it) => it.toString('latin1'))).toEqual(['head\xe9 body end']);
  });

  it('is sent in pieces of four TLS records if it is large', async () => {
    const { outbox, written, take } = begun();
    const large = Buffer.from(Array.from({ length: 200_000 }, (_, at) => at % 251));
    outbox.add('head');
    outbox.add(large);
    take();
    await turn();
    take();
    await turn();
    expect(written.map((it) => it.length)).toEqual([65_536, 65_536, 65_536, 3_396]);
    expect(Buffer.concat(written).equals(Buffer.concat([Buffer.from('head'), large]))).toBe(true);
  });

  it('may be text longer than the free space', async () => {
    const { outbox, written, take } = begun();
    const text = 'a\xe9'.repeat(40_000);
    for (const piece of ['head ', text, ' end']) outbox.add(piece);
    take();
    await turn();
    take();
    expect(Buffer.concat(written).toString('latin1')).toBe(`head ${text} end`);
  });

  it('is copied: the source may be reused at once', async () => {
    const { outbox, written } = begun();
    const region = Buffer.from('first');
    outbox.add(region);
    region.fill('x');
    await turn();
    expect(written.map(String)).toEqual(['first']);
  });

  it('is buffered during a write, and sent after it in one write', async () => {
    const { outbox, written, take } = begun();
    outbox.add('first');
    await turn();
    outbox.add('second ');
    await turn();
    outbox.add('third');
    await turn();
    expect(written.map(String)).toEqual(['first']);
    take();
    await turn();
    expect(written.map(String)).toEqual(['first', 'second third']);
  });

  it.each([1_000, 60_000])('keeps its %d bytes until the socket has accepted them', async (size) => {
    const slow = begun();
    slow.outbox.add(Buffer.alloc(size, 's'));
    await turn();
    const busy = begun();
    for (let times = 0; times < 400; times += 1) {
      busy.outbox.add(Buffer.alloc(size, 'b'));
      busy.outbox.flush();
      if (times % 2 === 0) busy.take();
    }
    await turn();
    const [bytes] = slow.written;
    expect(bytes?.equals(Buffer.alloc(size, 's'))).toBe(true);
    slow.take();
  });

  it.each([1_000, 60_000])('does not reuse the buffer of %d bytes after a failed write', async (size) => {
    const failed = begun();
    failed.socket.on('error', () => {});
    failed.outbox.add(Buffer.alloc(size, 'f'));
    await turn();
    failed.fail();
    await turn();
    for (let times = 0; times < 400; times += 1) {
      const other = begun();
      other.outbox.add(Buffer.alloc(size, 'o'));
      other.outbox.flush();
    }
    expect(failed.written[0]?.equals(Buffer.alloc(size, 'f'))).toBe(true);
  });

  it('reuses buffers', async () => {
    const { outbox, written, take } = begun();
    for (let times = 0; times < 3; times += 1) {
      outbox.add(Buffer.alloc(60_000));
      await turn();
      take();
      await turn();
    }
    expect(new Set(written.map(({ buffer }) => buffer)).size).toBe(1);
  });

  it('accepts bytes that are written in place, and a part of a buffer', async () => {
    const { outbox, written } = begun();
    outbox.add('head ');
    const room = outbox.room(4)!;
    outbox.filledTo(outbox.end + room.write('room', outbox.end));
    outbox.addPart(Buffer.from('..part..'), 1, 7);
    await turn();
    expect(written.map(String)).toEqual(['head room.part.']);
    expect(outbox.room(70_000)).toBeNull();
  });

  it('is written when the gathering of output ends, or when it is flushed', () => {
    const { outbox, written, take } = begun();
    beginGathering();
    for (const piece of ['a', 'b']) outbox.add(piece);
    expect(written).toEqual([]);
    endGathering();
    expect(written.map(String)).toEqual(['ab']);
    take();
    outbox.filledTo(outbox.room(1)!.write('c', outbox.end), true);
    expect(written).toHaveLength(2);
    expect(String(written[1])).toBe('c');
  });

  it('reports the beginning and the end of backpressure', async () => {
    const { outbox, take } = begun();
    expect(outbox.add(Buffer.alloc(10))).toBe(true);
    expect(outbox.add(Buffer.alloc(200_000))).toBe(false);
    let taken = 0;
    outbox.whenTaken(() => (taken += 1));
    await turn();
    expect(taken).toBe(0);
    expect(outbox.isFull).toBe(true);
    const drained = new Promise<void>((resolve) => outbox.onDrain(resolve));
    take();
    await turn();
    expect(taken).toBe(1);
    await drained;
    expect(outbox.isFull).toBe(false);
  });

  it('does not report the end of backpressure after the client disconnected', async () => {
    const { outbox, socket } = begun();
    outbox.add('answer');
    let taken = 0;
    outbox.whenTaken(() => (taken += 1));
    socket.on('error', () => {}).destroy();
    await turn();
    outbox.add('more');
    await turn();
    expect(taken).toBe(0);
  });
});
