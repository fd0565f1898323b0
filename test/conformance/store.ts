import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AgentRecord, GrantRecord, Store } from '../../src/store/store.ts';
import { grantRecord } from '../support/grant-record.ts';

/** An empty store to test, and the way to more connections to the same one. */
export interface StoreUnderTest {
  readonly store: Store;
  /** Another connection to the same store, closed by `cleanup`. */
  second(): Promise<Store>;
  cleanup(): Promise<void>;
}

/** What every implementation of `Store` must do. `open` makes a new empty store that takes the time from `now`. */
export function storeConformance(name: string, open: (now: () => number) => Promise<StoreUnderTest>): void {
  describe(`${name} as a store`, () => {
    let subject: StoreUnderTest;
    let store: Store;
    let time: number;

    beforeEach(async () => {
      time = 1_700_000_000_000;
      subject = await open(() => time);
      store = subject.store;
    });
    afterEach(() => subject.cleanup());

    describe('meta', () => {
      it('answers null for a name that was never written', async () => {
        expect(await store.meta.get('key_check')).toBeNull();
      });

      it('keeps the first value of a name, and says who wrote it', async () => {
        expect(await store.meta.putIfAbsent('key_check', Buffer.from('first'))).toBe(true);
        expect(await store.meta.putIfAbsent('key_check', Buffer.from('second'))).toBe(false);
        expect(text(await store.meta.get('key_check'))).toBe('first');
      });

      it('lets exactly one of two connections write a name', async () => {
        const second = await subject.second();
        const wrote = await Promise.all([
          store.meta.putIfAbsent('key_check', Buffer.from('a')),
          second.meta.putIfAbsent('key_check', Buffer.from('b')),
        ]);
        expect(wrote.filter(Boolean)).toHaveLength(1);
        expect(await second.meta.get('key_check')).toEqual(await store.meta.get('key_check'));
      });
    });

    describe('grants', () => {
      it('gives back every field as it was written', async () => {
        const full = grantRecord();
        const bare = grantRecord({
          name: 'bare',
          type: 'api_key',
          state: 'reauth_required',
          stateReason: 'The provider refused the refresh token.',
          scopes: [],
          expiresAt: null,
          refreshable: false,
        });
        await store.grants.insert(full);
        await store.grants.insert(bare);
        expect(plain(await store.grants.get(full.id))).toEqual(plain(full));
        expect(plain(await store.grants.get(bare.id))).toEqual(plain(bare));
      });

      it('keeps sealed bytes of every value and length', async () => {
        const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
        for (const sealed of [all, new Uint8Array(0), randomBytes(100_000), all.subarray(10, 20)]) {
          const record = grantRecord({ name: `n${sealed.length}`, sealed });
          await store.grants.insert(record);
          const found = await store.grants.get(record.id);
          expect(found?.sealed).toBeInstanceOf(Uint8Array);
          expect(Buffer.compare(found?.sealed ?? Buffer.from('none'), sealed)).toBe(0);
        }
      });

      it('keeps texts of every script, quotes and control characters among them', async () => {
        const odd = `ünï "quoted" 'single' 日本語 🗝️ \u0000 \n; drop table grants --`;
        const record = grantRecord({ stateReason: odd, scopes: [odd, ''], provider: odd });
        await store.grants.insert(record);
        expect(plain(await store.grants.get(record.id))).toEqual(plain(record));
      });

      it('keeps times beyond 32 bits', async () => {
        const record = grantRecord({ expiresAt: 8_640_000_000_000_000 });
        await store.grants.insert(record);
        expect((await store.grants.get(record.id))?.expiresAt).toBe(8_640_000_000_000_000);
      });

      it('answers null for an unknown id', async () => {
        expect(await store.grants.get('no-such')).toBeNull();
      });

      it('refuses a second grant of one name for one user, and keeps the first', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        await expect(store.grants.insert(grantRecord())).rejects.toMatchObject({ code: 'already_exists' });
        await expect(store.grants.insert({ ...record, name: 'other' })).rejects.toMatchObject({
          code: 'already_exists',
        });
        await store.grants.insert(grantRecord({ user: 'alice' }));
        expect(await store.grants.list()).toHaveLength(2);
        expect(plain(await store.grants.get(record.id))).toEqual(plain(record));
      });

      it('lists by name, then user, upper case first', async () => {
        expect(await store.grants.list()).toEqual([]);
        const order = [
          ['B', 'zoe'],
          ['a', 'Bob'],
          ['a', 'alice'],
          ['a-b', 'alice'],
          ['a.b', 'alice'],
          ['ab', 'alice'],
        ] as const;
        for (const [name, user] of order.toReversed()) await store.grants.insert(grantRecord({ name, user }));
        expect((await store.grants.list()).map((grant) => [grant.name, grant.user])).toEqual(order);
      });

      it('replaces a record at the expected revision, every field of it', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        const next: GrantRecord = {
          ...record,
          name: 'renamed',
          state: 'revoked',
          stateReason: 'Revoked by a person.',
          scopes: ['one'],
          expiresAt: null,
          refreshable: false,
          revision: 2,
          updatedAt: 1_700_000_000_999,
          sealed: Buffer.from('anew'),
        };
        expect(await store.grants.replace(next, 1)).toBe(true);
        expect(plain(await store.grants.get(record.id))).toEqual(plain(next));
      });

      it('does not replace at another revision, nor a grant that is gone', async () => {
        const record = grantRecord({ revision: 5 });
        await store.grants.insert(record);
        expect(await store.grants.replace({ ...record, revision: 5 }, 4)).toBe(false);
        expect(await store.grants.replace({ ...record, revision: 7 }, 6)).toBe(false);
        expect(plain(await store.grants.get(record.id))).toEqual(plain(record));
        await store.grants.remove(record.id);
        expect(await store.grants.replace({ ...record, revision: 6 }, 5)).toBe(false);
        expect(await store.grants.get(record.id)).toBeNull();
      });

      it('does not go back in revisions', async () => {
        const record = grantRecord({ revision: 5 });
        await store.grants.insert(record);
        await expect(store.grants.replace(record, 5)).rejects.toMatchObject({ code: 'internal' });
        await expect(store.grants.replace({ ...record, revision: 4 }, 5)).rejects.toMatchObject({
          code: 'internal',
        });
      });

      it('touches no other grant on replace and remove', async () => {
        const other = grantRecord({ name: 'other' });
        const record = grantRecord();
        await store.grants.insert(other);
        await store.grants.insert(record);
        await store.grants.replace({ ...record, revision: 2 }, 1);
        await store.grants.remove(record.id);
        expect((await store.grants.list()).map(plain)).toEqual([plain(other)]);
      });

      it('does not rename onto a name that is taken', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        await store.grants.insert(grantRecord({ name: 'taken' }));
        await expect(
          store.grants.replace({ ...record, name: 'taken', revision: 2 }, 1),
        ).rejects.toMatchObject({
          code: 'already_exists',
        });
        expect(plain(await store.grants.get(record.id))).toEqual(plain(record));
      });

      it('lets exactly one of many racing connections win a revision', async () => {
        const second = await subject.second();
        const record = grantRecord();
        await store.grants.insert(record);
        for (let revision = 1; revision <= 10; revision += 1) {
          const racers = [store, second, store, second].map((racer, index) =>
            racer.grants.replace(
              { ...record, revision: revision + 1, sealed: Buffer.from([index]) },
              revision,
            ),
          );
          const won = await Promise.all(racers);
          expect(won.filter(Boolean)).toHaveLength(1);
          const found = await second.grants.get(record.id);
          expect(found?.revision).toBe(revision + 1);
          expect(found?.sealed[0]).toBe(won.indexOf(true));
        }
      });

      it('says whether there was a grant to remove', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        expect(await store.grants.remove(record.id)).toBe(true);
        expect(await store.grants.remove(record.id)).toBe(false);
        expect(await store.grants.get(record.id)).toBeNull();
        await store.grants.insert(grantRecord());
      });
    });

    describe('agents', () => {
      it('gives back an agent as it was written', async () => {
        const record = agent();
        await store.agents.insert(record);
        const found = await store.agents.get('claude');
        expect(found && { ...found, tokenHash: hex(found.tokenHash) }).toEqual({
          ...record,
          tokenHash: hex(record.tokenHash),
        });
        expect(await store.agents.get('codex')).toBeNull();
      });

      it('refuses a second agent of one name, and keeps the token of the first', async () => {
        const record = agent();
        await store.agents.insert(record);
        await expect(store.agents.insert(agent())).rejects.toMatchObject({ code: 'already_exists' });
        expect(hex((await store.agents.get('claude'))?.tokenHash)).toBe(hex(record.tokenHash));
      });

      it('lists by name, and removes', async () => {
        for (const name of ['b', 'C', 'a']) await store.agents.insert(agent({ name }));
        expect((await store.agents.list()).map((found) => found.name)).toEqual(['C', 'a', 'b']);
        expect(await store.agents.remove('b')).toBe(true);
        expect(await store.agents.remove('b')).toBe(false);
        expect((await store.agents.list()).map((found) => found.name)).toEqual(['C', 'a']);
      });
    });

    describe('locks', () => {
      it('has one holder at a time, over connections', async () => {
        const second = await subject.second();
        expect(await store.locks.acquire('refresh/1', 'one', 1_000)).toBe(true);
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(false);
        expect(await second.locks.acquire('refresh/2', 'two', 1_000)).toBe(true);
      });

      it('goes to exactly one of those who race for it', async () => {
        const second = await subject.second();
        for (let round = 0; round < 10; round += 1) {
          const taken = await Promise.all(
            [store, second, second, store].map((racer, index) =>
              racer.locks.acquire(`refresh/${round}`, `racer-${index}`, 1_000),
            ),
          );
          expect(taken.filter(Boolean)).toHaveLength(1);
        }
      });

      it('ends by itself when its time is over, not before', async () => {
        const second = await subject.second();
        await store.locks.acquire('refresh/1', 'one', 1_000);
        time += 999;
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(false);
        time += 1;
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(true);
        expect(await store.locks.acquire('refresh/1', 'one', 1_000)).toBe(false);
      });

      it('can be prolonged by its holder', async () => {
        const second = await subject.second();
        await store.locks.acquire('refresh/1', 'one', 1_000);
        time += 900;
        expect(await store.locks.acquire('refresh/1', 'one', 1_000)).toBe(true);
        time += 900;
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(false);
      });

      it('is given back by its holder alone', async () => {
        const second = await subject.second();
        await store.locks.acquire('refresh/1', 'one', 1_000);
        await second.locks.release('refresh/1', 'two');
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(false);
        await store.locks.release('refresh/1', 'one');
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(true);
        await store.locks.release('refresh/1', 'one');
        expect(await store.locks.acquire('refresh/1', 'one', 1_000)).toBe(false);
      });

      it('that was taken while the clock was wrong does not block for as long as it was wrong', async () => {
        const second = await subject.second();
        const right = time;
        time += 365 * 86_400_000;
        await store.locks.acquire('refresh/1', 'one', 60_000);
        time = right;
        expect(await second.locks.acquire('refresh/1', 'two', 60_000)).toBe(true);
      });

      it('cannot be asked for without an end', async () => {
        for (const ttl of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 86_400_000]) {
          await expect(store.locks.acquire('refresh/1', 'one', ttl)).rejects.toMatchObject({
            code: 'internal',
          });
        }
      });
    });

    describe('epoch', () => {
      it('stays while nothing is written, whatever is read', async () => {
        const second = await subject.second();
        const epoch = store.epoch();
        await store.grants.list();
        await second.grants.list();
        await second.meta.get('key_check');
        expect(store.epoch()).toBe(epoch);
      });

      it('changes with each write, of this connection and of another', async () => {
        const second = await subject.second();
        const record = grantRecord();
        const seen = new Set([store.epoch()]);
        const writes = [
          () => store.grants.insert(record),
          () => second.grants.replace({ ...record, revision: 2 }, 1),
          () => store.grants.replace({ ...record, revision: 3 }, 2),
          () => second.agents.insert(agent()),
          () => second.agents.remove('claude'),
          () => store.meta.putIfAbsent('key_check', Buffer.from('x')),
          () => second.grants.remove(record.id),
        ];
        for (const write of writes) {
          await write();
          seen.add(store.epoch());
        }
        expect(seen.size).toBe(writes.length + 1);
      });

      it('changes for the other connection in the moment in which a write is acknowledged', async () => {
        const second = await subject.second();
        const record = grantRecord();
        await store.grants.insert(record);
        for (let revision = 1; revision < 20; revision += 1) {
          const before = second.epoch();
          await store.grants.replace({ ...record, revision: revision + 1 }, revision);
          expect(second.epoch()).not.toBe(before);
          expect((await second.grants.get(record.id))?.revision).toBe(revision + 1);
        }
      });
    });

    describe('close', () => {
      it('keeps what was written', async () => {
        const second = await subject.second();
        const record = grantRecord();
        await store.grants.insert(record);
        await store.close();
        expect(plain(await second.grants.get(record.id))).toEqual(plain(record));
      });

      it('finishes what is under way', async () => {
        const second = await subject.second();
        const record = grantRecord();
        const insert = store.grants.insert(record);
        await store.close();
        await insert;
        expect(plain(await second.grants.get(record.id))).toEqual(plain(record));
      });

      it('can be asked for twice', async () => {
        await Promise.all([store.close(), store.close()]);
        await store.close();
      });

      it('makes every later use fail, and none look like an empty store', async () => {
        await store.grants.insert(grantRecord());
        await store.close();
        const uses = [
          () => store.grants.get('x'),
          () => store.grants.list(),
          () => store.grants.insert(grantRecord()),
          () => store.grants.replace(grantRecord({ revision: 2 }), 1),
          () => store.grants.remove('x'),
          () => store.agents.get('x'),
          () => store.agents.list(),
          () => store.agents.insert(agent()),
          () => store.agents.remove('x'),
          () => store.meta.get('x'),
          () => store.meta.putIfAbsent('x', Buffer.from('x')),
          () => store.locks.acquire('x', 'one', 1_000),
          () => store.locks.release('x', 'one'),
        ];
        for (const use of uses) await expect(use()).rejects.toMatchObject({ code: 'store_unavailable' });
        expect(() => store.epoch()).toThrow(expect.objectContaining({ code: 'store_unavailable' }));
      });
    });
  });
}

function agent(fields: Partial<AgentRecord> = {}): AgentRecord {
  return { name: 'claude', tokenHash: randomBytes(32), createdAt: 1_700_000_000_000, ...fields };
}

/** A record with its bytes as text, so that a `Buffer` and a `Uint8Array` compare as equal. */
function plain(record: GrantRecord | null): unknown {
  return record && { ...record, sealed: hex(record.sealed) };
}

function hex(bytes: Uint8Array | undefined): string | undefined {
  return bytes && Buffer.from(bytes).toString('hex');
}

function text(bytes: Uint8Array | null): string | null {
  return bytes && Buffer.from(bytes).toString();
}
