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
  /** What was written, as far as the store was asked. */
  readonly written: ActivityChange[];
  /** While it is true, the store takes nothing. */
  away: boolean;
  /** What happens while the store writes a note; once. */
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

describe('a use', () => {
  test('is written soon after a quiet time, then once a minute at most, however many there are', async () => {
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

  test('is known here before it is written, and left to the store afterwards', async () => {
    const { time, notes, id } = await notesForTest();
    expect(notes.unwrittenUse(id)).toBeNull();
    notes.used(id);
    expect(notes.unwrittenUse(id)).toBe(start);
    await time.advance(60_000);
    expect(notes.unwrittenUse(id)).toBeNull();
  });

  test('that comes while the one before it is being written is not lost', async () => {
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

  test('is written at the end, and nothing after it', async () => {
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

describe('what came of a refresh', () => {
  test('does not have uses written before their time', async () => {
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

  test('of a grant that is gone keeps the notes of no other', async () => {
    const { time, store, notes, id } = await notesForTest();
    void notes.failed('gone', 'down');
    notes.used('gone');
    notes.used(id);
    await time.advance(60_000);
    expect((await store.activity.list()).map(({ grantId }) => grantId)).toEqual([id]);
    expect(notes.unwrittenUse('gone')).toBeNull();
  });
});

describe('a store that is away', () => {
  test('gets the notes when it is back', async () => {
    const it = await notesForTest();
    const { time, store, notes, id, written } = it;
    it.away = true;
    notes.used(id);
    void notes.refreshed(id);
    await time.advance(600_000);
    expect(await store.activity.get(id)).toBeNull();
    // One of each kind a minute.
    expect(written.length).toBeLessThanOrEqual(22);
    it.away = false;
    await time.advance(60_000);
    expect(await store.activity.get(id)).toMatchObject({ usedAt: start, refreshedAt: start });
  });

  test('does not keep a process from ending', async () => {
    const it = await notesForTest();
    it.away = true;
    it.notes.used(it.id);
    await it.notes.close();
    expect(it.time.waiting()).toBe(0);
  });
});

describe('scopes that are missing', () => {
  test('are written soon, and once a second at most, however often it is said', async () => {
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

  test('are written when the store is back, and at the end; nothing after it', async () => {
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
