import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { everything, type Binding, leaseStanding, reachesGrant } from '../../src/domain/lease.ts';
import type { LeaseQuery, Store } from '../../src/store/store.ts';
import { grantRecord } from '../support/grant-record.ts';
import { agentRecord, leaseRecord, tokenRecord } from '../support/rights.ts';
import type { StoreUnderTest } from './store.ts';

/** Tests of every implementation of `Store`: agents, tokens, bindings, leases and policies. */
export function rightsConformance(name: string, open: (now: () => number) => Promise<StoreUnderTest>): void {
  describe(`${name} as a store of rights`, () => {
    let subject: StoreUnderTest;
    let store: Store;
    let time: number;

    beforeEach(async () => {
      time = 1_700_000_000_000;
      subject = await open(() => time);
      store = subject.store;
    });
    afterEach(() => subject.cleanup());

    const github: Binding = { kind: 'provider', value: 'github' };
    const alice: Binding = { kind: 'user', value: 'alice' };

    describe('agents', () => {
      it('are returned unchanged', async () => {
        const full = agentRecord({ user: 'alice', labels: ['ci', 'a "b"'], disabledAt: time });
        const bare = agentRecord({ name: 'bare' });
        await store.agents.insert(full);
        await store.agents.insert(bare);
        expect(await store.agents.get('claude')).toEqual(full);
        expect(await store.agents.get('bare')).toEqual(bare);
        expect(await store.agents.get('codex')).toBeNull();
      });

      it('are written together with their tokens and bindings, or not at all', async () => {
        const token = tokenRecord();
        expect(await store.agentTokens.any()).toBe(false);
        await store.agents.insert(agentRecord(), { tokens: [token], bindings: [github] });
        expect(await store.agentTokens.any()).toBe(true);
        const second = tokenRecord();
        await expect(
          store.agents.insert(agentRecord({ user: 'bob' }), { tokens: [second], bindings: [alice] }),
        ).rejects.toMatchObject({ code: 'already_exists' });
        // The id of the token is taken: the agent is not there either.
        await expect(
          store.agents.insert(agentRecord({ name: 'other' }), {
            tokens: [tokenRecord({ id: token.id, agent: 'other' })],
          }),
        ).rejects.toMatchObject({ code: 'already_exists' });
        expect((await store.agents.list()).map(({ name: of, user }) => [of, user])).toEqual([
          ['claude', null],
        ]);
        expect((await store.agentTokens.list()).map(({ id }) => id)).toEqual([token.id]);
        expect((await store.bindings.list()).map(({ value }) => value)).toEqual(['github']);
      });

      it('are counted, and listed by name', async () => {
        const names = async (page?: { limit: number }) =>
          (await store.agents.list(page)).map((each) => each.name);
        expect(await store.agents.count()).toBe(0);
        for (const each of ['b', 'B', 'a', 'é']) await store.agents.insert(agentRecord({ name: each }));
        expect(await store.agents.count()).toBe(4);
        expect(await names()).toEqual(['B', 'a', 'b', 'é']);
        expect(await names({ limit: 2 })).toEqual(['B', 'a']);
      });

      it('that reach a grant are found as their bindings say', async () => {
        const grant = grantRecord({ user: 'alice', provider: 'github' });
        await store.grants.insert(grant);
        await store.grantPolicies.set(grant.id, { labels: ['prod', 'ci'] });
        const { labels = [] } = (await store.grants.get(grant.id))!;
        const facts = { ...grant, labels };
        const kinds: readonly Binding[] = [
          ...(['grant', 'user', 'provider', 'label', 'egress'] as const).flatMap((kind) =>
            [grant.id, 'alice', 'github', 'prod', 'ci', 'bob'].map((value) => ({ kind, value })),
          ),
          everything,
        ];
        const expected: string[] = [];
        for (const [n, binding] of kinds.entries())
          for (const user of [null, 'alice', 'bob']) {
            const agent = agentRecord({ name: `${user ?? 'nobody'}-${n}`, user });
            const bindings = [binding, { kind: 'label', value: 'none' } as const];
            await store.agents.insert(agent, { bindings });
            if (reachesGrant(bindings, user, facts)) expected.push(agent.name);
          }
        expected.sort();
        const found = async (limit: number) =>
          (await store.agents.reaching(facts, limit)).map((each) => each.name);
        expect(expected.length).toBeGreaterThan(10);
        expect(await found(1_000)).toEqual(expected);
        expect(await found(3)).toEqual(expected.slice(0, 3));
        expect(await store.agents.reaching({ ...facts, labels: [] }, 1_000)).not.toEqual(expected);
      });

      it('are listed in pages with the facts of their rights', async () => {
        const other: Binding = { kind: 'grant', value: 'g-1' };
        const tokens = [
          tokenRecord({ usedAt: time + 2 }),
          tokenRecord({ revokedAt: time }),
          tokenRecord({ expiresAt: time }),
          tokenRecord({ expiresAt: time + 1 }),
        ];
        const full = agentRecord({ user: 'alice', labels: ['ci'] });
        await store.agents.insert(full, { tokens, bindings: [github, other] });
        await store.leases.insert(leaseRecord({ usedAt: time + 1 }));
        await store.leases.insert(leaseRecord({ usedAt: time + 3, revokedAt: time + 3 }));
        for (const agent of ['b', 'C']) await store.agents.insert(agentRecord({ name: agent }));
        await store.rights.noteUses([{ kind: 'identity', id: 'b', at: time }]);
        const none = { bindings: [], liveTokens: 0, activeLeases: 0, usedAt: null };
        const [upper, lower, claude] = [
          { ...agentRecord({ name: 'C' }), ...none },
          { ...agentRecord({ name: 'b' }), ...none, usedAt: time },
          { ...full, liveTokens: 2, activeLeases: 1, usedAt: time + 3 },
        ];
        const first = await store.agents.inList(time, { limit: 2 });
        expect(first).toEqual([upper, lower]);
        const [last, ...more] = await store.agents.inList(time, { after: 'b' });
        expect(last).toMatchObject(claude);
        expect(last!.bindings.map(({ kind, value }) => [kind, value])).toEqual([
          ['grant', 'g-1'],
          ['provider', 'github'],
        ]);
        expect(more).toEqual([]);
        expect(await store.agents.inList(time, { after: 'claude' })).toEqual([]);
      });

      it('are listed with their active leases, as the state of a lease says', async () => {
        const idle = { createdAt: time - 9, idleMs: 9 };
        const leases = [
          {},
          { expiresAt: time },
          { revokedAt: time },
          { maxUses: 2, uses: 2 },
          { maxUses: 2, uses: 1 },
          idle,
          { ...idle, renewedAt: time - 8 },
          { ...idle, usedAt: time - 8 },
        ].map((fields, index) => leaseRecord({ ...fields, agent: `a${index}` }));
        for (const lease of leases) {
          await store.agents.insert(agentRecord({ name: lease.agent }));
          await store.leases.insert(lease);
        }
        const listed = await store.agents.inList(time, {});
        expect(listed.map(({ activeLeases }) => activeLeases === 1)).toEqual(
          leases.map((lease) => leaseStanding(lease, time).state === 'active'),
        );
      });

      it('are listed by name, and can be removed', async () => {
        for (const agent of ['b', 'C', 'a']) await store.agents.insert(agentRecord({ name: agent }));
        expect((await store.agents.list()).map((found) => found.name)).toEqual(['C', 'a', 'b']);
        expect(await store.agents.remove('b')).toBe(true);
        expect(await store.agents.remove('b')).toBe(false);
        expect((await store.agents.list()).map((found) => found.name)).toEqual(['C', 'a']);
      });

      it('keep the fields that a change does not name', async () => {
        await store.agents.insert(agentRecord({ user: 'alice', labels: ['ci'] }));
        await store.agents.insert(agentRecord({ name: 'other' }));
        expect(await store.agents.change('claude', { disabledAt: time })).toBe(true);
        expect(await store.agents.change('claude', { labels: [] })).toBe(true);
        expect(await store.agents.change('claude', {})).toBe(true);
        expect(await store.agents.get('claude')).toEqual(agentRecord({ user: 'alice', disabledAt: time }));
        expect(await store.agents.change('claude', { user: null, disabledAt: null })).toBe(true);
        expect(await store.agents.get('claude')).toEqual(agentRecord());
        expect(await store.agents.get('other')).toEqual(agentRecord({ name: 'other' }));
        expect(await store.agents.change('codex', { user: 'bob' })).toBe(false);
      });

      it('leave no rights to a later agent of the same name when they are removed', async () => {
        await store.agents.insert(agentRecord(), { tokens: [tokenRecord()], bindings: [everything] });
        await store.leases.insert(leaseRecord());
        await store.agents.remove('claude');
        await store.agents.insert(agentRecord());
        expect([...(await store.agentTokens.list()), ...(await store.bindings.list())]).toEqual([]);
        expect(await store.leases.find()).toEqual([]);
      });
    });

    describe('tokens', () => {
      beforeEach(() => store.agents.insert(agentRecord()));

      it('are returned unchanged, for one agent or for all', async () => {
        const full = tokenRecord({ label: 'ci', expiresAt: time + 1, usedAt: time, revokedAt: time + 2 });
        const bare = tokenRecord({ createdAt: time + 1 });
        expect(await store.agentTokens.add(bare, null)).toBe(0);
        expect(await store.agentTokens.add(full, null)).toBe(0);
        expect(plain(await store.agentTokens.list('claude'))).toEqual(plain([full, bare]));
        expect(plain(await store.agentTokens.list())).toEqual(plain([full, bare]));
        expect(await store.agentTokens.list('codex')).toEqual([]);
      });

      it('are not added to a missing agent', async () => {
        expect(await store.agentTokens.add(tokenRecord({ agent: 'codex' }), null)).toBeNull();
        expect(await store.agentTokens.list()).toEqual([]);
      });

      it('with the label of a new token end at the given time, or earlier if they expire earlier', async () => {
        const old = tokenRecord({ label: 'ci' });
        const soon = tokenRecord({ label: 'ci', expiresAt: time + 10 });
        const late = tokenRecord({ label: 'ci', expiresAt: time + 9_000 });
        const gone = tokenRecord({ label: 'ci', revokedAt: time - 1 });
        const other = tokenRecord({ label: 'laptop' });
        for (const token of [old, soon, late, gone, other]) await store.agentTokens.add(token, null);
        const next = tokenRecord({ label: 'ci' });
        expect(await store.agentTokens.add(next, { label: 'ci', at: time + 1_000 })).toBe(2);
        const ends = new Map((await store.agentTokens.list()).map((token) => [token.id, token.expiresAt]));
        expect([old, soon, late, gone, other, next].map(({ id }) => ends.get(id))).toEqual([
          time + 1_000,
          time + 10,
          time + 1_000,
          null,
          null,
          null,
        ]);
        expect(await store.agentTokens.add(tokenRecord(), { label: null, at: time })).toBe(5);
      });

      it('are revoked by label or all at once, and the result counts those that were valid', async () => {
        await store.agents.insert(agentRecord({ name: 'other' }));
        const foreign = tokenRecord({ agent: 'other' });
        await store.agentTokens.add(foreign, null);
        for (const label of ['ci', 'ci', 'laptop']) await store.agentTokens.add(tokenRecord({ label }), null);
        await store.agentTokens.add(tokenRecord({ label: 'ci', expiresAt: time }), null);
        expect(await store.agentTokens.revoke('claude', 'ci', time)).toBe(2);
        expect(await store.agentTokens.revoke('claude', 'ci', time + 5)).toBe(0);
        expect(await store.agentTokens.revoke('claude', null, time + 5)).toBe(1);
        expect((await store.agentTokens.list('other'))[0]?.revokedAt).toBeNull();
      });

      it('are deleted if they ended before the given time', async () => {
        const kept = [
          tokenRecord(),
          tokenRecord({ expiresAt: time }),
          tokenRecord({ revokedAt: time }),
          tokenRecord({ expiresAt: time + 1 }),
        ];
        const ended = [tokenRecord({ expiresAt: time - 1 }), tokenRecord({ revokedAt: time - 1 })];
        for (const token of [...kept, ...ended]) await store.agentTokens.add(token, null);
        await store.agentTokens.removeEnded(time);
        expect((await store.agentTokens.list()).map(({ id }) => id).toSorted()).toEqual(
          kept.map(({ id }) => id).toSorted(),
        );
      });
    });

    describe('bindings', () => {
      beforeEach(() => store.agents.insert(agentRecord()));

      it('are added once each, and the result counts the new bindings', async () => {
        expect(await store.bindings.add('claude', [github, alice], time)).toBe(2);
        expect(await store.bindings.add('claude', [alice, everything], time + 1)).toBe(1);
        expect(await store.bindings.list('claude')).toEqual([
          { agent: 'claude', ...everything, createdAt: time + 1 },
          { agent: 'claude', ...github, createdAt: time },
          { agent: 'claude', ...alice, createdAt: time },
        ]);
        expect(await store.bindings.add('codex', [github], time)).toBeNull();
        expect(await store.bindings.list()).toHaveLength(3);
      });

      it('are removed only from the named agent', async () => {
        await store.agents.insert(agentRecord({ name: 'other' }), { bindings: [github] });
        await store.bindings.add('claude', [github, alice], time);
        expect(await store.bindings.remove('claude', [github, { kind: 'label', value: 'github' }])).toBe(1);
        expect((await store.bindings.list()).map(({ agent, kind }) => [agent, kind])).toEqual([
          ['claude', 'user'],
          ['other', 'provider'],
        ]);
      });
    });

    describe('leases', () => {
      beforeEach(() => store.agents.insert(agentRecord()));

      it('are returned unchanged', async () => {
        const full = leaseRecord({
          grants: ['g-1', 'g-2'],
          purpose: 'ein Bericht "für" alle',
          idleMs: 300_000,
          renewedAt: time,
          usedAt: time + 1,
          maxUses: 10,
          uses: 3,
          revokedAt: time + 2,
        });
        const bare = leaseRecord({ expiresAt: full.expiresAt - 1 });
        expect(await store.leases.insert(full)).toBe(true);
        expect(await store.leases.insert(bare)).toBe(true);
        expect(plain([(await store.leases.get(full.id))!])).toEqual(plain([full]));
        expect(plain(await store.leases.find())).toEqual(plain([bare, full]));
        expect(await store.leases.get('no-such')).toBeNull();
        expect(plain(await store.leases.startingWith(full.id.slice(0, 8)))).toEqual(plain([full]));
        expect(await store.leases.startingWith('no-such')).toEqual([]);
        expect(await store.leases.insert(leaseRecord({ agent: 'codex' }))).toBe(false);
        await store.agents.change('claude', { disabledAt: time });
        expect((await store.leases.find()).map(({ revokedAt }) => revokedAt)).toEqual([time, time + 2]);
        expect(await store.leases.insert(leaseRecord())).toBe(false);
      });

      it('are found in pages by their end, of all agents or of one', async () => {
        await store.agents.insert(agentRecord({ name: 'other' }));
        const leases = [5, 1, 3, 3, 9, 3].map((end, index) =>
          leaseRecord({ id: `${index}`, agent: index < 2 ? 'other' : 'claude', expiresAt: time + end }),
        );
        for (const lease of leases) await store.leases.insert(lease);
        const idsOf = async (query: LeaseQuery) =>
          (await store.leases.find(query)).map(({ id }) => id).join('');
        expect(await idsOf({})).toBe('123504');
        expect(await idsOf({ limit: 3 })).toBe('123');
        expect(await idsOf({ limit: 2, after: leases[3] })).toBe('50');
        expect(await idsOf({ endsAfter: time + 3 })).toBe('04');
        expect(await idsOf({ endsAfter: time + 1, after: leases[2] })).toBe('3504');
        expect(await idsOf({ agent: 'other' })).toBe('10');
        expect(await idsOf({ agent: 'claude', endsAfter: time + 3, limit: 1 })).toBe('4');
        expect(await idsOf({ agent: 'claude', after: leases[3] })).toBe('54');
        expect(await idsOf({ agent: 'no-such' })).toBe('');
        await store.leases.insert(leaseRecord({ id: '6', agent: 'other', grants: ['g-1', 'g-2'] }));
        await store.leases.insert(leaseRecord({ id: '7', agent: 'other', grants: null }));
        expect(await idsOf({ agent: 'other', grant: 'g-2' })).toBe('67');
        expect(await idsOf({ agent: 'other', grant: 'g-3' })).toBe('7');
      });

      it('are counted by their end, unless they are revoked', async () => {
        expect(await store.leases.endings(time, [5])).toEqual({ counts: [0], next: null, total: 0 });
        const leases = [0, 2, 3, 5, 9].map((end) => leaseRecord({ expiresAt: time + end }));
        for (const lease of leases) await store.leases.insert(lease);
        await store.leases.revoke({ id: leases[1]!.id }, time);
        expect(await store.leases.endings(time, [1, 5])).toEqual({
          counts: [0, 2],
          next: time + 3,
          total: 3,
        });
      });

      it('can be renewed, with more uses if their uses are counted', async () => {
        const counted = leaseRecord({ maxUses: 2, uses: 2 });
        const free = leaseRecord();
        for (const lease of [counted, free]) await store.leases.insert(lease);
        const renewal = { at: time + 5, expiresAt: time + 9, moreUses: 3 };
        expect(await store.leases.renew(counted.id, renewal)).toMatchObject({
          renewedAt: time + 5,
          expiresAt: time + 9,
          maxUses: 5,
          uses: 2,
        });
        expect(await store.leases.renew(free.id, renewal)).toMatchObject({ maxUses: null });
        expect(await store.leases.renew('no-such', renewal)).toBeNull();
        await store.leases.revoke({ id: free.id }, time);
        expect(await store.leases.renew(free.id, renewal)).toBeNull();
      });

      it('are revoked by id, by agent or by grant, and the result has their ids', async () => {
        await store.agents.insert(agentRecord({ name: 'other' }));
        const grant = '7b1d2d5c-2f7e-4d3b-9a53-2f6f0a4b5c6d';
        const one = leaseRecord({ grants: ['x', grant] });
        const two = leaseRecord({ agent: 'other', grants: [grant] });
        const three = leaseRecord({ agent: 'other', grants: [`${grant}0`, 'x'] });
        for (const lease of [one, two, three]) await store.leases.insert(lease);
        expect((await store.leases.revoke({ grant }, time)).toSorted()).toEqual([one.id, two.id].toSorted());
        expect(await store.leases.revoke({ grant }, time + 1)).toEqual([]);
        expect(await store.leases.revoke({ agent: 'other' }, time + 1)).toEqual([three.id]);
        expect(await store.leases.revoke({ id: one.id }, time + 1)).toEqual([]);
        expect((await store.leases.get(one.id))?.revokedAt).toBe(time);
        const four = leaseRecord();
        await store.leases.insert(four);
        expect(await store.leases.revoke({ id: four.id }, time)).toEqual([four.id]);
      });

      it('without a list of grants are revoked with any grant', async () => {
        const all = leaseRecord({ grants: null });
        const none = leaseRecord({ grants: [] });
        const limited = leaseRecord({ grants: null, egress: ['pypi.org'] });
        for (const lease of [all, none, limited]) await store.leases.insert(lease);
        expect((await store.leases.get(all.id))?.grants).toBeNull();
        expect(await store.leases.get(limited.id)).toMatchObject({ grants: null, egress: ['pypi.org'] });
        expect((await store.leases.find()).map(({ grants }) => grants)).toEqual(
          expect.arrayContaining([null, []]),
        );
        expect((await store.leases.revoke({ grant: 'any' }, time)).toSorted()).toEqual(
          [all.id, limited.id].toSorted(),
        );
      });

      it('accept exactly their maximum number of uses across connections', async () => {
        const second = await subject.second();
        const lease = leaseRecord({ maxUses: 10 });
        await store.leases.insert(lease);
        const counted = await Promise.all(
          Array.from({ length: 25 }, (_, index) =>
            (index % 2 === 0 ? store : second).leases.use(lease.id, time + index),
          ),
        );
        expect(counted.filter((count) => count !== null).toSorted((a, b) => a - b)).toEqual([
          1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
        ]);
        expect(await second.leases.get(lease.id)).toMatchObject({ uses: 10 });
      });

      it('count no use after they have expired, were revoked or were deleted', async () => {
        const lease = leaseRecord({ expiresAt: time + 10 });
        await store.leases.insert(lease);
        expect(await store.leases.use(lease.id, time + 9)).toBe(1);
        expect(await store.leases.use(lease.id, time + 10)).toBeNull();
        await store.leases.revoke({ id: lease.id }, time);
        expect(await store.leases.use(lease.id, time + 1)).toBeNull();
        expect(await store.leases.use('no-such', time)).toBeNull();
        expect(await store.leases.get(lease.id)).toMatchObject({ uses: 1, usedAt: time + 9 });
      });

      it('are deleted if they expired before the given time', async () => {
        const kept = leaseRecord({ expiresAt: time });
        for (const lease of [kept, leaseRecord({ expiresAt: time - 1 })]) await store.leases.insert(lease);
        await store.leases.removeEnded(time);
        expect((await store.leases.find()).map(({ id }) => id)).toEqual([kept.id]);
      });
    });

    describe('grant policies', () => {
      const nothing = {
        expiresAt: null,
        defaultTtlMs: null,
        maxTtlMs: null,
        leaseDefaultMs: null,
        leaseMaxMs: null,
        labels: [],
      };

      it('keep earlier fields when others are set', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        expect(await store.grantPolicies.get(record.id)).toBeNull();
        expect(await store.grantPolicies.set(record.id, { expiresAt: time, labels: ['prod'] })).toBe(true);
        expect(await store.grantPolicies.set(record.id, { leaseMaxMs: 5, maxTtlMs: 6 })).toBe(true);
        const policy = { ...nothing, grantId: record.id, expiresAt: time, labels: ['prod'], leaseMaxMs: 5 };
        expect(await store.grantPolicies.get(record.id)).toEqual({ ...policy, maxTtlMs: 6 });
        expect(await store.grantPolicies.set(record.id, { maxTtlMs: null })).toBe(true);
        expect(await store.grantPolicies.get(record.id)).toEqual(policy);
      });

      it('are written in the transaction of their grant', async () => {
        const [one, other] = [grantRecord(), grantRecord({ name: 'other' })];
        await store.grants.insert({ ...one, policy: { labels: ['prod'], expiresAt: time } }, other);
        expect(await store.grantPolicies.get(one.id)).toEqual({
          ...nothing,
          grantId: one.id,
          labels: ['prod'],
          expiresAt: time,
        });
        expect(await store.grantPolicies.get(other.id)).toBeNull();
        const next = { ...one, revision: 2, policy: { leaseMaxMs: 5, expiresAt: null } };
        expect(await store.grants.replace(next, 1)).toBe(true);
        expect(await store.grants.replace({ ...next, policy: { leaseMaxMs: 6 } }, 1)).toBe(false);
        const policy = { ...nothing, grantId: one.id, labels: ['prod'], leaseMaxMs: 5 };
        expect(await store.grantPolicies.get(one.id)).toEqual(policy);
        // A value that no database takes.
        const unwritable = { leaseMaxMs: {} as never };
        const third = grantRecord({ name: 'third' });
        await expect(store.grants.insert({ ...third, policy: unwritable })).rejects.toThrow();
        await expect(store.grants.replace({ ...next, revision: 3, policy: unwritable }, 2)).rejects.toThrow();
        expect(await store.grants.get(third.id)).toBeNull();
        expect((await store.grants.get(one.id))?.revision).toBe(2);
        expect(await store.grantPolicies.get(one.id)).toEqual(policy);
      });

      it('change the revision of rights with their grant', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        const second = await subject.second();
        const before = await second.rights.revision();
        await store.grants.replace({ ...record, revision: 2, policy: { labels: ['x'] } }, 1);
        expect(await second.rights.revision()).not.toBe(before);
      });

      it('are deleted with their grant, and are not stored for a missing grant', async () => {
        const record = grantRecord();
        await store.grants.insert(record);
        await store.grantPolicies.set(record.id, { defaultTtlMs: 1, leaseDefaultMs: 2 });
        // What is sealed is written anew, the policy stays.
        await store.grants.replace({ ...record, revision: 2 }, 1);
        expect(await store.grantPolicies.get(record.id)).toMatchObject({
          defaultTtlMs: 1,
          leaseDefaultMs: 2,
        });
        await store.grants.remove(record.id);
        expect(await store.grantPolicies.set(record.id, { defaultTtlMs: 1 })).toBe(false);
        expect(await store.grantPolicies.get(record.id)).toBeNull();
      });
    });

    describe('all rights', () => {
      it('are found by the hash of a token or a lease, with the agent and its bindings', async () => {
        const agent = agentRecord({ user: 'alice', labels: ['ci'] });
        const [token, ended] = [tokenRecord(), tokenRecord({ revokedAt: time })];
        await store.agents.insert(agent, { tokens: [token, ended], bindings: [github, alice] });
        await store.agents.insert(agentRecord({ name: 'bare' }));
        const lease = leaseRecord({ grants: ['x'], egress: ['pypi.org'], maxUses: 2, idleMs: 5 });
        const ofBare = leaseRecord({ agent: 'bare', expiresAt: 1 });
        for (const each of [lease, ofBare]) await store.leases.insert(each);
        const bound = { ...agent, bindings: expect.toSatisfy((all) => all.length === 2) };
        const { rights } = await subject.second();
        const { hash: _, ...columns } = token;
        expect(await rights.holder(token.hash)).toMatchObject({
          kind: 'token',
          agent: bound,
          token: columns,
        });
        expect(await rights.holder(ended.hash)).toMatchObject({ token: { id: ended.id, revokedAt: time } });
        expect(await rights.holder(lease.tokenHash)).toEqual({
          kind: 'lease',
          agent: bound,
          lease: (await store.leases.get(lease.id))!,
        });
        expect(await rights.holder(ofBare.tokenHash)).toMatchObject({
          agent: { name: 'bare', bindings: [] },
          lease: { id: ofBare.id, expiresAt: 1 },
        });
        expect(await rights.holder(new Uint8Array(32))).toBeNull();
        expect(await rights.agent('claude')).toEqual(bound);
        expect((await rights.agent('claude'))?.bindings).toEqual(expect.arrayContaining([github, alice]));
        expect(await rights.agent('bare')).toEqual({ ...agentRecord({ name: 'bare' }), bindings: [] });
        expect(await rights.agent('none')).toBeNull();
      });

      it('report which of them each change affects, to this process at once and to others', async () => {
        const other = await subject.second();
        const grant = grantRecord();
        await store.grants.insert(grant);
        const [token, lease, second] = [tokenRecord(), leaseRecord(), leaseRecord()];
        await store.agents.insert(agentRecord(), { tokens: [token] });
        for (const each of [lease, second]) await store.leases.insert(each);
        const agent = [{ kind: 'agent', key: 'claude' }];
        const ofLease = [{ kind: 'lease', key: lease.id }];
        const takeOver = { label: null, at: time };
        const changes: [change: () => Promise<unknown>, rights: unknown][] = [
          [() => store.agents.change('claude', { labels: ['x'] }), agent],
          [() => store.agentTokens.add(tokenRecord(), takeOver), agent],
          [() => store.agentTokens.revoke('claude', null, time), agent],
          [() => store.bindings.add('claude', [github], time), agent],
          [() => store.bindings.remove('claude', [github]), agent],
          [() => store.leases.renew(lease.id, { at: time, expiresAt: time + 9, moreUses: 0 }), ofLease],
          [() => store.leases.revoke({ id: lease.id }, time), ofLease],
          [() => store.agents.change('claude', { disabledAt: time }), expect.arrayContaining(agent)],
          [() => store.leases.removeEnded(time + 10), null],
          [() => store.agents.remove('claude'), undefined],
        ];
        for (const [change, rights] of changes) {
          const [own, others] = [store.epoch(), other.epoch()];
          await change();
          store.epoch();
          const changed = store.changesSince(own).rights;
          if (rights !== undefined) expect(changed, change.toString()).toEqual(rights);
          else expect(changed === null || changed.some(({ key }) => key === 'claude')).toBe(true);
          const heard = () => (other.epoch(), other.changesSince(others).rights);
          await expect
            .poll(() => heard() ?? null, { message: change.toString() })
            .toSatisfy((all) => all === null || (all.length > 0 && rights !== null));
        }
      });

      it('of a grant are returned with the grant, and a change of them counts as one of the grant', async () => {
        const other = await subject.second();
        const grant = grantRecord();
        await store.grants.insert(grant);
        for (const [policy, expected] of [
          [{ labels: ['prod'] }, { labels: ['prod'] }],
          [{ expiresAt: time }, { labels: ['prod'], endsAt: time }],
          [{ labels: [], expiresAt: null }, {}],
        ] as const) {
          const [own, others] = [store.epoch(), other.epoch()];
          await store.grantPolicies.set(grant.id, policy);
          store.epoch();
          expect(store.changesSince(own).grants).toEqual([grant.id]);
          const heard = () => (other.epoch(), other.changesSince(others).grants);
          await expect.poll(heard).toSatisfy((ids) => ids === null || ids[0] === grant.id);
          for (const read of [
            other.grants.get(grant.id),
            other.grants.find({}).then(([first]) => first),
            other.grants.some([grant.id]).then(([first]) => first),
            other.grants.find({ reference: grant.name }).then(([first]) => first),
          ])
            expect({ ...(await read), sealed: grant.sealed }).toEqual({ ...grant, ...expected });
        }
      });

      it('have a revision that grows with each change of a right, whichever connection makes the change', async () => {
        const second = await subject.second();
        const grant = grantRecord();
        await store.grants.insert(grant);
        const lease = leaseRecord();
        const changes = [
          () => store.agents.insert(agentRecord()),
          () => store.agents.change('claude', { disabledAt: time }),
          () => store.agents.change('claude', { disabledAt: null }),
          () => second.agentTokens.add(tokenRecord(), null),
          () => store.agentTokens.revoke('claude', null, time),
          () => second.agentTokens.removeEnded(time + 1),
          () => store.bindings.add('claude', [github], time),
          () => second.bindings.remove('claude', [github]),
          () => store.leases.insert(lease),
          () => second.leases.renew(lease.id, { at: time, expiresAt: time + 1, moreUses: 0 }),
          () => store.leases.revoke({ id: lease.id }, time),
          () => store.leases.removeEnded(time + 2),
          () => second.grantPolicies.set(grant.id, { labels: ['x'] }),
          () => store.agents.remove('claude'),
        ];
        let revision = await store.rights.revision();
        for (const change of changes) {
          await change();
          const next = await store.rights.revision();
          expect(next, change.toString()).toBeGreaterThan(revision);
          revision = next;
        }
      });

      it('keep their revision when uses are noted or counted, and when grants are refreshed', async () => {
        const grant = grantRecord();
        await store.grants.insert(grant);
        const token = tokenRecord();
        const lease = leaseRecord({ maxUses: 2 });
        await store.agents.insert(agentRecord(), { tokens: [token] });
        await store.leases.insert(lease);
        const [revision, epoch] = [await store.rights.revision(), store.epoch()];
        await store.leases.use(lease.id, time);
        await store.rights.noteUses([
          { kind: 'token', id: token.id, at: time },
          { kind: 'identity', id: token.agent, at: time },
        ]);
        await store.activity.note(grant.id, { usedAt: time });
        await store.grants.replace({ ...grant, revision: 2 }, 1);
        expect(await store.rights.revision()).toBe(revision);
        expect(store.epoch()).not.toBe(epoch);
      });

      it('record the later of two uses, unless a clock was wrong, and none of a missing token, lease or agent', async () => {
        const token = tokenRecord();
        const lease = leaseRecord();
        await store.agents.insert(agentRecord(), { tokens: [token] });
        await store.leases.insert(lease);
        const note = (at: number) =>
          store.rights.noteUses([
            { kind: 'token', id: token.id, at },
            { kind: 'lease', id: lease.id, at },
            { kind: 'lease', id: 'no-such', at },
            { kind: 'identity', id: token.agent, at },
            { kind: 'identity', id: 'no-such', at },
          ]);
        const noted = async () => [
          (await store.agentTokens.list())[0]?.usedAt,
          (await store.leases.get(lease.id))?.usedAt,
          await store.agents.identityUse(token.agent),
        ];
        await note(time);
        await note(time - 1);
        expect(await noted()).toEqual([time, time, time]);
        await note(time + 365 * 86_400_000);
        await note(time + 5);
        expect(await noted()).toEqual([time + 5, time + 5, time + 5]);
        await store.agents.remove(token.agent);
        expect(await noted()).toEqual([undefined, undefined, null]);
        await store.rights.noteUses([]);
      });

      it('cannot be read or changed after close, and do not look empty', async () => {
        await store.close();
        const uses = [
          () => store.agents.get('x'),
          () => store.agents.list(),
          () => store.agents.identityUse('x'),
          () => store.agents.insert(agentRecord()),
          () => store.agents.change('x', {}),
          () => store.agents.remove('x'),
          () => store.agentTokens.list(),
          () => store.agentTokens.add(tokenRecord(), null),
          () => store.agentTokens.revoke('x', null, 1),
          () => store.agentTokens.removeEnded(1),
          () => store.bindings.list(),
          () => store.bindings.add('x', [], 1),
          () => store.bindings.remove('x', []),
          () => store.leases.get('x'),
          () => store.leases.find(),
          () => store.leases.endings(1, [1]),
          () => store.agents.inList(1, {}),
          () => store.leases.insert(leaseRecord()),
          () => store.leases.renew('x', { at: 1, expiresAt: 1, moreUses: 1 }),
          () => store.leases.revoke({ id: 'x' }, 1),
          () => store.leases.use('x', 1),
          () => store.leases.removeEnded(1),
          () => store.grantPolicies.get('x'),
          () => store.grantPolicies.set('x', {}),
          () => store.rights.revision(),
          () => store.rights.noteUses([]),
        ];
        for (const use of uses) await expect(use()).rejects.toMatchObject({ code: 'store_unavailable' });
      });
    });
  });
}

/** Records with their bytes as text, so that a `Buffer` and a `Uint8Array` compare as equal. */
function plain(records: readonly object[]): unknown {
  return records.map((record) =>
    Object.fromEntries(
      Object.entries(record).map(([key, value]: [string, unknown]) => [
        key,
        value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
      ]),
    ),
  );
}
