import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Outbox } from '../../../../src/proxy/front/outbox.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A client's socket that takes what is written when the test says so. */
function begun() {
  const written: Buffer[] = [];
  const takes: (() => void)[] = [];
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
  return { socket, written, take, outbox: new Outbox(socket) };
}

describe('what goes out on a connection', () => {
  it('leaves in one piece where it is small and of one turn, in its order', async () => {
    const { outbox, written } = begun();
    for (const piece of ['head\xe9 ', Buffer.from('body '), 'end']) outbox.add(piece);
    expect(written).toEqual([]);
    await turn();
    expect(written.map((it) => it.toString('latin1'))).toEqual(['head\xe9 body end']);
  });

  it('is not copied where it is large', async () => {
    const { outbox, written } = begun();
    const large = Buffer.alloc(100_000);
    outbox.add('head');
    outbox.add(large);
    await turn();
    expect(written.map((it) => it.length)).toEqual([4, 100_000]);
    expect(written[1]).toBe(large);
  });

  it('says when the client takes less than it is sent, and when it has taken all', async () => {
    const { outbox, take, socket } = begun();
    expect(outbox.add(Buffer.alloc(10))).toBe(true);
    expect(outbox.add(Buffer.alloc(200_000))).toBe(false);
    let taken = 0;
    outbox.whenTaken(() => (taken += 1));
    await turn();
    expect(taken).toBe(0);
    const drained = new Promise((resolve) => socket.once('drain', resolve));
    take();
    await turn();
    expect(taken).toBe(1);
    await drained;
  });

  it('tells nobody that all was taken where the client is gone', async () => {
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
