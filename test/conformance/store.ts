import { randomBytes, randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type {
  AuditEndRecord,
  DueQuery,
  GrantChoice,
  GrantQuery,
  GrantRecord,
  RefreshPlan,
  SessionRecord,
  Store,
  TokenUse,
} from '../../src/store/store.ts';
import * as fc from '../support/fast-check.ts';
import { grantRecord } from '../support/grant-record.ts';
import { agentRecord, leaseRecord } from '../support/rights.ts';
import { userName, userNames } from '../support/user-names.ts';

/** An empty store to test, and the way to more connections to the same one. */
export interface StoreUnderTest {
  readonly store: Store;
  /** Another connection to the same store, closed by `cleanup`. */
  readonly second: () => Promise<Store>;
  /** Milliseconds within which a connection sees the epoch change with a write of another one. */
  readonly epochWithinMs: number;
  readonly cleanup: () => Promise<void>;
}

const node = (fields: object = {}) => ({
  id: 'a',
  name: 'proxy',
  source: 'file',
  keyId: '00',
  version: '1',
  ...fields,
});

const sealedAs = <T extends { readonly sealed: Uint8Array }>(it: T | null | undefined) =>
  it && { ...it, sealed: new Uint8Array(it.sealed) };

const usesIn = async ({ tokenUses }: Pick<Store, 'tokenUses'>) =>
  (await tokenUses.list()).map(({ token, lease, attempts }) => [token, lease, attempts]);

/** Tests of every implementation of `Store`. `open` creates an empty store with the clock `now`. */
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

    const session = (fields: Partial<SessionRecord> = {}): SessionRecord => ({
      id: 'session-1',
      expiresAt: time + 600_000,
      sealed: Buffer.from([0, 255, 10]),
      ...fields,
    });

    const insertGrants = async (...fields: readonly Partial<GrantRecord>[]) => {
      const records = fields.map((each, n) => grantRecord({ name: `grant-${n}`, ...each }));
      await store.grants.insert(...records);
      return records.map(({ id }) => id);
    };

    describe('grant checks', () => {
      const day = 86_400_000;
      const plain = { refreshable: false, expiresAt: null } as const;

      it('count grants by state, with those that ended by their token or by their policy', async () => {
        const [, , , policed, both] = await insertGrants(
          { ...plain },
          { ...plain, expiresAt: time },
          { state: 'expired', expiresAt: time - 1 },
          { ...plain },
          { ...plain, expiresAt: time - 1 },
          { ...plain, state: 'expired', expiresAt: time + 1 },
          { ...plain, state: 'expired', expiresAt: time - day },
          { state: 'revoked' },
          { state: 'reauth_required' },
        );
        for (const id of [policed!, both!]) await store.grantPolicies.set(id, { expiresAt: time });
        const counts = { active: 3, expired: 4, revoked: 1, reauth_required: 1, minted: 0 };
        expect(await store.grantChecks.count(time)).toEqual(counts);
        expect(await store.grantChecks.count(time + 2)).toEqual({ ...counts, active: 2, expired: 5 });
      });

      it('follow each write of a grant, also the removal with an agent', async () => {
        await store.agents.insert(agentRecord());
        await store.leases.insert(leaseRecord({ id: 'lease-1' }));
        const [first, second] = await insertGrants({}, {}, { lease: 'lease-1' });
        const record = (await store.grants.get(first!))!;
        await store.grants.replace({ ...record, revision: 2, state: 'revoked', refreshable: false }, 1);
        await store.grants.remove(second!);
        const counts = { active: 1, expired: 0, revoked: 1, reauth_required: 0, minted: 0 };
        expect(await store.grantChecks.count(time)).toEqual(counts);
        await store.agents.remove(agentRecord().name);
        expect(await store.grantChecks.count(time)).toEqual({ ...counts, active: 0 });
      });

      it('count more than one slice', async () => {
        const records = Array.from({ length: 12_000 }, (_, n) =>
          grantRecord({ name: `grant-${n}`, refreshable: false, expiresAt: time - Math.floor(n / 2) }),
        );
        for (let from = 0; from < records.length; from += 1_000)
          await store.grants.insert(...records.slice(from, from + 1_000));
        expect(await store.grantChecks.count(time)).toMatchObject({ active: 0, expired: 12_000 });
        expect(await store.grantChecks.count(time - 5_500)).toMatchObject({ active: 11_000, expired: 1_000 });
      });

      it('count the tokens that end within spans, and name the next end', async () => {
        expect(await store.grantChecks.endings(time, [10, 20])).toEqual({ counts: [0, 0], next: null });
        await insertGrants(
          ...[0, 5, 10, 11, 20, 21].map((ms) => ({ ...plain, expiresAt: time + ms })),
          { expiresAt: time + 1 },
          { ...plain, state: 'revoked', expiresAt: time + 1 },
        );
        expect(await store.grantChecks.endings(time, [10, 20])).toEqual({ counts: [2, 4], next: time + 5 });
      });

      it('name grants with a reason, at most so many for each', async () => {
        const healthy = { ...plain, provider: 'other' };
        const ids = await insertGrants(
          healthy,
          { ...healthy, state: 'reauth_required' },
          { ...healthy, expiresAt: time - 1 },
          { ...healthy, expiresAt: time + 13 * day },
          { ...healthy, expiresAt: time + 15 * day },
          { ...healthy, type: 'source' },
          healthy,
          healthy,
          healthy,
          { provider: 'sealed' },
          { ...healthy, state: 'revoked' },
        );
        await store.activity.note(ids[6]!, { failedAt: time, failure: 'refused' });
        await store.activity.note(ids[7]!, { lackedAt: time, lacked: ['repo'] });
        await store.grantPolicies.set(ids[8]!, { expiresAt: time });
        const choice = { providers: ['sealed'], limit: 5 };
        const named = await store.grantChecks.concerning(time, choice);
        expect(named.toSorted()).toEqual([1, 2, 3, 5, 6, 7, 8, 9, 10].map((n) => ids[n]!).toSorted());
        await store.grants.insert(
          ...Array.from({ length: 9 }, (_, n) =>
            grantRecord({ name: `more-${n}`, state: 'reauth_required' }),
          ),
        );
        expect(await store.grantChecks.concerning(time, choice)).toHaveLength(named.length + 4);
        const rows = await store.activity.some([ids[6]!, ids[0]!]);
        expect(rows.map(({ grantId }) => grantId)).toEqual([ids[6]]);
        expect((await store.grantPolicies.some(ids)).map(({ grantId }) => grantId)).toEqual([ids[8]]);
      });

      it('find the grants that a reference offers, and the references that exist', async () => {
        const [id] = await insertGrants(
          { name: 'github', user: 'bob', provider: 'github' },
          { name: 'second', user: 'bob', provider: 'github' },
          { name: 'first', user: 'alice', provider: 'github' },
        );
        const offered = async (reference: string, limit: number) =>
          (await store.grantChecks.offered(reference, limit)).map(({ name }) => name);
        expect(await offered('github', 10)).toEqual(['first', 'github']);
        expect(await offered('github', 1)).toEqual(['first']);
        expect(await offered(id!, 10)).toEqual(['github']);
        const many = Array.from({ length: 500 }, (_, n) => `none-${n}`);
        expect(await store.grantChecks.existing(['second', ...many, id!, 'github'])).toEqual(
          new Set(['second', id, 'github']),
        );
      });
    });

    describe('meta', () => {
      it('returns null for a name that was never written', async () => {
        expect(await store.meta.get('key_check')).toBeNull();
      });

      it('keeps the first value of a name, and reports whether a write succeeded', async () => {
        expect(await store.meta.putIfAbsent('key_check', Buffer.from('first'))).toBe(true);
        expect(await store.meta.putIfAbsent('key_check', Buffer.from('second'))).toBe(false);
        expect(text(await store.meta.get('key_check'))).toBe('first');
      });

      it('accepts a name from exactly one of two connections', async () => {
        const second = await subject.second();
        const wrote = await Promise.all([
          store.meta.putIfAbsent('key_check', Buffer.from('a')),
          second.meta.putIfAbsent('key_check', Buffer.from('b')),
        ]);
        expect(wrote.filter(Boolean)).toHaveLength(1);
        expect(await second.meta.get('key_check')).toEqual(await store.meta.get('key_check'));
      });

      it('changes several names at once, for the first of two connections that read the same value', async () => {
        const second = await subject.second();
        expect(await store.meta.change('ring', Buffer.from('0'), { ring: Buffer.from('1') })).toBe(false);
        const first = { ring: Buffer.from('1'), next: Buffer.from('n') };
        expect(await store.meta.change('ring', null, first)).toBe(true);
        expect(await second.meta.change('ring', null, { ring: Buffer.from('2') })).toBe(false);
        const was = Buffer.from('1');
        expect(await second.meta.change('ring', was, { ring: Buffer.from('2'), next: null })).toBe(true);
        expect(await store.meta.change('ring', was, { ring: Buffer.from('3') })).toBe(false);
        expect(text(await store.meta.get('ring'))).toBe('2');
        expect(await store.meta.get('next')).toBeNull();
      });
    });

    describe('nodes', () => {
      it('get unique names, keep their first name, and are listed by name', async () => {
        const second = await subject.second();
        await store.nodes.register(node());
        await second.nodes.register(node({ id: 'b' }));
        time += 1_000;
        await store.nodes.register(node({ name: 'renamed', keyId: '11', version: '2' }));
        const listed = await second.nodes.list();
        expect(listed).toEqual([
          { ...node({ keyId: '11', version: '2' }), joinedAt: time - 1_000, awayMs: 0 },
          { ...node({ id: 'b', name: 'proxy~2' }), joinedAt: time - 1_000, awayMs: 1_000 },
        ]);
        expect(await second.nodes.find('a')).toEqual(listed.slice(0, 1));
        expect(await second.nodes.find('proxy~2')).toEqual(listed.slice(1));
        expect(await second.nodes.find('renamed')).toEqual([]);
      });

      it('are registered once if two processes register the same node at the same time', async () => {
        const second = await subject.second();
        await Promise.all([store.nodes.register(node()), second.nodes.register(node())]);
        expect((await store.nodes.list()).map(({ name }) => name)).toEqual(['proxy']);
      });

      it('record when they were last seen, and the current key of their source', async () => {
        await store.nodes.register(node());
        time += 5_000;
        expect((await store.nodes.list())[0]).toMatchObject({ keyId: '00', awayMs: 5_000 });
        await store.nodes.seen('a', null);
        expect((await store.nodes.list())[0]).toMatchObject({ keyId: '00', awayMs: 0 });
        await store.nodes.seen('a', '22');
        expect((await store.nodes.list())[0]).toMatchObject({ keyId: '22' });
      });

      it('can be removed, and those with a copy of the key are deleted 30 days after they were last seen', async () => {
        await store.nodes.register(node());
        expect([await store.nodes.remove('a'), await store.nodes.remove('a')]).toEqual([true, false]);
        await store.nodes.register(node());
        await store.nodes.register(node({ id: 'own', name: 'with-own-key', source: 'node' }));
        time += 30 * 86_400_000;
        await store.nodes.register(node({ id: 'b', name: 'later' }));
        expect(await store.nodes.list()).toHaveLength(3);
        time += 1;
        await store.nodes.register(node({ id: 'b', name: 'later' }));
        expect((await store.nodes.list()).map(({ id }) => id)).toEqual(['b', 'own']);
      });
    });

    describe('enrolments', () => {
      const enrolment = { id: 'e', name: 'b', sealed: new Uint8Array([0, 255]) };
      it('accept one request, before they expire by the clock of the store', async () => {
        const second = await subject.second();
        await store.enrolments.insert(enrolment, 1_000);
        expect(sealedAs(await second.enrolments.get('e'))).toEqual({
          ...enrolment,
          request: null,
          leftMs: 1_000,
        });
        expect(await store.enrolments.asked()).toEqual([]);
        const asked = await Promise.all([store.enrolments.ask('e', 'x'), second.enrolments.ask('e', 'y')]);
        expect(asked.filter(Boolean)).toHaveLength(1);
        const request = asked[0] ? 'x' : 'y';
        time += 999;
        expect(await store.enrolments.ask('e', request)).toBe(true);
        expect((await second.enrolments.asked()).map(sealedAs)).toEqual([
          { ...enrolment, request, leftMs: 1 },
        ]);
        time += 1;
        expect(await store.enrolments.ask('e', request)).toBe(false);
        expect(await second.enrolments.asked()).toEqual([]);
      });

      it('can be removed, and are deleted by the next insert after they expire', async () => {
        await store.enrolments.insert(enrolment, 1_000);
        await store.enrolments.remove('e');
        expect(await store.enrolments.get('e')).toBeNull();
        expect(await store.enrolments.ask('e', 'x')).toBe(false);
        await store.enrolments.insert(enrolment, 1_000);
        time += 1_000;
        await store.enrolments.insert({ ...enrolment, id: 'f' }, 1_000);
        expect(await store.enrolments.get('e')).toBeNull();
      });
    });

    it('finds grants of more users, and by more ids, than a statement has values', async () => {
      const last = 'user-39999';
      const records = ['user-1', last].map((user) => grantRecord({ name: 'work', user }));
      await store.grants.insert(...records);
      await store.grantPolicies.set(records[1]!.id, { labels: ['x'] });
      const users = Array.from({ length: 40_000 }, (_, index) => `user-${index}`).toReversed();
      const find = async (limit?: number) =>
        (
          await store.grants.find({ reference: 'work', users, ...(limit === undefined ? {} : { limit }) })
        ).map(({ user }) => user);
      expect(await find()).toEqual(['user-1', last]);
      expect(await find(1)).toEqual(['user-1']);
      const ids = [...users, ...records.map(({ id }) => id)];
      expect(await store.grants.some(ids)).toHaveLength(2);
      expect(await store.grantPolicies.some(ids)).toHaveLength(1);
    });

    it('can be purged while other processes use it, and keeps its rows', async () => {
      const record = grantRecord();
      await store.grants.insert(record);
      const second = await subject.second();
      await second.grantPolicies.set(record.id, { labels: ['x'] });
      expect(await store.purge()).toBe(true);
      expect(plain(await second.grants.get(record.id))).toEqual(plain({ ...record, labels: ['x'] }));
      expect(await store.grantPolicies.get(record.id)).toMatchObject({ labels: ['x'] });
      await second.grants.remove(record.id);
      expect(await store.grants.find({})).toEqual([]);
    });

    describe('sealed values', () => {
      it('are replaced only if they are unchanged, and the revision stays', async () => {
        const [kept, changed] = [grantRecord(), grantRecord({ name: 'other' })];
        await store.grants.insert(kept);
        await store.grants.insert(changed);
        await store.sessions.insert(session());
        expect(await store.sealed.count()).toBe(3);
        const sealed = Buffer.from('new seal');
        const replaced = await store.sealed.replace('grants', [
          { id: kept.id, was: kept.sealed, sealed },
          { id: changed.id, was: Buffer.from('an older seal'), sealed },
        ]);
        expect(replaced).toBe(1);
        expect(plain(await store.grants.get(kept.id))).toEqual(plain({ ...kept, sealed }));
        expect(plain(await store.grants.get(changed.id))).toEqual(plain(changed));
        await store.sessions.insert(session({ id: 'session-2' }));
        const [found] = await store.sealed.sessions({ limit: 1 });
        const others = await store.sealed.sessions({ after: 'session-1', limit: 2 });
        expect([found?.id, ...others.map(({ id }) => id)]).toEqual(['session-1', 'session-2']);
        await store.sealed.replace('sessions', [{ id: 'session-1', was: found!.sealed, sealed }]);
        expect(text((await store.sessions.get('session-1'))?.sealed ?? null)).toBe('new seal');
      });
    });

    describe('grants', () => {
      it('are returned with every field unchanged', async () => {
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

      it('keep sealed bytes of every value and length', async () => {
        const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
        for (const sealed of [all, new Uint8Array(0), randomBytes(100_000), all.subarray(10, 20)]) {
          const record = grantRecord({ name: `n${sealed.length}`, sealed });
          await store.grants.insert(record);
          const found = await store.grants.get(record.id);
          expect(found?.sealed).toBeInstanceOf(Uint8Array);
          expect(Buffer.compare(found?.sealed ?? Buffer.from('none'), sealed)).toBe(0);
        }
      });

      it('keep texts of every script, with quotes and control characters', async () => {
        const odd = `ünï "quoted" 'single' 日本語 🗝️ \u0001 \n; drop table grants --`;
        const record = grantRecord({ stateReason: odd, scopes: [odd, ''], provider: odd });
        await store.grants.insert(record);
        expect(plain(await store.grants.get(record.id))).toEqual(plain(record));
      });

      it('keep times beyond 32 bits', async () => {
        const record = grantRecord({ expiresAt: 8_640_000_000_000_000 });
        await store.grants.insert(record);
        expect((await store.grants.get(record.id))?.expiresAt).toBe(8_640_000_000_000_000);
      });

      it('are null for an unknown id', async () => {
        expect(await store.grants.get('no-such')).toBeNull();
      });

      it('are refused if the same user has a grant of the same name, and the existing grant is kept', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        await expect(store.grants.insert(grantRecord())).rejects.toMatchObject({ code: 'already_exists' });
        await expect(store.grants.insert({ ...record, name: 'other' })).rejects.toMatchObject({
          code: 'already_exists',
        });
        await store.grants.insert(grantRecord({ user: 'alice' }));
        expect(await store.grants.find({})).toHaveLength(2);
        expect(plain(await store.grants.get(record.id))).toEqual(plain(record));
      });

      it('are listed by name, then user, upper case first', async () => {
        expect(await store.grants.find({})).toEqual([]);
        const order = [
          ['B', 'zoe'],
          ['a', 'Bob'],
          ['a', 'alice'],
          ['a-b', 'alice'],
          ['a.b', 'alice'],
          ['ab', 'alice'],
        ] as const;
        for (const [name, user] of order.toReversed()) await store.grants.insert(grantRecord({ name, user }));
        expect((await store.grants.find({})).map((grant) => [grant.name, grant.user])).toEqual(order);
      });

      it('are kept apart by users whose names are alike, also in pages', async () => {
        const users = [...new Set([...userNames, ...fc.sample(userName, 200)])].toSorted();
        await store.grants.insert(...users.map((user) => grantRecord({ user })));
        for (const user of users) {
          const alone = [{ user }];
          expect(await store.grants.find({ users: [user] })).toMatchObject(alone);
          expect(await store.grants.find({ named: [{ name: 'github', user }] })).toMatchObject(alone);
          expect(await store.grants.matching({ user }, 2)).toMatchObject(alone);
        }
        const seen: GrantRecord[] = [];
        while (seen.length < users.length) {
          const page = await store.grants.find({ limit: 50, after: seen.at(-1) });
          expect(page).not.toEqual([]);
          seen.push(...page);
        }
        // In the order of their bytes, as `toSorted`.
        expect(seen.map(({ user }) => user)).toEqual(users);
      });

      it('are found by id, name or provider, of all users or of some', async () => {
        const [a, b, c, d] = [
          grantRecord({ name: 'github', user: 'zoe', provider: 'acme' }),
          grantRecord({ name: 'github', user: 'Bob', provider: 'github' }),
          grantRecord({ name: 'work', user: 'zoe', provider: 'github' }),
          grantRecord({ name: 'other', user: 'zoe', provider: 'acme' }),
        ];
        await store.grants.insert(a, b, c, d);
        const found = async (query: GrantQuery) =>
          (await store.grants.find(query)).map(({ name, user }) => `${name} ${user}`);
        expect(await found({ reference: 'github' })).toEqual(['github Bob', 'github zoe', 'work zoe']);
        expect(await found({ reference: 'github', users: ['zoe', 'x'] })).toEqual(['github zoe', 'work zoe']);
        expect(await found({ reference: b.id })).toEqual(['github Bob']);
        expect(await found({ reference: b.id, users: ['zoe'] })).toEqual([]);
        expect(await found({ reference: 'github', users: [] })).toEqual([]);
        expect(await found({ reference: 'GITHUB' })).toEqual([]);
        expect(await found({ users: ['zoe'], limit: 2 })).toEqual(['github zoe', 'other zoe']);
        expect(plain((await store.grants.find({ reference: 'work' }))[0]!)).toEqual(plain(c));
        const named = [c, { name: 'github', user: 'Bob' }, { name: 'work', user: 'Bob' }];
        expect(await found({ named })).toEqual(['github Bob', 'work zoe']);
        expect(await found({ named: [] })).toEqual([]);
        expect(await found({ name: 'github' })).toEqual(['github Bob', 'github zoe']);
      });

      it('with a source, and those of a provider that were changed last, are found', async () => {
        const records = [
          ...[1, 2, 3].map((n) => grantRecord({ name: `a${n}`, provider: 'a', updatedAt: n })),
          ...[1, 2, 3].map((n) => grantRecord({ name: `b${n}`, provider: 'b', updatedAt: -n })),
          grantRecord({ name: 's', provider: 'b', type: 'source', updatedAt: -9 }),
        ];
        await store.grants.insert(...records);
        const sources = await store.grants.matching({ type: 'source', state: 'active' }, 2);
        expect(sources.map(({ name }) => name)).toEqual(['s']);
        expect((await store.grants.newest('b', 2)).map(({ name }) => name)).toEqual(['b1', 'b2']);
      });

      it('are found by a reference in pages, and each once, although its name is that of its provider', async () => {
        const all = [
          grantRecord({ name: 'a', user: 'x', provider: 'github' }),
          grantRecord({ name: 'github', user: 'x', provider: 'github' }),
          grantRecord({ name: 'github', user: 'y', provider: 'github' }),
          grantRecord({ name: 'github', user: 'z', provider: 'acme' }),
          grantRecord({ name: 'z', user: 'x', provider: 'github' }),
        ];
        await store.grants.insert(...all, grantRecord({ name: 'b', user: 'x', provider: 'acme' }));
        for (const limit of [1, 2, 3, 10]) {
          const seen: GrantRecord[] = [];
          for (;;) {
            const page = await store.grants.find({ reference: 'github', limit, after: seen.at(-1) });
            expect(page.length).toBeLessThanOrEqual(limit);
            if (page.length === 0) break;
            seen.push(...page);
          }
          expect(seen.map(({ id }) => id)).toEqual(all.map(({ id }) => id));
        }
        const byId = { reference: all[1]!.id, limit: 1 };
        expect(await store.grants.find(byId)).toHaveLength(1);
        expect(await store.grants.find({ ...byId, after: all[1] })).toEqual([]);
        const ofName = await store.grants.find({ name: 'github', after: all[1], limit: 5 });
        expect(ofName.map(({ user }) => user)).toEqual(['y', 'z']);
      });

      it('are found among more users and IDs than a statement has parameters', async () => {
        const [a, b] = [grantRecord({ user: 'u1' }), grantRecord({ user: 'u69999' })];
        await store.grants.insert(b, a);
        const users = Array.from({ length: 70_000 }, (_, n) => `u${n}`);
        const { length } = await store.grants.find({ reference: a.name, users });
        expect(length).toBe(2);
        const found = await store.grants.find({ users, limit: 2 });
        expect(found.map(({ user }) => user)).toEqual(['u1', 'u69999']);
        expect(await store.grants.some([...users, a.id, b.id])).toHaveLength(2);
        await store.grantPolicies.set(b.id, { labels: ['l'] });
        expect(await store.grantPolicies.some([...users, b.id])).toHaveLength(1);
        await store.activity.note(b.id, { usedAt: 1 });
        expect(await store.activity.some([...users, b.id])).toHaveLength(1);
        await store.approvals.keepAlive(users, 1);
      });

      it('are listed in pages, each after the last grant of the one before', async () => {
        const order = [
          ['B', 'zoe'],
          ['a', 'Bob'],
          ['a', 'alice'],
          ['a-b', 'alice'],
          ['ab', 'alice'],
        ] as const;
        await store.grants.insert(...order.map(([name, user]) => grantRecord({ name, user })));
        const pages: (readonly string[])[] = [];
        for (let after: GrantQuery['after']; ;) {
          const page = await store.grants.find({ limit: 2, after });
          pages.push(page.map(({ name, user }) => `${name} ${user}`));
          if (page.length < 2) break;
          after = page.at(-1);
        }
        expect(pages).toEqual([['B zoe', 'a Bob'], ['a alice', 'a-b alice'], ['ab alice']]);
      });

      it('are inserted all or none', async () => {
        await store.grants.insert();
        await store.grants.insert(grantRecord({ name: 'taken' }));
        const some = [grantRecord({ name: 'new' }), grantRecord({ name: 'taken' })];
        await expect(store.grants.insert(...some)).rejects.toMatchObject({ code: 'already_exists' });
        expect(await store.grants.find({})).toHaveLength(1);
        const many = Array.from({ length: 1_000 }, (_, n) => grantRecord({ name: `n${n}` }));
        await store.grants.insert(...many);
        expect(await store.grants.find({})).toHaveLength(1_001);
      });

      it('match a choice of provider, user, state, label, and lease', async () => {
        const matching = async (choice: GrantChoice, limit = 9) =>
          (await store.grants.matching(choice, limit)).map(({ name }) => name).toSorted();
        await store.agents.insert(agentRecord({ name: 'bot' }));
        const lease = leaseRecord({ agent: 'bot' });
        await store.leases.insert(lease);
        const a = grantRecord({ name: 'a', user: 'alice' });
        const b = grantRecord({ name: 'b', provider: 'acme', state: 'expired' });
        const c = grantRecord({ name: 'c', provider: 'acme', lease: lease.id });
        await store.grants.insert(a, b, c);
        await store.grantPolicies.set(a.id, { labels: ['prod', 'a.b'] });
        await store.grantPolicies.set(b.id, { labels: ['Prod', 'a_b'] });
        expect(await matching({})).toEqual(['a', 'b', 'c']);
        expect(await matching({ unleased: true })).toEqual(['a', 'b']);
        expect(await matching({}, 2)).toHaveLength(2);
        expect(await matching({ provider: 'acme' })).toEqual(['b', 'c']);
        expect(await matching({ provider: 'acme', state: 'active' })).toEqual(['c']);
        expect(await matching({ provider: 'acme', user: 'alice' })).toEqual([]);
        expect(await matching({ user: 'alice' })).toEqual(['a']);
        expect(await matching({ label: 'prod' })).toEqual(['a']);
        expect(await matching({ label: 'pro' })).toEqual([]);
        expect(await matching({ label: 'a_b' })).toEqual(['b']);
        expect(await matching({ label: 'a_b', user: 'alice' })).toEqual([]);
      });

      it('of a provider are returned by the time of their change, the last first', async () => {
        const changes = Object.entries({ a: 1, b: 3, c: 2 });
        await store.grants.insert(
          ...changes.map(([name, updatedAt]) => grantRecord({ name, provider: 'acme', updatedAt })),
        );
        await store.grants.insert(grantRecord({ name: 'other' }));
        const newest = async (limit: number) =>
          (await store.grants.newest('acme', limit)).map(({ name }) => name);
        expect(await newest(9)).toEqual(['b', 'c', 'a']);
        expect(await newest(2)).toEqual(['b', 'c']);
      });

      it('of leases are returned in pages, also of one lease', async () => {
        await store.agents.insert(agentRecord({ name: 'bot' }));
        const leases = [leaseRecord({ agent: 'bot' }), leaseRecord({ agent: 'bot' })];
        for (const lease of leases) await store.leases.insert(lease);
        const [one, other] = leases.map(({ id }) => id).toSorted();
        const owned = [one, one, other].map((lease, n) => grantRecord({ name: `n${n}`, lease: lease! }));
        await store.grants.insert(...owned, grantRecord());
        const pages = async (lease?: string) => {
          const found: GrantRecord[] = [];
          for (let page = [undefined as GrantRecord | undefined]; page.length > 0;) {
            const after = page.at(-1);
            const next = await store.grants.ofLeases({ lease, after, limit: 1 });
            found.push(...next);
            page = next;
          }
          return found.map((each) => each.lease);
        };
        expect(await pages()).toEqual([one, one, other]);
        expect(await pages(one)).toEqual([one, one]);
        expect(await pages(randomUUID())).toEqual([]);
      });

      it('have policies in pages of the shortest maximum of leases', async () => {
        const records = ['a', 'b', 'c', 'd'].map((name) => grantRecord({ name }));
        await store.grants.insert(...records);
        const maxima = [30, 10, null, 20];
        for (const [index, { id }] of records.entries())
          await store.grantPolicies.set(id, { leaseMaxMs: maxima[index]!, labels: ['l'] });
        const [first, second, ...more] = await store.grantPolicies.leaseMaxima(30, undefined, 9);
        expect([first?.leaseMaxMs, second?.leaseMaxMs, more]).toEqual([10, 20, []]);
        expect(await store.grantPolicies.leaseMaxima(31, first, 1)).toEqual([second]);
        const last = await store.grantPolicies.leaseMaxima(31, second, 9);
        expect(last.map(({ leaseMaxMs }) => leaseMaxMs)).toEqual([30]);
      });

      it('are due in pages by their stored time, and by the age of the tokens of a provider', async () => {
        const due = async (query: Partial<DueQuery> = {}) =>
          (await store.grants.due({ before: 20, limit: 10, ...query })).map(({ record, at }) => [
            record.name,
            at,
          ]);
        const add = async (name: string, dueAt: number | null, fields: Partial<GrantRecord> = {}) => {
          const record = grantRecord({ name, times: { dueAt, obtainedAt: 7 }, ...fields });
          await store.grants.insert(record);
          return record.id;
        };
        const early = await add('early', 10);
        await add('late', 20);
        await add('later', 21);
        await add('idle', null);
        await add('other', null, { provider: 'acme' });
        await store.grants.insert(grantRecord({ name: 'new' }));
        await store.grants.insert(grantRecord({ name: 'static', refreshable: false }));
        expect(await due()).toEqual([
          ['new', 0],
          ['early', 10],
          ['late', 20],
        ]);
        expect(await due({ limit: 1, after: { at: 10, id: early } })).toEqual([['late', 20]]);
        expect(await due({ before: 7, provider: 'acme' })).toEqual([['other', 7]]);
        expect(await due({ before: 6, provider: 'acme' })).toEqual([]);
        expect(await store.grants.providerAfter('')).toBe('acme');
        expect(await store.grants.providerAfter('acme')).toBe('github');
        expect(await store.grants.providerAfter('github')).toBeNull();
      });

      it('are due with their last use and their end', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        const only = async () => (await store.grants.due({ before: time, limit: 2 }))[0];
        expect(await only()).toMatchObject({ record: { id: record.id }, usedAt: null, endsAt: null });
        await store.activity.note(record.id, { usedAt: time });
        await store.grantPolicies.set(record.id, { expiresAt: time + 1 });
        expect(await only()).toMatchObject({ usedAt: time, endsAt: time + 1 });
      });

      it('may name files unless they are marked in their revision', async () => {
        const ids = ['a', 'b', 'c', 'd', 'e'].map((first) => `${first}${randomUUID().slice(1)}`);
        const [a, b, c, d, e] = ids.map((id, n) => grantRecord({ id, name: `n${n}` })) as [
          GrantRecord,
          GrantRecord,
          GrantRecord,
          GrantRecord,
          GrantRecord,
        ];
        const seen = async (after = '', limit = 9) =>
          (await store.grants.perhapsWithFiles(after, limit)).map(({ name }) => name);
        const times = { dueAt: null, obtainedAt: null };
        await store.grants.insert(a, { ...b, times }, { ...c, type: 'source' });
        await store.grants.insert({ ...d, times: { ...times, filelessIn: 1 } }, { ...e, type: 'api_key' });
        expect(await seen()).toEqual(['n0', 'n1', 'n2']);
        expect(await seen(a.id, 1)).toEqual(['n1']);
        const epoch = store.epoch();
        await store.grants.markFileless([a, { ...b, sealed: a.sealed.with(0, 1) }]);
        expect(await seen()).toEqual(['n1', 'n2']);
        expect(store.changesSince(epoch).grants).toEqual([]);
        await store.grants.replace({ ...a, revision: a.revision + 1 }, a.revision);
        await store.grants.replace({ ...d, revision: 2, times: { ...times, filelessIn: 2 } }, d.revision);
        // A mark of an earlier revision says nothing about this one.
        await store.grants.markFileless([a]);
        expect(await seen()).toEqual(['n0', 'n1', 'n2']);
        expect(await store.grants.get(a.id)).not.toHaveProperty('filelessIn');
      });

      it('get a due time only if their revision and their due time are unchanged', async () => {
        const record = grantRecord({ times: { dueAt: 10, obtainedAt: null } });
        const { id, revision } = record;
        await store.grants.insert(record);
        const plan = (fields: Partial<RefreshPlan>) =>
          store.grants.plan([{ id, revision, was: 10, dueAt: 30, ...fields }]);
        const times = async () => (await store.grants.due({ before: 100, limit: 2 })).map(({ at }) => at);
        await plan({ revision: 2 });
        await plan({ was: 9 });
        expect(await times()).toEqual([10]);
        await plan({ obtainedAt: 5 });
        expect(await times()).toEqual([30]);
        expect(await store.grants.due({ before: 5, provider: 'github', limit: 2 })).toHaveLength(1);
        await plan({ was: 30, dueAt: null });
        expect(await times()).toEqual([]);
        expect(await store.grants.due({ before: 5, provider: 'github', limit: 2 })).toHaveLength(1);
      });

      it('without a due time get one after a new end, after a replacement, and all at once', async () => {
        const [ended, replaced, idle, revoked] = ['ended', 'replaced', 'idle', 'revoked'].map((name) =>
          grantRecord({ name, times: { dueAt: null, obtainedAt: null } }),
        ) as [GrantRecord, GrantRecord, GrantRecord, GrantRecord];
        await store.grants.insert(ended, replaced, idle, { ...revoked, state: 'revoked' });
        const due = async () =>
          (await store.grants.due({ before: 0, limit: 9 })).map(({ record }) => record.name).toSorted();
        expect(await due()).toEqual([]);
        await store.grantPolicies.set(idle.id, { labels: ['x'] });
        await store.grantPolicies.set(ended.id, { expiresAt: time });
        const { times: _, ...anew } = replaced;
        await store.grants.replace({ ...anew, revision: 2 }, 1);
        expect(await due()).toEqual(['ended', 'replaced']);
        await store.grants.planAnew();
        expect(await due()).toEqual(['ended', 'idle', 'replaced']);
      });

      it('are replaced at the expected revision, with every field', async () => {
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

      it('are not replaced at another revision or after removal', async () => {
        const record = grantRecord({ revision: 5 });
        await store.grants.insert(record);
        expect(await store.grants.replace({ ...record, revision: 5 }, 4)).toBe(false);
        expect(await store.grants.replace({ ...record, revision: 7 }, 6)).toBe(false);
        expect(plain(await store.grants.get(record.id))).toEqual(plain(record));
        await store.grants.remove(record.id);
        expect(await store.grants.replace({ ...record, revision: 6 }, 5)).toBe(false);
        expect(await store.grants.get(record.id)).toBeNull();
      });

      it('never return to a lower revision', async () => {
        const record = grantRecord({ revision: 5 });
        await store.grants.insert(record);
        await expect(store.grants.replace(record, 5)).rejects.toMatchObject({ code: 'internal' });
        await expect(store.grants.replace({ ...record, revision: 4 }, 5)).rejects.toMatchObject({
          code: 'internal',
        });
      });

      it('are not affected when another grant is replaced or removed', async () => {
        const other = grantRecord({ name: 'other' });
        const record = grantRecord();
        await store.grants.insert(other);
        await store.grants.insert(record);
        await store.grants.replace({ ...record, revision: 2 }, 1);
        await store.grants.remove(record.id);
        expect((await store.grants.find({})).map(plain)).toEqual([plain(other)]);
      });

      it('cannot be renamed to an existing name', async () => {
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

      it('accept a revision from exactly one of many concurrent connections', async () => {
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

      it('report whether a grant was removed', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        expect(await store.grants.remove(record.id)).toBe(true);
        expect(await store.grants.remove(record.id)).toBe(false);
        expect(await store.grants.get(record.id)).toBeNull();
        await store.grants.insert(grantRecord());
      });
    });

    describe('locks', () => {
      it('have one holder at a time across connections', async () => {
        const second = await subject.second();
        expect(await store.locks.acquire('refresh/1', 'one', 1_000)).toBe(true);
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(false);
        expect(await second.locks.acquire('refresh/2', 'two', 1_000)).toBe(true);
      });

      it('are acquired by exactly one of several concurrent callers', async () => {
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

      it('expire when their time is over, and not before', async () => {
        const second = await subject.second();
        await store.locks.acquire('refresh/1', 'one', 1_000);
        time += 999;
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(false);
        time += 1;
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(true);
        expect(await store.locks.acquire('refresh/1', 'one', 1_000)).toBe(false);
      });

      it('can be extended by their holder', async () => {
        const second = await subject.second();
        await store.locks.acquire('refresh/1', 'one', 1_000);
        time += 900;
        expect(await store.locks.acquire('refresh/1', 'one', 1_000)).toBe(true);
        time += 900;
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(false);
      });

      it('can be released only by their holder', async () => {
        const second = await subject.second();
        await store.locks.acquire('refresh/1', 'one', 1_000);
        await second.locks.release('refresh/1', 'two');
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(false);
        await store.locks.release('refresh/1', 'one');
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(true);
        await store.locks.release('refresh/1', 'one');
        expect(await store.locks.acquire('refresh/1', 'one', 1_000)).toBe(false);
      });

      it('can be renewed by their holder after they expired, if no other caller acquired them', async () => {
        const second = await subject.second();
        await store.locks.acquire('refresh/1', 'one', 1_000);
        time += 5_000;
        expect(await second.locks.renew('refresh/1', 'two', 1_000)).toBe(false);
        expect(await store.locks.renew('refresh/1', 'one', 1_000)).toBe(true);
        expect(await second.locks.acquire('refresh/1', 'two', 1_000)).toBe(false);
      });

      it('cannot be renewed by a former holder after another caller acquired or released them', async () => {
        const second = await subject.second();
        await store.locks.acquire('refresh/1', 'one', 1_000);
        time += 1_000;
        await second.locks.acquire('refresh/1', 'two', 1_000);
        expect(await store.locks.renew('refresh/1', 'one', 1_000)).toBe(false);
        await second.locks.release('refresh/1', 'two');
        expect(await store.locks.renew('refresh/1', 'one', 1_000)).toBe(false);
        expect(await second.locks.look('refresh/1')).toBeNull();
      });

      it('report their holder, and the time until or since their end', async () => {
        const second = await subject.second();
        expect(await second.locks.look('refresh/1')).toBeNull();
        await store.locks.acquire('refresh/1', 'one', 1_000);
        time += 400;
        expect(await second.locks.look('refresh/1')).toEqual({ holder: 'one', leftMs: 600 });
        time += 1_000;
        expect(await second.locks.look('refresh/1')).toEqual({ holder: 'one', leftMs: -400 });
      });

      it('acquired while the clock was far ahead do not block after the clock is corrected', async () => {
        const second = await subject.second();
        const right = time;
        time += 365 * 86_400_000;
        await store.locks.acquire('refresh/1', 'one', 60_000);
        time = right;
        expect(await second.locks.acquire('refresh/1', 'two', 60_000)).toBe(true);
      });

      it('for a grant are acquired with the grant and its last outcome', async () => {
        const [id = ''] = await insertGrants({});
        await store.activity.note(id, { failedAt: time, failure: 'no answer' });
        const lock = { name: `refresh/${id}`, holder: 'one', ttlMs: 1_000, silentMs: 5_000 };
        const locked = await store.locks.acquireFor(id, lock);
        expect(sealedAs(locked!.record)).toEqual(sealedAs(await store.grants.get(id)));
        expect(locked!.activity).toEqual({ refreshedAt: null, failedAt: time, failure: 'no answer' });
        expect((await store.locks.look(lock.name))?.holder).toBe('one');
      });

      it('for a grant that does not exist are acquired without it', async () => {
        const lock = { name: 'refresh/none', holder: 'one', ttlMs: 1_000, silentMs: 0 };
        expect(await store.locks.acquireFor('none', lock)).toEqual({
          record: null,
          activity: { refreshedAt: null, failedAt: null, failure: null },
        });
        expect((await store.locks.look(lock.name))?.holder).toBe('one');
      });

      it('for a grant are taken from a silent holder only after the additional time', async () => {
        const second = await subject.second();
        const [id = ''] = await insertGrants({});
        const lock = { name: `refresh/${id}`, holder: 'one', ttlMs: 1_000, silentMs: 5_000 };
        await store.locks.acquireFor(id, lock);
        const other = { ...lock, holder: 'two' };
        time += 5_999;
        expect(await second.locks.acquireFor(id, other)).toBeNull();
        expect((await store.locks.look(lock.name))?.holder).toBe('one');
        expect(await second.locks.acquireFor(id, { ...other, silentMs: 4_999 })).not.toBeNull();
        expect((await store.locks.look(lock.name))?.holder).toBe('two');
      });

      it('are released with the tokens of a refresh, which is noted', async () => {
        const [id = '', another = ''] = await insertGrants({}, {});
        for (const each of [id, another]) await store.locks.acquire(`refresh/${each}`, 'one', 1_000);
        await store.activity.note(id, { failedAt: time, failure: 'no answer' });
        const record = (await store.grants.get(id))!;
        const refresh = { name: `refresh/${id}`, holder: 'one', at: time + 1 };
        expect(await store.grants.replace({ ...record, revision: 2 }, 1, refresh)).toBe(true);
        expect((await store.grants.get(id))?.revision).toBe(2);
        expect(await store.activity.get(id)).toMatchObject({ refreshedAt: time + 1, failure: null });
        expect(await store.locks.look(`refresh/${id}`)).toBeNull();
        expect(await store.locks.look(`refresh/${another}`)).not.toBeNull();
      });

      it('are kept, and nothing is noted, if the tokens of a refresh come too late', async () => {
        const [id = ''] = await insertGrants({});
        const record = (await store.grants.get(id))!;
        await store.locks.acquire(`refresh/${id}`, 'one', 1_000);
        await store.grants.replace({ ...record, revision: 2 }, 1);
        const refresh = { name: `refresh/${id}`, holder: 'one', at: time };
        expect(await store.grants.replace({ ...record, revision: 3 }, 1, refresh)).toBe(false);
        expect((await store.activity.get(id))?.refreshedAt ?? null).toBeNull();
        expect((await store.locks.look(`refresh/${id}`))?.holder).toBe('one');
      });

      it('of a new holder are kept by the refresh of the former one', async () => {
        const [id = ''] = await insertGrants({});
        const record = (await store.grants.get(id))!;
        await store.locks.acquire(`refresh/${id}`, 'two', 1_000);
        const refresh = { name: `refresh/${id}`, holder: 'one', at: time };
        expect(await store.grants.replace({ ...record, revision: 2 }, 1, refresh)).toBe(true);
        expect((await store.locks.look(`refresh/${id}`))?.holder).toBe('two');
      });

      it('cannot be acquired or renewed without a valid duration', async () => {
        for (const ttl of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 86_400_000]) {
          for (const how of ['acquire', 'renew'] as const) {
            const asked = store.locks[how]('refresh/1', 'one', ttl);
            await expect(asked).rejects.toMatchObject({ code: 'internal' });
          }
        }
      });
    });

    describe('sessions', () => {
      it('are returned unchanged, once', async () => {
        await store.sessions.insert(session({ expiresAt: 8_640_000_000_000_000 }));
        const second = await subject.second();
        expect((await second.sessions.get('session-1'))?.expiresAt).toBe(8_640_000_000_000_000);
        const taken = await second.sessions.take('session-1');
        expect(taken && { ...taken, sealed: hex(taken.sealed) }).toEqual({
          id: 'session-1',
          expiresAt: 8_640_000_000_000_000,
          sealed: '00ff0a',
        });
        expect(taken?.sealed).toBeInstanceOf(Uint8Array);
        expect(await store.sessions.take('session-1')).toBeNull();
        expect(await store.sessions.get('session-1')).toBeNull();
      });

      it('are taken by exactly one of several concurrent callers', async () => {
        const second = await subject.second();
        for (let round = 0; round < 10; round += 1) {
          const id = `session-${round}`;
          await store.sessions.insert(session({ id }));
          const taken = await Promise.all(
            [store, second, second, store].map((racer) => racer.sessions.take(id)),
          );
          expect(taken.filter((it) => it !== null)).toHaveLength(1);
        }
      });

      it('are null for an unknown id, and others stay', async () => {
        await store.sessions.insert(session());
        expect(await store.sessions.take('other')).toBeNull();
        expect((await store.sessions.take('session-1'))?.id).toBe('session-1');
      });

      it('stay unchanged when another session is inserted with the same id', async () => {
        await store.sessions.insert(session());
        await expect(store.sessions.insert(session({ sealed: Buffer.from('x') }))).rejects.toMatchObject({
          code: 'already_exists',
        });
        expect(hex((await store.sessions.take('session-1'))?.sealed)).toBe('00ff0a');
      });

      it('are created or replaced by put', async () => {
        await store.sessions.put(session());
        await (await subject.second()).sessions.put(session({ sealed: Buffer.from('x'), expiresAt: 9 }));
        const found = await store.sessions.take('session-1');
        expect([found?.expiresAt, hex(found?.sealed)]).toEqual([9, '78']);
      });

      it('are deleted after they expire, and not before', async () => {
        await store.sessions.insert(session({ id: 'ended', expiresAt: time - 1 }));
        await store.sessions.insert(session({ id: 'ending', expiresAt: time }));
        await store.sessions.removeEnded(time);
        expect(await store.sessions.take('ended')).toBeNull();
        expect(await store.sessions.take('ending')).not.toBeNull();
      });
    });

    it.each(['apiKeys', 'people'] as const)('lists %s in pages, by name', async (table) => {
      for (const name of ['b', 'B', 'a', 'é']) {
        if (table === 'people') await store.people.insert(person(name));
        else await store.apiKeys.insert(apiKey(name));
      }
      const names = async (page: { limit?: number; after?: { name: string } }) =>
        (await store[table].list(page)).map(({ name }) => name);
      expect(await names({})).toEqual(['B', 'a', 'b', 'é']);
      expect(await names({ limit: 2 })).toEqual(['B', 'a']);
      expect(await names({ after: { name: 'a' }, limit: 1 })).toEqual(['b']);
      expect(await names({ after: { name: 'é' } })).toEqual([]);
    });

    describe('API keys', () => {
      it('are found by hash, listed by name, and absent after removal', async () => {
        await store.apiKeys.insert(apiKey('b'));
        await store.apiKeys.insert({ ...apiKey('a'), scopes: null });
        const second = await subject.second();
        expect(await second.apiKeys.find(Buffer.from('hash of b'))).toMatchObject({
          name: 'b',
          scopes: ['grants:read'],
        });
        expect(await second.apiKeys.find(Buffer.from('hash'))).toBeNull();
        expect((await second.apiKeys.list()).map(({ name, scopes }) => [name, scopes])).toEqual([
          ['a', null],
          ['b', ['grants:read']],
        ]);
        expect((await second.apiKeys.get('a'))?.scopes).toBeNull();
        expect(await second.apiKeys.get('hash of b')).toBeNull();
        expect([await second.apiKeys.remove('b'), await store.apiKeys.remove('b')]).toEqual([true, false]);
        expect(await store.apiKeys.find(Buffer.from('hash of b'))).toBeNull();
      });

      it('have unique names, and record the later of two uses', async () => {
        await store.apiKeys.insert(apiKey('a'));
        const twin = { ...apiKey('a'), hash: Buffer.from('other') };
        await expect(store.apiKeys.insert(twin)).rejects.toMatchObject({ code: 'already_exists' });
        await store.apiKeys.noteUse('a', time + 9);
        await store.apiKeys.noteUse('a', time + 3);
        expect((await store.apiKeys.list())[0]?.usedAt).toBe(time + 9);
      });

      it('of a person are removed by the beginning of their name after they have ended', async () => {
        const keys = [
          ['login-a', 'alice', time],
          ['login-b', 'alice', time + 1],
          ['login-c', 'alice', null],
          ['login-d', 'bob', time],
          ['Login-e', 'alice', time],
          ['login', 'alice', time],
          ['mine', 'alice', time],
        ] as const;
        for (const [name, of, expiresAt] of keys)
          await store.apiKeys.insert({ ...apiKey(name), person: of, expiresAt });
        await store.apiKeys.removeEnded('alice', 'login-', time);
        const left = (await store.apiKeys.list()).map(({ name }) => name);
        expect(left).toEqual(['Login-e', 'login', 'login-b', 'login-c', 'login-d', 'mine']);
      });
    });

    describe('people', () => {
      it('are changed and removed by name', async () => {
        await store.people.insert(person('bob'));
        await store.people.insert(person('alice'));
        await expect(store.people.insert(person('bob'))).rejects.toMatchObject({ code: 'already_exists' });
        expect(await store.people.change('bob', { role: 'auditor', disabledAt: 5 })).toBe(true);
        expect(await store.people.change('eve', { role: 'auditor' })).toBe(false);
        expect((await store.people.list()).map(({ name, role }) => `${name} ${role}`)).toEqual([
          'alice user',
          'bob auditor',
        ]);
        expect([await store.people.remove('bob'), await store.people.remove('bob')]).toEqual([true, false]);
        expect(await store.people.get('bob')).toBeNull();
      });

      it('lose their sign-ins and keys at the end time of a change, or at an earlier end time', async () => {
        await store.people.insert(person('alice'));
        await store.people.insert(person('bob'));
        const ends = { lasting: null, later: time + 9, earlier: time - 9 };
        for (const [name, expiresAt] of Object.entries(ends))
          await store.apiKeys.insert({ ...apiKey(name), person: 'alice', expiresAt });
        await store.apiKeys.insert({ ...apiKey('other'), person: 'bob', expiresAt: null });
        expect(await store.people.change('alice', { disabledAt: time }, time)).toBe(true);
        expect(await store.people.change('alice', { disabledAt: null })).toBe(true);
        expect(await store.people.change('eve', {}, time)).toBe(false);
        expect(await store.people.list()).toMatchObject([
          { name: 'alice', generation: 1, disabledAt: null },
          { name: 'bob', generation: 0 },
        ]);
        expect((await store.apiKeys.list()).map(({ name, expiresAt }) => [name, expiresAt])).toEqual([
          ['earlier', time - 9],
          ['lasting', time],
          ['later', time],
          ['other', null],
        ]);
      });

      it('are found by their identity, which is unique', async () => {
        const identity = 'https://login.acme.test/ a-1';
        await store.people.insert({ ...person('alice'), identity });
        await store.people.insert(person('bob'));
        await store.people.insert(person('carol'));
        expect(await store.people.find(identity)).toEqual({ ...person('alice'), identity });
        expect(await store.people.find('https://login.acme.test/ a-2')).toBeNull();
        const taken = { code: 'already_exists' };
        await expect(store.people.insert({ ...person('eve'), identity })).rejects.toMatchObject(taken);
        await expect(store.people.change('bob', { identity })).rejects.toMatchObject(taken);
      });

      it('have passkeys, which are deleted with them', async () => {
        const { passkeys } = store.people;
        await store.people.insert(person('alice'));
        await passkeys.insert(passkey('k1', 'alice'));
        await expect(passkeys.insert(passkey('k1', 'alice'))).rejects.toMatchObject({
          code: 'already_exists',
        });
        await passkeys.used('k1', { counter: 7, at: time + 1 });
        expect(await passkeys.get('k1')).toMatchObject({ person: 'alice', counter: 7, usedAt: time + 1 });
        expect(hex((await passkeys.list('alice'))[0]?.publicKey)).toBe('00ff');
        await store.people.insert(person('bob'));
        await passkeys.insert({ ...passkey('k3', 'bob'), createdAt: time });
        await passkeys.insert({ ...passkey('k2', 'bob'), createdAt: time + 1 });
        await passkeys.insert({ ...passkey('k0', 'alice'), createdAt: time });
        const ids = async (...people: string[]) => (await passkeys.list(...people)).map(({ id }) => id);
        expect(await ids('bob')).toEqual(['k3', 'k2']);
        expect((await ids('bob', 'alice', 'eve')).toSorted()).toEqual(['k0', 'k1', 'k2', 'k3']);
        expect(await ids()).toEqual([]);
        expect(await passkeys.remove('bob', 'k1')).toBe(false);
        await store.people.remove('alice');
        expect(await passkeys.get('k1')).toBeNull();
      });
    });

    describe('uses of tokens', () => {
      const hour = 3_600_000;
      let grantId: string;

      beforeEach(async () => {
        const record = grantRecord();
        grantId = record.id;
        await store.grants.insert(record);
      });
      it('are noted once for each user of a token, across connections', async () => {
        const second = await subject.second();
        await store.tokenUses.note({ grantId, token: 't1', lease: 'l1' }, time);
        await second.tokenUses.note({ grantId, token: 't1', lease: 'l1' }, time + 1);
        await second.tokenUses.note({ grantId, token: 't1', lease: null }, time + 1);
        expect(new Set(await usesIn(store))).toEqual(
          new Set([
            ['t1', null, 0],
            ['t1', 'l1', 0],
          ]),
        );
      });

      it('are listed of one token, with those of all its grants and users', async () => {
        const other = grantRecord({ name: 'other' });
        await store.grants.insert(other);
        await store.tokenUses.note({ grantId, token: 't1', lease: 'l1' }, time);
        await store.tokenUses.note({ grantId: other.id, token: 't1', lease: null }, time);
        await store.tokenUses.note({ grantId, token: 't2', lease: 'l1' }, time);
        const uses = await store.tokenUses.list('t1');
        expect(uses.map((use) => [use.grantId, use.token, use.lease])).toEqual(
          expect.arrayContaining([
            [grantId, 't1', 'l1'],
            [other.id, 't1', null],
          ]),
        );
        expect(uses).toHaveLength(2);
        expect(await store.tokenUses.list('t3')).toEqual([]);
      });

      it('by leases are listed in pages, also of one lease', async () => {
        for (const lease of ['l2', null, 'l1', 'l3'])
          await store.tokenUses.note({ grantId, token: 't1', lease }, time);
        const found: (string | null)[] = [];
        for (let after: TokenUse | undefined; ;) {
          const [use] = await store.tokenUses.ofLeases({ after, limit: 1 });
          if (use === undefined) break;
          found.push(use.lease);
          after = use;
        }
        expect(found).toEqual(['l1', 'l2', 'l3']);
        const ofOne = await store.tokenUses.ofLeases({ lease: 'l2', limit: 9 });
        expect(ofOne.map(({ lease }) => lease)).toEqual(['l2']);
      });

      it('are forgotten an hour after the first use, once there is another token', async () => {
        await store.tokenUses.note({ grantId, token: 't1', lease: 'l1' }, time);
        await store.tokenUses.note({ grantId, token: 't2', lease: 'l1' }, time + hour);
        expect(await usesIn(store)).toHaveLength(2);
        await store.tokenUses.note({ grantId, token: 't2', lease: null }, time + hour + 1);
        expect((await usesIn(store)).map(([token]) => token)).toEqual(['t2', 't2']);
      });

      it('keep the number of attempts, and are removed one by one', async () => {
        await store.tokenUses.note({ grantId, token: 't1', lease: 'l1' }, time);
        await store.tokenUses.note({ grantId, token: 't1', lease: null }, time);
        const [use] = (await store.tokenUses.list()).filter(({ lease }) => lease === 'l1');
        await store.tokenUses.retry(use!, 2, time + 5);
        await store.tokenUses.note({ grantId, token: 't1', lease: 'l1' }, time + 9);
        expect(await store.tokenUses.list()).toContainEqual(
          expect.objectContaining({ grantId, token: 't1', lease: 'l1', attempts: 2, dueAt: time + 5 }),
        );
        await store.tokenUses.remove(use!);
        expect(await usesIn(store)).toEqual([['t1', null, 0]]);
      });

      it('are removed with the grant, and none is noted for a missing one', async () => {
        await store.tokenUses.note({ grantId, token: 't1', lease: 'l1' }, time);
        await store.grants.remove(grantId);
        await expect(store.tokenUses.note({ grantId, token: 't1', lease: 'l1' }, time)).rejects.toThrow();
        expect(await usesIn(store)).toEqual([]);
      });
    });

    describe('activity', () => {
      const nothing = {
        usedAt: null,
        refreshedAt: null,
        failedAt: null,
        failure: null,
        lackedAt: null,
        lacked: [],
      };
      let grantId: string;

      beforeEach(async () => {
        const record = grantRecord();
        grantId = record.id;
        await store.grants.insert(record);
      });
      const known = async (from = store) => {
        const found = await from.activity.get(grantId);
        if (found === null) return null;
        const { grantId: id, ...rest } = found;
        expect(id).toBe(grantId);
        return rest;
      };

      it('is null for a grant without any', async () => {
        expect(await known()).toBeNull();
        expect(await store.activity.some([grantId])).toEqual([]);
      });

      it('keeps the fields that a note does not name, across connections', async () => {
        const second = await subject.second();
        await store.activity.note(grantId, { usedAt: time });
        await second.activity.note(grantId, { failedAt: time + 1, failure: 'the endpoint answered 503' });
        expect(await known()).toEqual({
          ...nothing,
          usedAt: time,
          failedAt: time + 1,
          failure: 'the endpoint answered 503',
        });
        await store.activity.note(grantId, { usedAt: time + 5 });
        expect(await known(second)).toMatchObject({ usedAt: time + 5, failedAt: time + 1 });
      });

      it('is listed for the grants that have any', async () => {
        const other = grantRecord({ name: 'other' });
        await store.grants.insert(other);
        await store.grants.insert(grantRecord({ name: 'quiet' }));
        await store.activity.note(grantId, { usedAt: time });
        await store.activity.note(other.id, { refreshedAt: time });
        const listed = await store.activity.some([grantId, other.id, 'no-such']);
        expect(new Map(listed.map(({ grantId: id, ...rest }) => [id, rest]))).toEqual(
          new Map([
            [grantId, { ...nothing, usedAt: time }],
            [other.id, { ...nothing, refreshedAt: time }],
          ]),
        );
      });

      it('has no failure after a later successful refresh', async () => {
        await store.activity.note(grantId, { failedAt: time, failure: 'down' });
        await store.activity.note(grantId, { refreshedAt: time + 1 });
        expect(await known()).toEqual({ ...nothing, refreshedAt: time + 1 });
      });

      it('records the later of two times, in any order of the notes', async () => {
        await store.activity.note(grantId, { usedAt: time });
        await store.activity.note(grantId, { usedAt: time - 1 });
        await store.activity.note(grantId, { failedAt: time, failure: 'down' });
        await store.activity.note(grantId, { failedAt: time - 1, failure: 'late news' });
        await store.activity.note(grantId, { refreshedAt: time - 1 });
        expect(await known()).toEqual({
          ...nothing,
          usedAt: time,
          refreshedAt: time - 1,
          failedAt: time,
          failure: 'down',
        });
        await store.activity.note(grantId, { refreshedAt: time + 2 });
        await store.activity.note(grantId, { refreshedAt: time + 1 });
        await store.activity.note(grantId, { failedAt: time + 1, failure: 'late news' });
        expect(await known()).toEqual({ ...nothing, usedAt: time, refreshedAt: time + 2 });
      });

      it('replaces times that lie in the future because a clock was wrong', async () => {
        const right = time;
        time += 365 * 86_400_000;
        await store.activity.note(grantId, { usedAt: time });
        await store.activity.note(grantId, { refreshedAt: time });
        await store.activity.note(grantId, { failedAt: time, failure: 'down' });
        time = right;
        await store.activity.note(grantId, { usedAt: time });
        await store.activity.note(grantId, { refreshedAt: time });
        expect(await known()).toEqual({ ...nothing, usedAt: time, refreshedAt: time });
        await store.activity.note(grantId, { failedAt: time + 1, failure: 'now' });
        expect(await known()).toMatchObject({ failedAt: time + 1, failure: 'now' });
      });

      it('keeps the latest missing scopes, next to the other fields', async () => {
        const second = await subject.second();
        await store.activity.note(grantId, { lackedAt: time, lacked: ['read:org', 'repo'] });
        await second.activity.note(grantId, { usedAt: time + 1 });
        await second.activity.note(grantId, { lackedAt: time - 1, lacked: ['late'] });
        const lacked = { ...nothing, usedAt: time + 1, lackedAt: time, lacked: ['read:org', 'repo'] };
        expect(await known()).toEqual(lacked);
        await second.activity.note(grantId, { refreshedAt: time + 2 });
        expect(await known()).toEqual({ ...lacked, refreshedAt: time + 2 });
        await store.activity.note(grantId, { lackedAt: time + 3, lacked: [] });
        expect(await known()).toMatchObject({ lackedAt: time + 3, lacked: [] });
      });

      it('is deleted with its grant, and a late note does not restore it', async () => {
        await store.activity.note(grantId, { usedAt: time });
        await store.grants.remove(grantId);
        expect(await known()).toBeNull();
        await store.activity.note(grantId, { usedAt: time });
        await store.activity.note('never-was', { failedAt: time, failure: 'down' });
        expect(await store.activity.some([grantId, 'never-was'])).toEqual([]);
      });

      it('stays when its grant is replaced, and does not change the grant', async () => {
        const record = await store.grants.get(grantId);
        await store.activity.note(grantId, { usedAt: time });
        expect(await store.grants.replace({ ...record!, revision: 2 }, 1)).toBe(true);
        await store.activity.note(grantId, { refreshedAt: time });
        expect(await known()).toEqual({ ...nothing, usedAt: time, refreshedAt: time });
        expect((await store.grants.get(grantId))?.revision).toBe(2);
      });

      it('has the latest time after many concurrent notes', async () => {
        const second = await subject.second();
        await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            (index % 2 === 0 ? store : second).activity.note(grantId, { usedAt: time + ((index * 7) % 20) }),
          ),
        );
        expect((await known())?.usedAt).toBe(time + 19);
      });
    });

    describe('ends of audit logs', () => {
      it('are stored for each log and node, in order of node', async () => {
        expect(await store.auditHeads.list('/a.jsonl')).toEqual([]);
        for (const each of [end('b/1', 5), end('a/1', 7), end('a/1', 3, '/b.jsonl')]) {
          await store.auditHeads.put(each);
        }
        const list = await store.auditHeads.list('/a.jsonl');
        const bytes = Buffer.from('a/1 7');
        expect(list.map((each) => ({ ...each, sealed: Buffer.from(each.sealed) }))).toEqual([
          { ...end('a/1', 7), sealed: bytes },
          end('b/1', 5),
        ]);
        expect(await told(store, '/b.jsonl')).toEqual(['a/1 3']);
        const all = await store.auditHeads.list();
        expect(all.map(({ log, node }) => `${log} ${node}`)).toEqual([
          '/a.jsonl a/1',
          '/a.jsonl b/1',
          '/b.jsonl a/1',
        ]);
      });

      it('never go back to an earlier end, whichever connection writes them', async () => {
        const second = await subject.second();
        await store.auditHeads.put(end('a/1', 7));
        await second.auditHeads.put(end('a/1', 6));
        expect(await told(second)).toEqual(['a/1 7']);
        await second.auditHeads.put(end('a/1', 8));
        expect(await told(store)).toEqual(['a/1 8']);
      });
    });

    describe('epoch', () => {
      it('is unchanged by reads', async () => {
        const second = await subject.second();
        const epoch = store.epoch();
        await store.grants.find({});
        await second.grants.find({});
        await second.meta.get('key_check');
        expect(store.epoch()).toBe(epoch);
      });

      it('changes with each write that affects decisions, by any connection', async () => {
        const second = await subject.second();
        const record = grantRecord();
        const seen = new Set([store.epoch()]);
        const writes = [
          () => store.grants.insert(record),
          () => second.grants.replace({ ...record, revision: 2 }, 1),
          () => store.grants.replace({ ...record, revision: 3 }, 2),
          () => second.agents.insert(agentRecord()),
          () => second.agents.remove('claude'),
          () => store.meta.putIfAbsent('key_check', Buffer.from('x')),
          () => second.grantPolicies.set(record.id, { labels: ['x'] }),
          () => store.auditHeads.put({ log: '/a', node: 'a/1', seq: 1, sealed: Buffer.from('x') }),
          () => second.grants.remove(record.id),
          () => second.people.insert(person('alice')),
          () => second.people.change('alice', { role: 'viewer' }),
          () => second.people.remove('alice'),
          () => second.apiKeys.insert(apiKey('a')),
          () => second.apiKeys.remove('a'),
        ];
        for (const write of writes) {
          const before = store.epoch();
          await write();
          await changeOf(store, before, subject.epochWithinMs);
          seen.add(store.epoch());
        }
        expect(seen.size).toBe(writes.length + 1);
      });

      it('changes immediately with a write of the same connection', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        for (let revision = 1; revision < 20; revision += 1) {
          const before = store.epoch();
          await store.grants.replace({ ...record, revision: revision + 1 }, revision);
          expect(store.epoch()).not.toBe(before);
        }
      });

      it('changes in time on another connection, which then reads what was written', async () => {
        const second = await subject.second();
        const record = grantRecord();
        await store.grants.insert(record);
        second.held?.count(record.id, 1);
        for (let revision = 1; revision < 20; revision += 1) {
          const before = second.epoch();
          const refresh = { name: `refresh/${record.id}`, holder: 'one', at: time };
          const written = { ...record, revision: revision + 1 };
          await store.grants.replace(written, revision, revision % 2 === 0 ? refresh : undefined);
          await changeOf(second, before, subject.epochWithinMs);
          expect((await second.grants.get(record.id))?.revision).toBe(revision + 1);
        }
      });
    });

    describe('close', () => {
      it('keeps written data', async () => {
        const second = await subject.second();
        const record = grantRecord();
        await store.grants.insert(record);
        await store.close();
        expect(plain(await second.grants.get(record.id))).toEqual(plain(record));
      });

      it('lets writes in progress finish', async () => {
        const second = await subject.second();
        const record = grantRecord();
        const insert = store.grants.insert(record);
        await store.close();
        await insert;
        expect(plain(await second.grants.get(record.id))).toEqual(plain(record));
      });

      it('can be called twice', async () => {
        await Promise.all([store.close(), store.close()]);
        await store.close();
      });

      it('makes every later call fail instead of returning empty results', async () => {
        await store.grants.insert(grantRecord());
        await store.close();
        const uses = [
          () => store.grants.get('x'),
          () => store.grants.find({}),
          () => store.grants.insert(grantRecord()),
          () => store.grants.replace(grantRecord({ revision: 2 }), 1),
          () => store.grants.remove('x'),
          () => store.agents.get('x'),
          () => store.agents.list(),
          () => store.agents.insert(agentRecord()),
          () => store.agents.remove('x'),
          () => store.meta.get('x'),
          () => store.meta.putIfAbsent('x', Buffer.from('x')),
          () => store.locks.acquire('x', 'one', 1_000),
          () => store.locks.acquireFor('x', { name: 'x', holder: 'one', ttlMs: 1_000, silentMs: 0 }),
          () => store.locks.renew('x', 'one', 1_000),
          () => store.locks.look('x'),
          () => store.locks.release('x', 'one'),
          () => store.sessions.insert({ id: 'x', expiresAt: 1, sealed: Buffer.from('x') }),
          () => store.sessions.get('x'),
          () => store.apiKeys.list(),
          () => store.people.list(),
          () => store.sessions.take('x'),
          () => store.sessions.removeEnded(1),
          () => store.activity.get('x'),
          () => store.activity.some(['x']),
          () => store.activity.note('x', { usedAt: 1 }),
        ];
        for (const use of uses) await expect(use()).rejects.toMatchObject({ code: 'store_unavailable' });
        expect(() => store.epoch()).toThrow(expect.objectContaining({ code: 'store_unavailable' }));
      });
    });
  });
}

/** A record with its bytes as text, so that a `Buffer` and a `Uint8Array` compare as equal. */
function plain(record: GrantRecord | null): unknown {
  return record && { ...record, sealed: hex(record.sealed) };
}

async function changeOf(from: Store, before: number, timeout: number): Promise<void> {
  await vi.waitFor(() => expect(from.epoch()).not.toBe(before), { timeout, interval: 1 });
}

function hex(bytes: Uint8Array | undefined): string | undefined {
  return bytes && Buffer.from(bytes).toString('hex');
}

function text(bytes: Uint8Array | null): string | null {
  return bytes && Buffer.from(bytes).toString();
}

function end(node: string, seq: number, log = '/a.jsonl'): AuditEndRecord {
  return { log, node, seq, sealed: Buffer.from(`${node} ${seq}`) };
}

async function told(from: Store, log = '/a.jsonl'): Promise<(string | null)[]> {
  return (await from.auditHeads.list(log)).map(({ sealed }) => text(sealed));
}

const apiKey = (name: string) => ({
  name,
  hash: Buffer.from(`hash of ${name}`),
  role: 'operator',
  scopes: ['grants:read'],
  user: 'alice',
  person: null,
  createdAt: 1_000,
  expiresAt: 2_000,
  usedAt: null,
});

const person = (name: string) => ({
  name,
  role: 'user',
  user: null,
  disabledAt: null,
  createdAt: 1_000,
  identity: null,
  generation: 0,
});

const passkey = (id: string, of: string) => ({
  id,
  person: of,
  publicKey: Buffer.from([0, 255]),
  counter: 1,
  label: 'laptop',
  createdAt: 1_000,
  usedAt: null,
});
