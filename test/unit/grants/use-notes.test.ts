import { describe, expect, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { createUseNotes, usesEveryMs } from '../../../src/grants/activity.ts';
import type { RightUse } from '../../../src/store/store.ts';
import { manualTime } from '../lib/manual-time.ts';

const start = Date.UTC(2027, 0, 1);

function notesForTest() {
  const time = manualTime(start);
  const written: (readonly RightUse[])[] = [];
  const it = { away: false, meanwhile: () => {} };
  const rights = {
    async noteUses(uses: readonly RightUse[]) {
      if (it.away) throw new SidekeyError('store_unavailable', 'The store is away.');
      written.push(uses);
      it.meanwhile();
    },
  };
  const notes = createUseNotes({ store: { rights }, now: time.now, timers: time.timers });
  return Object.assign(it, { time, notes, written });
}

const allAt = (ms: number) => [
  { kind: 'token', id: 'a', at: start + ms },
  { kind: 'token', id: 'b', at: start + ms },
  { kind: 'lease', id: 'l', at: start + ms },
];

describe('notes of uses of tokens and leases', () => {
  test('are written at most once a minute, all together, and only after the minute has passed', async () => {
    const { time, notes, written } = notesForTest();
    for (let second = 0; second < 120; second += 1) {
      for (const id of ['a', 'b', 'a']) notes.used('token', id, usesEveryMs);
      notes.used('lease', 'l', usesEveryMs);
      await time.advance(1_000);
    }
    expect(written).toEqual([allAt(59_000), allAt(119_000)]);
    expect(time.waiting()).toBe(0);
  });

  test('are written when the shortest delay ends', async () => {
    const { time, notes, written } = notesForTest();
    notes.used('token', 'a', usesEveryMs);
    notes.used('lease', 'l', 2_000);
    await time.advance(1_999);
    expect(written).toEqual([]);
    await time.advance(1);
    expect(written).toHaveLength(1);
    notes.used('lease', 'l', 0);
    await time.advance(0);
    expect(written).toHaveLength(2);
    expect(time.waiting()).toBe(0);
  });

  test('are written again when the store is available after a failure', async () => {
    const it = notesForTest();
    it.away = true;
    it.notes.used('lease', 'l', 1_000);
    await it.time.advance(30_000);
    expect(it.written).toEqual([]);
    it.away = false;
    await it.time.advance(60_000);
    expect(it.written).toEqual([[{ kind: 'lease', id: 'l', at: start }]]);
  });

  test('are not lost while others are being written', async () => {
    const it = notesForTest();
    it.meanwhile = () => {
      it.meanwhile = () => {};
      it.time.set(start + 5_000);
      it.notes.used('lease', 'l', 1_000);
    };
    it.notes.used('lease', 'l', 0);
    await it.time.advance(0);
    await it.time.advance(60_000);
    expect(it.written.at(-1)).toEqual([{ kind: 'lease', id: 'l', at: start + 5_000 }]);
  });

  test('are written at close, and no note is written afterwards', async () => {
    const { time, notes, written } = notesForTest();
    notes.used('token', 'a', usesEveryMs);
    await Promise.all([notes.close(), notes.close()]);
    notes.used('token', 'b', 0);
    await time.advance(120_000);
    expect(written).toEqual([[{ kind: 'token', id: 'a', at: start }]]);
    expect(time.waiting()).toBe(0);
  });

  test('are written in batches when there are very many, so that requests run in between', async () => {
    const { notes, written } = notesForTest();
    for (let index = 0; index < 250; index += 1) notes.used('lease', `l-${index}`, usesEveryMs);
    await notes.flush();
    expect(written.map((uses) => uses.length)).toEqual([100, 100, 50]);
  });
});
