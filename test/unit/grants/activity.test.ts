import { onTestFinished, describe, expect, test } from 'vitest';
import { createActivityNotes, type ActivityNotes } from '../../../src/grants/activity.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import type { ActivityChange, Store } from '../../../src/store/store.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { join } from 'node:path';
import { manualTime, settle, type ManualTime } from '../lib/manual-time.ts';

const start = Date.UTC(2027, 0, 1);

interface NotesForTest {
  readonly time: ManualTime;
  readonly store: Store;
  readonly notes: ActivityNotes;
  readonly id: string;
  /** The notes that the store got. */
  readonly written: ActivityChange[];
  /** While it is true, every write to the store fails. */
  away: boolean;
  /** Runs once while the store writes a note. */
  meanwhile: () => void;
}

async function notesForTest(): Promise<NotesForTest> {
  const time = manualTime(start);
  const store = await openSqliteStore(join(await tempFolder(), 'sidekey.db'), { now: time.now });
  onTestFinished(() => store.close());
  const record = grantRecord();
  await store.grants.insert(record);
  const written: ActivityChange[] = [];
  const it = { away: false, meanwhile: () => {} };
  const activity: Store['activity'] = {
    ...store.activity,
    async note(grantId, change) {
      written.push(change);
      if (it.away) throw new SidekeyError('store_unavailable', 'The store is away.');
      await store.activity.note(grantId, change);
      it.meanwhile();
      it.meanwhile = () => {};
    },
  };
  const notes = createActivityNotes({ store: { activity }, now: time.now, timers: time.timers });
  return Object.assign(it, { time, store, notes, id: record.id, written });
}

describe('the note of a use', () => {
  test('is written soon after a quiet time, then at most once a minute', async () => {
    const { time, store, notes, id, written } = await notesForTest();
    for (let second = 0; second < 120; second += 1) {
      for (let request = 0; request < 10; request += 1) notes.used(id);
      await time.advance(1_000);
    }
    expect(written).toEqual([{ usedAt: start }, { usedAt: start + 60_000 }]);
    await time.advance(60_000);
    expect(await store.activity.get(id)).toMatchObject({ usedAt: start + 119_000 });
    expect(time.waiting()).toBe(0);
  });

  test('is visible in this process before it is written, and read from the store afterwards', async () => {
    const { time, notes, id } = await notesForTest();
    expect(notes.unwrittenUse(id)).toBeNull();
    notes.used(id);
    expect(notes.unwrittenUse(id)).toBe(start);
    await time.advance(60_000);
    expect(notes.unwrittenUse(id)).toBeNull();
  });

  test('is not lost while the previous note is being written', async () => {
    const it = await notesForTest();
    const { time, store, notes, id } = it;
    notes.used(id);
    await time.advance(999);
    it.meanwhile = () => notes.used(id);
    await notes.flush();
    expect(await store.activity.get(id)).toMatchObject({ usedAt: start });
    await time.advance(60_000);
    expect(await store.activity.get(id)).toMatchObject({ usedAt: start + 999 });
  });

  test('is written at close, and no note is written after it', async () => {
    const { time, store, notes, id, written } = await notesForTest();
    notes.used(id);
    await Promise.all([notes.close(), notes.close()]);
    expect(await store.activity.get(id)).toMatchObject({ usedAt: start });
    notes.used(id);
    void notes.failed(id, 'down');
    await settle();
    expect([written.length, time.waiting(), notes.unwrittenUse(id)]).toEqual([1, 0, null]);
  });
});

describe('the note of a refresh result', () => {
  test('does not cause pending notes of uses to be written early', async () => {
    const { time, notes, id, written } = await notesForTest();
    notes.used(id);
    await time.advance(1_000);
    notes.used(id);
    for (let second = 0; second < 30; second += 1) {
      void notes.failed(id, 'down');
      await time.advance(1_000);
    }
    expect(written.filter((change) => 'usedAt' in change)).toHaveLength(1);
    await time.advance(30_000);
    expect(written.filter((change) => 'usedAt' in change)).toHaveLength(2);
  });

  test('is written at once', async () => {
    const { store, notes, id } = await notesForTest();
    void notes.failed(id, 'the endpoint answered 503');
    await settle();
    expect(await store.activity.get(id)).toMatchObject({
      failedAt: start,
      failure: 'the endpoint answered 503',
    });
    void notes.refreshed(id);
    await settle();
    expect(await store.activity.get(id)).toMatchObject({ refreshedAt: start, failedAt: null, failure: null });
  });

  test('of a removed grant does not block the notes of others', async () => {
    const { time, store, notes, id } = await notesForTest();
    void notes.failed('gone', 'down');
    notes.used('gone');
    notes.used(id);
    await time.advance(60_000);
    expect((await store.activity.some(['gone', id])).map(({ grantId }) => grantId)).toEqual([id]);
    expect(notes.unwrittenUse('gone')).toBeNull();
  });
});

describe('with an unavailable store', () => {
  test('notes are written when it is available again', async () => {
    const it = await notesForTest();
    const { time, store, notes, id, written } = it;
    it.away = true;
    notes.used(id);
    void notes.refreshed(id);
    await time.advance(600_000);
    expect(await store.activity.get(id)).toBeNull();
    // One attempt of each kind per minute.
    expect(written.length).toBeLessThanOrEqual(22);
    it.away = false;
    await time.advance(60_000);
    expect(await store.activity.get(id)).toMatchObject({ usedAt: start, refreshedAt: start });
  });

  test('close does not wait for ever', async () => {
    const it = await notesForTest();
    it.away = true;
    it.notes.used(it.id);
    await it.notes.close();
    expect(it.time.waiting()).toBe(0);
  });
});

describe('the note of missing scopes', () => {
  test('is written soon, and at most once a second', async () => {
    const { time, store, notes, id, written } = await notesForTest();
    notes.used(id);
    await time.advance(1_000);
    for (let request = 0; request < 100; request += 1) {
      notes.lacked(id, [`scope-${request}`]);
      await time.advance(100);
    }
    expect(written.filter((change) => 'lackedAt' in change)).toHaveLength(10);
    expect(written.filter((change) => 'usedAt' in change)).toHaveLength(1);
    expect(await store.activity.get(id)).toMatchObject({ lacked: ['scope-99'], lackedAt: start + 10_900 });
    expect(time.waiting()).toBe(0);
  });

  test('is written when the store is available again, and at close, but not after it', async () => {
    const it = await notesForTest();
    const { time, store, notes, id } = it;
    it.away = true;
    notes.lacked(id, ['read']);
    await time.advance(1_000);
    it.away = false;
    await time.advance(60_000);
    expect(await store.activity.get(id)).toMatchObject({ lacked: ['read'], lackedAt: start });
    notes.lacked(id, ['write']);
    await notes.close();
    notes.lacked(id, ['late']);
    await time.advance(60_000);
    expect(await store.activity.get(id)).toMatchObject({ lacked: ['write'] });
    expect(time.waiting()).toBe(0);
  });
});
